package listener

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// conn is one connection. Its life:
//
//	opened ──(Authenticator)──▶ authenticated ──▶ ended (once, with a Reason)
//	   └── PLAINTEXT: begins here ──┘
//
// Before it is authenticated, frames are at most 64 KiB, only ApiVersions and
// SASL are answered, and all of it must be over within AuthTimeout.
type conn struct {
	l      *Listener
	sock   net.Conn
	id     ConnID
	addr   netip.AddrPort
	opened time.Time
	head   [prefix]byte // of the frame that is read; the reader's own

	cancel context.CancelFunc // ends its requests
	frames chan frame         // unbuffered: the reader is one frame ahead

	auth      Authenticator // nil once authenticated; the server's own
	principal atomic.Pointer[protocol.Principal]
	clientID  atomic.Pointer[string] // of the last request
	busy      atomic.Bool
	active    atomic.Int64  // nanoseconds from opened to the last answer, as the wall clock may be set
	reason    atomic.Uint32 // why it ended; the first reason stays
	out       []byte        // reused for encoding; the server's own

	// A connection whose client has a quota is read no frame ahead: what waits
	// while it is muted would hold budget that others need.
	limited  atomic.Bool
	taken    int64 // frames handed to the server; the reader's own
	answered atomic.Int64
	turn     chan struct{} // has room for one: answered has grown
}

// newConn makes a connection and the context of its requests.
func newConn(ctx context.Context, l *Listener, sock net.Conn) (*conn, context.Context) {
	c := &conn{l: l, sock: sock, id: ConnID(lastConn.Add(1)), opened: time.Now(), frames: make(chan frame), turn: make(chan struct{}, 1)}
	if tcp, ok := sock.RemoteAddr().(*net.TCPAddr); ok {
		a := tcp.AddrPort()
		c.addr = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	ctx, c.cancel = context.WithCancel(ctx)
	if l.cfg.Authenticate == nil {
		c.principal.Store(&protocol.Anonymous)
	} else {
		c.auth = l.cfg.Authenticate()
	}
	return c, ctx
}

// serve runs the connection to its end.
func (c *conn) serve(ctx context.Context) {
	if c.l.cfg.Events.Opened != nil {
		c.l.cfg.Events.Opened(c.peer())
	}
	readerDone := make(chan struct{})
	go func() {
		defer close(readerDone)
		c.read(ctx)
	}()
	for f := range c.frames {
		c.busy.Store(true)
		wait := c.answer(ctx, f)
		f.release()
		c.mute(ctx, wait)
		c.active.Store(int64(time.Since(c.opened)))
		c.busy.Store(false)
		c.answered.Add(1)
		select {
		case c.turn <- struct{}{}:
		default:
		}
	}
	c.end(Closed) // the reader left without a reason: the listener drains
	<-readerDone
	if c.l.cfg.Events.Closed != nil {
		c.l.cfg.Events.Closed(c.peer(), Reason(c.reason.Load()))
	}
}

// end closes the connection; only the first reason counts.
func (c *conn) end(why Reason) {
	if !c.reason.CompareAndSwap(0, uint32(why)) {
		return
	}
	c.cancel()
	_ = c.sock.Close() // its reader and writer see it
}

// endLogged ends the connection and says why, unless that is everyday life.
func (c *conn) endLogged(why Reason, err error) {
	if c.reason.Load() != 0 {
		return
	}
	c.end(why)
	if why == PeerClosed || why == Idle {
		c.l.cfg.Log.Debug("connection closed", "client", c.addr, "conn", c.id, "reason", why.String())
		return
	}
	p := c.peer()
	c.l.gate.info(c.l.cfg.Log, "connection closed", "client", c.addr, "conn", c.id, "client_id", p.ClientID, "reason", why.String(), "err", err)
}

func (c *conn) peer() Peer {
	p := Peer{Conn: c.id, Addr: c.addr, Listener: c.l.cfg.Name}
	if id := c.clientID.Load(); id != nil {
		p.ClientID = *id
	}
	if who := c.principal.Load(); who != nil {
		p.Principal = *who
	}
	return p
}

// answer takes one frame from the check to the written response, and returns how
// long the connection is to be muted then.
func (c *conn) answer(ctx context.Context, f frame) (mute time.Duration) {
	checked, err := protocol.Check(f.bytes)
	if err != nil {
		if checked.Key == protocol.KeyAPIVersions && errors.CodeOf(err) == errors.UnsupportedVersion {
			c.write(protocol.AppendResponse(c.out[:0], checked.CorrelationID, protocol.APIVersionsFallback()))
			return 0
		}
		c.endLogged(BadRequest, err)
		return 0
	}
	handler, err := c.handler(&checked)
	if err != nil {
		c.endLogged(BadRequest, err)
		return 0
	}
	decoded := &c.l.cfg.Budget.decoded
	cost := int64(checked.Cost)
	if cost > decoded.max {
		c.endLogged(BadRequest, errors.New(errors.InvalidRequest, "decoding %s would take %d bytes, the budget has %d", checked.Key, cost, decoded.max))
		return 0
	}
	charge, err := decoded.acquire(ctx, cost)
	if err != nil {
		return 0 // the connection ended meanwhile
	}
	defer charge.release()
	return c.handle(ctx, f, &checked, handler)
}

// handler finds who answers. What is not bound on this listener, or not allowed
// before authentication, has none: the connection is closed, as Apache does.
func (c *conn) handler(r *protocol.Checked) (Handler, error) {
	sasl := r.Key == protocol.KeySASLHandshake || r.Key == protocol.KeySASLAuthenticate
	switch {
	case r.Key == protocol.KeyAPIVersions:
		return c.apiVersions, nil
	case c.auth != nil && sasl:
		return c.authenticate, nil
	case c.auth != nil:
		return nil, errors.New(errors.IllegalSASLState, "%s before authentication", r.Key)
	}
	return c.l.cfg.Handlers.Lookup(r.Key, r.Version)
}

// handle decodes, calls the handler and writes; it returns the time of silence.
func (c *conn) handle(ctx context.Context, f frame, checked *protocol.Checked, handler Handler) time.Duration {
	body, err := checked.Decode()
	if err != nil {
		c.endLogged(BadRequest, err)
		return 0
	}
	r := &Request{Request: body, Client: c.addr, Listener: c.l.cfg.Name, Conn: c.id, Received: f.at, quotas: c.l.cfg.Quotas}
	if who := c.principal.Load(); who != nil {
		r.Principal = *who
	}
	c.clientID.Store(body.ClientID)
	c.limited.Store(r.quotas.Limited(r.Principal.Name, r.clientID()))
	began := time.Now()
	resp, err := c.call(ctx, r, handler)
	ended := time.Now()
	r.charge(len(f.bytes)+4, ended.Sub(began))
	r.announce(&resp)
	written := 0
	if err == nil || resp.body != nil {
		written = c.respond(r, &resp)
	}
	defer resp.done()
	if err != nil {
		why := HandlerFailed
		if c.auth != nil {
			why = AuthFailed
		}
		c.endLogged(why, err)
		return 0
	}
	if byWish[r.Key] {
		r.Parked(ended.Sub(began))
	}
	served := Served{
		Key: r.Key, Version: r.Version, RequestBytes: len(f.bytes) + 4, ResponseBytes: written,
		Waited: began.Sub(f.at), Handled: ended.Sub(began), Wrote: time.Since(ended), Throttled: r.throttle,
		Remote: min(r.remote, ended.Sub(began)), Parked: min(r.parked, ended.Sub(began)), Response: resp.message(),
	}
	c.slow(r, &served)
	if !r.audited {
		c.l.cfg.Audit.Answered(Asker{Principal: r.Principal, Client: r.Client.Addr(), Listener: r.Listener}, r.Request, served.Response)
	}
	if c.l.cfg.Events.Served != nil {
		c.l.cfg.Events.Served(served)
	}
	return r.throttle
}

// call gives the request to its handler, within the time that one may take.
func (c *conn) call(ctx context.Context, r *Request, handler Handler) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.l.cfg.RequestTimeout)
	defer cancel()
	return handler(ctx, r)
}

// respond encodes and writes; it returns the bytes of the response frame.
func (c *conn) respond(r *Request, resp *Response) int {
	switch {
	case resp.silent:
		return 0
	case resp.body != nil:
		if resp.body.Key() != int16(r.Key) {
			panic("listener: the handler of " + r.Key.String() + " answered " + protocol.Key(resp.body.Key()).String())
		}
		resp.body.SetVersion(r.Version)
		return c.write(protocol.AppendResponse(c.out[:0], r.CorrelationID, resp.body))
	}
	if resp.raw == nil {
		panic("listener: the handler of " + r.Key.String() + " answered nothing")
	}
	return c.writeBody(r, resp.raw)
}

// apiVersions is the listener's own answer.
func (c *conn) apiVersions(_ context.Context, r *Request) (Response, error) {
	return Reply(c.l.cfg.Handlers.APIVersions(r.Body.(*kmsg.ApiVersionsRequest), c.l.cfg.Features())), nil
}

// authenticate gives a SASL request to the authenticator.
func (c *conn) authenticate(ctx context.Context, r *Request) (Response, error) {
	resp, who, err := c.auth.Step(ctx, r)
	if err == nil && who != nil {
		c.principal.Store(who)
		c.auth = nil
	}
	return resp, err
}
