package batch

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"kvorum/internal/kafka"
)

// Record is one record of a batch. Its slices point into the batch.
type Record struct {
	// OffsetDelta and TimestampDelta are relative to the batch's base offset and
	// base timestamp (ms).
	OffsetDelta    int32
	TimestampDelta int64
	// Key and Value are nil where the record has a null, and empty but not nil
	// where it has an empty one.
	Key, Value []byte
	// HeaderCount is the number of headers.
	HeaderCount int32

	headers []byte // validated by RecordIter.Next
}

// Headers iterates over the record's headers in order. A value may be nil.
func (r Record) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		c := cursor{b: r.headers}
		for range r.HeaderCount {
			if key, value := c.bytes(), c.bytes(); c.bad || !yield(key, value) {
				return
			}
		}
	}
}

// RecordIter walks the records of one uncompressed batch. It allocates nothing
// unless it fails.
//
//	it := view.Records()
//	for it.Next() {
//		use(it.Record())
//	}
//	if err := it.Err(); err != nil { ... }
type RecordIter struct {
	view  View
	c     cursor
	index int32
	rec   Record
	err   error
}

// Records starts a walk over the records of v. Walking a compressed batch fails
// with ErrCompressed. The CRC is not checked here.
func (v View) Records() RecordIter {
	it := RecordIter{view: v, c: cursor{b: v[HeaderSize:]}}
	if codec := v.Compression(); codec != 0 {
		it.err = fmt.Errorf("read batch at offset %d: %w (codec %d)", v.BaseOffset(), ErrCompressed, codec)
	}
	return it
}

// Next moves to the next record. It returns false after the last one and at the
// first error; every length has been checked against the batch before it is used.
func (it *RecordIter) Next() bool {
	if it.err != nil {
		return false
	}
	if it.index >= it.view.Count() {
		if len(it.c.b) > 0 {
			it.fail("%d bytes after the last record", len(it.c.b))
		}
		return false
	}
	length := it.c.varint32()
	if it.c.bad || length <= 0 || int(length) > len(it.c.b) {
		it.fail("record length %d with %d bytes left", length, len(it.c.b))
		return false
	}
	body := cursor{b: it.c.b[:length:length]}
	it.c.b = it.c.b[length:]
	if !it.decode(&body) {
		return false
	}
	it.index++
	return true
}

func (it *RecordIter) decode(c *cursor) bool {
	c.byte() // attributes: no bit of them is defined
	it.rec.TimestampDelta = c.varint64()
	it.rec.OffsetDelta = c.varint32()
	it.rec.Key = c.bytes()
	it.rec.Value = c.bytes()
	it.rec.HeaderCount = c.varint32()
	if c.bad || it.rec.HeaderCount < 0 {
		return it.fail("fields reach over the record's end")
	}
	if d := it.rec.OffsetDelta; d < 0 || d > it.view.lastOffsetDelta() {
		return it.fail("offset delta %d outside of the batch", d)
	}
	it.rec.headers = c.b
	// A header takes at least 2 bytes, so a hostile count ends at the record's
	// end.
	for range it.rec.HeaderCount {
		if key := c.bytes(); c.bad || key == nil {
			return it.fail("bad header key")
		}
		if c.bytes(); c.bad {
			return it.fail("bad header value")
		}
	}
	if len(c.b) > 0 {
		return it.fail("%d bytes after the record's headers", len(c.b))
	}
	return true
}

// Record is the record that Next moved to.
func (it *RecordIter) Record() Record { return it.rec }

// Offset is the absolute offset of the current record.
func (it *RecordIter) Offset() kafka.Offset {
	return it.view.BaseOffset() + kafka.Offset(it.rec.OffsetDelta)
}

// Err is the error that ended the walk, or nil.
func (it *RecordIter) Err() error { return it.err }

func (it *RecordIter) fail(format string, args ...any) bool {
	it.err = fmt.Errorf("read record %d of the batch at offset %d: %w: %s",
		it.index, it.view.BaseOffset(), ErrCorrupt, fmt.Sprintf(format, args...))
	return false
}

// cursor reads the primitives of a record. After the first failure bad is set
// and everything it returns is zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) byte() byte {
	if c.bad || len(c.b) == 0 {
		c.bad = true
		return 0
	}
	x := c.b[0]
	c.b = c.b[1:]
	return x
}

// varint64 reads a zig-zag varlong (ByteUtils.readVarlong).
func (c *cursor) varint64() int64 {
	if c.bad {
		return 0
	}
	x, n := binary.Varint(c.b)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return x
}

func (c *cursor) varint32() int32 {
	x := c.varint64()
	if x < math.MinInt32 || x > math.MaxInt32 {
		c.bad = true
		return 0
	}
	return int32(x)
}

// bytes reads a nullable byte string: nil for length -1, otherwise not nil.
func (c *cursor) bytes() []byte {
	n := c.varint32()
	if c.bad || n == -1 {
		return nil
	}
	if n < 0 || int(n) > len(c.b) {
		c.bad = true
		return nil
	}
	x := c.b[:n:n]
	c.b = c.b[n:]
	return x
}
