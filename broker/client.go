package broker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/protocol"
	wire "kvorum/protocol/errors"
)

// Leader is the active controller as somebody has told.
type Leader struct {
	ID      kafka.NodeID
	Epoch   kafka.LeaderEpoch
	Address string // host:port
}

// Finder says who the active controller is.
type Finder interface {
	// Leader waits until the active controller is known, or gives ctx's error.
	Leader(ctx context.Context) (Leader, error)
	// Stale says that this leader could not be reached or is none.
	Stale(Leader)
}

const (
	// retryPause is how long a request rests after a controller that did not take
	// it (NodeToControllerChannelManager's retry.backoff.ms).
	retryPause = 20 * time.Millisecond
	// maxRetryPause bounds the doubling of retryPause.
	maxRetryPause = 500 * time.Millisecond
)

// Client sends requests to the active controller, on up to a fixed number of
// connections. A controller answers one request of a connection at a time, so
// the number of connections is the number of requests that are under way. Safe
// for concurrent use.
type Client struct {
	finder   Finder
	clientID string
	limit    time.Duration // of one attempt
	// patience bounds the wait for a controller that leads; 0: as long as ctx.
	patience time.Duration

	// slots holds a token for each connection that may be in use.
	slots chan struct{}

	mu     sync.Mutex
	idle   []*conn // at most as many as slots
	closed bool
	// unanswered counts requests that were given up, by their name.
	unanswered map[string]int64
}

// NewClient returns a client of up to connections connections. attempt is how long
// one controller may take for one request (controller.socket.timeout.ms). Visible
// changes wait for every broker there, so it must be more than that wait.
func NewClient(finder Finder, clientID string, connections int, attempt time.Duration) *Client {
	return &Client{finder: finder, clientID: clientID, limit: attempt, slots: make(chan struct{}, connections), unanswered: map[string]int64{}}
}

// Close closes the connections that nobody uses, and each other one when its
// request ends.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, i := range c.idle {
		i.close()
	}
	c.idle = nil
}

// Do sends req to the active controller and returns its answer. It tries until
// one controller that is active has answered, or ctx ends: a request whose
// connection broke is sent again and may then be done twice, as with Apache's
// brokers. The answer may carry any error but NOT_CONTROLLER.
func (c *Client) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	return c.do(ctx, req, req, nil)
}

// DoNoted is Do for a request that must not leave before note has returned nil. It
// goes over a connection of its own, that a controller has just answered on: where
// none does nothing has left.
func (c *Client) DoNoted(ctx context.Context, req kmsg.Request, note func() error) (kmsg.Response, error) {
	return c.do(ctx, req, req, note)
}

// do is Do for a request inside another one: of is what is asked for.
func (c *Client) do(ctx context.Context, req, of kmsg.Request, note func() error) (kmsg.Response, error) {
	resp, err := c.try(ctx, req, note)
	if err != nil {
		c.mu.Lock()
		c.unanswered[kmsg.NameForKey(of.Key())]++ // as many names as there are requests
		c.mu.Unlock()
	}
	return resp, err
}

func (c *Client) try(ctx context.Context, req kmsg.Request, note func() error) (kmsg.Response, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s to the controllers: %w", kmsg.NameForKey(req.Key()), ctx.Err())
	}
	defer func() { <-c.slots }()
	pause := retryPause
	var last error
	for {
		leader, err := c.leader(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s to the controllers: %w", kmsg.NameForKey(req.Key()), errors.Join(err, last))
		}
		resp, err := c.attempt(ctx, leader, req, note)
		if err == nil || errors.Is(err, errNoVersion) {
			return resp, err
		}
		last = err
		c.finder.Stale(leader)
		if !clock.Rest(ctx, pause) {
			return nil, fmt.Errorf("%s to the controllers: %w", kmsg.NameForKey(req.Key()), errors.Join(ctx.Err(), last))
		}
		pause = min(2*pause, maxRetryPause)
	}
}

// errNoController says that none was found in time.
var errNoController = errors.New("no active controller is found")

// leader waits for an active controller.
func (c *Client) leader(ctx context.Context) (Leader, error) {
	if c.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.patience, errNoController)
		defer cancel()
	}
	l, err := c.finder.Leader(ctx)
	if err != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return l, err
}

// countUnanswered adds to counts how many requests were given up, by their name.
func (c *Client) countUnanswered(counts map[string]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, n := range c.unanswered {
		counts[name] += n
	}
}

// errNotController is the answer of a controller that is not active.
var errNotController = errors.New("it is not the active controller")

func (c *Client) attempt(ctx context.Context, leader Leader, req kmsg.Request, note func() error) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	conn, err := c.connect(ctx, leader.Address, note)
	if err != nil {
		return nil, err
	}
	resp, err := conn.do(ctx, req)
	if err != nil {
		conn.close()
		return nil, err
	}
	c.give(conn)
	if topError(resp) == wire.NotController {
		return nil, fmt.Errorf("%s to controller %s: %w", kmsg.NameForKey(req.Key()), leader.Address, errNotController)
	}
	return resp, nil
}

// connect returns a connection for a request: a new one if something has to be noted
// before.
func (c *Client) connect(ctx context.Context, address string, note func() error) (*conn, error) {
	if note == nil {
		return c.take(ctx, address)
	}
	conn, err := dialConn(ctx, address, c.clientID)
	if err != nil {
		return nil, err
	}
	if err := note(); err != nil {
		conn.close()
		return nil, err
	}
	return conn, nil
}

// take returns an idle connection to the address or makes one; connections to
// other addresses are closed.
func (c *Client) take(ctx context.Context, address string) (*conn, error) {
	c.mu.Lock()
	var found *conn
	for found == nil && len(c.idle) > 0 {
		last := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if last.address == address {
			found = last
		} else {
			last.close()
		}
	}
	c.mu.Unlock()
	if found != nil {
		return found, nil
	}
	return dialConn(ctx, address, c.clientID)
}

func (c *Client) give(used *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		used.close()
		return
	}
	c.idle = append(c.idle, used)
}

// topError is the error code of a whole response, None where it has none.
func topError(resp kmsg.Response) wire.Code {
	field := reflect.ValueOf(resp).Elem().FieldByName("ErrorCode")
	if !field.IsValid() || field.Kind() != reflect.Int16 {
		return wire.None
	}
	return wire.Code(field.Int())
}

// Forward sends a client's request to the active controller inside an Envelope
// (KIP-590) and returns the answer for the client, at the request's version. The
// error is a wire error for the client: REQUEST_TIMED_OUT when ctx ended first.
func (c *Client) Forward(ctx context.Context, who protocol.Principal, from netip.Addr, r *protocol.Request) (kmsg.Response, error) {
	env := kmsg.NewPtrEnvelopeRequest()
	env.RequestData = protocol.AppendRequest(nil, r.CorrelationID, r.ClientID, r.Body)[4:]
	env.RequestPrincipal = protocol.AppendPrincipal(nil, who)
	env.ClientHostAddress = from.AsSlice()
	body, err := c.do(ctx, env, r.Body, nil)
	if err != nil {
		return nil, wire.New(wire.RequestTimedOut, "the request could not be forwarded to the active controller: %v", err)
	}
	answer := body.(*kmsg.EnvelopeResponse)
	switch code := wire.Code(answer.ErrorCode); code {
	case wire.None:
	case wire.UnsupportedVersion:
		return nil, wire.New(wire.UnsupportedVersion, "the active controller does not serve version %d of %s", r.Version, r.API.Name)
	default:
		return nil, wire.New(wire.UnknownServerError, "the active controller did not take a forwarded %s: %v", r.API.Name, code.Err())
	}
	resp := r.Response()
	if _, err := protocol.ReadResponse(answer.ResponseData, resp); err != nil {
		return nil, wire.New(wire.UnknownServerError, "the answer to a forwarded %s: %v", r.API.Name, err)
	}
	return resp, nil
}
