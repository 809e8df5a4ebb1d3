package storage

import (
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// Location is where a record lies on disk.
type Location struct {
	File     string // the segment's file
	Segment  kafka.Offset
	Position int64 // of its batch in the file
	Size     int64 // of its batch

	// Batch is the batch's first offset and Last its last one.
	Batch, Last kafka.Offset
	Epoch       kafka.LeaderEpoch

	// Index is the index's file; its entry for IndexOffset leads to
	// IndexPosition, from where batches are walked. IndexOffset is NoOffset where
	// the walk begins with the segment.
	Index         string
	IndexOffset   kafka.Offset
	IndexPosition int64
}

// Locate finds the batch that holds an offset, or the first one after it where
// the record itself was compacted away (OFFSET_OUT_OF_RANGE where there is none).
func (l *Log) Locate(at kafka.Offset) (Location, error) {
	if err := l.check(); err != nil {
		return Location{}, err
	}
	l.appending.Lock() // so that the index is not ahead of the segment
	defer l.appending.Unlock()
	all := *l.segments.Load()
	if at < l.LogStart() || at >= l.LogEnd() {
		return Location{}, errors.New(errors.OffsetOutOfRange, "offset %d of %s is outside of %d to %d", at, l.options.Partition, l.LogStart(), l.LogEnd())
	}
	for _, s := range all[max(floor(all, at), 0):] {
		where, found, err := s.locate(at)
		if err != nil {
			return Location{}, l.lookupFailed(err)
		}
		if found {
			return where, nil
		}
	}
	return Location{}, errors.New(errors.OffsetOutOfRange, "the records of %s from offset %d on were compacted away", l.options.Partition, at)
}

func (s *segment) locate(at kafka.Offset) (Location, bool, error) {
	f, err := s.log.acquire()
	if err != nil {
		return Location{}, false, err
	}
	defer s.log.release()
	from, err := s.offsets.lookup(at)
	if err != nil {
		return Location{}, false, err
	}
	h, found, err := s.seek(f, at, s.size.Load(), true)
	if err != nil || !found {
		return Location{}, false, err
	}
	return Location{
		File: s.log.name(), Segment: s.base, Position: h.position, Size: h.size,
		Batch: h.base, Last: h.last, Epoch: h.epoch,
		Index: s.offsets.file.name(), IndexOffset: from.last, IndexPosition: from.position,
	}, true, nil
}
