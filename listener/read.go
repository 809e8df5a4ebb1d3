package listener

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"kvorum/protocol"
)

// frame is one request as it came, without its length prefix. Its bytes are
// charged to the budget until the response is out.
type frame struct {
	bytes  []byte
	at     time.Time // when its last byte had come
	charge lease
	again  bool // bytes are used again: a Produce request
}

// release gives back what the frame holds, when its response is out.
func (f *frame) release() {
	if f.again {
		giveFrame(f.bytes)
	}
	f.charge.release()
}

// prefix is what is read before the body: the length and the fixed header.
const prefix = 4 + protocol.MinFrame

// read takes in frames until the connection ends and hands them to the server.
// It closes frames when it returns.
func (c *conn) read(ctx context.Context) {
	defer close(c.frames)
	for {
		f, why, err := c.readFrame(ctx)
		if err != nil {
			c.endLogged(why, err)
			return
		}
		if f == nil {
			return // draining
		}
		select {
		case c.frames <- *f:
			c.taken++
			continue
		case <-ctx.Done():
		case <-c.l.draining:
		}
		f.release()
		return
	}
}

// readFrame reads the next frame; nil when the listener drains.
func (c *conn) readFrame(ctx context.Context) (*frame, Reason, error) {
	head := &c.head
	n, why, err := c.awaitFirst(head[:])
	if err != nil || n == 0 {
		return nil, why, err
	}
	if !c.readBy(c.frameDeadline(0)) {
		return nil, 0, nil
	}
	if n < 4 {
		if _, err := io.ReadFull(c.sock, head[n:4]); err != nil {
			return c.cut(err)
		}
		n = 4
	}
	size := int64(int32(binary.BigEndian.Uint32(head[:])))
	if size < protocol.MinFrame {
		return nil, BadRequest, fmt.Errorf("a request of %d bytes", size)
	}
	if _, err := io.ReadFull(c.sock, head[n:]); err != nil {
		return c.cut(err)
	}
	if limit := c.frameLimit(head[4:]); size > limit {
		key := protocol.Key(binary.BigEndian.Uint16(head[4:]))
		return nil, BadRequest, fmt.Errorf("a request of %d bytes to %s, at most %d are taken", size, key, limit)
	}
	return c.readBody(ctx, head[4:], size)
}

// awaitFirst waits for the first bytes of a frame. A connection is idle only
// while no request of it is being answered.
func (c *conn) awaitFirst(head []byte) (int, Reason, error) {
	for {
		deadline, why := c.waitDeadline()
		if !c.readBy(deadline) {
			return 0, 0, nil
		}
		n, err := c.sock.Read(head)
		if n > 0 || err == nil {
			return n, 0, nil
		}
		if c.isDraining() {
			return 0, 0, nil
		}
		if ioReason(err, why) != why {
			return 0, ioReason(err, why), err
		}
		if again, _ := c.waitDeadline(); !again.After(time.Now()) {
			return 0, why, err
		}
	}
}

// waitDeadline is until when the peer may say nothing, and what it is if it does.
func (c *conn) waitDeadline() (time.Time, Reason) {
	if c.principal.Load() == nil {
		return c.opened.Add(c.l.cfg.AuthTimeout), AuthTimedOut
	}
	if c.busy.Load() {
		return time.Now().Add(c.l.cfg.IdleTimeout), Idle
	}
	return c.opened.Add(time.Duration(c.active.Load()) + c.l.cfg.IdleTimeout), Idle
}

// frameDeadline is until when a frame of so many bytes must have come.
func (c *conn) frameDeadline(bytes int64) time.Time {
	deadline := time.Now().Add(c.l.cfg.FrameTimeout + perMiB(bytes))
	if auth := c.opened.Add(c.l.cfg.AuthTimeout); c.principal.Load() == nil && auth.Before(deadline) {
		return auth
	}
	return deadline
}

// perMiB is the time that large frames get on top.
func perMiB(bytes int64) time.Duration { return time.Duration(bytes>>20) * time.Second }

// cut is a frame that ended before its end.
func (c *conn) cut(err error) (*frame, Reason, error) {
	if c.isDraining() {
		return nil, 0, nil
	}
	why := ioReason(err, SlowFrame)
	if why == SlowFrame && c.principal.Load() == nil {
		why = AuthTimedOut
	}
	return nil, why, err
}

// frameLimit is the largest request that is taken now.
func (c *conn) frameLimit(header []byte) int64 {
	limit := int64(protocol.FramePreAuth)
	if c.principal.Load() != nil {
		if api, ok := protocol.Lookup(protocol.Key(binary.BigEndian.Uint16(header))); ok {
			limit = int64(api.FrameLimit)
		}
	}
	return min(limit, c.l.cfg.Budget.frames.max)
}

// readBody charges the frame and reads the rest of it.
func (c *conn) readBody(ctx context.Context, header []byte, size int64) (*frame, Reason, error) {
	if !c.awaitTurn(ctx) {
		return nil, 0, nil
	}
	charge, err := c.l.cfg.Budget.frames.acquire(ctx, size)
	if err != nil {
		return nil, 0, nil // the connection ended
	}
	body, err := c.readBytes(header, int(size))
	if err != nil {
		charge.release()
		return c.cut(err)
	}
	if body == nil {
		charge.release()
		return nil, 0, nil
	}
	return &frame{bytes: body, at: time.Now(), charge: charge, again: isProduce(header)}, 0, nil
}

// isProduce reports whether a frame carries records of a client.
func isProduce(header []byte) bool {
	return protocol.Key(binary.BigEndian.Uint16(header)) == protocol.KeyProduce
}

// awaitTurn waits, where the client has a quota, until every frame before has been
// answered and its time of silence is over; false when the connection ends or the
// listener drains.
func (c *conn) awaitTurn(ctx context.Context) bool {
	for c.limited.Load() && c.answered.Load() < c.taken {
		select {
		case <-c.turn:
		case <-ctx.Done():
			return false
		case <-c.l.draining:
			return false
		}
	}
	return true
}

func (c *conn) readBytes(header []byte, size int) ([]byte, error) {
	if !c.readBy(c.frameDeadline(int64(size))) {
		return nil, nil
	}
	var body []byte
	if isProduce(header) {
		body = append(takeFrame(size), header...)
	} else {
		body = append(make([]byte, 0, min(size, firstChunk)), header...)
	}
	for {
		n, err := io.ReadFull(c.sock, body[len(body):min(size, cap(body))])
		body = body[:len(body)+n]
		if err != nil {
			return nil, err
		}
		if len(body) == size {
			return body, nil
		}
		old := body
		if body = grow(old, size); isProduce(header) {
			giveFrame(old)
		}
	}
}

// readBy sets the deadline of the next reads; false when the listener drains.
// Close sets draining before it ends the deadline, so one of the two is seen.
func (c *conn) readBy(deadline time.Time) bool {
	_ = c.sock.SetReadDeadline(deadline) // fails on a closed socket, as the read will
	return !c.isDraining()
}

func (c *conn) isDraining() bool {
	select {
	case <-c.l.draining:
		return true
	default:
		return false
	}
}

// stopReading makes the reader return; requests that were taken are answered.
func (c *conn) stopReading() {
	_ = c.sock.SetReadDeadline(time.Unix(1, 0))
}
