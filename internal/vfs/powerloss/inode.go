//go:build linux

package powerloss

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"kvorum/internal/vfs"
)

const (
	pageSize = 4096
	// The files of an inode's directory in the journal: a hard link to it, by which it
	// is found under whatever name it has, and its notes.
	linkName, notesName = "data", "notes"
)

// note is one line of an inode's notes. Generations are the times between two fsyncs.
type note struct {
	Generation int
	// Size, in the first note of a generation, is the file's before it.
	Size *int64 `json:",omitempty"`
	// Old is what was at Offset before this generation wrote there.
	Offset int64  `json:",omitempty"`
	Old    []byte `json:",omitempty"`
	// Synced says that what this generation and those before it wrote is on the disk.
	Synced bool `json:",omitempty"`
}

// inode is a file that is open, or has bytes that a loss of power may take back.
type inode struct {
	dir  string // of its notes
	open int    // handles; guarded by FS.mu

	mu         sync.Mutex
	generation int
	dirty      bool           // this generation has written
	synced     int            // the last generation that is on the disk
	size       int64          // before this generation; what is behind it needs no copy
	saved      map[int64]bool // pages before size that are in the notes
	notes      *os.File       // nil until the first write
}

// before notes what a write to [from, to) of f takes away; a cut is one to the end.
func (n *inode) before(f vfs.File, from, to int64) error {
	if n.notes == nil { // also where it was closed since with bytes that are not synced
		if err := n.hold(f); err != nil {
			return err
		}
	}
	if !n.dirty {
		if err := n.begin(f); err != nil {
			return err
		}
	}
	for page := from / pageSize; page*pageSize < min(to, n.size); page++ {
		if n.saved[page] {
			continue
		}
		old := make([]byte, min(pageSize, n.size-page*pageSize))
		if got, err := f.ReadAt(old, page*pageSize); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read what %s has at %d: %w", n.dir, page*pageSize, err)
		} else if err := n.write(note{Generation: n.generation, Offset: page * pageSize, Old: old[:got]}); err != nil {
			return err
		}
		n.saved[page] = true
	}
	return nil
}

// begin notes the size before the first write of a generation.
func (n *inode) begin(f vfs.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if err := n.write(note{Generation: n.generation, Size: &size}); err != nil {
		return err
	}
	n.dirty, n.size, n.saved = true, size, map[int64]bool{}
	return nil
}

// hold links the file into the journal and opens its notes.
func (n *inode) hold(f vfs.File) (err error) {
	if err := os.Mkdir(n.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	link := filepath.Join(n.dir, linkName)
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, link, unix.AT_SYMLINK_FOLLOW)
	// ENOENT: it has no name any more, and nobody will see what it has.
	if err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("link %s: %w", link, err)
	}
	n.notes, err = openLines(filepath.Join(n.dir, notesName))
	return err
}

// openLines opens a file of lines to append to, behind what a kill may have left of one.
func openLines(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString("\n")
	return f, err
}

func (n *inode) write(line note) error {
	text, err := json.Marshal(line)
	if err == nil {
		_, err = n.notes.Write(append(text, '\n'))
	}
	return err
}

// sync syncs f by do. What is written meanwhile is of the next generation.
func (n *inode) sync(f vfs.File, do func() error) error {
	n.mu.Lock()
	if n.dirty {
		n.generation, n.dirty = n.generation+1, false
	}
	covered := n.generation - 1
	n.mu.Unlock()
	if err := do(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.clean() {
		return nil
	}
	n.synced = max(n.synced, covered)
	if n.notes == nil { // what is unsynced was written before it was opened this time
		if err := n.hold(f); err != nil {
			return err
		}
	}
	if n.clean() {
		return n.notes.Truncate(0)
	}
	return n.write(note{Generation: covered, Synced: true})
}

// clean reports whether all is on the disk.
func (n *inode) clean() bool { return !n.dirty && n.synced >= n.generation-1 }

// release closes the notes of a file that nobody has open.
func (n *inode) release() error {
	if n.notes == nil {
		return nil
	}
	err := n.notes.Close()
	n.notes = nil
	if n.clean() {
		err = errors.Join(err, os.RemoveAll(n.dir))
	}
	return err
}

// readNotes reads the notes that still hold, oldest first. A line that a kill has cut off
// is no loss: its write was not made.
func readNotes(dir string) ([]note, error) {
	text, err := os.ReadFile(filepath.Join(dir, notesName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var notes []note
	for line := range bytes.Lines(text) {
		var n note
		if json.Unmarshal(line, &n) != nil {
			continue
		}
		notes = append(notes, n)
	}
	synced := 0
	for _, n := range notes {
		if n.Synced {
			synced = max(synced, n.Generation)
		}
	}
	held := notes[:0]
	for _, n := range notes {
		if !n.Synced && n.Generation > synced {
			held = append(held, n)
		}
	}
	return held, nil
}

// loadInode takes up what a process before this one has left; nil if the file is gone.
func loadInode(dir string) (*inode, uint64, error) {
	id, err := strconv.ParseUint(filepath.Base(dir), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("%s is not a directory of notes: %w", dir, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, linkName)); errors.Is(err, os.ErrNotExist) {
		return nil, 0, os.RemoveAll(dir)
	}
	notes, err := readNotes(dir)
	if err != nil {
		return nil, 0, err
	}
	n := &inode{dir: dir, generation: 1}
	if len(notes) > 0 {
		n.generation = notes[len(notes)-1].Generation + 1
		n.synced = notes[0].Generation - 1
	}
	return n, id, nil
}
