package storage

import (
	"fmt"
	"io"
	"syscall"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// Slice is a run of whole batches in a segment's file. It holds no bytes; it
// keeps the file open until Release, also when the segment is deleted meanwhile.
// The zero Slice is empty.
type Slice struct {
	file     *file
	f        vfs.File
	position int64
	length   int64

	// Base is the base offset of the first batch, which may be below the offset
	// that was asked for.
	Base kafka.Offset
}

// Len is the number of bytes.
func (s Slice) Len() int { return int(s.length) }

// Next is the offset after the last batch, which is found by reading the header
// of each; the Slice is not empty.
func (s Slice) Next() (kafka.Offset, error) {
	w := walk(s.f, s.file.name())
	defer w.done()
	next, limit := s.Base, s.position+s.length
	for position := s.position; position < limit; {
		h, err := w.next(position, limit)
		if err != nil {
			return next, err
		}
		next, position = h.last+1, h.end()
	}
	return next, nil
}

// AppendTo appends the bytes to dst.
func (s Slice) AppendTo(dst []byte) ([]byte, error) {
	if s.length == 0 {
		return dst, nil
	}
	n := len(dst)
	if cap(dst)-n < int(s.length) {
		dst = append(make([]byte, 0, n+int(s.length)), dst...)
	}
	dst = dst[:n+int(s.length)]
	if got, err := s.f.ReadAt(dst[n:], s.position); err != nil && got < int(s.length) {
		return dst[:n], fmt.Errorf("read %d bytes at position %d of %s: %w", s.length, s.position, s.file.name(), err)
	}
	return dst, nil
}

// copyChunk is how much WriteTo holds in memory where it cannot use sendfile.
const copyChunk = 64 << 10

// WriteTo writes the bytes to w: by sendfile(2) where w is a connection of the
// operating system (a *net.TCPConn), through memory otherwise. A write deadline
// of the connection holds.
func (s Slice) WriteTo(w io.Writer) (int64, error) {
	if s.length == 0 {
		return 0, nil
	}
	if conn, ok := w.(syscall.Conn); ok {
		if n, done, err := vfs.SendFile(conn, s.f, s.position, s.length); done {
			return n, err
		}
	}
	buf := make([]byte, min(copyChunk, s.length))
	n, err := io.CopyBuffer(onlyWriter{w}, onlyReader{io.NewSectionReader(s.f, s.position, s.length)}, buf)
	if err == nil && n < s.length {
		err = fmt.Errorf("%s ends %d bytes early: %w", s.file.name(), s.length-n, io.ErrUnexpectedEOF)
	}
	return n, err
}

// onlyWriter and onlyReader keep io.CopyBuffer to the buffer that it is given.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// Release gives the file back; a Slice is released once, and not used after
// that.
func (s Slice) Release() {
	if s.file != nil {
		s.file.release()
	}
}
