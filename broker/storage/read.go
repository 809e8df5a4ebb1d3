package storage

import (
	stderrors "errors"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// Read finds the batches from an offset on: whole batches of one segment,
// beginning with the one that holds from, that begin below upTo and together
// have at most maxBytes. With minOne the first batch is given even if it is
// longer. The Slice is empty where there is nothing to read yet; otherwise the
// caller releases it.
//
// upTo is the high watermark or the last stable offset for a consumer and the
// log end for a follower. An offset outside of the log gives
// OFFSET_OUT_OF_RANGE. A batch whose header cannot be believed is never given:
// CORRUPT_MESSAGE.
func (l *Log) Read(from kafka.Offset, maxBytes int, upTo kafka.Offset, minOne bool) (Slice, error) {
	s, _, err := l.readWith(from, maxBytes, upTo, minOne, false)
	return s, err
}

// ReadCommitted is Read for who reads committed records: upTo is at most the last
// stable offset, and the aborted transactions are those that have records in the
// Slice (UnifiedLog.collectAbortedTransactions). Both come from the same
// segments: the index of a compacted segment no longer names a transaction whose
// records are still in the segment that it replaced.
func (l *Log) ReadCommitted(from kafka.Offset, maxBytes int, upTo kafka.Offset, minOne bool) (Slice, []AbortedTransaction, error) {
	return l.readWith(from, maxBytes, upTo, minOne, true)
}

func (l *Log) readWith(from kafka.Offset, maxBytes int, upTo kafka.Offset, minOne, committed bool) (Slice, []AbortedTransaction, error) {
	for {
		if err := l.check(); err != nil {
			return Slice{}, nil, err
		}
		all := *l.segments.Load()
		s, err := l.read(all, from, int64(maxBytes), upTo, minOne)
		var aborted []AbortedTransaction
		if err == nil && committed && s.Len() > 0 {
			aborted, err = s.aborted(all, from, upTo)
		}
		if err == nil {
			return s, aborted, nil
		}
		s.Release()
		switch {
		case stderrors.Is(err, errGone):
			continue // the segment was deleted, or the log closed: look again
		case stderrors.Is(err, batch.ErrCorrupt), stderrors.Is(err, batch.ErrMagic), stderrors.Is(err, batch.ErrShort):
			l.logger.Error("a stored batch is damaged", "partition", l.options.Partition.String(), "offset", from, "error", err)
			return Slice{}, nil, refusal(err)
		case errors.CodeOf(err) != errors.UnknownServerError:
			return Slice{}, nil, err
		case noDescriptor(err): // says nothing of the disk, and nothing was changed
			l.logger.Error("a read found no descriptor", "partition", l.options.Partition.String(), "error", err)
			return Slice{}, nil, errors.KafkaStorageError.Err()
		default:
			return Slice{}, nil, l.fail(err)
		}
	}
}

func (l *Log) read(all []*segment, from kafka.Offset, maxBytes int64, upTo kafka.Offset, minOne bool) (Slice, error) {
	for i := floor(all, from); ; i++ {
		if i == len(all) {
			return Slice{}, nil
		}
		// The order matters: see segment.size.
		var limit int64
		if i >= 0 {
			limit = all[i].size.Load()
		}
		end := l.LogEnd()
		if start := l.LogStart(); from < start || from > end || i < 0 {
			return Slice{}, errors.New(errors.OffsetOutOfRange, "offset %d of %s is outside of %d to %d", from, l.options.Partition, start, end)
		}
		if from >= min(end, upTo) {
			return Slice{}, nil
		}
		if i < len(all)-1 {
			end = all[i+1].base
		}
		b := bounds{from: from, limit: limit, upTo: upTo, whole: upTo >= end, maxBytes: maxBytes, minOne: minOne}
		s, found, err := l.readSegment(all[i], b, i < len(all)-1)
		if err != nil || found || i == len(all)-1 {
			return s, err
		}
		if all[i+1].base >= upTo {
			return Slice{}, nil
		}
	}
}

// readSegment reads from one segment; sealed says that it is not the active one,
// and so that its size is what its index knows.
// found is false where the segment ends before the offset: its last records may
// have been compacted away. A damaged index is built anew.
func (l *Log) readSegment(s *segment, b bounds, sealed bool) (slice Slice, found bool, err error) {
	f, err := s.log.acquire()
	if err != nil {
		return Slice{}, false, err
	}
	slice, found, err = s.slice(f, b, sealed)
	if stderrors.Is(err, errAhead) {
		// Below the end that the reader saw every batch is whole once appends rest.
		l.appending.Lock()
		b.limit, b.whole = s.size.Load(), false
		l.appending.Unlock()
		sealed = true
		slice, found, err = s.slice(f, b, sealed)
	}
	if stderrors.Is(err, errIndex) {
		if err = l.reindex(s, err); err == nil {
			slice, found, err = s.slice(f, b, sealed)
		}
	}
	if err != nil || slice.length == 0 {
		s.log.release()
	}
	return slice, found, err
}
