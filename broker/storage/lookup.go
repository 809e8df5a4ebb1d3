package storage

import (
	"errors"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/internal/vfs"
)

// bounds is what a read of one segment may give.
type bounds struct {
	from  kafka.Offset
	limit int64 // bytes of the segment that count
	upTo  kafka.Offset
	whole bool // everything below limit begins below upTo

	maxBytes int64
	minOne   bool
}

// slice finds the batches within bounds. found is false where the segment has no
// batch that ends at or after from.
func (s *segment) slice(f vfs.File, b bounds, exact bool) (slice Slice, found bool, err error) {
	first, found, err := s.seek(f, b.from, b.limit, exact)
	if err != nil || !found || first.base >= b.upTo {
		return Slice{}, found, err
	}
	stop := b.limit
	if !b.whole {
		if stop, err = s.begin(f, b.upTo, first.position, b.limit); err != nil {
			return Slice{}, true, err
		}
	}
	switch {
	case stop-first.position <= b.maxBytes:
	case first.size <= b.maxBytes:
		if stop, err = s.fit(f, first, b.maxBytes, stop); err != nil {
			return Slice{}, true, err
		}
	case b.minOne:
		stop = first.end()
	default:
		return Slice{}, true, nil
	}
	return Slice{file: s.log, f: f, position: first.position, length: stop - first.position, Base: first.base}, true, nil
}

// errAhead marks an entry of the index that leads beyond the bytes that a reader
// knows: of a batch that was appended meanwhile, or of none.
var errAhead = errors.New("the index is ahead of the segment")

// seek finds the first batch that ends at or after an offset, below position
// limit. found is false where there is none. exact says that no batch up to the
// offset lies beyond limit, as where nobody appends; otherwise an entry that
// leads there is errAhead, and the caller looks again with appends held.
func (s *segment) seek(f vfs.File, at kafka.Offset, limit int64, exact bool) (h header, found bool, err error) {
	from, err := s.offsets.lookup(at)
	if err != nil {
		return header{}, false, err
	}
	switch {
	case from.position == 0 || from.position < limit:
	case exact:
		return header{}, false, s.astray(from)
	default:
		return header{}, false, errAhead
	}
	w := walk(f, s.log.name())
	defer w.done()
	for position := from.position; position < limit; position = h.end() {
		if h, err = s.follow(w, from, position, limit); err != nil {
			return header{}, false, err
		}
		if h.last >= at {
			return h, true, nil
		}
	}
	return header{}, false, nil
}

// begin finds the position of the first batch that begins at or after an
// offset, at most limit. start is the position of a batch before it.
func (s *segment) begin(f vfs.File, at kafka.Offset, start, limit int64) (int64, error) {
	from, err := s.offsets.lookup(at - 1)
	if err != nil {
		return 0, err
	}
	w := walk(f, s.log.name())
	defer w.done()
	for position := max(from.position, start); position < limit; {
		h, err := s.follow(w, from, position, limit)
		if err != nil {
			return 0, err
		}
		if h.base >= at {
			return position, nil
		}
		position = h.end()
	}
	return limit, nil
}

// fit finds the largest position of a batch's end that is at most maxBytes after
// the begin of first, which fits itself.
func (s *segment) fit(f vfs.File, first header, maxBytes, limit int64) (int64, error) {
	bound := first.position + maxBytes
	from, err := s.offsets.before(bound)
	if err != nil {
		return 0, err
	}
	w := walk(f, s.log.name())
	defer w.done()
	position := max(from.position, first.position)
	for position < limit {
		h, err := s.follow(w, from, position, limit)
		if err != nil {
			return 0, err
		}
		if h.end() > bound {
			break
		}
		position = h.end()
	}
	return position, nil
}

// endBefore is the offset after the last batch before a position, at which a
// batch begins or the segment ends.
func (s *segment) endBefore(f vfs.File, position int64) (kafka.Offset, error) {
	from, err := s.offsets.before(position - 1)
	if err != nil {
		return 0, err
	}
	w := walk(f, s.log.name())
	defer w.done()
	end := s.base
	for at := from.position; at < position; {
		h, err := s.follow(w, from, at, position)
		if err != nil {
			return 0, err
		}
		at, end = h.end(), h.last+1
	}
	return end, nil
}

// follow reads the batch at a position. Where an entry of the index leads there,
// it must be the batch that the entry means.
func (s *segment) follow(w *walker, from indexed, position, limit int64) (header, error) {
	h, err := w.next(position, limit)
	if position != from.position || position == 0 || planted.Is(planted.TrustIndex) {
		return h, err
	}
	if err != nil || h.last != from.last {
		return header{}, s.astray(from)
	}
	return h, nil
}

// astray is the error of an entry that leads to no batch.
func (s *segment) astray(from indexed) error {
	return fmt.Errorf("%w: %s has no batch that ends with offset %d at position %d of the segment", errIndex, s.offsets.file.name(), from.last, from.position)
}
