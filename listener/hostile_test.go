package listener

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
)

// announce is the beginning of a frame of so many bytes.
func announce(size uint32, key protocol.Key, version uint16) []byte {
	b := binary.BigEndian.AppendUint32(nil, size)
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, version)
	return append(b, 0, 0, 0, 1)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// A thousand connections announce 2 GiB each, and a thousand announce the most
// that CreateTopics may have: neither costs memory, and others are served.
func TestAnnouncedBytesAreNotAllocated(t *testing.T) {
	l := start(t, func(c *Config) { c.FrameTimeout = time.Minute }, bindEcho)
	before := heap()
	for _, first := range [][]byte{announce(0x7fffffff, 19, 7), announce(protocol.FrameCluster, 19, 7)} {
		for range 1000 {
			c := dial(t, l)
			c.sendBytes(first)
		}
		if after := heap(); after > before+128<<20 {
			t.Errorf("%d MiB grew to %d", before>>20, after>>20)
		}
		c := dial(t, l)
		for range 10 {
			c.send(heartbeat(1))
			c.receive(newHeartbeatResponse())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() { <-time.After(100 * time.Millisecond); cancel() }() // waiters for budget are dropped
	if err := l.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBadFramesClose(t *testing.T) {
	apiVersions := kmsg.NewPtrApiVersionsRequest()
	apiVersions.Version = 3
	tags := protocol.AppendRequest(nil, 1, nil, apiVersions)
	tags = append(tags[:len(tags)-1], 0xff, 0xff, 0xff, 0xff, 0x0f)
	binary.BigEndian.PutUint32(tags, uint32(len(tags)-4))
	old := protocol.AppendRequest(nil, 1, nil, heartbeat(1))
	old[7] = 99
	cut := protocol.AppendRequest(nil, 1, nil, heartbeat(1))
	cut = cut[:len(cut)-4]
	binary.BigEndian.PutUint32(cut, uint32(len(cut)-4))
	for name, frame := range map[string][]byte{
		"negative length":     announce(0x80000000, 63, 2),
		"length 0":            {0, 0, 0, 0},
		"length 7":            {0, 0, 0, 7},
		"above the limit":     announce(protocol.FramePreAuth+1, 63, 2),
		"unknown key, large":  announce(protocol.FramePreAuth+1, 999, 0),
		"unknown key":         announce(8, 999, 0),
		"own key":             announce(8, 20000, 0),
		"not bound":           protocol.AppendRequest(nil, 1, nil, kmsg.NewPtrAllocateProducerIDsRequest()),
		"a broker's API":      protocol.AppendRequest(nil, 1, nil, kmsg.NewPtrMetadataRequest()),
		"unknown version":     old,
		"body ends too early": cut,
		"4 billion tags":      tags,
		"SASL on PLAINTEXT":   protocol.AppendRequest(nil, 1, nil, kmsg.NewPtrSASLHandshakeRequest()),
		"an HTTP request":     []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"a TLS hello":         []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh"),
	} {
		t.Run(name, func(t *testing.T) {
			var ends *closes
			l := start(t, func(c *Config) { ends = watch(c) }, bindEcho)
			c := dial(t, l)
			c.sendBytes(frame)
			c.ended()
			ends.want(t, BadRequest)
		})
	}
}

func TestSlowFrame(t *testing.T) {
	whole := protocol.AppendRequest(nil, 1, nil, heartbeat(1))
	for name, n := range map[string]int{"first byte": 1, "length": 4, "header": 10, "body": len(whole) - 1} {
		t.Run(name, func(t *testing.T) {
			var ends *closes
			l := start(t, func(c *Config) { ends = watch(c); c.FrameTimeout = 30 * time.Millisecond }, bindEcho)
			c := dial(t, l)
			c.sendBytes(whole[:n])
			c.ended()
			ends.want(t, SlowFrame)
		})
	}
}

func TestIdle(t *testing.T) {
	var ends *closes
	l := start(t, func(c *Config) { ends = watch(c); c.IdleTimeout = 50 * time.Millisecond }, func(h *protocol.Handlers[Handler]) {
		h.Bind(63, func(ctx context.Context, r *Request) (Response, error) {
			time.Sleep(120 * time.Millisecond) // longer than idle: a parked request is not idle
			return echo(ctx, r)
		})
	})
	c := dial(t, l)
	c.send(heartbeat(1))
	c.receive(newHeartbeatResponse())
	c.ended()
	ends.want(t, Idle)
}

func TestSlowReader(t *testing.T) {
	var ends *closes
	body := make([]byte, 1<<20-100) // a MiB would have a second more
	l := start(t, func(c *Config) { ends = watch(c); c.WriteTimeout = 50 * time.Millisecond }, func(h *protocol.Handlers[Handler]) {
		h.Bind(1, func(context.Context, *Request) (Response, error) {
			return RawReply(&protocol.Body{Bytes: body}, nil), nil
		})
	})
	c := dial(t, l)
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	req := kmsg.NewPtrFetchRequest()
	req.Version = 17
	for range 40 { // more than the kernel buffers
		if _, err := c.Write(protocol.AppendRequest(nil, 1, nil, req)); err != nil {
			break
		}
	}
	ends.want(t, SlowReader)
}

func TestConnectionLimits(t *testing.T) {
	refused := make(chan Reason, 10)
	for want, change := range map[Reason]func(*Config){
		TooMany:       func(c *Config) { c.MaxConnections = 2 },
		TooManyFromIP: func(c *Config) { c.MaxConnectionsPerIP = 2 },
	} {
		l := start(t, func(c *Config) {
			change(c)
			c.Events.Refused = func(_ netip.AddrPort, why Reason) { refused <- why }
		}, bindEcho)
		a, b := dial(t, l), dial(t, l)
		for _, c := range []*client{a, b} {
			c.send(heartbeat(1))
			c.receive(newHeartbeatResponse())
		}
		dial(t, l).ended()
		if why := <-refused; why != want {
			t.Errorf("refused as %s, not %s", why, want)
		}
	}
}

// password is an Authenticator that knows one user.
type password struct{ shaken bool }

func (p *password) Step(_ context.Context, r *Request) (Response, *protocol.Principal, error) {
	switch req := r.Body.(type) {
	case *kmsg.SASLHandshakeRequest:
		p.shaken = req.Mechanism == "PLAIN"
		return Reply(r.Response()), nil, nil
	case *kmsg.SASLAuthenticateRequest:
		if p.shaken && string(req.SASLAuthBytes) == "alice" {
			return Reply(r.Response()), &protocol.Principal{Type: "User", Name: "alice"}, nil
		}
		return Reply(r.Response()), nil, errors.New("wrong password")
	}
	panic("only SASL comes here")
}

func TestAuthentication(t *testing.T) {
	var ends *closes
	var who protocol.Principal
	l := start(t, func(c *Config) {
		ends = watch(c)
		c.Authenticate = func() Authenticator { return new(password) }
		c.AuthTimeout = 300 * time.Millisecond
	}, func(h *protocol.Handlers[Handler]) {
		h.Bind(63, func(ctx context.Context, r *Request) (Response, error) {
			who = r.Principal
			return echo(ctx, r)
		})
	})
	shake := kmsg.NewPtrSASLHandshakeRequest()
	shake.Version, shake.Mechanism = 1, "PLAIN"
	login := func(name string) *kmsg.SASLAuthenticateRequest {
		r := kmsg.NewPtrSASLAuthenticateRequest()
		r.Version, r.SASLAuthBytes = 2, []byte(name)
		return r
	}

	early := dial(t, l)
	early.send(heartbeat(1))
	early.ended()
	ends.want(t, BadRequest)

	large := dial(t, l)
	large.sendBytes(announce(protocol.FramePreAuth+1, 19, 7))
	large.ended()
	ends.want(t, BadRequest)

	silent := dial(t, l)
	silent.ended()
	ends.want(t, AuthTimedOut)

	wrong := dial(t, l)
	wrong.send(shake)
	wrong.receive(shake.ResponseKind())
	wrong.send(login("mallory"))
	wrong.receive(login("").ResponseKind())
	wrong.ended()
	ends.want(t, AuthFailed)

	good := dial(t, l)
	good.send(kmsg.NewPtrApiVersionsRequest())
	good.receive(kmsg.NewPtrApiVersionsResponse())
	good.send(shake)
	good.receive(shake.ResponseKind())
	good.send(login("alice"))
	good.receive(login("").ResponseKind())
	good.send(heartbeat(1))
	good.receive(newHeartbeatResponse())
	time.Sleep(400 * time.Millisecond) // past AuthTimeout: it no longer counts
	good.send(heartbeat(1))
	good.receive(newHeartbeatResponse())
	if who.String() != "User:alice" {
		t.Error(who)
	}
}

// FuzzConnection: whatever bytes come, the listener neither panics nor hangs.
func FuzzConnection(f *testing.F) {
	f.Add(protocol.AppendRequest(nil, 1, nil, heartbeat(1)))
	f.Add(announce(0x7fffffff, 19, 7))
	f.Add([]byte{0, 0, 0, 0})
	l := start(f, nil, bindEcho)
	f.Fuzz(func(t *testing.T, data []byte) {
		c := dial(t, l)
		_, _ = c.Write(data) // the other side may have closed already
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		for {
			if _, err := c.frame(); err != nil {
				return
			}
		}
	})
}
