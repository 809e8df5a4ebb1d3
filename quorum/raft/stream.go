package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/lni/dragonboat/v4/statemachine"

	"kvorum/metadatalog"
)

// A copy of a replica's state travels as
//
//	magic "KVSC" | version uint16
//	name length uint8 | name | size int64 | bytes     the newest .checkpoint
//	export of the metadata store                      see metadata-store.md
//
// with a name of length 0, and nothing after it, where there is no checkpoint.
// The newest one is enough: it ends at or after the log's start. Dragonboat
// adds checksums of its own.
const (
	copyMagic   = "KVSC"
	copyVersion = 1
)

// checkpointName is the name of a KRaft snapshot: its end offset and epoch.
var checkpointName = regexp.MustCompile(`^\d{20}-\d{10}\.checkpoint$`)

// stateCopy is a consistent view of a store and the checkpoint that goes with
// it.
type stateCopy struct {
	view       *metadatalog.View
	checkpoint *os.File // nil when there is none
}

// takeCopy opens what a copy is made of. The view comes first: a checkpoint
// that is found after it covers at least what the view's log lacks.
func takeCopy(store *metadatalog.Store, dir string) (*stateCopy, error) {
	view, err := store.View()
	if err != nil {
		return nil, fmt.Errorf("take a view of the store: %w", err)
	}
	f, err := openNewestCheckpoint(dir)
	if err == nil && f == nil && view.LogStart() > 0 {
		err = fmt.Errorf("the log starts at offset %d, but %s holds no checkpoint", view.LogStart(), dir)
	}
	if err != nil {
		view.Close()
		return nil, fmt.Errorf("open the newest checkpoint: %w", err)
	}
	return &stateCopy{view: view, checkpoint: f}, nil
}

// openNewestCheckpoint opens the checkpoint with the highest end; nil when there
// is none. An older one may be deleted at any time, the newest only after there
// is a newer one, so that a second look finds that.
func openNewestCheckpoint(dir string) (*os.File, error) {
	for attempt := 0; ; attempt++ {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		var names []string
		for _, e := range entries {
			if checkpointName.MatchString(e.Name()) {
				names = append(names, e.Name())
			}
		}
		if len(names) == 0 {
			return nil, nil
		}
		f, err := os.Open(filepath.Join(dir, slices.Max(names))) // digits: by offset
		if err == nil || attempt == 2 {
			return f, err
		}
	}
}

func (c *stateCopy) close() {
	c.view.Close()
	if c.checkpoint != nil {
		c.checkpoint.Close()
	}
}

// write streams the copy.
func (c *stateCopy) write(w io.Writer) error {
	head := binary.BigEndian.AppendUint16([]byte(copyMagic), copyVersion)
	if c.checkpoint == nil {
		if _, err := w.Write(append(head, 0)); err != nil {
			return err
		}
		return c.view.Export(w)
	}
	info, err := c.checkpoint.Stat()
	if err != nil {
		return fmt.Errorf("stream a checkpoint: %w", err)
	}
	name := filepath.Base(c.checkpoint.Name())
	head = append(append(head, byte(len(name))), name...)
	head = binary.BigEndian.AppendUint64(head, uint64(info.Size()))
	if _, err := w.Write(head); err != nil {
		return err
	}
	if _, err := io.CopyN(w, c.checkpoint, info.Size()); err != nil {
		return fmt.Errorf("stream checkpoint %s: %w", name, err)
	}
	return c.view.Export(w)
}

// restoreCopy replaces the store by a copy. The checkpoint is put in its place
// first, durably: it holds committed state, so that it does no harm beside an
// older store, and a newer store may need it. Then the store changes in one
// step. After a crash dragonboat does the whole again.
func restoreCopy(store *metadatalog.Store, dir string, r io.Reader) error {
	head := make([]byte, len(copyMagic)+2+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("read the copy of a replica: %w", err)
	}
	if string(head[:4]) != copyMagic {
		return errors.New("the copy of a replica begins with other bytes")
	}
	if v := binary.BigEndian.Uint16(head[4:]); v != copyVersion {
		return fmt.Errorf("the copy of a replica has version %d, this binary knows version %d: use the newer binary", v, copyVersion)
	}
	if n := int(head[6]); n > 0 {
		if err := receiveCheckpoint(dir, n, r); err != nil {
			return fmt.Errorf("receive a checkpoint: %w", err)
		}
	}
	if err := store.Restore(r); err != nil {
		return fmt.Errorf("restore the store from another replica: %w", err)
	}
	return nil
}

func receiveCheckpoint(dir string, nameLength int, r io.Reader) error {
	head := make([]byte, nameLength+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	name, size := string(head[:nameLength]), int64(binary.BigEndian.Uint64(head[nameLength:]))
	if !checkpointName.MatchString(name) || size < 0 {
		return fmt.Errorf("it is named %q and has %d bytes", name, size)
	}
	path := filepath.Join(dir, name)
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, r, size)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(path+".part", path)
	}
	if err != nil {
		os.Remove(path + ".part")
		return err
	}
	return syncDir(dir)
}

// stoppableWriter ends a stream when the replica closes.
type stoppableWriter struct {
	w    io.Writer
	stop <-chan struct{}
}

// Write writes unless the replica closes.
func (s *stoppableWriter) Write(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, statemachine.ErrSnapshotStopped
	default:
		return s.w.Write(p)
	}
}

// stoppableReader ends a restore when the replica closes.
type stoppableReader struct {
	r    io.Reader
	stop <-chan struct{}
}

// Read reads unless the replica closes.
func (s *stoppableReader) Read(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, statemachine.ErrSnapshotStopped
	default:
		return s.r.Read(p)
	}
}
