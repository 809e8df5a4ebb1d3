package storage

import (
	"errors"
	"fmt"
	"math"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/batch"
)

// recover finds the end of the log after an unclean stop. Segments that lie
// wholly below the recovery point are trusted; of the others the bytes past it
// are checked, and the log is cut before the first batch that is torn or
// damaged (LogLoader.recoverLog).
func (l *Log) recover(all []*segment) (kafka.Offset, error) {
	l.doubtEpochs()
	defer func() { l.doubted = nil }()
	first := max(floor(all, l.options.RecoveryPoint), 0)
	for _, s := range all[:first] {
		s.synced.Store(s.size.Load())
	}
	trusted := all[:first:first]
	l.segments.Store(&trusted)
	end := all[first].base
	at, err := l.loadSnapshot(end)
	if err != nil {
		return 0, err
	}
	if err := l.replay(at, end); err != nil {
		return 0, err
	}
	for i := first; i < len(all); i++ {
		s := all[i]
		if l.lost(end, s.base, i > first) {
			l.logger.Warn("the log ends where bytes were lost", "partition", l.options.Partition.String(), "file", s.log.name(), "offset", end)
			later := all[i:]
			all = all[:i:i]
			if err := l.drop(later); err != nil {
				return 0, err
			}
			break
		}
		next, size, err := l.recoverSegment(s, end)
		if err != nil {
			return 0, err
		}
		end = next
		if err := l.keepAborted(s); err != nil {
			return 0, err
		}
		if size < s.size.Load() {
			// The segments after it go first: a crash in between must not leave them.
			if err := l.drop(all[i+1:]); err != nil {
				return 0, err
			}
			all = all[: i+1 : i+1]
			if err := s.cut(size); err != nil {
				return 0, err
			}
		}
		if i < len(all)-1 {
			if err := s.seal(); err != nil {
				return 0, err
			}
		}
	}
	l.segments.Store(&all)
	if err := l.dropSnapshots(end + 1); err != nil {
		return 0, err
	}
	l.newFiles = true
	return end, nil
}

// lost reports whether a segment does not continue the one before it, which is
// not wholly on the disk: its last bytes were lost while a later file was
// written back. Compaction leaves such gaps, too.
func (l *Log) lost(end, base kafka.Offset, before bool) bool {
	return before && end < base && !l.config.Load().Compact
}

// keepAborted makes the index of aborted transactions durable again where records
// below the recovery point have theirs in it: no flush need come back to this segment,
// and nobody would miss the index if a loss of power took it.
func (l *Log) keepAborted(s *segment) error {
	if s.base >= l.options.RecoveryPoint || planted.Is(planted.LoseAborted) {
		return nil
	}
	return s.aborted.flush()
}

// recoverSegment walks a segment, folds it and indexes it anew, up to the first
// batch that is torn or damaged. It returns the offset after the last good batch
// and where that ends in the file. Below the recovery point headers are enough:
// those bytes are on the disk, and damage there is no crash's but the disk's,
// which keeps the log offline for somebody to look at.
func (l *Log) recoverSegment(s *segment, end kafka.Offset) (kafka.Offset, int64, error) {
	if end = max(end, s.base); end > s.base {
		return 0, 0, fmt.Errorf("segment %s begins before the one before it ends at offset %d", s.log.name(), end)
	}
	if err := errors.Join(s.reset(), s.aborted.reset()); err != nil {
		return 0, 0, err
	}
	f, err := s.log.acquire()
	if err != nil {
		return 0, 0, err
	}
	defer s.log.release()
	size := s.size.Load()
	w := walkWhole(f, s.log.name())
	for position := int64(0); position < size; {
		h, err := l.recoverBatch(s, w, position, size, end)
		if damaged(err) && end >= l.options.RecoveryPoint && !errors.Is(err, errLegacy) {
			l.logger.Warn("the log ends before a damaged batch", "partition", l.options.Partition.String(),
				"file", s.log.name(), "position", position, "offset", end, "bytes", size-position, "error", err)
			return end, position, nil
		}
		if err != nil {
			return 0, 0, err
		}
		position, end = h.end(), h.last+1
	}
	return end, size, nil
}

// errLegacy marks messages of the formats before v2, which are neither read nor
// thrown away.
var errLegacy = errors.New("the partition has messages of a format before v2: rewrite them with a Kafka broker of version 3 first")

// recoverBatch checks one batch and takes it into the indexes, the epochs and
// the producers' states. end is the offset that it may begin with at the least.
func (l *Log) recoverBatch(s *segment, w *walker, position, size int64, end kafka.Offset) (header, error) {
	h, err := w.next(position, size)
	switch {
	case errors.Is(err, batch.ErrMagic) && w.legacy(h, size):
		return h, fmt.Errorf("%w: %w", errLegacy, err)
	case err != nil:
		return h, err
	case h.base < end:
		return h, w.wrong(position, batch.ErrCorrupt, "base offset %d, before %d", h.base, end)
	case int64(h.last-s.base) > math.MaxInt32:
		return h, w.wrong(position, batch.ErrCorrupt, "offsets to %d, too far from the segment's base", h.last)
	}
	if h.last >= l.options.RecoveryPoint && !planted.Is(planted.TrustTail) {
		if err := w.checkCRC(h); err != nil {
			return h, err
		}
		if _, err := w.next(position, size); err != nil { // back in the walker's memory
			return h, err
		}
	}
	if err := l.fold(s, w, h); err != nil {
		return h, err
	}
	l.deriveEpoch(h.epoch, end, h.base)
	return h, s.note(h, l.config.Load().IndexIntervalBytes)
}

// damaged reports whether an error is of the bytes and not of the disk.
func damaged(err error) bool {
	return errors.Is(err, batch.ErrCorrupt) || errors.Is(err, batch.ErrShort) || errors.Is(err, batch.ErrMagic)
}

// trust finds the end of a log that was closed in order: the last segment's
// last entry of the index and the few batches after it.
func (l *Log) trust(all []*segment) (kafka.Offset, error) {
	l.segments.Store(&all)
	for _, s := range all {
		s.synced.Store(s.size.Load())
	}
	s := all[len(all)-1]
	end, err := l.findEnd(s)
	if errors.Is(err, errIndex) {
		l.logger.Warn("an index is built anew", "partition", l.options.Partition.String(), "file", s.log.name(), "error", err)
		if err := l.rebuildIndexes(s, s.size.Load()); err != nil {
			return 0, err
		}
		end, err = l.findEnd(s)
	}
	if err != nil {
		return 0, err
	}
	if len(l.snapshots) == 0 { // Close writes one unless nobody ever produced with an id
		l.producing.Lock()
		defer l.producing.Unlock()
		l.producers.Clear(end)
		return end, nil
	}
	return end, l.rewindProducers(end)
}

// findEnd walks from the last entry of a segment's index to its end.
func (l *Log) findEnd(s *segment) (kafka.Offset, error) {
	size := s.size.Load()
	if size == 0 {
		return s.base, nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return 0, err
	}
	defer s.log.release()
	from, err := s.offsets.lookup(math.MaxInt64)
	if err != nil {
		return 0, err
	}
	if from.position >= size {
		return 0, s.astray(from)
	}
	w := walk(f, s.log.name())
	defer w.done()
	end := s.base
	for position := from.position; position < size; {
		h, err := s.follow(w, from, position, size)
		if err != nil {
			return 0, err
		}
		if err := s.note(h, math.MaxInt64); err != nil {
			return 0, err
		}
		position, end = h.end(), h.last+1
	}
	return end, nil
}
