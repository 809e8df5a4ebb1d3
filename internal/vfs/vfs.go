// Package vfs is the file system as the packages see it that must survive a
// crash: an interface that tests replace by one in memory that can lose what
// was not synced, or fail at a chosen call. It is pebble's, so that the store's
// database and the files beside it are on the same disk in a test, too. A leaf.
package vfs

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a file system. A file that is written may change the bytes it is given:
// who needs them afterwards writes a copy.
type FS = vfs.FS

// File is an open file of an FS.
type File = vfs.File

// Default is the operating system's file system.
var Default = vfs.Default

// Create makes an empty file, or empties the one that is there.
func Create(fs FS, path string) (File, error) {
	return fs.Create(path, vfs.WriteCategoryUnspecified)
}

// SyncDir makes the names in a directory durable.
func SyncDir(fs FS, path string) error {
	d, err := fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Replace makes data the contents of path in one durable step: it is written
// beside it as path.tmp, fsynced, renamed, and the directory fsynced.
func Replace(fs FS, path string, data []byte) error {
	f, err := Create(fs, path+".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(append([]byte(nil), data...))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(path+".tmp", path); err != nil {
		return err
	}
	return SyncDir(fs, fs.PathDir(path))
}
