//go:build !unix

package vfs

// DescriptorLimit is how many descriptors this process may have open, 0 where
// that is not known.
func DescriptorLimit() uint64 { return 0 }
