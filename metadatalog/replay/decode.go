package replay

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// decode reads the data records of a batch. Errors name the offset.
func decode(v batch.View) ([]record.Record, error) {
	// The count is the header's word; a record takes at least 8 bytes.
	records := make([]record.Record, 0, min(int(v.Count()), v.Size()/8))
	it := v.MetadataRecords()
	for it.Next() {
		m, err := record.Decode(it.Value())
		if err != nil {
			return nil, fmt.Errorf("record at offset %d: %w", it.Offset(), err)
		}
		records = append(records, m.Record)
	}
	return records, it.Err()
}

// snapshotLoad is a snapshot being read.
type snapshotLoad struct {
	delta       *image.Delta
	manifest    Manifest
	timestampMs int64 // of the last batch of the log that the snapshot contains
	controls    []locatedControl
	closed      bool // the footer was read
}

type locatedControl struct {
	record.Control
	offset kafka.Offset
}

// add applies one batch of the snapshot: first the header, last the footer.
func (l *snapshotLoad) add(v batch.View) error {
	first := l.manifest.Batches == 0
	l.manifest.Batches++
	l.manifest.Bytes += int64(v.Size())
	switch {
	case l.closed:
		return fmt.Errorf("a batch follows the footer")
	case first && !v.Control():
		return fmt.Errorf("the first batch is not the header")
	}
	if err := v.CheckCRC(); err != nil {
		return err
	}
	if v.Control() {
		return l.addControls(v, first)
	}
	it := v.MetadataRecords()
	for it.Next() {
		m, err := record.Decode(it.Value())
		if err == nil {
			err = l.delta.Replay(m.Record)
		}
		if err != nil {
			return fmt.Errorf("record %d: %w", it.Offset(), err)
		}
	}
	return it.Err()
}

func (l *snapshotLoad) addControls(v batch.View, first bool) error {
	controls, err := metadatalog.DecodeControls(v)
	if err != nil {
		return err
	}
	for i, c := range controls {
		l.controls = append(l.controls, locatedControl{c, v.BaseOffset() + kafka.Offset(i)})
		header, isHeader := c.(*record.SnapshotHeader)
		if isHeader != (first && i == 0) {
			return fmt.Errorf("%s at record %d: the header must be first, and there only", c.RecordName(), v.BaseOffset()+kafka.Offset(i))
		}
		if isHeader {
			l.timestampMs = header.LastContainedLogTimestamp
		}
		if _, ok := c.(*record.SnapshotFooter); ok {
			l.closed = true
		}
	}
	return nil
}
