package batch

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// AppendCompressed appends src, the records of one batch, compressed to dst.
func (c Compression) AppendCompressed(dst, src []byte) []byte {
	switch c.Codec {
	case None:
		return append(dst, src...)
	case Gzip:
		return appendGzip(dst, src, c.Level)
	case Snappy:
		return appendSnappy(dst, src)
	case LZ4:
		return appendLZ4(dst, src, c.Level)
	case Zstd:
		return appendZstd(dst, src, c.Level)
	}
	panic(fmt.Sprintf("batch: compression with %s", c.Codec))
}

// gzips are writers by level, from 0 for -1 on. A writer has some 800 KiB of
// tables, so it is worth keeping.
var gzips [11]sync.Pool

func appendGzip(dst, src []byte, level int) []byte {
	if level = min(level, gzip.BestCompression); level < gzip.BestSpeed {
		level = gzip.DefaultCompression
	}
	out := bytes.NewBuffer(dst)
	pool := &gzips[level+1]
	w, ok := pool.Get().(*gzip.Writer)
	if ok {
		w.Reset(out)
	} else {
		var err error
		if w, err = gzip.NewWriterLevel(out, level); err != nil {
			panic(fmt.Sprintf("batch: gzip writer of level %d: %v", level, err)) // the level is in range
		}
	}
	_, _ = w.Write(src) // a bytes.Buffer does not fail
	_ = w.Close()
	w.Reset(nil)
	pool.Put(w)
	return out.Bytes()
}
