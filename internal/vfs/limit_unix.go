//go:build unix

package vfs

import "syscall"

// DescriptorLimit is how many descriptors this process may have open
// (RLIMIT_NOFILE; Go has raised the soft limit to the hard one at the start), 0
// where that is not known.
func DescriptorLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur)
}
