package metadatalog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

const (
	// DefaultSegmentBytes is where an exported segment ends unless its caller
	// says otherwise: metadata.log.segment.bytes of Kafka.
	DefaultSegmentBytes = 1 << 30
	// indexIntervalBytes is how many bytes of a segment share one index entry
	// (index.interval.bytes).
	indexIntervalBytes = 4096
)

// ExportDir writes the view's log as Apache Kafka keeps it in
// __cluster_metadata-0: .log segments of about segmentBytes (0 is
// DefaultSegmentBytes) with .index and .timeindex, leader-epoch-checkpoint and
// partition.metadata. dir must not exist. Everything is on disk when it returns.
//
// A log that does not start at offset 0 needs the checkpoint that ends at its
// start, or later, beside it: the caller copies that.
func (v *View) ExportDir(dir string, segmentBytes int64) error {
	fs := v.engine.fs
	if _, err := fs.Stat(dir); err == nil {
		return fmt.Errorf("export the metadata log: %s exists: name a new directory", dir)
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("export the metadata log: %w", err)
	}
	if segmentBytes <= 0 {
		segmentBytes = DefaultSegmentBytes
	}
	d := dirExport{view: v, fs: fs, dir: dir, segmentBytes: segmentBytes}
	if err := d.run(); err != nil {
		return fmt.Errorf("export the metadata log to %s: %w", dir, err)
	}
	return nil
}

type dirExport struct {
	view         *View
	fs           vfs.FS
	dir          string
	segmentBytes int64
}

func (d *dirExport) run() error {
	for at, first := d.view.state.start, true; first || at < d.view.state.end; first = false {
		next, err := d.segment(at)
		if err != nil {
			return err
		}
		at = next
	}
	err := errors.Join(
		d.file("leader-epoch-checkpoint", func(w io.Writer) error { return writeEpochs(w, d.view.state.epochs) }),
		d.file("partition.metadata", func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "version: 0\ntopic_id: %s", kafka.MetadataTopicID)
			return err
		}))
	if err != nil {
		return err
	}
	return vfs.SyncDir(d.fs, d.dir)
}

// segment writes one segment from the offset base on, and returns where the
// next one begins.
func (d *dirExport) segment(base kafka.Offset) (next kafka.Offset, err error) {
	name := fmt.Sprintf("%020d", base)
	index := newSegmentIndex(base)
	err = d.file(name+".log", func(w io.Writer) error {
		next, err = d.batches(w, base, index)
		return err
	})
	if err != nil {
		return next, err
	}
	index.finish()
	return next, errors.Join(
		d.file(name+".index", func(w io.Writer) error { _, err := w.Write(index.offsets); return err }),
		d.file(name+".timeindex", func(w io.Writer) error { _, err := w.Write(index.times); return err }))
}

// batches writes batches until the segment is full. A segment also ends where
// its index, which counts offsets in 4 bytes, could not go on.
func (d *dirExport) batches(w io.Writer, base kafka.Offset, index *segmentIndex) (kafka.Offset, error) {
	at := base
	for at < d.view.state.end {
		data, next, err := d.view.nextBatches(at, d.view.state.end, exportChunk)
		if err != nil {
			return at, err
		}
		for b := range batch.All(data) {
			full := index.position > 0 && index.position+int64(b.Size()) > d.segmentBytes
			if full || b.LastOffset()-base > 1<<31-1 {
				return at, nil
			}
			index.add(b)
			at = b.EndOffset() // first: a vfs.File may change what it is given
			if _, err := w.Write(b); err != nil {
				return at, err
			}
		}
		at = next
	}
	return at, nil
}

// file writes one durable file of the directory.
func (d *dirExport) file(name string, write func(io.Writer) error) error {
	path := d.fs.PathJoin(d.dir, name)
	f, err := vfs.Create(d.fs, path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeEpochs writes a leader-epoch-checkpoint: version 0, the number of lines,
// and a line for each epoch (LeaderEpochCheckpointFile).
func writeEpochs(w io.Writer, epochs []EpochStart) error {
	var text strings.Builder
	fmt.Fprintf(&text, "0\n%d\n", len(epochs))
	for _, e := range epochs {
		fmt.Fprintf(&text, "%d %d\n", e.Epoch, e.Start)
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// segmentIndex builds the bytes of .index (offset within the segment and
// position, 4 bytes each) and .timeindex (timestamp in 8, offset in 4) with the
// rules of LogSegment: an entry for the first batch after each
// indexIntervalBytes, and a last one for the largest timestamp.
type segmentIndex struct {
	base           kafka.Offset
	position       int64
	sinceEntry     int64
	offsets, times []byte

	maxTime, indexedTime int64
	maxTimeOffset        kafka.Offset
}

func newSegmentIndex(base kafka.Offset) *segmentIndex {
	return &segmentIndex{base: base, maxTime: -1, indexedTime: -1}
}

func (x *segmentIndex) add(b batch.View) {
	if b.MaxTimestamp() > x.maxTime {
		x.maxTime, x.maxTimeOffset = b.MaxTimestamp(), b.LastOffset()
	}
	if x.sinceEntry > indexIntervalBytes {
		x.offsets = binary.BigEndian.AppendUint32(x.offsets, uint32(b.LastOffset()-x.base))
		x.offsets = binary.BigEndian.AppendUint32(x.offsets, uint32(x.position))
		x.finish()
		x.sinceEntry = 0
	}
	x.position += int64(b.Size())
	x.sinceEntry += int64(b.Size())
}

// finish adds the time entry that is due.
func (x *segmentIndex) finish() {
	if x.maxTime <= x.indexedTime {
		return
	}
	x.times = binary.BigEndian.AppendUint64(x.times, uint64(x.maxTime))
	x.times = binary.BigEndian.AppendUint32(x.times, uint32(x.maxTimeOffset-x.base))
	x.indexedTime = x.maxTime
}
