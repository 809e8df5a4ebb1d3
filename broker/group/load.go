package group

import (
	"encoding/binary"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// LoadBatch folds one batch of the log in, whose records are not compressed or
// have been inflated. Batches come in the order of their offsets. After an error
// the State is that before the record that it names.
func (s *State) LoadBatch(v batch.View) error {
	if v.Control() {
		if err := s.loadMarker(v); err != nil {
			return fmt.Errorf("the control batch at offset %d: %w", v.BaseOffset(), err)
		}
		s.Advance(v.EndOffset())
		return nil
	}
	producer := kafka.ProducerID(-1)
	if v.Transactional() {
		producer = v.ProducerID()
	}
	it := v.Records()
	for it.Next() {
		r := it.Record()
		if err := s.Load(it.Offset(), producer, r.Key, r.Value); err != nil {
			return err
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("the batch at offset %d: %w", v.BaseOffset(), err)
	}
	s.Advance(v.EndOffset())
	return nil
}

// loadMarker folds the end of a transaction in: the key is an i16 version and an
// i16 type, 0 for abort and 1 for commit. Other control records are passed by.
func (s *State) loadMarker(v batch.View) error {
	it := v.Records()
	for it.Next() {
		key := it.Record().Key
		if len(key) < 4 {
			return fmt.Errorf("a control record has a key of %d bytes", len(key))
		}
		if kind := binary.BigEndian.Uint16(key[2:]); kind <= 1 {
			s.LoadEnd(it.Offset(), v.ProducerID(), kind == 1)
		}
	}
	return it.Err()
}
