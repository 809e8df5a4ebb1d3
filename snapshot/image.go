package snapshot

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// ID is the id of the snapshot of an image: the offset after its last record,
// and that record's epoch.
func ID(im *image.Image) kafka.EpochOffset {
	return kafka.EpochOffset{Offset: im.At().Offset + 1, Epoch: im.At().Epoch}
}

// WriteImage writes the records that make up an image to w, at the versions of
// its metadata.version. It does not finish w.
func WriteImage(w *Writer, im *image.Image) error {
	var value []byte
	for m := range im.Records(0) {
		var err error
		if value, err = m.Append(value[:0]); err == nil {
			err = w.Append(value)
		}
		if err != nil {
			return fmt.Errorf("write the image at offset %d: %w", im.At().Offset, err)
		}
	}
	return w.Flush()
}

// Save writes the snapshot of an image into d: header, records, footer, fsync
// and name. h says what the image does not: kraft.version and voters; its
// timestamp is set from the image. nowMs is the time in the batches.
func (d *Dir) Save(im *image.Image, h Header, nowMs int64) (kafka.EpochOffset, error) {
	id := ID(im)
	if id.Offset <= 0 || id.Epoch < 0 {
		return id, fmt.Errorf("write snapshot: the image contains no record (offset %d)", im.At().Offset)
	}
	h.LastContainedLogTimestampMs = im.At().TimestampMs
	w, err := d.Create(id, h, nowMs)
	if err != nil {
		return id, err
	}
	defer func() { _ = w.Abort() }() // does nothing after Finish
	if err := WriteImage(w, im); err != nil {
		return id, err
	}
	return id, w.Finish()
}

// LoadImage reads a whole snapshot, to its footer, and returns its image at the
// position that id says. Bytes that are no whole snapshot give ErrDamaged. A
// record that cannot be read or applied does not: its checksum is right, so
// whoever wrote it is newer than this build or has a fault, and an older
// snapshot would not help.
func LoadImage(id kafka.EpochOffset, r *Reader) (*image.Image, error) {
	delta := image.NewSnapshotDelta()
	for r.Next() {
		m, err := record.Decode(r.Value())
		if err == nil {
			err = delta.Replay(m.Record)
		}
		if err != nil {
			return nil, fmt.Errorf("load snapshot %s: record %d: %w", Name(id), r.Offset(), err)
		}
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("load snapshot %s: %w", Name(id), err)
	}
	return delta.Apply(image.Position{
		Offset: id.Offset - 1, Epoch: id.Epoch, TimestampMs: r.Header().LastContainedLogTimestampMs,
	}), nil
}
