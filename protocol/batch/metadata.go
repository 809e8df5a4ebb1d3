package batch

import (
	"fmt"

	"kvorum/internal/kafka"
)

// MetadataIter walks the records of one batch of the metadata log or of a
// snapshot, by the rules of Apache's RecordsIterator: no timestamp deltas, no
// headers, data records without key and with a value, control records with
// both. A record's offset is the batch's base plus its place; like Apache it
// does not look at the offset deltas themselves.
type MetadataIter struct {
	it    RecordIter
	index int32
	err   error
}

// MetadataRecords starts a walk over a batch of the metadata log. On top of
// Apache's rules the batch must have as many records as offsets (a gap would
// give the following records offsets that other nodes do not agree with) and
// be no longer than MaxMetadataSize.
func (v View) MetadataRecords() MetadataIter {
	m := MetadataIter{it: v.Records(), index: -1}
	switch {
	case v.Size() > MaxMetadataSize:
		m.fail("size %d is above the %d bytes that a metadata batch may have", v.Size(), MaxMetadataSize)
	case int64(v.Count()) != int64(v.lastOffsetDelta())+1:
		m.fail("%d records over %d offsets", v.Count(), int64(v.lastOffsetDelta())+1)
	}
	return m
}

// Next moves to the next record; false after the last one and at an error.
func (m *MetadataIter) Next() bool {
	if m.err != nil || !m.it.Next() {
		return false
	}
	m.index++
	r := &m.it.rec
	control := m.it.view.Control()
	switch {
	case r.TimestampDelta != 0:
		return m.fail("timestamp delta %d instead of 0", r.TimestampDelta)
	case r.HeaderCount != 0:
		return m.fail("%d headers instead of none", r.HeaderCount)
	case !control && r.Key != nil:
		return m.fail("a key in a data record")
	case control && len(r.Key) == 0:
		return m.fail("no key in a control record")
	case len(r.Value) == 0:
		return m.fail("no value")
	}
	return true
}

// Key is the current control record's key; nil in a data batch.
func (m *MetadataIter) Key() []byte { return m.it.rec.Key }

// Value is the current record's value. It points into the batch.
func (m *MetadataIter) Value() []byte { return m.it.rec.Value }

// Offset is the current record's offset.
func (m *MetadataIter) Offset() kafka.Offset {
	return m.it.view.BaseOffset() + kafka.Offset(m.index)
}

// Err is the error that ended the walk, or nil.
func (m *MetadataIter) Err() error {
	if m.err != nil {
		return m.err
	}
	return m.it.Err()
}

func (m *MetadataIter) fail(format string, args ...any) bool {
	m.err = fmt.Errorf("read metadata record at offset %d: %w: %s",
		m.it.view.BaseOffset()+kafka.Offset(max(m.index, 0)), ErrCorrupt, fmt.Sprintf(format, args...))
	return false
}
