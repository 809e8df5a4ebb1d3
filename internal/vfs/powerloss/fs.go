//go:build linux

package powerloss

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/vfs"
)

// FS is the operating system's file system with a journal of what is not synced.
type FS struct {
	pebblevfs.FS
	dir  string // of the journal
	boot string // added to the boot's id: losses of power so far
	// longest is that of Freeze, 0 for a disk that never freezes.
	longest time.Duration

	mu       sync.Mutex
	inodes   map[uint64]*inode
	sequence int
	pending  []change // of names, oldest first
	names    *os.File
}

// New returns the file system whose journal is below dir, which is made where it is
// missing, and must be on the device of the files and outside of their directories.
// What an earlier process has not synced stays unsynced.
func New(dir string) (*FS, error) {
	s := &FS{FS: pebblevfs.Default, dir: dir, inodes: map[uint64]*inode{}}
	for _, sub := range []string{inodesDir, savedDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	losses, err := lossesSoFar(dir)
	if err != nil {
		return nil, err
	}
	s.boot = "/" + strconv.Itoa(losses)
	held, err := filepath.Glob(filepath.Join(dir, inodesDir, "*"))
	if err != nil {
		return nil, err
	}
	for _, d := range held {
		n, id, err := loadInode(d)
		if err != nil {
			return nil, err
		}
		if n != nil {
			s.inodes[id] = n
		}
	}
	if s.pending, err = readChanges(dir); err != nil {
		return nil, err
	}
	if len(s.pending) > 0 {
		s.sequence = s.pending[len(s.pending)-1].Sequence
	}
	s.names, err = openLines(filepath.Join(dir, namesName))
	return s, err
}

// The entries of the journal's directory.
const (
	inodesDir, savedDir   = "inodes", "saved"
	namesName, lossesName = "names", "losses"
)

// Unwrap is the file system below.
func (s *FS) Unwrap() vfs.FS { return s.FS }

// PlaceOf says where a file is: after a loss of power, in another boot.
func (s *FS) PlaceOf(path string) (vfs.Place, error) {
	p, err := vfs.PlaceOf(s.FS, path)
	p.Boot += s.boot
	return p, err
}

// Create makes an empty file in the place of what is at the path.
func (s *FS) Create(path string, c pebblevfs.DiskWriteCategory) (vfs.File, error) {
	return s.named(change{Kind: made, Path: path}, path, func() (vfs.File, error) { return s.FS.Create(path, c) })
}

// Open opens a file to read, or to sync what others wrote.
func (s *FS) Open(path string, o ...pebblevfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.Open(path, o...)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return f, err
	}
	return s.wrap(f, nil)
}

// OpenReadWrite opens a file and makes it where it is missing.
func (s *FS) OpenReadWrite(path string, c pebblevfs.DiskWriteCategory, o ...pebblevfs.OpenOption) (vfs.File, error) {
	if _, err := os.Lstat(path); err == nil {
		return s.wrap(s.FS.OpenReadWrite(path, c, o...))
	}
	return s.named(change{Kind: made, Path: path}, path, func() (vfs.File, error) { return s.FS.OpenReadWrite(path, c, o...) })
}

// ReuseForWrite renames a file and opens it.
func (s *FS) ReuseForWrite(from, to string, c pebblevfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.Rename(from, to); err != nil {
		return nil, err
	}
	return s.OpenReadWrite(to, c)
}

// named makes a change of names that opens a file.
func (s *FS) named(c change, path string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = s.change(c, path, func() (err error) { f, err = open(); return err })
	return s.wrap(f, err)
}

// wrap returns the handle that notes what is written to f.
func (s *FS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &stat); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.inodes[stat.Ino]
	if n == nil {
		n = &inode{dir: filepath.Join(s.dir, inodesDir, strconv.FormatUint(stat.Ino, 10)), generation: 1}
		s.inodes[stat.Ino] = n
	}
	n.open++
	return &file{File: f, fs: s, inode: n, id: stat.Ino}, nil
}

// file is an open file that can be written.
type file struct {
	vfs.File
	fs    *FS
	inode *inode
	id    uint64
	at    int64 // where Read and Write are
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.at += int64(n)
	return n, err
}

func (f *file) Write(p []byte) (int, error) {
	f.inode.mu.Lock()
	defer f.inode.mu.Unlock()
	if err := f.inode.before(f.File, f.at, f.at+int64(len(p))); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	f.at += int64(n)
	return n, err
}

func (f *file) WriteAt(p []byte, at int64) (int, error) {
	f.inode.mu.Lock()
	defer f.inode.mu.Unlock()
	if err := f.inode.before(f.File, at, at+int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

// Seek sets where Read and Write go on.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	at, err := f.File.(io.Seeker).Seek(offset, whence)
	if err == nil {
		f.at = at
	}
	return at, err
}

// Truncate sets the file's size.
func (f *file) Truncate(size int64) error {
	f.inode.mu.Lock()
	defer f.inode.mu.Unlock()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.inode.before(f.File, size, max(size, info.Size())); err != nil {
		return err
	}
	return f.File.(interface{ Truncate(size int64) error }).Truncate(size)
}

func (f *file) Sync() error     { f.fs.thaw(); return f.inode.sync(f.File, f.File.Sync) }
func (f *file) SyncData() error { f.fs.thaw(); return f.inode.sync(f.File, f.File.SyncData) }

// SyncTo promises nothing, as that of the operating system.
func (f *file) SyncTo(int64) (fullSync bool, err error) { return false, nil }

func (f *file) Close() error {
	err := f.File.Close()
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.mu.Lock()
	defer f.inode.mu.Unlock()
	if f.inode.open--; f.inode.open > 0 {
		return err
	}
	if f.inode.clean() {
		delete(f.fs.inodes, f.id)
	}
	return errors.Join(err, f.inode.release())
}
