//go:build unix

package bench

import "golang.org/x/sys/unix"

// settleDisk writes what is dirty to the disk, so that the next one to be measured
// does not pay for the one before.
func settleDisk() { unix.Sync() }
