package metadatalog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// TornError says that a segment's last batch is not whole: the writer died in
// it, or the disk filled up. Everything before it was read.
type TornError struct {
	Offset   kafka.Offset // that the torn batch would begin at
	Position int64        // in bytes, from where the reader began
	Err      error
}

// Error names the place of the tear.
func (e *TornError) Error() string {
	return fmt.Sprintf("segment is torn at offset %d, byte %d: %v", e.Offset, e.Position, e.Err)
}

// Unwrap returns what was wrong with the bytes there.
func (e *TornError) Unwrap() error { return e.Err }

// nextBatches reads batches from the offset at up to about maxBytes, cuts what
// begins at or past to, and returns the offset to go on at.
func (v *View) nextBatches(at, to kafka.Offset, maxBytes int) ([]byte, kafka.Offset, error) {
	data, err := v.Read(at, maxBytes)
	if err != nil {
		return nil, at, err
	}
	size, next := 0, at
	for b, err := range batch.All(data) {
		if err != nil {
			return nil, at, fmt.Errorf("read batch at offset %d: %w", next, err)
		}
		if err := b.CheckCRC(); err != nil {
			return nil, at, err
		}
		if b.BaseOffset() >= to {
			break
		}
		size, next = size+b.Size(), b.EndOffset()
	}
	if size == 0 {
		return nil, at, fmt.Errorf("%w: no batch at offset %d of a log to %d", ErrDamaged, at, v.state.end)
	}
	return data[:size], next, nil
}

// ExportSegment writes the batches that begin in [from, to) to w, as they are
// in a Kafka .log segment. Each checksum is checked on the way. from and to are
// within the view; from is a batch's first offset.
func (v *View) ExportSegment(w io.Writer, from, to kafka.Offset) error {
	if from < v.state.start || to > v.state.end || from > to {
		return fmt.Errorf("export offsets %d to %d: %w: the view is from %d to %d", from, to, ErrOffsetOutOfRange, v.state.start, v.state.end)
	}
	for at := from; at < to; {
		b, next, err := v.nextBatches(at, to, exportChunk)
		if err == nil && batch.View(b).BaseOffset() != at {
			err = fmt.Errorf("%w, which begins at %d", ErrNotBoundary, batch.View(b).BaseOffset())
		}
		if err == nil {
			_, err = w.Write(b)
		}
		if err != nil {
			return fmt.Errorf("export offset %d: %w", at, err)
		}
		at = next
	}
	return nil
}

// importChunk is how many bytes of batches go into one write of an import.
const importChunk = 4 << 20

// ImportSegment appends the batches of a Kafka .log segment. Call it once for
// each segment, in order; an empty store that shall not begin at 0 is Reset
// first. Every batch is checked by Append's rules. It is durable when it
// returns.
//
// A segment that ends inside of a batch, or in zeroes (log.preallocate), or
// whose last batch has a wrong checksum gives a *TornError; the batches before
// it are in the store then, and durable. A bad batch with anything after it is
// damage, not a torn tail, and gives batch.ErrCorrupt with its offset.
func (s *Store) ImportSegment(r io.Reader) error {
	in := &segmentReader{in: bufio.NewReaderSize(r, 64<<10), end: s.EndOffset()}
	var pending bytes.Buffer
	for {
		err := in.next(&pending)
		if err == nil && pending.Len() < importChunk {
			continue
		}
		if aerr := s.Append(Append{Batches: pending.Bytes(), Sync: err != nil}); aerr != nil {
			return fmt.Errorf("import segment: %w", aerr)
		}
		pending.Reset()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("import segment: %w", err)
		}
	}
}

// Batches iterates over the batches of a .log segment or a .checkpoint, whose
// checksums it checks. A batch is valid until the next step. At the first error
// it yields that and stops: *TornError when the file ends inside of a batch or in
// zeroes, batch.ErrCorrupt for other damage. It holds one batch in memory, of at
// most batch.MaxMetadataSize. Whether the offsets are without gaps is its
// caller's to see.
func Batches(r io.Reader) iter.Seq2[batch.View, error] {
	return func(yield func(batch.View, error) bool) {
		in := &segmentReader{in: bufio.NewReaderSize(r, 64<<10)}
		var buf bytes.Buffer
		for {
			buf.Reset()
			err := in.next(&buf)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(batch.View(buf.Bytes()), nil) {
				return
			}
		}
	}
}

// segmentReader reads a .log file batch by batch.
type segmentReader struct {
	in       io.Reader
	end      kafka.Offset
	position int64
}

// next appends one whole valid batch to dst. io.EOF is the clean end. On an
// error dst is as it was.
func (s *segmentReader) next(dst *bytes.Buffer) error {
	start := dst.Len()
	err := readBatch(s.in, dst)
	if err == nil {
		v := batch.View(dst.Bytes()[start:])
		if err = v.CheckCRC(); err == nil {
			s.position += int64(v.Size())
			s.end = v.EndOffset()
			return nil
		}
	}
	read := int64(dst.Len() - start)
	dst.Truncate(start)
	if errors.Is(err, io.EOF) && read == 0 {
		return io.EOF
	}
	zeroes, empty, rerr := onlyZeroes(s.in)
	switch {
	case rerr != nil:
		return fmt.Errorf("read segment at byte %d: %w", s.position+read, rerr)
	case empty, zeroes && errors.Is(err, errZeroHeader):
		return &TornError{Offset: s.end, Position: s.position, Err: err}
	}
	return fmt.Errorf("read batch at offset %d, byte %d: %w", s.end, s.position, err)
}

// onlyZeroes reads the rest of a segment: whether all of it is zeroes, and
// whether there is none.
func onlyZeroes(in io.Reader) (zeroes, empty bool, err error) {
	buf := make([]byte, 64<<10)
	empty = true
	for {
		n, err := in.Read(buf)
		empty = empty && n == 0
		if len(bytes.TrimLeft(buf[:n], "\x00")) > 0 {
			return false, false, nil
		}
		if errors.Is(err, io.EOF) {
			return true, empty, nil
		}
		if err != nil {
			return false, empty, err
		}
	}
}

// errZeroHeader marks zeroes where a batch should begin.
var errZeroHeader = fmt.Errorf("%w: zeroes instead of a batch", batch.ErrShort)

// readBatch appends one batch of in to dst: io.EOF when in is at its end,
// batch.ErrShort when it ends inside of the batch. The declared length is
// bounded by MaxMetadataSize and memory grows with what is really there.
func readBatch(in io.Reader, dst *bytes.Buffer) error {
	start := dst.Len()
	if err := copyExactly(dst, in, batch.HeaderSize); err != nil {
		return err
	}
	header := dst.Bytes()[start:]
	if len(bytes.TrimLeft(header, "\x00")) == 0 {
		return errZeroHeader
	}
	length := int64(int32(binary.BigEndian.Uint32(header[8:]))) + batch.LogOverhead
	if length < batch.HeaderSize || length > batch.MaxMetadataSize {
		return fmt.Errorf("%w: declared size of %d bytes", batch.ErrCorrupt, length)
	}
	if err := copyExactly(dst, in, length-batch.HeaderSize); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: no records after its header", batch.ErrShort)
		}
		return err
	}
	_, _, err := batch.Next(dst.Bytes()[start:])
	return err
}

// copyExactly copies n bytes; io.EOF when there is none, batch.ErrShort when
// there are fewer.
func copyExactly(dst *bytes.Buffer, in io.Reader, n int64) error {
	got, err := io.CopyN(dst, in, n)
	if errors.Is(err, io.EOF) && got > 0 {
		return fmt.Errorf("%w: %d of %d bytes", batch.ErrShort, got, n)
	}
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return fmt.Errorf("read: %w", err)
}
