// Package listener is where Kafka's clients and nodes connect: it accepts,
// bounds and charges frames, hands decoded requests to bound handlers one at a
// time per connection, and writes the answers in order. Controllers and brokers
// use it alike; it stands between the sockets and package protocol, and answers
// ApiVersions itself from what is bound.
//
// A connection has two goroutines: the reader takes in one frame ahead, so that
// it also notices a peer that goes away while a request is parked; the server
// checks, decodes, handles and writes. Both end before Listener.Close returns.
package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/listener/quota"
	"kvorum/protocol"
)

// Config says what one listener is and what it allows. Zero durations and
// counts take the defaults below.
type Config struct {
	Name string // Kafka's listener name, for example CONTROLLER
	Addr string // host:port to bind; port 0 takes a free one

	Handlers *protocol.Handlers[Handler]
	// Features is asked for each ApiVersions; nil announces none.
	Features func() protocol.Features
	// Authenticate makes the Authenticator of a new connection. Where it is nil
	// (PLAINTEXT) a connection begins authenticated as User:ANONYMOUS.
	Authenticate func() Authenticator
	// Listen binds; nil is TCP. A TLS listener fits in here: its handshake runs
	// with the first read, under the same deadlines.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)

	Budget *Budget // shared by the process; required

	// MaxConnections bounds what idle connections hold, about 16 KiB each.
	MaxConnections int
	// MaxConnectionsPerIP is max.connections.per.ip, and PerIP has the addresses
	// that have a limit of their own (max.connections.per.ip.overrides).
	MaxConnectionsPerIP int
	PerIP               map[netip.Addr]int
	// MaxConnectionRate is max.connection.creation.rate, in connections a second:
	// beyond it accepting waits. 0 is no limit.
	MaxConnectionRate float64
	// Quotas are the client quotas of the node, shared by its listeners; nil
	// limits nobody.
	Quotas *quota.Quotas
	// IdleTimeout is connections.max.idle.ms; a parked request is not idle.
	IdleTimeout time.Duration
	// FrameTimeout is how long a frame may take once its first byte has come, a
	// second more for each MiB. It bounds how long a peer holds budget for bytes
	// that it does not send.
	FrameTimeout time.Duration
	// WriteTimeout is how long a peer may take to accept a response, a second
	// more for each MiB.
	WriteTimeout time.Duration
	// AuthTimeout bounds the whole of authentication.
	AuthTimeout time.Duration
	// RequestTimeout ends a request's context, so that no handler holds budget
	// for ever.
	RequestTimeout time.Duration

	// SlowRequest is from when on a request is logged as slow; 0 logs none.
	SlowRequest time.Duration
	// Audit takes the requests that change something and those that are denied;
	// nil takes none.
	Audit *Audit

	Events Events
	Log    *slog.Logger // nil is slog.Default
}

// The defaults, and why they are so.
const (
	// DefaultMaxConnections keeps idle connections below 160 MiB.
	DefaultMaxConnections = 10_000
	// leastConnections lets clients in, few, where hardly any descriptors are allowed.
	leastConnections = 32
	// DefaultIdleTimeout is Kafka's connections.max.idle.ms.
	DefaultIdleTimeout = 10 * time.Minute
	// DefaultFrameTimeout and DefaultWriteTimeout are request.timeout.ms of a
	// Kafka client: it gives up by then.
	DefaultFrameTimeout = 30 * time.Second
	DefaultWriteTimeout = 30 * time.Second
	// DefaultAuthTimeout is 10 s: three round trips and a slow password hash.
	DefaultAuthTimeout = 10 * time.Second
	// DefaultRequestTimeout is beyond every time limit that a request can name
	// (max.poll and rebalance time-outs are 5 minutes by default).
	DefaultRequestTimeout = 10 * time.Minute
)

// MostConnections bounds what one of a role's listeners may take, whatever max.connections
// says: what idle connections hold of memory, and of the descriptors that the process
// may have (0: not known). A role's listeners share an eighth of these: connections come
// from outside, and files that cannot be opened for them would stop the node.
func MostConnections(descriptors uint64, listeners int) int {
	if descriptors == 0 {
		return DefaultMaxConnections
	}
	share := descriptors / 8 / uint64(max(1, listeners))
	return int(min(max(share, leastConnections), DefaultMaxConnections))
}

func (c *Config) withDefaults() {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.MaxConnections, DefaultMaxConnections)
	orInt(&c.MaxConnectionsPerIP, c.MaxConnections)
	orTime(&c.IdleTimeout, DefaultIdleTimeout)
	orTime(&c.FrameTimeout, DefaultFrameTimeout)
	orTime(&c.WriteTimeout, DefaultWriteTimeout)
	orTime(&c.AuthTimeout, DefaultAuthTimeout)
	orTime(&c.RequestTimeout, DefaultRequestTimeout)
	if c.Listen == nil {
		c.Listen = new(net.ListenConfig).Listen
	}
	if c.Features == nil {
		c.Features = func() protocol.Features { return protocol.Features{Epoch: -1} }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Log = c.Log.With("component", "listener", "listener", c.Name)
}

func (c *Config) validate() error {
	switch {
	case c.Name == "":
		return errors.New("listener without a name")
	case c.Handlers == nil:
		return fmt.Errorf("listener %s has no handlers", c.Name)
	case c.Budget == nil:
		return fmt.Errorf("listener %s has no budget", c.Name)
	case c.MaxConnections < 1, c.MaxConnectionsPerIP < 1:
		return fmt.Errorf("listener %s allows %d connections, %d from one address: at least 1", c.Name, c.MaxConnections, c.MaxConnectionsPerIP)
	case min(c.IdleTimeout, c.FrameTimeout, c.WriteTimeout, c.AuthTimeout, c.RequestTimeout) < 0:
		return fmt.Errorf("listener %s has a negative timeout", c.Name)
	}
	return nil
}

// Listener is a bound listener. Serve starts it, Close ends it.
type Listener struct {
	cfg  Config
	sock net.Listener

	draining chan struct{}  // closed when no further request is taken
	running  sync.WaitGroup // the accept loop and every connection
	gate     gate
	slow     gate // of the lines about slow requests

	mu      sync.Mutex
	state   state
	cancel  context.CancelFunc // drops every request; set by Serve
	conns   map[*conn]struct{}
	fromIPs map[netip.Addr]int // bounded by len(conns)
	limits  Limits
}

// Limits are those of Config's keys that may change while a listener serves. None is
// above what its Config may have; connections that are open stay so.
type Limits struct {
	MaxConnections, MaxConnectionsPerIP int
	PerIP                               map[netip.Addr]int // not to be changed any more
	MaxConnectionRate                   float64
}

// SetLimits changes the limits; the next connection is judged by them.
func (l *Listener) SetLimits(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
}

type state uint8

const (
	bound state = iota
	serving
	closed
)

var lastConn atomic.Uint64

// New binds the address, but accepts nothing before Serve: as in Apache, a
// node's ports are taken before it is ready.
func New(ctx context.Context, cfg Config) (*Listener, error) {
	cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	sock, err := cfg.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("bind listener %s to %s: %w", cfg.Name, cfg.Addr, err)
	}
	return &Listener{
		cfg: cfg, sock: sock, draining: make(chan struct{}), cancel: func() {},
		conns: make(map[*conn]struct{}), fromIPs: make(map[netip.Addr]int),
		limits: Limits{cfg.MaxConnections, cfg.MaxConnectionsPerIP, cfg.PerIP, cfg.MaxConnectionRate},
	}, nil
}

// Addr is the bound address.
func (l *Listener) Addr() net.Addr { return l.sock.Addr() }

// Connections is the number of open connections.
func (l *Listener) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Serve starts to accept; it returns at once. It may be called once. ctx is the
// parent of every request's context; it is Close that ends the listener.
func (l *Listener) Serve(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == closed {
		return
	}
	if l.state != bound {
		panic(fmt.Sprintf("listener %s: Serve was called twice", l.cfg.Name))
	}
	l.state = serving
	ctx, l.cancel = context.WithCancel(ctx)
	l.running.Add(1)
	go l.accept(ctx)
}

// Close stops accepting, lets requests that are being handled finish and their
// answers go out, and closes every connection. When ctx ends first, requests
// are dropped and ctx's error is returned. Nothing of the listener runs after
// Close has returned.
func (l *Listener) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.state == closed {
		l.mu.Unlock()
		l.running.Wait()
		return nil
	}
	l.state = closed
	close(l.draining)
	err := l.sock.Close()
	for c := range l.conns {
		c.stopReading()
	}
	l.mu.Unlock()
	// From here on the connections end by themselves, or are made to.
	stop := context.AfterFunc(ctx, l.drop)
	l.running.Wait()
	stop()
	l.drop()
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("close listener %s: requests were dropped: %w", l.cfg.Name, ctxErr)
	}
	if err != nil {
		return fmt.Errorf("close listener %s: %w", l.cfg.Name, err)
	}
	return nil
}

// drop ends every request and connection now.
func (l *Listener) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel()
	for c := range l.conns {
		c.end(Closed)
	}
}

// accept takes connections until the socket is closed. When the process is out
// of file descriptors it waits a little and goes on.
func (l *Listener) accept(ctx context.Context) {
	defer l.running.Done()
	wait := time.Duration(0)
	rate := quota.Meter{Window: quota.DefaultWindow}
	for {
		sock, err := l.sock.Accept()
		if err == nil {
			wait = 0
			if rate.Bound = l.rateBound(); rate.Bound > 0 {
				l.pause(rate.Record(1, time.Now()))
			}
			l.open(ctx, sock)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		l.gate.info(l.cfg.Log, "accept failed", "err", err, "retry_in", wait)
		if !l.pause(wait) {
			return
		}
	}
}

func (l *Listener) rateBound() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limits.MaxConnectionRate
}

// pause waits; false when the listener drains.
func (l *Listener) pause(wait time.Duration) bool {
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.draining:
		return false
	}
}

// open admits a connection or closes it: at once, or where its address connects
// too often after the time for which that is so, which slows it down. A held
// connection counts as one, so the limits hold for it.
func (l *Listener) open(ctx context.Context, sock net.Conn) {
	c, ctx := newConn(ctx, l, sock)
	if why, ok := l.admit(c); !ok {
		l.refuse(c, why)
		return
	}
	held := l.cfg.Quotas.Connect(c.addr.Addr(), time.Now())
	go func() {
		defer l.running.Done()
		if held > 0 {
			l.pause(held)
			l.refuse(c, TooFast)
		} else {
			c.serve(ctx)
		}
		l.forget(c)
	}()
}

func (l *Listener) refuse(c *conn, why Reason) {
	c.cancel()
	_ = c.sock.Close() // nothing was promised
	if l.cfg.Events.Refused != nil {
		l.cfg.Events.Refused(c.addr, why)
	}
	l.gate.info(l.cfg.Log, "connection refused", "client", c.addr, "reason", why.String())
}

func (l *Listener) admit(c *conn) (Reason, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state == closed:
		return Closed, false
	case len(l.conns) >= l.limits.MaxConnections:
		return TooMany, false
	case l.fromIPs[c.addr.Addr()] >= l.perIP(c.addr.Addr()):
		return TooManyFromIP, false
	}
	l.conns[c] = struct{}{}
	l.fromIPs[c.addr.Addr()]++
	l.running.Add(1)
	return 0, true
}

// perIP is how many connections an address may have, under mu.
func (l *Listener) perIP(ip netip.Addr) int {
	if most, ok := l.limits.PerIP[ip]; ok {
		return most
	}
	return l.limits.MaxConnectionsPerIP
}

func (l *Listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	if l.fromIPs[c.addr.Addr()]--; l.fromIPs[c.addr.Addr()] == 0 {
		delete(l.fromIPs, c.addr.Addr())
	}
}
