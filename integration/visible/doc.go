// Package visible tests that what a client did by one broker of kvorum's is seen at
// once by whoever asks another one.
package visible
