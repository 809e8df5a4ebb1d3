// Package interop runs one story of real clients and tools, step by step, on
// clusters whose controllers are Apache's and on clusters whose controllers are
// kvorum's, and compares what they print. What Apache's cluster printed is kept
// in testdata, arranged by package printed.
package interop
