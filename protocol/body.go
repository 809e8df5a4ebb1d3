package protocol

import (
	"io"
	"math"
)

// Source is bytes of a known length that are not in memory: a run of batches in
// a log's file. They do not change as long as the source is held.
type Source interface {
	// Len is the number of bytes.
	Len() int
	// WriteTo writes all of them; into a *net.TCPConn without passing memory.
	WriteTo(w io.Writer) (int64, error)
	// AppendTo appends all of them to dst, where they are few.
	AppendTo(dst []byte) ([]byte, error)
}

// Body is the body of a response that is encoded already: bytes, and the sources
// that come in between.
type Body struct {
	Bytes   []byte
	Inserts []Insert // in order of At
}

// Insert is a source and the place in Bytes before which it comes.
type Insert struct {
	At     int
	Source Source
}

// Size is the number of bytes of the whole body.
func (b *Body) Size() int {
	size := len(b.Bytes)
	for i := range b.Inserts {
		size += b.Inserts[i].Source.Len()
	}
	if size > math.MaxInt32 {
		panic("protocol: a response body beyond 2 GiB") // whoever builds one bounds it far below
	}
	return size
}

// Reset empties the body and keeps its memory; it lets go of the sources.
func (b *Body) Reset() {
	b.Bytes = b.Bytes[:0]
	clear(b.Inserts)
	b.Inserts = b.Inserts[:0]
}

// insert puts a source at the end of what is written.
func (b *Body) insert(s Source) {
	b.Inserts = append(b.Inserts, Insert{At: len(b.Bytes), Source: s})
}
