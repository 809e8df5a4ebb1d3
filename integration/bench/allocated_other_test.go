//go:build !unix

package bench

import "io/fs"

func allocatedOf(info fs.FileInfo) int64 { return info.Size() }
