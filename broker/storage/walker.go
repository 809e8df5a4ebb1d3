package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// header is what is read of a batch without its records.
type header struct {
	position     int64 // in the segment's file
	size         int64
	base, last   kafka.Offset
	epoch        kafka.LeaderEpoch
	maxTimestamp int64
}

// end is the position after the batch.
func (h header) end() int64 { return h.position + h.size }

// walker reads the headers of batches one after the other. Small batches are
// read many at a time, of large ones only the header.
type walker struct {
	path  string
	f     vfs.File
	buf   [8 << 10]byte
	at    int64 // position of buf[0]
	n     int   // bytes in buf
	chunk int   // bytes to read next
}

// firstChunk is what the first read takes: most walks end with the first batch.
const firstChunk = 512

var walkers = sync.Pool{New: func() any { return new(walker) }}

// walk begins to read f's headers; the walker goes back by done.
func walk(f vfs.File, path string) *walker {
	w := walkers.Get().(*walker)
	w.f, w.path, w.n, w.chunk = f, path, 0, firstChunk
	return w
}

func (w *walker) done() {
	w.f = nil
	walkers.Put(w)
}

// next reads the header of the batch at a position. limit is where the whole
// batches of the file end: a batch that reaches beyond it is an error.
func (w *walker) next(position, limit int64) (header, error) {
	raw, err := w.bytes(position, limit)
	if err != nil {
		return header{}, err
	}
	v := batch.View(raw)
	h := header{
		position: position, size: batch.LogOverhead + int64(int32(binary.BigEndian.Uint32(raw[8:]))),
		base: v.BaseOffset(), last: v.LastOffset(), epoch: v.Epoch(), maxTimestamp: v.MaxTimestamp(),
	}
	switch {
	case raw[16] < 2:
		return header{}, w.wrong(position, batch.ErrMagic, "magic %d", raw[16])
	case raw[16] > 2:
		return header{}, w.wrong(position, batch.ErrCorrupt, "magic %d", raw[16])
	case h.size < batch.HeaderSize:
		return header{}, w.wrong(position, batch.ErrCorrupt, "a length of %d bytes", h.size)
	case h.base < 0 || h.last < h.base:
		return header{}, w.wrong(position, batch.ErrCorrupt, "offsets %d to %d", h.base, h.last)
	case h.end() > limit:
		return header{}, w.wrong(position, batch.ErrShort, "%d bytes of which %d are there", h.size, limit-position)
	}
	if h.size < int64(len(w.buf))/2 {
		w.chunk = len(w.buf)
	}
	return h, nil
}

func (w *walker) wrong(position int64, kind error, format string, args ...any) error {
	return fmt.Errorf("%w: the batch at position %d of %s has %s", kind, position, w.path, fmt.Sprintf(format, args...))
}

// bytes returns the raw header at a position.
func (w *walker) bytes(position, limit int64) ([]byte, error) {
	if limit-position < batch.HeaderSize {
		return nil, w.wrong(position, batch.ErrShort, "%d bytes", limit-position)
	}
	if position < w.at || position+batch.HeaderSize > w.at+int64(w.n) {
		n, err := w.f.ReadAt(w.buf[:min(int64(w.chunk), limit-position)], position)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the batch at position %d of %s: %w", position, w.path, err)
		}
		w.at, w.n = position, n
		if n < batch.HeaderSize {
			return nil, w.wrong(position, batch.ErrShort, "%d bytes", n)
		}
	}
	i := position - w.at
	return w.buf[i : i+batch.HeaderSize], nil
}
