//go:build unix

package bench

import (
	"io/fs"
	"syscall"
)

// allocatedOf is what a file takes of the disk, which is less than its size where
// it has holes, as preallocated indexes have.
func allocatedOf(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(s.Blocks) * 512
	}
	return info.Size()
}
