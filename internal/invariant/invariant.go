// Package invariant states what must be true whatever a peer, a disk or an
// operator does. A broken one is a mistake in the program, and going on would
// spread it into the log: so the checks are always on and panic with state.
// Bad input and failing disks are errors, never invariants. It is a leaf.
package invariant

import "fmt"

// Check panics unless ok. The text says what was expected and shows the state
// that broke it. The arguments are evaluated (and boxed) on every call, so a hot
// path asks first: if !ok { invariant.Broken(...) }.
func Check(ok bool, format string, args ...any) {
	if !ok {
		Broken(format, args...)
	}
}

// Broken panics: the program has found itself in a state that cannot be.
func Broken(format string, args ...any) {
	panic("broken invariant: " + fmt.Sprintf(format, args...))
}
