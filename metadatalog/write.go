package metadatalog

import (
	"fmt"
	"math"

	"kvorum/internal/kafka"
)

// write runs one write: f checks and commits under the writing lock, and
// returns what the state change is, which follow then does under mu.
func (s *Store) write(what string, f func(e *engine) (follow func(), err error)) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failed != nil {
		return fmt.Errorf("%s: %w", what, s.failed)
	}
	if s.isClosed() {
		return fmt.Errorf("%s: %w", what, ErrClosed)
	}
	if s.opts.ReadOnly {
		return fmt.Errorf("%s: %w", what, ErrReadOnly)
	}
	follow, err := f(s.engine.engine)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	end := s.engine.state.end
	follow()
	if s.engine.state.end != end {
		s.notify()
	}
	return nil
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// fail notes that the database takes no more writes.
func (s *Store) fail(err error) error {
	s.failed = err
	return err
}

// Append writes a in one atomic step, or nothing. It checks that the batches
// continue the log (ErrNotContiguous), that no epoch goes backwards
// (ErrEpochBackwards), and each batch's checksum (batch.ErrCorrupt). Without
// a.Sync a crash may lose the write, with all after it.
//
// After an error of the disk the store takes no more writes: every later one
// gives the same error. What such an Append was writing may or may not be found
// after a restart.
func (s *Store) Append(a Append) error {
	return s.write("append", func(e *engine) (func(), error) {
		views, epochs, err := e.state.check(a)
		if err != nil {
			return nil, err
		}
		if err := e.append(a, views, epochs, a.Sync); err != nil {
			return nil, s.fail(fmt.Errorf("append at offset %d: %w", e.state.end, err))
		}
		return func() {
			e.state.appended(a, views, epochs)
			for _, v := range views {
				s.cache.add(v)
			}
		}, nil
	})
}

// Sync returns when every write that returned before it is on disk.
func (s *Store) Sync() error {
	return s.write("sync", func(e *engine) (func(), error) {
		if err := e.sync(); err != nil {
			return nil, s.fail(fmt.Errorf("sync metadata store %s: %w", s.dir, err))
		}
		return func() {}, nil
	})
}

// TruncateTo removes every batch that reaches to or past end, so that EndOffset
// is end, or the base offset of the batch that holds end. An end at or past
// EndOffset does nothing; one below LogStart gives ErrOffsetOutOfRange. It is
// durable when it returns.
func (s *Store) TruncateTo(end kafka.Offset) error {
	return s.write("truncate", func(e *engine) (func(), error) {
		if end >= e.state.end {
			return func() {}, nil
		}
		if end < e.state.start {
			return nil, fmt.Errorf("truncate the metadata log to offset %d: %w: it starts at %d", end, ErrOffsetOutOfRange, e.state.start)
		}
		base, err := e.batchBase(end)
		if err != nil {
			return nil, fmt.Errorf("truncate the metadata log to offset %d: %w", end, err)
		}
		removed, err := e.rangeBytes(base, math.MaxInt64)
		if err != nil {
			return nil, fmt.Errorf("truncate the metadata log to offset %d: %w", end, err)
		}
		next := e.state.clone()
		next.truncated(base, removed)
		return s.replace(e, base, math.MaxInt64, next, Append{}, true)
	})
}

// TrimTo removes every batch before start, which a snapshot must cover. It does
// nothing when the log starts there or later. An offset past EndOffset gives
// ErrOffsetOutOfRange, one inside of a batch ErrNotBoundary: a snapshot ends
// between batches. It is durable after the next Sync.
func (s *Store) TrimTo(start kafka.Offset) error {
	return s.write("trim", func(e *engine) (func(), error) {
		if start <= e.state.start {
			return func() {}, nil
		}
		if start > e.state.end {
			return nil, fmt.Errorf("trim the metadata log to offset %d: %w: it ends at %d", start, ErrOffsetOutOfRange, e.state.end)
		}
		if start < e.state.end {
			base, err := e.batchBase(start)
			if err == nil && base != start {
				err = fmt.Errorf("%w, which begins at %d", ErrNotBoundary, base)
			}
			if err != nil {
				return nil, fmt.Errorf("trim the metadata log to offset %d: %w", start, err)
			}
		}
		removed, err := e.rangeBytes(0, start)
		if err != nil {
			return nil, fmt.Errorf("trim the metadata log to offset %d: %w", start, err)
		}
		next := e.state.clone()
		next.trimmed(start, removed)
		return s.replace(e, 0, start, next, Append{}, false)
	})
}

// Reset empties the log, which then continues at the end of a snapshot: at.Offset
// is that end and at.Epoch the epoch of the last record in it. An appliedIndex
// of 0 leaves the stored one; the private values are set beside the others. It
// is durable when it returns.
func (s *Store) Reset(at kafka.EpochOffset, appliedIndex uint64, private map[string][]byte) error {
	return s.write("reset", func(e *engine) (func(), error) {
		if at.Offset < 0 || at.Epoch < 0 {
			return nil, fmt.Errorf("reset the metadata log to offset %d of epoch %d: %w", at.Offset, at.Epoch, ErrOffsetOutOfRange)
		}
		a := Append{AppliedIndex: appliedIndex, Private: private}
		if err := e.state.checkSmall(a); err != nil {
			return nil, err
		}
		next := e.state.clone()
		next.reset(at)
		next.appended(a, nil, nil)
		return s.replace(e, 0, math.MaxInt64, next, a, true)
	})
}

// replace removes the batches with last offsets in [from, to) and makes next the
// state.
func (s *Store) replace(e *engine, from, to kafka.Offset, next state, a Append, wait bool) (func(), error) {
	if err := e.rewrite(from, to, next, a, wait); err != nil {
		return nil, s.fail(fmt.Errorf("remove batches of the metadata log: %w", err))
	}
	return func() {
		trimmed := next.end == e.state.end && next.start >= e.state.start
		e.state = next
		if trimmed {
			s.cache.trim(next.start)
			return
		}
		s.cache.clear()
	}, nil
}
