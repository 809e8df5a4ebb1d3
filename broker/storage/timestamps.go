package storage

import (
	"errors"
	"fmt"
	"sync"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// TimestampOffset is a record found by its timestamp. Offset is NoOffset where
// there is none.
type TimestampOffset struct {
	TimestampMs int64
	Offset      kafka.Offset
	Epoch       kafka.LeaderEpoch
}

var noRecord = TimestampOffset{TimestampMs: -1, Offset: kafka.NoOffset, Epoch: kafka.NoEpoch}

// OffsetForTimestamp finds the first record, by offset, whose timestamp is at
// least targetMs (ListOffsets with a timestamp; UnifiedLog
// .fetchOffsetByTimestamp). It reads one batch of records.
func (l *Log) OffsetForTimestamp(targetMs int64) (TimestampOffset, error) {
	if err := l.check(); err != nil {
		return noRecord, err
	}
	start := l.LogStart()
	for _, s := range *l.segments.Load() {
		t, err := l.largestTimestamp(s)
		if err != nil {
			return noRecord, l.lookupFailed(err)
		}
		if t.timestamp < targetMs {
			continue
		}
		found, err := l.findTimestamp(s, targetMs, start)
		if err != nil || found.Offset >= 0 {
			return found, l.lookupFailed(err)
		}
	}
	return noRecord, nil
}

// OffsetOfMaxTimestamp finds the first record that has the largest timestamp of
// the log (ListOffsets with -3).
func (l *Log) OffsetOfMaxTimestamp() (TimestampOffset, error) {
	if err := l.check(); err != nil {
		return noRecord, err
	}
	best, in := noTime, (*segment)(nil)
	for _, s := range *l.segments.Load() {
		t, err := l.largestTimestamp(s)
		if err != nil {
			return noRecord, l.lookupFailed(err)
		}
		if t.timestamp > best.timestamp {
			best, in = t, s
		}
	}
	if in == nil {
		return noRecord, nil
	}
	found, err := l.findTimestamp(in, best.timestamp, l.LogStart())
	return found, l.lookupFailed(err)
}

// lookupFailed is the error of a search for the client; a failing disk takes the
// log offline.
func (l *Log) lookupFailed(err error) error {
	switch {
	case err == nil:
		return nil
	case damaged(err):
		return refusal(err)
	default:
		return l.fail(err)
	}
}

// largestTimestamp is the largest timestamp of a segment.
func (l *Log) largestTimestamp(s *segment) (timed, error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	return l.timeOf(s)
}

// timeOf is the largest timestamp of a segment; appending is held. What the last
// entry of an old time index says is compared with the batch that it means,
// because retention goes by it.
func (l *Log) timeOf(s *segment) (timed, error) {
	if s.timeRight {
		return s.largest, nil
	}
	err := s.knowTime()
	if err == nil {
		err = s.confirmTime()
	}
	if errors.Is(err, errIndex) {
		l.logger.Warn("an index is built anew", "partition", l.options.Partition.String(), "file", s.log.name(), "error", err)
		err = l.rebuildIndexes(s, s.size.Load())
	}
	s.timeRight = err == nil
	return s.largest, err
}

// confirmTime compares the last entry of the time index with its batch, and
// wants no larger timestamp after it.
func (s *segment) confirmTime() error {
	t, size := s.largest, s.size.Load()
	if size == 0 {
		return nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	from := int64(0)
	if t != noTime {
		h, err := s.confirm(f, t, size, true)
		if err != nil {
			return err
		}
		from = h.end()
	}
	w := walk(f, s.log.name())
	defer w.done()
	for position := from; position < size; {
		h, err := w.next(position, size)
		if err != nil {
			return err
		}
		if h.maxTimestamp > t.timestamp {
			return fmt.Errorf("%w: %s ends with timestamp %d, and offset %d has %d", errIndex, s.times.file.name(), t.timestamp, h.last, h.maxTimestamp)
		}
		position = h.end()
	}
	return nil
}

// confirm finds the batch that an entry of the time index means.
func (s *segment) confirm(f vfs.File, t timed, limit int64, exact bool) (header, error) {
	h, found, err := s.seek(f, t.offset, limit, exact)
	if err == nil && (!found || h.maxTimestamp != t.timestamp || t.offset < s.base) {
		err = fmt.Errorf("%w: %s says that offset %d has timestamp %d", errIndex, s.times.file.name(), t.offset, t.timestamp)
	}
	return h, err
}

// findTimestamp searches one segment, once more where its indexes turned out
// damaged and were built anew.
func (l *Log) findTimestamp(s *segment, target int64, start kafka.Offset) (TimestampOffset, error) {
	found, err := l.searchTimestamp(s, target, start, false)
	if errors.Is(err, errIndex) {
		if err = l.reindex(s, err); err == nil {
			found, err = l.searchTimestamp(s, target, start, false)
		}
	}
	if errors.Is(err, errAhead) {
		l.appending.Lock()
		defer l.appending.Unlock()
		if found, err = l.searchTimestamp(s, target, start, true); errors.Is(err, errIndex) {
			if err = l.rebuildIndexes(s, s.size.Load()); err == nil {
				found, err = l.searchTimestamp(s, target, start, true)
			}
		}
	}
	return found, err
}

// searchTimestamp finds the first record at or after an offset with a timestamp
// of at least target in one segment.
func (l *Log) searchTimestamp(s *segment, target int64, start kafka.Offset, exact bool) (TimestampOffset, error) {
	entry, err := s.times.lookup(target - 1) // nothing up to its offset reaches target
	if err != nil {
		return noRecord, err
	}
	f, err := s.log.acquire()
	if err != nil {
		return noRecord, err
	}
	defer s.log.release()
	limit := s.size.Load()
	if entry.timestamp >= 0 {
		if _, err := s.confirm(f, entry, limit, exact); err != nil {
			return noRecord, err
		}
	}
	h, found, err := s.seek(f, max(entry.offset, start), limit, exact)
	if err != nil || !found {
		return noRecord, err
	}
	w := walk(f, s.log.name())
	defer w.done()
	for position := h.position; position < limit; position = h.end() {
		if h, err = w.next(position, limit); err != nil {
			return noRecord, err
		}
		if h.maxTimestamp < target || h.last < start {
			continue
		}
		found, err := searchBatch(f, h, target, start)
		if err != nil || found.Offset >= 0 {
			return found, err
		}
	}
	return noRecord, nil
}

// inflated lends the memory of batches whose records are looked at.
var inflated = sync.Pool{New: func() any { return new([]byte) }}

// searchBatch finds the first record of a batch from an offset on with a
// timestamp of at least target.
func searchBatch(f vfs.File, h header, target int64, start kafka.Offset) (TimestampOffset, error) {
	data := make([]byte, h.size)
	if _, err := f.ReadAt(data, h.position); err != nil {
		return noRecord, fmt.Errorf("read the batch at offset %d: %w", h.base, err)
	}
	v, _, err := batch.Next(data)
	if err != nil {
		return noRecord, err
	}
	if v.LogAppendTime() { // every record has the batch's time
		return TimestampOffset{TimestampMs: v.MaxTimestamp(), Offset: max(v.BaseOffset(), start), Epoch: v.Epoch()}, nil
	}
	room := inflated.Get().(*[]byte)
	defer inflated.Put(room)
	if *room, err = v.AppendInflated((*room)[:0], batch.DefaultInflateLimit); err != nil {
		return noRecord, err
	}
	it := v.RecordsIn(*room)
	for it.Next() {
		if t := v.BaseTimestamp() + it.Record().TimestampDelta; t >= target && it.Offset() >= start {
			return TimestampOffset{TimestampMs: t, Offset: it.Offset(), Epoch: v.Epoch()}, nil
		}
	}
	return noRecord, it.Err()
}
