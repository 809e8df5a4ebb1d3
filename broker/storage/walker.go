package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
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
	buf   []byte
	at    int64 // position of buf[0]
	n     int   // bytes in buf
	chunk int   // bytes to read next
}

const (
	// firstChunk is what the first read takes: most walks end with the first batch.
	firstChunk = 512
	// walkChunk is what later reads of small batches take.
	walkChunk = 8 << 10
	// checkChunk is what a walk takes that reads the records, too.
	checkChunk = 256 << 10
)

var walkers = sync.Pool{New: func() any { return &walker{buf: make([]byte, walkChunk)} }}

// walk begins to read f's headers; the walker goes back by done.
func walk(f vfs.File, path string) *walker {
	w := walkers.Get().(*walker)
	w.f, w.path, w.n, w.chunk = f, path, 0, firstChunk
	return w
}

// walkWhole begins to read f's batches whole; the walker is not given back.
func walkWhole(f vfs.File, path string) *walker {
	return &walker{f: f, path: path, buf: make([]byte, checkChunk), chunk: checkChunk}
}

func (w *walker) done() {
	w.f = nil
	walkers.Put(w)
}

// next reads the header of the batch at a position. limit is where the whole
// batches of the file end: a batch that reaches beyond it is an error.
func (w *walker) next(position, limit int64) (header, error) {
	raw, err := w.bytes(position, batch.HeaderSize, limit)
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
		return h, w.wrong(position, batch.ErrMagic, "magic %d", raw[16])
	case raw[16] > 2:
		return h, w.wrong(position, batch.ErrCorrupt, "magic %d", raw[16])
	case h.size < batch.HeaderSize:
		return h, w.wrong(position, batch.ErrCorrupt, "a length of %d bytes", h.size)
	case h.base < 0 || h.last < h.base || h.last == math.MaxInt64:
		return h, w.wrong(position, batch.ErrCorrupt, "offsets %d to %d", h.base, h.last)
	case h.end() > limit:
		return h, w.wrong(position, batch.ErrShort, "%d bytes of which %d are there", h.size, limit-position)
	}
	if h.size < int64(len(w.buf))/2 {
		w.chunk = len(w.buf)
	}
	return h, nil
}

func (w *walker) wrong(position int64, kind error, format string, args ...any) error {
	return fmt.Errorf("%w: the batch at position %d of %s has %s", kind, position, w.path, fmt.Sprintf(format, args...))
}

// view is the header of the batch that next has just read, as a batch without
// records; a control batch is read whole, as its record counts.
func (w *walker) view(h header) (batch.View, error) {
	raw := w.buf[h.position-w.at:]
	v := batch.View(raw[:batch.HeaderSize:batch.HeaderSize])
	if !v.Control() {
		return v, nil
	}
	if h.size > walkChunk {
		return nil, w.wrong(h.position, batch.ErrCorrupt, "control records of %d bytes", h.size)
	}
	raw, err := w.bytes(h.position, int(h.size), h.end())
	if err != nil {
		return nil, err
	}
	v, _, err = batch.Next(raw)
	return v, err
}

// bytes returns n bytes at a position, at most as many as the walker's memory.
func (w *walker) bytes(position int64, n int, limit int64) ([]byte, error) {
	if limit-position < int64(n) {
		return nil, w.wrong(position, batch.ErrShort, "%d bytes of %d", limit-position, n)
	}
	if w.n == 0 || position < w.at || position+int64(n) > w.at+int64(w.n) {
		got, err := w.f.ReadAt(w.buf[:min(int64(max(w.chunk, n)), limit-position)], position)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the batch at position %d of %s: %w", position, w.path, err)
		}
		w.at, w.n = position, got
		if got < n {
			return nil, w.wrong(position, batch.ErrShort, "%d bytes of %d", got, n)
		}
	}
	i := position - w.at
	return w.buf[i : i+int64(n) : i+int64(n)], nil
}

// Places of fields in a batch, for checksums.
const (
	crcAt         = 17
	crcFrom       = 21
	legacyCRCAt   = 12
	legacyCRCFrom = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkCRC compares the checksum of the batch that next has just read with its
// bytes. It takes no more memory than the walker has, whatever the length says.
func (w *walker) checkCRC(h header) error {
	want, got, err := w.sum(h, crcAt, crcFrom, castagnoli)
	if err == nil && want != got {
		err = w.wrong(h.position, batch.ErrCorrupt, "the checksum %08x, stored is %08x (offset %d)", got, want, h.base)
	}
	return err
}

// legacy reports whether the bytes are a message of the formats before v2 and
// not the remains of something: their checksum is right.
func (w *walker) legacy(h header, limit int64) bool {
	if h.size < batch.LogOverhead+14 || h.end() > limit {
		return false
	}
	want, got, err := w.sum(h, legacyCRCAt, legacyCRCFrom, crc32.IEEETable)
	return err == nil && want == got
}

func (w *walker) sum(h header, at, from int64, table *crc32.Table) (want, got uint32, err error) {
	raw, err := w.bytes(h.position+at, 4, h.end())
	if err != nil {
		return 0, 0, err
	}
	want = binary.BigEndian.Uint32(raw)
	for position := h.position + from; position < h.end(); {
		n := min(h.end()-position, int64(len(w.buf)))
		if have := w.at + int64(w.n) - position; have > 0 && have < n && position >= w.at {
			n = have // first what is in memory
		}
		raw, err := w.bytes(position, int(n), h.end())
		if err != nil {
			return 0, 0, err
		}
		got = crc32.Update(got, table, raw)
		position += n
	}
	return want, got, nil
}
