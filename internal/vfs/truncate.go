package vfs

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// truncater is what files of the operating system can do and the interface of
// pebble, which never shortens a file, does not name.
type truncater interface{ Truncate(size int64) error }

// OpenReadWrite opens a file for reading and writing and makes it where it is
// missing.
func OpenReadWrite(fs FS, path string) (File, error) {
	return fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
}

// Truncate cuts the file f, which is open at path, to size bytes and returns the
// file to go on with. On a file system that cannot shorten a file (the one in
// memory) the bytes that stay are written to a new file, which is synced and
// takes path in one step; f then still shows the old bytes and is to be closed.
// Otherwise the new size is durable only after a Sync.
func Truncate(fs FS, f File, path string, size int64) (File, error) {
	if t, ok := f.(truncater); ok {
		return f, t.Truncate(size)
	}
	kept := make([]byte, size)
	if _, err := f.ReadAt(kept, 0); err != nil && !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("read the %d bytes of %s that stay: %w", size, path, err)
	}
	if err := Replace(fs, path, kept); err != nil {
		return f, err
	}
	g, err := OpenReadWrite(fs, path)
	if err != nil {
		return f, err
	}
	return g, nil
}
