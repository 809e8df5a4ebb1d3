package vfs

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Place says where a file is, as far as that decides whether what was written near
// it, and not synced, is still there: in the memory of which running kernel, and as
// which file of which mounted device.
type Place struct {
	// Boot is the kernel's id of this boot of the machine.
	Boot string
	// Device, Inode and Born name the file: another one in its place, such as a copy
	// that was restored, has another inode, or the same one born at another time (in
	// nanoseconds since 1970, 0 where the file system does not keep it).
	Device, Inode uint64
	Born          int64
	// Namespace is the mount namespace, and Mount the mount in it: a file system that
	// was unmounted and mounted again has another one.
	Namespace string
	Mount     uint64
}

// ErrNoPlace says that this system does not tell where a file is.
var ErrNoPlace = errors.New("this system does not tell which boot and which mount a file is of")

// Locator is a file system of a test that says itself where its files are.
type Locator interface {
	PlaceOf(path string) (Place, error)
}

// PlaceOf says where a file of fs is. The error is ErrNoPlace, or the
// system's.
func PlaceOf(fs FS, path string) (Place, error) {
	if l, ok := fs.(Locator); ok {
		return l.PlaceOf(path)
	}
	if fs == vfs.Default {
		return placeOf(path)
	}
	return Place{}, ErrNoPlace
}
