//go:build planted

package planted

// on is the one bug that is on. It is written by a test before anything runs.
var on Bug

// Is reports whether a bug is on.
func Is(b Bug) bool { return b == on }

// Set chooses the bug that is on.
func Set(b Bug) { on = b }
