package listener

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"kvorum/protocol"
	wire "kvorum/protocol/errors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a controller's listener on loopback with the given handlers.
func start(t testing.TB, change func(*Config), bind func(*protocol.Handlers[Handler])) *Listener {
	t.Helper()
	h := protocol.NewHandlers[Handler](protocol.Controller)
	if bind != nil {
		bind(h)
	}
	cfg := Config{
		Name: "CONTROLLER", Addr: "127.0.0.1:0", Handlers: h, Budget: NewBudget(DefaultBudget),
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	l, err := New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.Serve(context.Background())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
		if frames, decoded := cfg.Budget.InUse(); frames != 0 || decoded != 0 {
			t.Errorf("closed with %d and %d bytes of the budget in use", frames, decoded)
		}
		if n := l.Connections(); n != 0 {
			t.Errorf("closed with %d connections", n)
		}
	})
	return l
}

// client is a raw connection.
type client struct {
	t testing.TB
	net.Conn
	next int32
}

func dial(t testing.TB, l *Listener) *client {
	t.Helper()
	sock, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sock.Close() })
	_ = sock.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: t, Conn: sock}
}

func (c *client) send(body kmsg.Request) int32 {
	c.t.Helper()
	c.next++
	id := "raw"
	c.sendBytes(protocol.AppendRequest(nil, c.next, &id, body))
	return c.next
}

func (c *client) sendBytes(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, frame)
	return frame, err
}

func (c *client) receive(resp kmsg.Response) int32 {
	c.t.Helper()
	frame, err := c.frame()
	if err != nil {
		c.t.Fatal(err)
	}
	id, err := protocol.ReadResponse(frame, resp)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// ended waits for the server to close the connection.
func (c *client) ended() {
	c.t.Helper()
	if n, err := io.Copy(io.Discard, c); n != 0 || errors.Is(err, context.DeadlineExceeded) {
		c.t.Fatalf("%d bytes instead of the end, %v", n, err)
	}
}

func heartbeat(id int32) *kmsg.BrokerHeartbeatRequest {
	r := kmsg.NewPtrBrokerHeartbeatRequest()
	r.Version, r.BrokerID = 2, id
	return r
}

func newHeartbeatResponse() *kmsg.BrokerHeartbeatResponse {
	r := kmsg.NewPtrBrokerHeartbeatResponse()
	r.Version = 2
	return r
}

// echo answers a heartbeat with its broker id as the throttle time.
func echo(_ context.Context, r *Request) (Response, error) {
	resp := r.Response().(*kmsg.BrokerHeartbeatResponse)
	resp.ThrottleMillis = r.Body.(*kmsg.BrokerHeartbeatRequest).BrokerID
	return Reply(resp), nil
}

func bindEcho(h *protocol.Handlers[Handler]) { h.Bind(63, echo) }

// closes collects the reasons for which connections ended.
type closes struct {
	ch chan Reason
}

func watch(cfg *Config) *closes {
	c := &closes{ch: make(chan Reason, 100)}
	cfg.Events.Closed = func(_ Peer, why Reason) { c.ch <- why }
	return c
}

func (c *closes) want(t testing.TB, want Reason) {
	t.Helper()
	select {
	case why := <-c.ch:
		if why != want {
			t.Errorf("the connection ended as %s, not %s", why, want)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("no connection ended, %s was due", want)
	}
}

func TestRequestAndItsContext(t *testing.T) {
	var got *Request
	l := start(t, nil, func(h *protocol.Handlers[Handler]) {
		h.Bind(63, func(ctx context.Context, r *Request) (Response, error) {
			got = r
			return echo(ctx, r)
		})
	})
	c := dial(t, l)
	sent := c.send(heartbeat(7))
	resp := newHeartbeatResponse()
	if id := c.receive(resp); id != sent || resp.ThrottleMillis != 7 {
		t.Errorf("response %d: %+v", id, resp)
	}
	if got.Principal != protocol.Anonymous || got.Client.String() != c.LocalAddr().String() || got.Listener != "CONTROLLER" ||
		got.Conn == 0 || *got.ClientID != "raw" || got.Received.IsZero() || got.Version != 2 {
		t.Errorf("%+v", got)
	}
}

// A pipelined burst is answered in order, however long each takes.
func TestPipelineKeepsOrder(t *testing.T) {
	l := start(t, nil, func(h *protocol.Handlers[Handler]) {
		h.Bind(63, func(ctx context.Context, r *Request) (Response, error) {
			if r.Body.(*kmsg.BrokerHeartbeatRequest).BrokerID%7 == 0 {
				time.Sleep(time.Millisecond)
			}
			return echo(ctx, r)
		})
	})
	c := dial(t, l)
	const n = 200
	var burst []byte
	for i := range int32(n) {
		burst = protocol.AppendRequest(burst, i, nil, heartbeat(i))
	}
	c.sendBytes(burst)
	for i := range int32(n) {
		resp := newHeartbeatResponse()
		if id := c.receive(resp); id != i || resp.ThrottleMillis != i {
			t.Fatalf("answer %d: correlation id %d, %+v", i, id, resp)
		}
	}
}

// A parked request holds up its own connection only, and ends with it.
func TestParkedRequest(t *testing.T) {
	parked := make(chan struct{}, 1)
	ended := make(chan error, 1)
	var ends *closes
	l := start(t, func(c *Config) { ends = watch(c) }, func(h *protocol.Handlers[Handler]) {
		bindEcho(h)
		h.Bind(19, func(ctx context.Context, _ *Request) (Response, error) {
			parked <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return Response{}, ctx.Err()
		})
	})
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 7
	slow, quick := dial(t, l), dial(t, l)
	slow.send(create)
	<-parked
	quick.send(heartbeat(1))
	quick.receive(newHeartbeatResponse())
	_ = slow.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ends.want(t, PeerClosed)
}

func TestPeerResetIsTold(t *testing.T) {
	var ends *closes
	l := start(t, func(c *Config) { ends = watch(c) }, bindEcho)
	c := dial(t, l)
	c.send(heartbeat(1))
	c.receive(newHeartbeatResponse())
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	ends.want(t, PeerReset)
	if !PeerReset.ByPeer() || !PeerClosed.ByPeer() || Idle.ByPeer() || PeerLost.ByPeer() {
		t.Error("who ended a connection is mixed up")
	}
}

func TestNoReply(t *testing.T) {
	l := start(t, nil, func(h *protocol.Handlers[Handler]) {
		bindEcho(h)
		h.Bind(67, func(context.Context, *Request) (Response, error) { return NoReply(), nil })
	})
	c := dial(t, l)
	c.send(kmsg.NewPtrAllocateProducerIDsRequest())
	sent := c.send(heartbeat(3))
	if id := c.receive(newHeartbeatResponse()); id != sent {
		t.Errorf("answer to %d instead of %d", id, sent)
	}
}

func TestHandlerErrorCloses(t *testing.T) {
	var ends *closes
	l := start(t, func(c *Config) { ends = watch(c) }, func(h *protocol.Handlers[Handler]) {
		h.Bind(63, func(context.Context, *Request) (Response, error) { return Response{}, errors.New("no answer") })
	})
	c := dial(t, l)
	c.send(heartbeat(1))
	c.ended()
	ends.want(t, HandlerFailed)
}

func TestAPIVersions(t *testing.T) {
	l := start(t, func(c *Config) {
		c.Features = func() protocol.Features {
			return protocol.Features{Epoch: 5, Finalized: []protocol.FinalizedFeature{{Name: "metadata.version", Level: 21}}}
		}
	}, bindEcho)
	c := dial(t, l)
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 4, "test", "1"
	c.send(req)
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	c.receive(resp)
	if len(resp.ApiKeys) != 2 || resp.ApiKeys[1].ApiKey != 63 || resp.FinalizedFeaturesEpoch != 5 || resp.FinalizedFeatures[0].MaxVersionLevel != 21 {
		t.Errorf("%+v", resp)
	}
	// A version that does not exist yet gets the fallback, and the connection lives.
	frame := protocol.AppendRequest(nil, 77, nil, req)
	frame[7] = 42
	c.sendBytes(frame)
	fallback := kmsg.NewPtrApiVersionsResponse()
	if id := c.receive(fallback); id != 77 || fallback.ErrorCode != int16(wire.UnsupportedVersion) || len(fallback.ApiKeys) != 1 || fallback.ApiKeys[0].MaxVersion != 4 {
		t.Errorf("%d %+v", id, fallback)
	}
	c.send(heartbeat(1))
	c.receive(newHeartbeatResponse())
}

// franz-go negotiates versions and gets its answer.
func TestFranzGo(t *testing.T) {
	l := start(t, nil, bindEcho)
	cl, err := kgo.NewClient(kgo.SeedBrokers(l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := cl.SeedBrokers()[0].Request(ctx, heartbeat(9))
	if err != nil || resp.(*kmsg.BrokerHeartbeatResponse).ThrottleMillis != 9 {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestCloseDrains(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	l := start(t, nil, func(h *protocol.Handlers[Handler]) {
		h.Bind(63, func(ctx context.Context, r *Request) (Response, error) {
			close(began)
			<-finish
			return echo(ctx, r)
		})
	})
	c, idle := dial(t, l), dial(t, l)
	c.send(heartbeat(4))
	<-began
	closed := make(chan error)
	go func() { closed <- l.Close(context.Background()) }()
	idle.ended()
	close(finish)
	c.receive(newHeartbeatResponse())
	c.ended()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("a closed listener accepts")
	}
}

func TestCloseDropsWhenTimeIsUp(t *testing.T) {
	began := make(chan struct{})
	l := start(t, nil, func(h *protocol.Handlers[Handler]) {
		h.Bind(63, func(ctx context.Context, _ *Request) (Response, error) {
			close(began)
			<-ctx.Done()
			return Response{}, ctx.Err()
		})
	})
	c := dial(t, l)
	c.send(heartbeat(4))
	<-began
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.ended()
}

func TestCloseBeforeServe(t *testing.T) {
	l, err := New(context.Background(), Config{Name: "A", Addr: "127.0.0.1:0", Handlers: protocol.NewHandlers[Handler](protocol.Broker), Budget: NewBudget(MinBudget)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(context.Background()); err != nil {
		t.Error(err)
	}
	l.Serve(context.Background()) // too late: nothing happens
}

func TestConfigErrors(t *testing.T) {
	h := protocol.NewHandlers[Handler](protocol.Broker)
	for name, cfg := range map[string]Config{
		"name":     {Addr: "127.0.0.1:0", Handlers: h, Budget: NewBudget(MinBudget)},
		"handlers": {Name: "A", Addr: "127.0.0.1:0", Budget: NewBudget(MinBudget)},
		"budget":   {Name: "A", Addr: "127.0.0.1:0", Handlers: h},
		"count":    {Name: "A", Addr: "127.0.0.1:0", Handlers: h, Budget: NewBudget(MinBudget), MaxConnections: -1},
		"timeout":  {Name: "A", Addr: "127.0.0.1:0", Handlers: h, Budget: NewBudget(MinBudget), IdleTimeout: -1},
		"address":  {Name: "A", Addr: "127.0.0.1:99999", Handlers: h, Budget: NewBudget(MinBudget)},
	} {
		if _, err := New(context.Background(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEventsServed(t *testing.T) {
	var mu sync.Mutex
	var served []Served
	opened := 0
	l := start(t, func(c *Config) {
		c.Events.Opened = func(p Peer) { mu.Lock(); opened++; mu.Unlock() }
		c.Events.Served = func(s Served) { mu.Lock(); served = append(served, s); mu.Unlock() }
	}, bindEcho)
	c := dial(t, l)
	for range 3 {
		c.send(heartbeat(1))
		c.receive(newHeartbeatResponse())
	}
	// The third event follows its response; a fourth answer comes after it.
	c.send(heartbeat(1))
	c.receive(newHeartbeatResponse())
	mu.Lock()
	defer mu.Unlock()
	if opened != 1 || len(served) < 3 || served[0].Key != 63 || served[0].Version != 2 || served[0].RequestBytes < 30 || served[0].ResponseBytes < 12 {
		t.Errorf("%d opened, %+v", opened, served)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	l := start(b, nil, bindEcho)
	c := dial(b, l)
	_ = c.SetDeadline(time.Time{})
	frame := protocol.AppendRequest(nil, 1, nil, heartbeat(1))
	b.ReportAllocs()
	for b.Loop() {
		c.sendBytes(frame)
		if _, err := c.frame(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMostConnections(t *testing.T) {
	for _, tc := range []struct {
		descriptors uint64
		listeners   int
		want        int
	}{
		{0, 1, 10_000}, // not known
		{1 << 20, 2, 10_000},
		{1024, 1, 128},
		{1024, 2, 64},
		{512, 0, 64},
		{100, 3, 32},
	} {
		if got := MostConnections(tc.descriptors, tc.listeners); got != tc.want {
			t.Errorf("%d listeners with %d descriptors: %d connections each, want %d", tc.listeners, tc.descriptors, got, tc.want)
		}
	}
}
