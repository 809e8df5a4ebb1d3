package snapshot

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// Reader reads one snapshot from its first byte to its last. It holds one batch
// in memory, of at most batch.MaxMetadataSize. What it has returned can only be
// believed when Next has returned false and Err is nil: the footer, and the end
// of the file after it, are what says that nothing is missing.
type Reader struct {
	in     *bufio.Reader
	close  func() error
	header Header
	epoch  kafka.LeaderEpoch

	next   kafka.Offset // within the file
	buf    []byte
	view   batch.View
	it     batch.MetadataIter
	inside bool // it is within view
	footer bool
	err    error
}

// NewReader begins to read a snapshot and checks its header.
func NewReader(r io.Reader) (*Reader, error) {
	s := &Reader{in: bufio.NewReaderSize(r, 64<<10), close: func() error { return nil }}
	v, err := s.batch()
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	s.epoch = v.Epoch()
	if s.header, err = parseHeader(v); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return s, nil
}

// OpenFile begins to read the snapshot file at path.
func OpenFile(fsys vfs.FS, path string) (*Reader, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	r, err := NewReader(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	r.close = f.Close
	return r, nil
}

// Close ends the reader; the bytes that it returned are not valid any more.
func (s *Reader) Close() error { return s.close() }

// Header is what the first batch says.
func (s *Reader) Header() Header { return s.header }

// Epoch is the leader epoch of the batches, that of the snapshot's id.
func (s *Reader) Epoch() kafka.LeaderEpoch { return s.epoch }

// NextBatch moves to the next data batch. It returns false after the footer at
// the end of the file, and at an error.
func (s *Reader) NextBatch() bool {
	s.inside = false
	if s.err != nil || s.footer {
		return false
	}
	v, err := s.batch()
	switch {
	case errors.Is(err, io.EOF):
		s.err = fmt.Errorf("%w: it ends after record %d without a footer", ErrDamaged, s.next-1)
	case err != nil:
		s.err = err
	case v.Epoch() != s.epoch:
		s.err = fmt.Errorf("%w: batch at offset %d is of epoch %d, those before of %d", ErrDamaged, v.BaseOffset(), v.Epoch(), s.epoch)
	case v.Control():
		s.end(v)
	default:
		s.view, s.it, s.inside = v, v.MetadataRecords(), true
	}
	return s.inside
}

// end checks the footer and that it is the last.
func (s *Reader) end(v batch.View) {
	if s.err = checkFooter(v); s.err != nil {
		return
	}
	s.footer = true
	if _, err := s.in.ReadByte(); err == nil {
		s.err = fmt.Errorf("%w: bytes after the footer", ErrDamaged)
	} else if !errors.Is(err, io.EOF) {
		s.err = err
	}
}

// Batch is the data batch that NextBatch moved to, until the next call.
func (s *Reader) Batch() batch.View { return s.view }

// Next moves to the next record, over batches.
func (s *Reader) Next() bool {
	for {
		if s.inside && s.it.Next() {
			return true
		}
		if s.inside && s.it.Err() != nil {
			s.err = fmt.Errorf("%w: %w", ErrDamaged, s.it.Err())
		}
		if !s.NextBatch() {
			return false
		}
	}
}

// Value is the encoded value of the record that Next moved to, until the next
// call.
func (s *Reader) Value() []byte { return s.it.Value() }

// Offset is the place of the current record within the file.
func (s *Reader) Offset() kafka.Offset { return s.it.Offset() }

// Err is the error that ended the walk, or nil at the snapshot's end. It wraps
// ErrDamaged unless the file could not be read at all.
func (s *Reader) Err() error {
	if s.err != nil {
		return fmt.Errorf("read snapshot: %w", s.err)
	}
	return nil
}

// Verify reads to the end and returns the first error.
func (s *Reader) Verify() error {
	for s.Next() {
	}
	return s.Err()
}

// batch reads one whole batch and checks all of it but its records. io.EOF is
// the end between batches.
func (s *Reader) batch() (batch.View, error) {
	head, err := s.in.Peek(batch.LogOverhead)
	if len(head) == 0 && errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: it is cut short at record %d", ErrDamaged, s.next)
	}
	size := int64(int32(binary.BigEndian.Uint32(head[8:]))) + batch.LogOverhead
	if size < batch.HeaderSize || size > batch.MaxMetadataSize {
		return nil, fmt.Errorf("%w: batch of %d bytes at record %d", ErrDamaged, size, s.next)
	}
	if s.buf, err = readGrowing(s.buf[:0], s.in, int(size)); err != nil {
		return nil, err
	}
	v, _, err := batch.Next(s.buf)
	if err == nil {
		err = v.CheckCRC()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if v.BaseOffset() != s.next {
		return nil, fmt.Errorf("%w: batch at offset %d instead of %d", ErrDamaged, v.BaseOffset(), s.next)
	}
	s.next = v.EndOffset()
	return v, nil
}

// readGrowing reads size bytes into dst in steps, so that a declared size alone
// takes no memory.
func readGrowing(dst []byte, in io.Reader, size int) ([]byte, error) {
	const step = 256 << 10
	for len(dst) < size {
		n := min(step, size-len(dst))
		start := len(dst)
		dst = append(dst, make([]byte, n)...)
		if _, err := io.ReadFull(in, dst[start:]); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return dst, fmt.Errorf("%w: it is cut short", ErrDamaged)
		} else if err != nil {
			return dst, err
		}
	}
	return dst, nil
}
