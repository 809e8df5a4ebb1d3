// Package answers asks one node of Apache's and one of kvorum's the same
// questions over a raw connection, and compares the answers field by field. What
// Apache's node answered is kept in testdata; ids, addresses and times, which
// differ from run to run, are replaced by what they are.
package answers
