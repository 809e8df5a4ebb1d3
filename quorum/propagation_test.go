package quorum

import (
	"slices"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/replay"
)

// TestProbeEndpoints tells which listeners are probed, and in which order.
func TestProbeEndpoints(t *testing.T) {
	endpoint := func(name string, protocol int16) image.Endpoint {
		return image.Endpoint{Name: name, Host: "h", Port: 1, SecurityProtocol: protocol}
	}
	all := []image.Endpoint{endpoint("TLS", 1), endpoint("SASL", 2), endpoint("SASL_TLS", 3), endpoint("PLAIN", 0), endpoint("OTHER", 0)}
	for _, c := range []struct {
		preferred string
		of        []image.Endpoint
		want      []string
	}{
		{"", all, []string{"PLAIN", "OTHER", "SASL"}},
		{"OTHER", all, []string{"OTHER", "PLAIN", "SASL"}},
		{"SASL", all, []string{"SASL", "PLAIN", "OTHER"}},
		{"TLS", all, []string{"PLAIN", "OTHER", "SASL"}},
		{"", all[:1], nil},
		{"TLS", all[2:3], nil},
		{"", nil, nil},
	} {
		var got []string
		for _, e := range probeEndpoints(c.of, c.preferred) {
			got = append(got, e.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("preferring %q, %v are probed, not %v", c.preferred, got, c.want)
		}
	}
}

// observing is an active core with unfenced brokers, each with two endpoints.
func observing(brokers int) *Core {
	c := NewCore(Config{PropagationWaitMs: 1000})
	c.role, c.epoch, c.out = active, 7, &Effects{}
	for i := range brokers {
		c.brokers.list = append(c.brokers.list, &observedBroker{
			id: kafka.BrokerID(i), epoch: 5, unfenced: true, applied: kafka.NoOffset,
			endpoints: []image.Endpoint{{Name: "A"}, {Name: "B"}},
		})
	}
	return c
}

// TestProbeFailures is how often a broker is tried that never answers: its
// endpoints in turn, for some seconds every 100 ms, then seldom, and only while a
// reply waits.
func TestProbeFailures(t *testing.T) {
	c := observing(1)
	b := c.brokers.list[0]
	var times []int64
	names := map[string]int{}
	for c.now = 1; c.now < 1_000_000; c.now++ {
		if c.now == 100_000 {
			if len(times) != eagerProbes {
				t.Errorf("%d probes with nothing waiting, want %d", len(times), eagerProbes)
			}
			c.parked.propagating = []parkedReply{{id: 1, need: 10}}
		}
		*c.out = Effects{}
		c.probe()
		for _, p := range c.out.Probes {
			times = append(times, c.now)
			names[p.Endpoint.Name]++
			c.stepProbed(Probed{Broker: 0, Epoch: 5, Leader: 7, Problem: "refused"})
		}
		if next := c.nextProbe(); next != 0 && next <= c.now {
			t.Fatalf("at %d it wants to be woken at %d", c.now, next)
		}
	}
	if times[1]-times[0] != eagerPauseMs {
		t.Errorf("the second probe comes after %d ms", times[1]-times[0])
	}
	last := len(times) - 1
	if gap := times[last] - times[last-1]; gap != maxBlindMs || b.answers {
		t.Errorf("in the end it is tried every %d ms, want %d", gap, maxBlindMs)
	}
	if names["A"] < eagerProbes/2 || names["B"] < eagerProbes/2 {
		t.Errorf("the endpoints were tried %v", names)
	}
}

// TestProbesForget tells what ends with a broker's process and with an epoch.
func TestProbesForget(t *testing.T) {
	c := observing(2)
	b := c.brokers.list[0]
	c.probe()
	for _, ev := range []Probed{
		{Broker: 0, Epoch: 4, Leader: 7}, // its former process
		{Broker: 0, Epoch: 5, Leader: 6}, // asked in an older epoch
		{Broker: 9, Epoch: 5, Leader: 7}, // no longer registered
		{Broker: 0, Epoch: 5, Leader: 7, Applied: 1},
	} {
		c.stepProbed(ev) // the log is empty: no offset can have been applied
		if b.answers || b.applied != kafka.NoOffset {
			t.Errorf("%+v is believed: %+v", ev, b)
		}
	}
	b.answers, b.applied, b.failures = true, 20, 3
	c.brokers.begin()
	if b := c.brokers.list[0]; b.answers || b.inFlight || b.applied != kafka.NoOffset || b.failures != 0 || len(b.endpoints) != 2 || !b.unfenced {
		t.Errorf("a new active controller begins with %+v", b)
	}
}

// TestProbesOfManyBrokers bounds how often all brokers together are asked.
func TestProbesOfManyBrokers(t *testing.T) {
	const brokers = 1000
	c := observing(brokers)
	c.parked.propagating = []parkedReply{{id: 1, need: 1}}
	probes := 0
	for c.now = 1; c.now <= 10_000; c.now++ {
		*c.out = Effects{}
		c.probe()
		probes += len(c.out.Probes)
		for _, p := range c.out.Probes {
			b := c.brokers.find(p.Broker, p.Epoch)
			b.inFlight, b.answers = false, true
			c.replicas.progress[kafka.NodeID(b.id)] = progress{reached: 1}
			c.stepProbed(Probed{Broker: p.Broker, Epoch: p.Epoch, Leader: p.Leader, Applied: 3})
		}
	}
	if perSecond := probes / 10; perSecond > 17_000 {
		t.Errorf("%d brokers are asked %d times a second", brokers, perSecond)
	}
}

// TestLocalBroker: the broker in this process tells by itself how far it is, and
// is neither asked nor judged by Fetches that it never sends.
func TestLocalBroker(t *testing.T) {
	c := observing(2)
	c.replay = replay.New(nil)
	for _, ev := range []Applied{{Broker: 0, End: 12}, {Broker: 0, End: 11}} {
		if _, err := c.Step(1, ev); err != nil {
			t.Fatal(err)
		}
	}
	if seen := c.seenBy(c.brokers.list[0]); seen != 12 {
		t.Errorf("the local broker counts as knowing everything below %d, want 12", seen)
	}
	if c.brokers.list[0].inFlight || !c.brokers.list[1].inFlight || c.unprobed() != 1 {
		t.Errorf("asked are %v and %v, %d are unprobed; want the other one", c.brokers.list[0].inFlight, c.brokers.list[1].inFlight, c.unprobed())
	}
}
