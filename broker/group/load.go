package group

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// LoadBatch folds one batch of the log in. Batches come in the order of their
// offsets. scratch is a buffer for compressed batches, which is given back,
// perhaps larger; nothing of it or of the batch is kept. After an error the State
// is that before the record that it names.
func (s *State) LoadBatch(v batch.View, scratch []byte) ([]byte, error) {
	if v.Control() {
		m, ok, err := v.EndTxn()
		if err != nil {
			return scratch, fmt.Errorf("load the groups: %w", err)
		}
		if ok {
			s.LoadEnd(v.BaseOffset(), m.ProducerID, m.Commit)
		}
		s.Advance(v.EndOffset())
		return scratch, nil
	}
	producer := kafka.ProducerID(-1)
	if v.Transactional() {
		producer = v.ProducerID()
	}
	it := v.Records()
	if v.Codec() != batch.None {
		inflated, err := v.AppendInflated(scratch[:0], batch.DefaultInflateLimit)
		if err != nil {
			return scratch, fmt.Errorf("load the groups: %w", err)
		}
		scratch, it = inflated, v.RecordsIn(inflated)
	}
	for it.Next() {
		r := it.Record()
		if err := s.Load(it.Offset(), producer, r.Key, r.Value); err != nil {
			return scratch, fmt.Errorf("load the groups: %w", err)
		}
	}
	if err := it.Err(); err != nil {
		return scratch, fmt.Errorf("load the groups: the batch at offset %d: %w", v.BaseOffset(), err)
	}
	s.Advance(v.EndOffset())
	return scratch, nil
}
