//go:build linux

package powerloss

import (
	"fmt"
	"io"
	"os"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	dragonboatvfs "github.com/lni/vfs"

	"kvorum/internal/vfs"
)

// Dragonboat is the file system for dragonboat's own log, with the same journal.
// Dragonboat takes no file system but its own and one of this type, whose purpose,
// to let operations fail, is not used.
func (s *FS) Dragonboat() *dragonboatvfs.ErrorFS {
	return dragonboatvfs.Wrap(dragonboatFS{s}, neverFails{})
}

type neverFails struct{}

func (neverFails) MaybeError(dragonboatvfs.Op) error { return nil }

// dragonboatFS gives FS the methods of the file systems that dragonboat takes.
type dragonboatFS struct{ s *FS }

// dragonboatFile has no method Fd on purpose: pebble would sync by it, past the
// journal.
type dragonboatFile struct{ f vfs.File }

func (f dragonboatFile) Close() error                            { return f.f.Close() }
func (f dragonboatFile) Read(p []byte) (int, error)              { return f.f.Read(p) }
func (f dragonboatFile) ReadAt(p []byte, at int64) (int, error)  { return f.f.ReadAt(p, at) }
func (f dragonboatFile) Write(p []byte) (int, error)             { return f.f.Write(p) }
func (f dragonboatFile) WriteAt(p []byte, at int64) (int, error) { return f.f.WriteAt(p, at) }
func (f dragonboatFile) Stat() (os.FileInfo, error)              { return f.f.Stat() }
func (f dragonboatFile) Sync() error                             { return f.f.Sync() }
func (f dragonboatFile) Seek(offset int64, whence int) (int64, error) {
	s, ok := f.f.(io.Seeker)
	if !ok {
		return 0, fmt.Errorf("a %T cannot seek", f.f)
	}
	return s.Seek(offset, whence)
}

func asDragonboat(f vfs.File, err error) (dragonboatvfs.File, error) {
	if err != nil {
		return nil, err
	}
	return dragonboatFile{f}, nil
}

const category = pebblevfs.WriteCategoryUnspecified

func (d dragonboatFS) Create(name string) (dragonboatvfs.File, error) {
	return asDragonboat(d.s.Create(name, category))
}

func (d dragonboatFS) Link(from, to string) error { return d.s.Link(from, to) }

// Open leaves out the options, which are hints to the kernel.
func (d dragonboatFS) Open(name string, _ ...dragonboatvfs.OpenOption) (dragonboatvfs.File, error) {
	return asDragonboat(d.s.Open(name))
}

func (d dragonboatFS) OpenDir(name string) (dragonboatvfs.File, error) {
	return asDragonboat(d.s.OpenDir(name))
}

func (d dragonboatFS) OpenForAppend(name string) (dragonboatvfs.File, error) {
	f, err := asDragonboat(d.s.OpenReadWrite(name, category))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	return f, nil
}

func (d dragonboatFS) Remove(name string) error     { return d.s.Remove(name) }
func (d dragonboatFS) RemoveAll(name string) error  { return d.s.RemoveAll(name) }
func (d dragonboatFS) Rename(from, to string) error { return d.s.Rename(from, to) }

func (d dragonboatFS) ReuseForWrite(from, to string) (dragonboatvfs.File, error) {
	return asDragonboat(d.s.ReuseForWrite(from, to, category))
}

func (d dragonboatFS) MkdirAll(dir string, perm os.FileMode) error { return d.s.MkdirAll(dir, perm) }
func (d dragonboatFS) Lock(name string) (io.Closer, error)         { return d.s.Lock(name) }
func (d dragonboatFS) List(dir string) ([]string, error)           { return d.s.List(dir) }
func (d dragonboatFS) Stat(name string) (os.FileInfo, error)       { return d.s.Stat(name) }
func (d dragonboatFS) PathBase(path string) string                 { return d.s.PathBase(path) }
func (d dragonboatFS) PathJoin(elem ...string) string              { return d.s.PathJoin(elem...) }
func (d dragonboatFS) PathDir(path string) string                  { return d.s.PathDir(path) }

func (d dragonboatFS) GetDiskUsage(path string) (dragonboatvfs.DiskUsage, error) {
	u, err := d.s.GetDiskUsage(path)
	return dragonboatvfs.DiskUsage{AvailBytes: u.AvailBytes, TotalBytes: u.TotalBytes, UsedBytes: u.UsedBytes}, err
}
