package metadatalog

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// Read returns whole batches from the one that holds from on: at most maxBytes,
// but at least one batch when there is one. At EndOffset it returns nothing and
// no error; before LogStart or after EndOffset it gives ErrOffsetOutOfRange.
// It may return fewer bytes than there are. The caller must not change them;
// they stay good for as long as they are kept.
func (s *Store) Read(from kafka.Offset, maxBytes int) ([]byte, error) {
	s.mu.Lock()
	st := &s.engine.state
	if from < st.start || from > st.end {
		start, end := st.start, st.end
		s.mu.Unlock()
		return nil, fmt.Errorf("read offset %d: %w: the log is from %d to %d", from, ErrOffsetOutOfRange, start, end)
	}
	if from == st.end {
		s.mu.Unlock()
		return nil, nil
	}
	if b := s.cache.read(from, maxBytes); b != nil {
		s.mu.Unlock()
		return b, nil
	}
	e, end := s.use(), st.end
	s.mu.Unlock()
	if e == nil {
		return nil, fmt.Errorf("read offset %d: %w", from, ErrClosed)
	}
	defer e.release()
	return readBatches(e.db, from, end, maxBytes)
}

// readBatches reads below end from a database or a snapshot of it. The log may have
// been cut since its caller looked, so it trusts only what it finds; and a write that
// is under way is in the database before it is on the disk, so it does not look at
// what is from end on.
func readBatches(db pebble.Reader, from, end kafka.Offset, maxBytes int) ([]byte, error) {
	var lo, hi [9]byte
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: batchKey(lo[:0], from), UpperBound: batchKey(hi[:0], end)})
	if err != nil {
		return nil, fmt.Errorf("read offset %d: %w", from, err)
	}
	defer it.Close()
	var out []byte
	next := from
	for valid := it.First(); valid; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read offset %d: %w", next, err)
		}
		if len(out) > 0 && len(out)+len(value) > maxBytes {
			break
		}
		v, err := storedBatch(it.Key(), value)
		if err != nil {
			return nil, fmt.Errorf("read offset %d: %w", next, err)
		}
		if v.BaseOffset() > next {
			break // removed meanwhile
		}
		out = append(out, v...)
		next = v.EndOffset()
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("read offset %d: %w", next, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read offset %d: %w: it was removed meanwhile", from, ErrOffsetOutOfRange)
	}
	return out, nil
}

// batchBase is the base offset of the batch that holds an offset of the log.
func (e *engine) batchBase(at kafka.Offset) (kafka.Offset, error) {
	b, err := readBatches(e.db, at, e.state.end, 1)
	if err != nil {
		return 0, err
	}
	return batch.View(b).BaseOffset(), nil
}

// rangeBytes is the size of the batches whose last offset is in [from, to). It
// reads them all, for the rare writes that remove batches.
func (e *engine) rangeBytes(from, to kafka.Offset) (size int64, err error) {
	var lo, hi [9]byte
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: batchKey(lo[:0], from), UpperBound: batchKey(hi[:0], to)})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for valid := it.First(); valid; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, err
		}
		size += int64(len(value))
	}
	return size, it.Error()
}
