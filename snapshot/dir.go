package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// ErrNotFound is what an id gives of which there is no snapshot (any more):
// Kafka's SNAPSHOT_NOT_FOUND.
var ErrNotFound = errors.New("no such snapshot")

// ErrBusy is what Create and Install give while the same snapshot is written.
var ErrBusy = errors.New("snapshot is being written")

// DeleteDelayMs is how long a deleted snapshot can still be read, so that a
// node that is fetching it can finish (file.delete.delay.ms of Kafka).
const DeleteDelayMs = 60_000

// Info describes one snapshot.
type Info struct {
	ID   kafka.EpochOffset
	Size int64 // bytes
}

// Dir is the snapshots of one metadata directory, which may hold other files.
// Its methods may be called from any goroutine. It has no clock: whoever deletes
// and purges says what time it is.
type Dir struct {
	fs   vfs.FS
	path string

	mu        sync.Mutex
	snapshots []Info // oldest first
	writing   map[kafka.EpochOffset]bool
	deleted   map[kafka.EpochOffset]deletion
}

// deletion is a snapshot that is deleted and still readable.
type deletion struct {
	size int64
	atMs int64
}

// OpenDir lists the snapshots in path and removes what an earlier process left
// half written or half deleted. A nil fsys is the operating system's.
func OpenDir(fsys vfs.FS, path string) (*Dir, error) {
	if fsys == nil {
		fsys = vfs.Default
	}
	d := &Dir{fs: fsys, path: path, writing: map[kafka.EpochOffset]bool{}, deleted: map[kafka.EpochOffset]deletion{}}
	names, err := fsys.List(path)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, name := range names {
		if err := d.found(name); err != nil {
			return nil, fmt.Errorf("list snapshots: %w", err)
		}
	}
	slices.SortFunc(d.snapshots, func(a, b Info) int { return before(a.ID, b.ID) })
	return d, nil
}

func (d *Dir) found(name string) error {
	if strings.HasSuffix(name, partSuffix) || strings.HasSuffix(name, deletedSuffix) {
		return d.fs.Remove(d.fs.PathJoin(d.path, name))
	}
	id, ok := ParseName(name)
	if !ok || id == Bootstrap {
		return nil
	}
	info, err := d.fs.Stat(d.fs.PathJoin(d.path, name))
	if err != nil {
		return err
	}
	d.snapshots = append(d.snapshots, Info{ID: id, Size: info.Size()})
	return nil
}

// List returns the snapshots, newest first, without the Bootstrap file.
func (d *Dir) List() []Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.Clone(d.snapshots)
	slices.Reverse(list)
	return list
}

// Latest is the newest snapshot.
func (d *Dir) Latest() (Info, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.snapshots); n > 0 {
		return d.snapshots[n-1], true
	}
	return Info{}, false
}

// Earliest is the oldest snapshot.
func (d *Dir) Earliest() (Info, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.snapshots) > 0 {
		return d.snapshots[0], true
	}
	return Info{}, false
}

func (d *Dir) file(id kafka.EpochOffset) string { return d.fs.PathJoin(d.path, Name(id)) }

// Create begins to write the snapshot id; its Writer's Finish adds it to the
// directory. ErrBusy says that another Writer is at it.
func (d *Dir) Create(id kafka.EpochOffset, h Header, timestampMs int64) (*Writer, error) {
	if err := d.begin(id); err != nil {
		return nil, err
	}
	w, err := CreateFile(d.fs, d.file(id), id.Epoch, h, timestampMs)
	if err != nil {
		d.end(id)
		return nil, err
	}
	w.done = func() { d.end(id) }
	return w, nil
}

func (d *Dir) begin(id kafka.EpochOffset) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writing[id] {
		return fmt.Errorf("write snapshot %s: %w", Name(id), ErrBusy)
	}
	d.writing[id] = true
	return nil
}

// end notes that a writer is through, and the snapshot if it is there.
func (d *Dir) end(id kafka.EpochOffset) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.writing, id)
	info, err := d.fs.Stat(d.file(id))
	if err != nil || id == Bootstrap {
		return
	}
	at, have := slices.BinarySearchFunc(d.snapshots, id, func(s Info, id kafka.EpochOffset) int { return before(s.ID, id) })
	if have {
		d.snapshots[at].Size = info.Size()
		return
	}
	d.snapshots = slices.Insert(d.snapshots, at, Info{ID: id, Size: info.Size()})
}

// Install makes the snapshot id of the bytes of r, which another node sent. It
// verifies them on the way, and that they are of id's epoch: a bad snapshot is
// not installed. It is durable when Install returns.
func (d *Dir) Install(id kafka.EpochOffset, r io.Reader) error {
	if err := d.begin(id); err != nil {
		return err
	}
	defer d.end(id)
	path := d.file(id)
	f, err := vfs.Create(d.fs, path+".part")
	if err != nil {
		return fmt.Errorf("install snapshot %s: %w", path, err)
	}
	if err := verifyInto(f, r, id); err != nil {
		return fmt.Errorf("install snapshot %s: %w", path, errors.Join(err, f.Close(), d.fs.Remove(path+".part")))
	}
	return freeze(d.fs, f, d.path, path)
}

func verifyInto(w io.Writer, r io.Reader, id kafka.EpochOffset) error {
	s, err := NewReader(io.TeeReader(r, copyingWriter{w}))
	if err != nil {
		return err
	}
	if s.Epoch() != id.Epoch {
		return fmt.Errorf("%w: it is of epoch %d", ErrDamaged, s.Epoch())
	}
	return s.Verify()
}

// copyingWriter keeps what is written to a vfs.File, which may change the bytes
// that it is given.
type copyingWriter struct{ w io.Writer }

func (c copyingWriter) Write(p []byte) (int, error) { return c.w.Write(bytes.Clone(p)) }

// Open begins to read the snapshot id.
func (d *Dir) Open(id kafka.EpochOffset) (*Reader, error) {
	path, _, err := d.find(id)
	if err != nil {
		return nil, err
	}
	r, err := OpenFile(d.fs, path)
	if err == nil && r.Epoch() != id.Epoch {
		err = errors.Join(fmt.Errorf("%s: %w: its batches are of epoch %d", path, ErrDamaged, r.Epoch()), r.Close())
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// find returns the file of a snapshot that is there, or deleted but not purged.
func (d *Dir) find(id kafka.EpochOffset) (path string, size int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.snapshots {
		if s.ID == id {
			return d.file(id), s.Size, nil
		}
	}
	if del, ok := d.deleted[id]; ok {
		return d.file(id) + ".deleted", del.size, nil
	}
	return "", 0, fmt.Errorf("snapshot %s: %w", Name(id), ErrNotFound)
}

// Chunk is a part of a snapshot's bytes, as FetchSnapshot sends it.
type Chunk struct {
	Bytes []byte
	Size  int64 // of the whole snapshot
}

// ErrPosition is what a position outside of the snapshot gives: Kafka's
// POSITION_OUT_OF_RANGE.
var ErrPosition = errors.New("position is outside of the snapshot")

// MaxChunkBytes bounds one chunk, whatever its reader asks for
// (KafkaRaftClient.MAX_FETCH_SIZE_BYTES).
const MaxChunkBytes = 8 << 20

// ReadChunk returns up to maxBytes of the snapshot id from position on; a
// deleted one can be read for DeleteDelayMs more. The bytes are the caller's.
func (d *Dir) ReadChunk(id kafka.EpochOffset, position int64, maxBytes int) (Chunk, error) {
	if id == Bootstrap {
		return Chunk{}, fmt.Errorf("snapshot %s: %w", Name(id), ErrNotFound) // never served
	}
	// A purge between the two makes the open fail, which is the same answer.
	path, size, err := d.find(id)
	if err != nil {
		return Chunk{}, err
	}
	if position < 0 || position >= size {
		return Chunk{}, fmt.Errorf("read snapshot %s at byte %d of %d: %w", Name(id), position, size, ErrPosition)
	}
	f, err := d.fs.Open(path)
	if err != nil {
		return Chunk{}, fmt.Errorf("snapshot %s: %w: %w", Name(id), ErrNotFound, err)
	}
	defer f.Close()
	b := make([]byte, min(size-position, int64(max(maxBytes, 1)), MaxChunkBytes))
	if n, err := f.ReadAt(b, position); n < len(b) {
		return Chunk{}, fmt.Errorf("read snapshot %s at byte %d: %w", Name(id), position, err)
	}
	return Chunk{Bytes: b, Size: size}, nil
}
