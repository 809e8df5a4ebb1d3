package batch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// ErrTooLarge is what inflating gives when the records are larger than the
// limit that the caller set.
var ErrTooLarge = errors.New("batch inflates beyond the limit")

// AppendInflated appends the uncompressed records of v to dst, at most limit
// bytes of them, and returns the longer slice. An uncompressed batch is copied.
//
// It fails with ErrTooLarge above limit and with ErrCorrupt for bytes that are
// not of the codec; what it returns then is dst, perhaps moved, so that a caller
// that pools its buffer may keep it. It never allocates beyond 4 times what the
// records have, nor beyond limit and one block of the codec (4 MiB at most),
// whatever the compressed bytes declare.
func (v View) AppendInflated(dst []byte, limit int) ([]byte, error) {
	out, err := inflate(v.Codec(), dst, v[HeaderSize:], limit)
	if err != nil {
		return out[:len(dst)], fmt.Errorf("inflate batch at offset %d (%s, %d bytes): %w", v.BaseOffset(), v.Codec(), v.Size(), err)
	}
	return out, nil
}

// RecordsIn starts a walk over the records of v in inflated, which AppendInflated
// made of v. Records point into inflated.
func (v View) RecordsIn(inflated []byte) RecordIter {
	return RecordIter{view: v, c: cursor{b: inflated}}
}

func inflate(codec Codec, dst, src []byte, limit int) ([]byte, error) {
	switch codec {
	case None:
		if len(src) > limit {
			return dst, tooLarge(limit)
		}
		return append(dst, src...), nil
	case Gzip:
		return inflateGzip(dst, src, limit)
	case Snappy:
		return inflateSnappy(dst, src, limit)
	case LZ4:
		return inflateLZ4(dst, src, limit)
	case Zstd:
		return inflateZstd(dst, src, limit)
	}
	return dst, fmt.Errorf("%w: undefined compression", ErrCorrupt)
}

func tooLarge(limit int) error { return fmt.Errorf("%w of %d bytes", ErrTooLarge, limit) }

// corrupt wraps what a codec of somebody else says.
func corrupt(err error) error { return fmt.Errorf("%w: %v", ErrCorrupt, err) }

// gunzip is a reader and its source, reused together.
type gunzip struct {
	src bytes.Reader
	r   gzip.Reader
}

var gunzips = sync.Pool{New: func() any { return new(gunzip) }}

// inflateGzip reads one or more gzip members, as GZIPInputStream does.
func inflateGzip(dst, src []byte, limit int) ([]byte, error) {
	g := gunzips.Get().(*gunzip)
	defer gunzips.Put(g)
	g.src.Reset(src)
	defer g.src.Reset(nil) // the pool keeps no batch alive
	if err := g.r.Reset(&g.src); err != nil {
		return dst, corrupt(err)
	}
	start := len(dst)
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(512, 2*len(src), len(dst)-start))
		}
		n, err := g.r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > limit:
			return dst, tooLarge(limit)
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, corrupt(err)
		}
	}
}
