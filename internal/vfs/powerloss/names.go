//go:build linux

package powerloss

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"kvorum/internal/vfs"
)

type kind string

const (
	made    kind = "made"    // a file or another name of one, at Path
	madeDir kind = "madedir" // a directory at Path
	renamed kind = "renamed" // From became Path
	removed kind = "removed" // Path
	unmade  kind = "unmade"  // the directory Path
	synced  kind = "synced"  // what changed in the directory Path up to Sequence is on the disk
)

// change is one of the names, a line of the journal.
type change struct {
	Kind     kind
	Sequence int
	Path     string
	From     string `json:",omitempty"`
	// Saved is the name below savedDir of the file that was at Path before.
	Saved string `json:",omitempty"`
}

// change notes a change and makes it. path is that of the file whose place is taken,
// or that is removed; it is kept until the change is on the disk.
func (s *FS) change(c change, path string, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	c.Sequence = s.sequence
	if info, err := os.Lstat(path); path != "" && err == nil && info.Mode().IsRegular() {
		c.Saved = fmt.Sprint(c.Sequence)
		if err := os.Link(path, filepath.Join(s.dir, savedDir, c.Saved)); err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
	}
	if err := s.write(c); err != nil {
		return err
	}
	s.pending = append(s.pending, c)
	return do() // a change that fails is undone as one that was not made
}

func (s *FS) write(c change) error {
	text, err := json.Marshal(c)
	if err == nil {
		_, err = s.names.Write(append(text, '\n'))
	}
	return err
}

// Link gives a file another name.
func (s *FS) Link(from, to string) error {
	return s.change(change{Kind: made, Path: to}, "", func() error { return s.FS.Link(from, to) })
}

// Rename renames a file or a directory.
func (s *FS) Rename(from, to string) error {
	return s.change(change{Kind: renamed, Path: to, From: from}, to, func() error { return s.FS.Rename(from, to) })
}

// Remove removes a file or an empty directory.
func (s *FS) Remove(path string) error {
	kind := removed
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		kind = unmade
	}
	return s.change(change{Kind: kind, Path: path}, path, func() error { return s.FS.Remove(path) })
}

// RemoveAll removes a directory and what is in it.
func (s *FS) RemoveAll(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.IsDir() {
		names, err := s.FS.List(path)
		for _, name := range names {
			err = errors.Join(err, s.RemoveAll(filepath.Join(path, name)))
		}
		if err != nil {
			return err
		}
	}
	return s.Remove(path)
}

// MkdirAll makes a directory and those above it.
func (s *FS) MkdirAll(path string, mode os.FileMode) error {
	if _, err := os.Stat(path); err == nil {
		return s.FS.MkdirAll(path, mode)
	}
	if err := s.MkdirAll(filepath.Dir(path), mode); err != nil {
		return err
	}
	return s.change(change{Kind: madeDir, Path: path}, "", func() error { return s.FS.MkdirAll(path, mode) })
}

// OpenDir opens a directory; its Sync makes its names durable.
func (s *FS) OpenDir(path string) (vfs.File, error) {
	d, err := s.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &directory{File: d, fs: s, path: filepath.Clean(path)}, nil
}

type directory struct {
	vfs.File
	fs   *FS
	path string
}

func (d *directory) SyncData() error { return d.Sync() }

func (d *directory) Sync() error {
	d.fs.thaw()
	d.fs.mu.Lock()
	covered := d.fs.sequence
	d.fs.mu.Unlock()
	if err := d.File.Sync(); err != nil {
		return err
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	return d.fs.settle(change{Kind: synced, Path: d.path, Sequence: covered})
}

// settle forgets how to undo what is on the disk.
func (s *FS) settle(c change) error {
	if err := s.write(c); err != nil {
		return err
	}
	before := s.pending
	s.pending = c.leaves(before)
	if len(s.pending) == 0 {
		if err := s.names.Truncate(0); err != nil {
			return err
		}
	}
	kept := map[string]bool{}
	for _, p := range s.pending {
		kept[p.Saved] = true
	}
	for _, p := range before {
		if p.Saved != "" && !kept[p.Saved] {
			if err := s.drop(p.Saved); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop removes a file that was kept, and its notes, if it has no other name.
func (s *FS) drop(saved string) error {
	path := filepath.Join(s.dir, savedDir, saved)
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); err != nil {
		return fmt.Errorf("drop %s: %w", path, err)
	}
	if n := s.inodes[stat.Ino]; n != nil && n.open == 0 && stat.Nlink <= 2 { // saved and in its notes
		delete(s.inodes, stat.Ino)
		if err := os.RemoveAll(n.dir); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// leaves returns the changes that are not on the disk after a sync.
func (c change) leaves(pending []change) []change {
	var left []change
	for _, p := range pending {
		if p.Sequence > c.Sequence || filepath.Dir(p.Path) != c.Path {
			left = append(left, p)
		}
	}
	return left
}

// readChanges reads the changes that are not on the disk, oldest first.
func readChanges(dir string) ([]change, error) {
	text, err := os.ReadFile(filepath.Join(dir, namesName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var pending []change
	for line := range bytes.Lines(text) {
		var c change
		if json.Unmarshal(line, &c) != nil {
			continue // cut off by a kill: it was not made
		}
		if c.Kind == synced {
			pending = c.leaves(pending)
		} else {
			pending = append(pending, c)
		}
	}
	return pending, nil
}

// undo takes a change back, if it was made.
func (c change) undo(dir string) error {
	restore := func() error {
		if c.Saved == "" {
			return nil
		}
		err := os.Link(filepath.Join(dir, savedDir, c.Saved), c.Path)
		if errors.Is(err, os.ErrExist) || errors.Is(err, os.ErrNotExist) {
			return nil // it was not made, or the whole directory is gone
		}
		return err
	}
	switch c.Kind {
	case made, madeDir:
		if err := os.RemoveAll(c.Path); err != nil {
			return err
		}
	case renamed:
		if _, err := os.Lstat(c.From); err == nil {
			return nil // it was not made
		}
		if err := os.Rename(c.Path, c.From); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	case unmade:
		if err := os.Mkdir(c.Path, 0o755); err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return restore()
}
