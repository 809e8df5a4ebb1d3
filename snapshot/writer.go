package snapshot

import (
	"bufio"
	"errors"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

const (
	// maxBatchRecords is how many records go into one batch: what Apache appends
	// at a time (RaftSnapshotWriter).
	maxBatchRecords = 1024
	// maxBatchBytes ends a batch early, so that a reader needs little memory. One
	// record may be larger, up to batch.MaxMetadataSize.
	maxBatchBytes = 1 << 20
)

// Writer writes one snapshot file. Finish gives it its name; until then, and
// after Abort, there is none. It is used from one goroutine.
type Writer struct {
	fs        vfs.FS
	dir, path string
	file      vfs.File
	out       *bufio.Writer
	epoch     kafka.LeaderEpoch
	timestamp int64
	next      kafka.Offset // within the file

	values [][]byte // of the batch that is being filled, into arena
	arena  []byte
	size   int
	buf    []byte

	done     func() // tells the Dir that the writer is through
	err      error  // the first failure, which every later call gives
	finished bool
}

// CreateFile begins the snapshot file at path, such as a bootstrap.checkpoint.
// epoch is the leader epoch of its batches and timestampMs the time in its first
// one. Files of a metadata directory are made by Dir.Create.
func CreateFile(fsys vfs.FS, path string, epoch kafka.LeaderEpoch, h Header, timestampMs int64) (*Writer, error) {
	controls, err := h.controls()
	if err != nil {
		return nil, err
	}
	f, err := vfs.Create(fsys, path+".part")
	if err != nil {
		return nil, fmt.Errorf("create snapshot: %w", err)
	}
	w := &Writer{
		fs: fsys, dir: fsys.PathDir(path), path: path, file: f, out: bufio.NewWriterSize(f, 64<<10),
		epoch: epoch, timestamp: timestampMs, done: func() {},
	}
	w.control(controls)
	if w.err != nil {
		return nil, errors.Join(w.err, w.Abort())
	}
	return w, nil
}

// SetTimestamp sets the time of the batches that end from now on.
func (w *Writer) SetTimestamp(ms int64) { w.timestamp = ms }

// Append adds one record by its encoded value, which it copies.
func (w *Writer) Append(value []byte) error {
	if w.err != nil {
		return w.err
	}
	size := batch.RecordSize(len(w.values), len(value))
	if full := len(w.values) >= maxBatchRecords || w.size+size > maxBatchBytes; full && len(w.values) > 0 {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(value) == 0 || batch.HeaderSize+batch.RecordSize(0, len(value)) > batch.MaxMetadataSize {
		return w.fail(fmt.Errorf("write snapshot %s: record %d of %d bytes: a batch takes 1 to %d", w.path, w.next, len(value), batch.MaxMetadataSize))
	}
	// A grown arena moves; the slices of earlier values keep its old memory, which
	// still holds their bytes.
	start := len(w.arena)
	w.arena = append(w.arena, value...)
	w.values = append(w.values, w.arena[start:len(w.arena):len(w.arena)])
	w.size += size
	return nil
}

// Flush ends the batch that is being filled, if it has a record.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.values) == 0 {
		return w.err
	}
	w.buf = batch.AppendData(w.buf[:0], w.next, w.epoch, w.timestamp, w.values)
	w.write(len(w.values))
	w.values, w.arena, w.size = w.values[:0], w.arena[:0], 0
	return w.err
}

func (w *Writer) control(records []batch.ControlRecord) {
	w.buf = batch.AppendControl(w.buf[:0], w.next, w.epoch, w.timestamp, records)
	w.write(len(records))
}

func (w *Writer) write(records int) {
	w.next += kafka.Offset(records)
	if _, err := w.out.Write(w.buf); err != nil {
		_ = w.fail(fmt.Errorf("write snapshot %s: %w", w.path, err))
	}
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// Finish writes the footer and makes the snapshot durable under its name. After
// an error there is no snapshot, or, if only the fsync of the directory failed,
// one that a crash may lose.
func (w *Writer) Finish() error {
	if err := w.Flush(); err != nil {
		return errors.Join(err, w.Abort())
	}
	footer, err := metadatalog.EncodeControls(&record.SnapshotFooter{})
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	w.control(footer)
	if w.err == nil {
		w.err = w.out.Flush()
	}
	if err := w.err; err != nil {
		return errors.Join(fmt.Errorf("write snapshot %s: %w", w.path, err), w.Abort())
	}
	w.finished = true
	defer w.done()
	w.err = errors.New("snapshot is finished")
	return freeze(w.fs, w.file, w.dir, w.path)
}

// Abort removes what was written. After Finish it does nothing.
func (w *Writer) Abort() error {
	if w.finished {
		return nil
	}
	w.finished = true
	defer w.done()
	_ = w.fail(errors.New("snapshot is aborted"))
	if err := errors.Join(w.file.Close(), w.fs.Remove(w.path+".part")); err != nil {
		return fmt.Errorf("abort snapshot %s: %w", w.path, err)
	}
	return nil
}

// freeze makes the file that is written as path.part durable under its name.
func freeze(fsys vfs.FS, f vfs.File, dir, path string) error {
	err := f.Sync()
	err = errors.Join(err, f.Close())
	if err == nil {
		err = fsys.Rename(path+".part", path)
	}
	if err != nil {
		_ = fsys.Remove(path + ".part") // the next start removes what is left
		return fmt.Errorf("write snapshot %s: %w", path, err)
	}
	if err := vfs.SyncDir(fsys, dir); err != nil {
		return fmt.Errorf("write snapshot %s: %w", path, err)
	}
	return nil
}
