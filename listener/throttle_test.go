package listener

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol"
)

// quotas have one line for each quota: "user=ANONYMOUS producer_byte_rate 10".
func quotas(t testing.TB, lines ...string) *quota.Quotas {
	t.Helper()
	d := image.NewDelta(image.Empty())
	for _, line := range lines {
		r := &record.ClientQuotaRecord{}
		var entity string
		if _, err := fmt.Sscan(line, &entity, &r.Key, &r.Value); err != nil {
			t.Fatal(err)
		}
		kind, name, _ := strings.Cut(entity, "=")
		r.Entity = []record.QuotaEntity{{EntityType: kind, EntityName: &name}}
		if err := d.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	q := quota.New(quota.Window{Samples: 11, Length: 100 * time.Millisecond})
	q.Publish(quota.FromImage(d.Apply(image.Position{})))
	return q
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// A producer beyond its quota is told how long to be silent and is not served for
// as long, and what it has sent meanwhile holds no budget.
func TestProduceQuotaMutes(t *testing.T) {
	var calls atomic.Int32
	var budget *Budget
	l := start(t, func(c *Config) {
		onBroker(func(h *protocol.Handlers[Handler]) {
			h.BindVersions(protocol.KeyProduce, 3, 13, func(context.Context, *Request) (Response, error) {
				calls.Add(1)
				return Reply(kmsg.NewPtrProduceResponse()), nil
			})
		})(c)
		c.Quotas, budget = quotas(t, "user=ANONYMOUS producer_byte_rate 1000"), c.Budget
	}, nil)
	c := dial(t, l)
	answer := func() int32 {
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 9
		c.receive(resp)
		return resp.ThrottleMillis
	}
	c.send(produce(1, 100))
	if ms := answer(); ms != 0 {
		t.Errorf("within the quota: %d ms", ms)
	}
	c.send(produce(2, 1_000_000))
	c.send(produce(3, 1_000_000))
	if ms := answer(); ms < 900_000 {
		t.Errorf("a thousand times the quota: %d ms", ms)
	}
	until(t, "the budget of a muted connection is free", func() bool {
		frames, decoded := budget.InUse()
		return frames == 0 && decoded == 0
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("%d requests were handled", n)
	}
}

// Silence ends: a client that is throttled for a moment is served afterwards.
func TestMuteEnds(t *testing.T) {
	l := start(t, func(c *Config) {
		onBroker(func(h *protocol.Handlers[Handler]) {
			h.BindVersions(protocol.KeyProduce, 3, 13, func(context.Context, *Request) (Response, error) {
				return Reply(kmsg.NewPtrProduceResponse()), nil
			})
		})(c)
		c.Quotas = quotas(t, "user=ANONYMOUS producer_byte_rate 100000")
	}, nil)
	c := dial(t, l)
	throttled := false
	for range 6 {
		for range 2 {
			c.send(produce(1, 15_000))
		}
		for range 2 {
			resp := kmsg.NewPtrProduceResponse()
			resp.Version = 9
			c.receive(resp)
			throttled = throttled || resp.ThrottleMillis > 0
		}
	}
	if !throttled {
		t.Error("180 kB at once passed a quota of 100 kB/s")
	}
}

// A consumer beyond its quota gets no records and the time of silence, in a body
// that was encoded already.
func TestFetchQuota(t *testing.T) {
	l := start(t, func(c *Config) { c.Quotas = quotas(t, "client-id=raw consumer_byte_rate 1000") }, func(h *protocol.Handlers[Handler]) {
		h.Bind(1, func(_ context.Context, r *Request) (Response, error) {
			if most := r.FetchMost(); most != 1000 {
				t.Errorf("%d bytes may be fetched", most)
			}
			resp := r.Response().(*kmsg.FetchResponse)
			if r.ThrottleFetch(900) == 0 {
				resp.Topics = []kmsg.FetchResponseTopic{{Partitions: []kmsg.FetchResponseTopicPartition{kmsg.NewFetchResponseTopicPartition()}}}
			}
			var body protocol.Body
			protocol.AppendFetch(&body, resp, nil)
			return RawReply(&body, nil), nil
		})
	})
	c := dial(t, l)
	for i := range 2 {
		c.send(fetchRequest(17))
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 17
		c.receive(resp)
		if throttled := resp.ThrottleMillis > 0; throttled != (i == 1) || throttled == (len(resp.Topics) == 1) {
			t.Errorf("response %d: %+v", i, resp)
		}
	}
	if (&Request{Request: &protocol.Request{}}).FetchMost() != math.MaxInt32 {
		t.Error("a bound without quotas")
	}
}

// The request quota counts the time of handlers, but not of those that wait, nor
// of requests of other nodes.
func TestRequestQuota(t *testing.T) {
	for name, tc := range map[string]struct {
		key    protocol.Key
		exempt bool
		want   bool
	}{"a handler's time": {63, false, true}, "another node's": {63, true, false}, "one that waits": {1, false, false}} {
		l := start(t, func(c *Config) { c.Quotas = quotas(t, "user=ANONYMOUS request_percentage 0.0001") }, func(h *protocol.Handlers[Handler]) {
			h.Bind(tc.key, func(_ context.Context, r *Request) (Response, error) {
				time.Sleep(2 * time.Millisecond)
				if tc.exempt {
					r.Exempt()
				}
				return Reply(r.Response()), nil
			})
		})
		c := dial(t, l)
		var ms int32
		if tc.key == 1 {
			c.send(fetchRequest(17))
			resp := kmsg.NewPtrFetchResponse()
			resp.Version = 17
			c.receive(resp)
			ms = resp.ThrottleMillis
		} else {
			c.send(heartbeat(1))
			resp := newHeartbeatResponse()
			c.receive(resp)
			ms = resp.ThrottleMillis
		}
		if (ms > 0) != tc.want || ms > 100 {
			t.Errorf("%s: %d ms", name, ms)
		}
	}
}

func TestMutationQuota(t *testing.T) {
	r := &Request{Request: &protocol.Request{}, quotas: quotas(t, "user=u controller_mutation_rate 1")}
	r.Principal.Name = "u"
	if !r.Mutate(5, true) || r.Mutate(1, true) || r.throttle == 0 {
		t.Error("a strict request beyond the quota is allowed", r.throttle)
	}
}

// An address that connects too often is held and let go.
func TestConnectionQuota(t *testing.T) {
	refused := make(chan Reason, 10)
	l := start(t, func(c *Config) {
		c.Quotas = quotas(t, "ip=127.0.0.1 connection_creation_rate 1")
		c.Events.Refused = func(_ netip.AddrPort, why Reason) { refused <- why }
	}, bindEcho)
	c := dial(t, l)
	c.send(heartbeat(1))
	c.receive(newHeartbeatResponse())
	dial(t, l).ended()
	if why := <-refused; why != TooFast {
		t.Error(why)
	}
}

func TestLimitOfOneAddress(t *testing.T) {
	refused := make(chan Reason, 10)
	l := start(t, func(c *Config) {
		c.PerIP = map[netip.Addr]int{netip.MustParseAddr("127.0.0.1"): 1}
		c.Events.Refused = func(_ netip.AddrPort, why Reason) { refused <- why }
	}, bindEcho)
	c := dial(t, l)
	c.send(heartbeat(1))
	c.receive(newHeartbeatResponse())
	dial(t, l).ended()
	if why := <-refused; why != TooManyFromIP {
		t.Error(why)
	}
}

// Accepting waits where connections come faster than they may.
func TestConnectionRate(t *testing.T) {
	l := start(t, func(c *Config) { c.MaxConnectionRate = 2 }, bindEcho)
	began := time.Now()
	for range 22 { // 20 in the first window; the others wait
		c := dial(t, l)
		c.send(heartbeat(1))
		c.receive(newHeartbeatResponse())
		_ = c.Close()
	}
	if time.Since(began) < 100*time.Millisecond {
		t.Error("22 connections at once passed a rate of 2 a second")
	}
}

// Limits that change while a listener serves hold for the next connection; the open
// ones stay.
func TestLimitsChangeWhileServing(t *testing.T) {
	refused := make(chan Reason, 10)
	l := start(t, func(c *Config) { c.Events.Refused = func(_ netip.AddrPort, why Reason) { refused <- why } }, bindEcho)
	first := dial(t, l)
	exchange := func(c *client) {
		c.send(heartbeat(1))
		c.receive(newHeartbeatResponse())
	}
	exchange(first)
	own := map[netip.Addr]int{netip.MustParseAddr("127.0.0.1"): 1}
	for _, step := range []struct {
		limits Limits
		why    Reason
	}{
		{Limits{MaxConnections: 1, MaxConnectionsPerIP: 10}, TooMany},
		{Limits{MaxConnections: 10, MaxConnectionsPerIP: 0}, TooManyFromIP},
		{Limits{MaxConnections: 10, MaxConnectionsPerIP: 10, PerIP: own}, TooManyFromIP},
	} {
		l.SetLimits(step.limits)
		dial(t, l).ended()
		if why := <-refused; why != step.why {
			t.Errorf("with %+v: %v", step.limits, why)
		}
		exchange(first)
	}
	l.SetLimits(Limits{MaxConnections: 2, MaxConnectionsPerIP: 2})
	exchange(dial(t, l))
}
