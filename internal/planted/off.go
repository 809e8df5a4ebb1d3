//go:build !planted

package planted

// Is reports whether a bug is on: never, in this build.
func Is(Bug) bool { return false }
