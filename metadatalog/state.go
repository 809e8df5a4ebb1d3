package metadatalog

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

var (
	// ErrOffsetOutOfRange is what an offset before the log's start or after its
	// end gives.
	ErrOffsetOutOfRange = errors.New("offset is out of the log's range")
	// ErrNotContiguous is what a batch gives that does not begin where the one
	// before it ends.
	ErrNotContiguous = errors.New("batch does not continue the log")
	// ErrEpochBackwards is what a batch of an older epoch than the log's last one
	// gives.
	ErrEpochBackwards = errors.New("batch is of an older epoch than the log")
	// ErrAppliedBackwards is what an applied index below the stored one gives.
	ErrAppliedBackwards = errors.New("applied index goes backwards")
	// ErrNotBoundary is what an offset inside a batch gives where only a batch's
	// first offset will do.
	ErrNotBoundary = errors.New("offset is inside of a batch")
	// ErrTooLarge is what a write above its limit gives.
	ErrTooLarge = errors.New("write is above its limit")
)

const (
	// maxAppendBytes bounds one Append. It is held in memory twice (the caller's
	// and pebble's copy); the largest that is sent is one raft command or one
	// fetch response, both far below.
	maxAppendBytes = 64 << 20
	// maxPrivateBytes bounds one private value: all are kept in memory and are
	// part of every exported view.
	maxPrivateBytes = 1 << 20
	// maxPrivateKey bounds a private value's name, of which the code has a few.
	maxPrivateKey = 128
)

// EpochStart says that the records from Start on were written in Epoch, up to
// the next entry's Start or the log's end.
type EpochStart struct {
	Epoch kafka.LeaderEpoch
	Start kafka.Offset
}

// state is what the store knows of its log without reading a batch. It is a
// plain value that follows the writes; it does no I/O.
type state struct {
	// start is the first offset that can be read; start <= end. It is always the
	// first offset of a batch, or end.
	start kafka.Offset
	// startEpoch is the epoch of the record before start; NoEpoch when start is 0
	// and so no record was ever there.
	startEpoch kafka.LeaderEpoch
	// end is the offset that the next record gets.
	end kafka.Offset
	// epochs is strictly increasing in both fields, within [start, end). It is
	// empty exactly when the log is.
	epochs []EpochStart
	// bytes is the size of all batches together.
	bytes   int64
	applied uint64
	private map[string][]byte
}

func emptyState() state {
	return state{startEpoch: kafka.NoEpoch, private: map[string][]byte{}}
}

// lastEpoch is the epoch of the last record, also when that record is only in
// the snapshot before the log's start. An empty log from 0 has 0, which is what
// Kafka sends as its last fetched epoch (KafkaRaftLog.lastFetchedEpoch).
func (s *state) lastEpoch() kafka.LeaderEpoch {
	if n := len(s.epochs); n > 0 {
		return s.epochs[n-1].Epoch
	}
	return max(s.startEpoch, 0)
}

// endOfEpoch is Kafka's endOffsetForEpoch: the largest epoch that is not above
// e, and the end of its records. An epoch above all has the log's end; one below
// the first has the log's start under the epoch of the snapshot that ends there
// (KafkaRaftLog.endOffsetForEpoch, LeaderEpochFileCache.endOffsetFor).
func (s *state) endOfEpoch(e kafka.LeaderEpoch) kafka.EpochOffset {
	if e >= s.lastEpoch() {
		return kafka.EpochOffset{Offset: s.end, Epoch: s.lastEpoch()}
	}
	above := sort.Search(len(s.epochs), func(i int) bool { return s.epochs[i].Epoch > e })
	switch {
	case above > 0:
		return kafka.EpochOffset{Offset: s.epochs[above].Start, Epoch: s.epochs[above-1].Epoch}
	case s.start > 0:
		return kafka.EpochOffset{Offset: s.start, Epoch: s.startEpoch}
	}
	return kafka.EpochOffset{Offset: 0, Epoch: e}
}

// epochBefore is the epoch of the record before the offset at, in [start, end].
func (s *state) epochBefore(at kafka.Offset) kafka.LeaderEpoch {
	above := sort.Search(len(s.epochs), func(i int) bool { return s.epochs[i].Start >= at })
	if above == 0 {
		return s.startEpoch
	}
	return s.epochs[above-1].Epoch
}

// check validates a against s and returns the batches' views and the epochs
// that begin in them. It changes nothing.
func (s *state) check(a Append) (views []batch.View, epochs []EpochStart, err error) {
	if err := s.checkSmall(a); err != nil {
		return nil, nil, err
	}
	end, epoch, empty := s.end, s.lastEpoch(), len(s.epochs) == 0
	for v, err := range batch.All(a.Batches) {
		if err == nil {
			err = checkBatch(v, end, epoch)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("append at offset %d: %w", end, err)
		}
		if v.Epoch() > epoch || empty {
			epochs = append(epochs, EpochStart{Epoch: v.Epoch(), Start: end})
		}
		end, epoch, empty = v.EndOffset(), v.Epoch(), false
		views = append(views, v)
	}
	return views, epochs, nil
}

func (s *state) checkSmall(a Append) error {
	if len(a.Batches) > maxAppendBytes {
		return fmt.Errorf("append %d bytes at offset %d: %w of %d bytes", len(a.Batches), s.end, ErrTooLarge, maxAppendBytes)
	}
	if a.AppliedIndex != 0 && a.AppliedIndex < s.applied {
		return fmt.Errorf("append at offset %d: %w: %d after %d", s.end, ErrAppliedBackwards, a.AppliedIndex, s.applied)
	}
	return checkPrivate(a.Private)
}

func checkPrivate(private map[string][]byte) error {
	for key, value := range private {
		if len(key) == 0 || len(key) > maxPrivateKey || len(value) > maxPrivateBytes {
			return fmt.Errorf("store private value %.*q of %d bytes: %w (1-%d bytes of name, %d of value)",
				maxPrivateKey, key, len(value), ErrTooLarge, maxPrivateKey, maxPrivateBytes)
		}
	}
	return nil
}

func checkBatch(v batch.View, end kafka.Offset, epoch kafka.LeaderEpoch) error {
	switch {
	case v.BaseOffset() != end:
		return fmt.Errorf("%w: it begins at %d", ErrNotContiguous, v.BaseOffset())
	case v.Epoch() < epoch || v.Epoch() < 0:
		return fmt.Errorf("%w: %d after %d", ErrEpochBackwards, v.Epoch(), epoch)
	case v.Size() > batch.MaxMetadataSize:
		return fmt.Errorf("%w: a batch of %d bytes, the most is %d", ErrTooLarge, v.Size(), batch.MaxMetadataSize)
	}
	return v.CheckCRC()
}

// appended follows an Append that check accepted.
func (s *state) appended(a Append, views []batch.View, epochs []EpochStart) {
	if n := len(views); n > 0 {
		s.end = views[n-1].EndOffset()
		s.bytes += int64(len(a.Batches))
	}
	s.epochs = append(s.epochs, epochs...)
	if a.AppliedIndex != 0 {
		s.applied = a.AppliedIndex
	}
	s.setPrivate(a.Private)
}

func (s *state) setPrivate(private map[string][]byte) {
	for key, value := range private {
		if value == nil {
			delete(s.private, key)
			continue
		}
		s.private[key] = bytes.Clone(value)
	}
}

// truncated follows the removal of all batches from end on, of so many bytes.
func (s *state) truncated(end kafka.Offset, bytes int64) {
	s.bytes -= bytes
	keep := sort.Search(len(s.epochs), func(i int) bool { return s.epochs[i].Start >= end })
	s.epochs = slices.Clone(s.epochs[:keep])
	s.end = end
}

// trimmed follows the removal of all batches before start, of so many bytes.
func (s *state) trimmed(start kafka.Offset, bytes int64) {
	s.bytes -= bytes
	s.startEpoch = s.epochBefore(start)
	above := sort.Search(len(s.epochs), func(i int) bool { return s.epochs[i].Start > start })
	kept := slices.Clone(s.epochs[max(above-1, 0):])
	if len(kept) > 0 && kept[0].Start < start {
		kept[0].Start = start
	}
	if start == s.end {
		kept = nil
	}
	s.start, s.epochs = start, kept
}

// reset follows the removal of all batches, after which the log continues at
// the end of a snapshot.
func (s *state) reset(at kafka.EpochOffset) {
	s.start, s.end, s.epochs, s.startEpoch, s.bytes = at.Offset, at.Offset, nil, at.Epoch, 0
	if at.Offset == 0 {
		s.startEpoch = kafka.NoEpoch
	}
}

// clone gives a state that no later write changes.
func (s *state) clone() state {
	c := *s
	c.epochs = slices.Clone(s.epochs)
	// Values are never changed in place, so the map is all that must be copied.
	c.private = maps.Clone(s.private)
	return c
}
