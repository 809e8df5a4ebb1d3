package storage

import (
	"errors"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/internal/vfs"
)

// reindex builds the indexes of a segment anew because one contradicts it.
// Readers go on meanwhile: with fewer entries they walk further.
func (l *Log) reindex(s *segment, cause error) error {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.logger.Warn("an index is built anew", "partition", l.options.Partition.String(), "file", s.log.name(), "error", cause)
	return l.rebuildIndexes(s, s.size.Load())
}

// rebuildIndexes builds the offset and the time index of the first size bytes
// of a segment. It reads headers only.
func (l *Log) rebuildIndexes(s *segment, size int64) error {
	if err := s.reset(); err != nil {
		return err
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	w := walk(f, s.log.name())
	defer w.done()
	interval := l.config.Load().IndexIntervalBytes
	for position := int64(0); position < size; {
		h, err := w.next(position, size)
		if err != nil {
			return fmt.Errorf("build the indexes of %s anew: %w", s.log.name(), err)
		}
		if err := s.note(h, interval); err != nil {
			return err
		}
		position = h.end()
	}
	return s.seal()
}

// reset empties the indexes that are derived from the segment's headers.
func (s *segment) reset() error {
	s.largest, s.timeKnown, s.timeRight, s.sinceIndex, s.first = noTime, true, true, 0, noFirst
	if planted.Is(planted.TrustIndex) {
		return s.times.clear()
	}
	return errors.Join(s.offsets.clear(), s.times.clear())
}

// cut shortens the segment's file.
func (s *segment) cut(size int64) error {
	if err := s.log.truncate(size); err != nil {
		return err
	}
	s.size.Store(size)
	s.synced.Store(min(s.synced.Load(), size))
	return nil
}

// cutIndexes drops what the indexes say of the bytes from a position on, where
// offset end begins.
func (s *segment) cutIndexes(position int64, end kafka.Offset) error {
	i, _, err := s.offsets.floor(columnPosition, position-1)
	if err != nil {
		return err
	}
	if err := s.offsets.truncate(i + 1); err != nil {
		return err
	}
	if i, _, err = s.times.floor(columnTimeOffset, int64(end-1-s.base)); err != nil {
		return err
	}
	if err := s.times.truncate(i + 1); err != nil {
		return err
	}
	if err := s.aborted.truncate(end); err != nil {
		return err
	}
	s.timeKnown, s.timeRight, s.sinceIndex = false, false, 0
	if position == 0 {
		s.first = noFirst
	}
	return s.refreshTime(position)
}

// refreshTime finds the largest timestamp of the first size bytes: that of the
// time index, or of the batches after its last entry.
func (s *segment) refreshTime(size int64) error {
	if err := s.knowTime(); err != nil {
		return err
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	from, err := s.offsets.before(size)
	if err != nil {
		return err
	}
	w := walk(f, s.log.name())
	defer w.done()
	for position := from.position; position < size; {
		h, err := w.next(position, size)
		if err != nil {
			return err
		}
		if h.maxTimestamp > s.largest.timestamp {
			s.largest = timed{timestamp: h.maxTimestamp, offset: h.last}
		}
		position = h.end()
	}
	return nil
}

// drop removes the last segments of the log. Each removal is durable before the
// next, the newest first, so that a crash leaves no gap.
func (l *Log) drop(all []*segment) error {
	for i := len(all) - 1; i >= 0; i-- {
		if err := all[i].remove(); err != nil {
			return err
		}
		if err := vfs.SyncDir(l.fs(), l.dir); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the segment's files, the log file first: indexes without it are
// remains that the next open removes.
func (s *segment) remove() error {
	err := s.forget()
	for _, h := range []*file{s.log, s.offsets.file, s.times.file, s.aborted.file} {
		if e := h.cache.fs.Remove(h.name()); e != nil && !errors.Is(e, errNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
