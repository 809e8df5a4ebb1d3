package listener

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"kvorum/protocol"
)

const (
	// maxReuse is the largest encoding buffer that an idle connection keeps.
	maxReuse = 16 << 10
	// writeChunk is how much of a response is gathered for one write.
	writeChunk = 64 << 10
	// smallSource is up to where a source is copied into the chunk: one write of
	// all of it is cheaper than a system call for each piece, and makes one packet.
	smallSource = 16 << 10
)

// chunks are buffers for responses that are gathered from pieces.
var chunks = sync.Pool{New: func() any { b := make([]byte, 0, writeChunk); return &b }}

// errSource is a source that did not give what it said.
var errSource = errors.New("the records of the response could not be read")

// write sends a whole frame within the deadline and returns its size; a failure
// ends the connection.
func (c *conn) write(frame []byte) int {
	c.writeBy(len(frame))
	_, err := c.sock.Write(frame)
	if c.out = frame[:0]; cap(frame) > maxReuse {
		c.out = nil
	}
	if err != nil {
		c.endLogged(writeReason(err), err)
	}
	return len(frame)
}

// writeBody sends the header of the response to r and the body after it.
func (c *conn) writeBody(r *Request, body *protocol.Body) int {
	size := body.Size()
	chunk := chunks.Get().(*[]byte)
	w := bodyWriter{sock: c.sock, buf: protocol.AppendResponseHead((*chunk)[:0], r.Request, size)}
	size += len(w.buf)
	c.writeBy(size)
	err := w.body(body)
	if cap(w.buf) == writeChunk {
		*chunk = w.buf
		chunks.Put(chunk)
	}
	if err != nil {
		c.endLogged(writeReason(err), err)
	}
	return size
}

// writeBy sets the deadline for a response of so many bytes.
func (c *conn) writeBy(size int) {
	_ = c.sock.SetWriteDeadline(time.Now().Add(c.l.cfg.WriteTimeout + perMiB(int64(size))))
}

// bodyWriter gathers what is small and lets what is large write itself.
type bodyWriter struct {
	sock io.Writer
	buf  []byte // not written yet; never grows beyond writeChunk
}

func (w *bodyWriter) body(b *protocol.Body) error {
	at := 0
	for i := range b.Inserts {
		in := &b.Inserts[i]
		if err := w.bytes(b.Bytes[at:in.At]); err != nil {
			return err
		}
		at = in.At
		if err := w.source(in.Source); err != nil {
			return err
		}
	}
	if err := w.bytes(b.Bytes[at:]); err != nil {
		return err
	}
	return w.flush()
}

func (w *bodyWriter) bytes(b []byte) error {
	if len(w.buf)+len(b) <= writeChunk {
		w.buf = append(w.buf, b...)
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	if len(b) <= writeChunk/2 {
		w.buf = append(w.buf, b...)
		return nil
	}
	_, err := w.sock.Write(b)
	return err
}

func (w *bodyWriter) source(s protocol.Source) error {
	want := s.Len()
	if want <= smallSource {
		return w.small(s, want)
	}
	if err := w.flush(); err != nil {
		return err
	}
	n, err := s.WriteTo(w.sock)
	if err == nil && n != int64(want) {
		err = fmt.Errorf("%w: %d of %d bytes", errSource, n, want)
	}
	return err
}

func (w *bodyWriter) small(s protocol.Source, want int) error {
	if len(w.buf)+want > writeChunk {
		if err := w.flush(); err != nil {
			return err
		}
	}
	before := len(w.buf)
	buf, err := s.AppendTo(w.buf)
	if err != nil {
		return fmt.Errorf("%w: %w", errSource, err)
	}
	if n := len(buf) - before; n != want {
		return fmt.Errorf("%w: %d of %d bytes", errSource, n, want)
	}
	w.buf = buf
	return nil
}

func (w *bodyWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.sock.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// writeReason reads what an error while writing means. The end of a file, or a
// failing disk, is our side's: a socket has neither.
func writeReason(err error) Reason {
	if errors.Is(err, errSource) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EIO) {
		return HandlerFailed
	}
	return ioReason(err, SlowReader)
}
