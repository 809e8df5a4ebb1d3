package storage

import (
	"errors"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// recover finds the end of the log. Segments that lie wholly below the recovery
// point, or all after a clean stop, are trusted; of the others every batch is
// read and checked.
func (l *Log) recover(all []*segment) (kafka.Offset, error) {
	if len(all) == 0 {
		s, err := createSegment(l.files, l.dir, l.options.LogStart, "", l.options.NowMs)
		if err != nil {
			return 0, err
		}
		l.newFiles = true
		l.segments.Store(&[]*segment{s})
		return s.base, nil
	}
	first := len(all) - 1
	if !l.options.Clean {
		first = max(floor(all, l.options.RecoveryPoint), 0)
	}
	for _, s := range all[:first] {
		s.synced.Store(s.size.Load())
	}
	end := all[first].base
	for i := first; i < len(all); i++ {
		s := all[i]
		if s.base < end {
			return 0, fmt.Errorf("segment %s begins before the one before it ends at offset %d", s.log.path, end)
		}
		next, whole, err := l.recoverSegment(s)
		if err != nil {
			return 0, err
		}
		end = max(next, s.base)
		if !whole {
			if err := l.drop(all[i+1:]); err != nil {
				return 0, err
			}
			all = all[:i+1]
		}
	}
	l.segments.Store(&all)
	return end, nil
}

// recoverSegment walks a segment, indexes it anew, and cuts it before the first
// batch that is torn or damaged. It returns the offset after the last batch, and
// whether nothing was cut. Below the recovery point headers are enough: those
// bytes are on the disk.
func (l *Log) recoverSegment(s *segment) (end kafka.Offset, whole bool, err error) {
	if err := s.reset(); err != nil {
		return 0, false, err
	}
	f, err := s.log.acquire()
	if err != nil {
		return 0, false, err
	}
	defer s.log.release()
	w := walk(f, s.log.path)
	defer w.done()
	size := s.size.Load()
	position := int64(0)
	end = s.base
	interval := l.config.Load().IndexIntervalBytes
	for position < size {
		h, err := w.next(position, size)
		if err == nil && h.base < end {
			err = fmt.Errorf("%w: the batch at position %d of %s begins at offset %d, before %d", batch.ErrCorrupt, position, s.log.path, h.base, end)
		}
		if damaged(err) {
			l.logger.Warn("the log is cut before a damaged batch", "partition", l.options.Partition.String(),
				"file", s.log.path, "position", position, "offset", end, "bytes", size-position, "error", err)
			return end, false, s.cut(position)
		}
		if err != nil {
			return 0, false, err
		}
		if err := s.note(h, interval); err != nil {
			return 0, false, err
		}
		l.assign(h.epoch, h.base)
		position, end = h.end(), h.last+1
	}
	return end, true, nil
}

// damaged reports whether an error is of the bytes and not of the disk.
func damaged(err error) bool {
	return errors.Is(err, batch.ErrCorrupt) || errors.Is(err, batch.ErrShort) || errors.Is(err, batch.ErrMagic)
}

// reset empties the indexes that are derived from the segment.
func (s *segment) reset() error {
	s.largest, s.timeKnown, s.sinceIndex, s.first = noTime, true, 0, noFirst
	return errors.Join(s.offsets.truncate(0), s.times.truncate(0))
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

// drop removes segments.
func (l *Log) drop(all []*segment) error {
	for _, s := range all {
		if err := s.remove(); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the segment's files.
func (s *segment) remove() error {
	err := s.forget()
	for _, h := range []*file{s.log, s.offsets.file, s.times.file, s.aborted.file} {
		if e := h.cache.fs.Remove(h.path); e != nil && !errors.Is(e, errNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// reindex builds the offset and the time index of a segment anew because they
// contradict it.
func (l *Log) reindex(s *segment, cause error) error {
	l.logger.Warn("an index is built anew", "partition", l.options.Partition.String(), "file", s.log.path, "error", cause)
	return cause
}

// settleNames finishes what a crash interrupted and returns the names that stay.
func (l *Log) settleNames() ([]string, error) { return l.fs().List(l.dir) }
