package broker

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
)

// maxResponse bounds an answer: a Fetch of 8 MiB and its header.
const maxResponse = 16 << 20

// Conn is one connection to a Kafka server of any make, with one request at a
// time. It does no more than a benchmark needs, so that what is measured is the
// server. Not safe for concurrent use.
type Conn struct {
	net    net.Conn
	id     int32
	client string
	frame  []byte // of requests
	answer []byte // of responses
}

// Dial connects to host:port.
func Dial(ctx context.Context, address, client string) (*Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Conn{net: c, client: client}, nil
}

// Close ends the connection; a Call in flight fails.
func (c *Conn) Close() { c.net.Close() }

// Call sends a request at the version that it is set to, and decodes its answer
// into resp. After an error the connection is of no more use. The response may
// share memory with the connection until the next Call.
func (c *Conn) Call(req kmsg.Request, resp kmsg.Response, within time.Duration) error {
	c.id++
	resp.SetVersion(req.GetVersion())
	c.frame = protocol.AppendRequest(c.frame[:0], c.id, &c.client, req)
	if err := c.net.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := c.net.Write(c.frame); err != nil {
		return fmt.Errorf("send %s: %w", kmsg.NameForKey(req.Key()), err)
	}
	var err error
	if c.answer, err = protocol.ReadAnswer(c.net, maxResponse, c.answer, c.id, resp); err != nil {
		return fmt.Errorf("read the answer to %s: %w", kmsg.NameForKey(req.Key()), err)
	}
	return nil
}
