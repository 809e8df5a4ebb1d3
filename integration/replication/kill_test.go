package replication

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

// rounds is how often something is done: a few times, and for KVORUM_ROUNDS above
// the 20 of CI so much more often.
func rounds(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("KVORUM_ROUNDS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("KVORUM_ROUNDS is %q and not a number of rounds", text)
	}
	return max(few, few*n/20)
}

func addresses(brokers []*cluster.Node) (out, dirs []string) {
	for _, b := range brokers {
		out, dirs = append(out, b.Client), append(dirs, b.DataDir())
	}
	return out, dirs
}

// TestKilledBrokersComeBack kills one broker after the other under load. The
// leaders move, the broker comes back into every ISR, no acknowledged record is
// lost or doubled, and all replicas have the same bytes at the end.
func TestKilledBrokersComeBack(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 3, Properties: map[string]string{"broker.session.timeout.ms": "3000"}})
	brokers := q.StartKvorumBrokers(ctx, t, 3, map[string]string{"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"})
	seeds, dirs := addresses(brokers)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	const topic, partitions = "t", 6
	min := "2"
	if _, err := admin.CreateTopic(ctx, partitions, 3, map[string]*string{"min.insync.replicas": &min}, topic); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, topic, 3)
	p := startProducer(t, seeds, topic, partitions)
	p.more(ctx, 300)
	for round := range rounds(t, 3) {
		b := brokers[round%len(brokers)]
		b.Kill()
		awaitISR(ctx, t, admin, topic, 2)
		p.more(ctx, 300)
		b.Start(t)
		b.WaitReady(ctx, t)
		began := time.Now()
		awaitISR(ctx, t, admin, topic, 3)
		t.Logf("round %d: in sync %v after the start", round, time.Since(began).Round(time.Millisecond))
		p.more(ctx, 300)
	}
	p.finish(ctx, seeds)
	t.Logf("%d bytes are equal on all replicas", sameBytes(ctx, t, dirs, topic, partitions))
}

// TestAllBrokersKilledAtOnce kills all brokers at the same moment, under load, and
// pauses one for longer than its session: nothing acknowledged is lost, doubled or
// out of order, and the replicas become one.
func TestAllBrokersKilledAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1, Properties: map[string]string{"broker.session.timeout.ms": "3000"}})
	brokers := q.StartKvorumBrokers(ctx, t, 3, map[string]string{"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"})
	seeds, dirs := addresses(brokers)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	const topic, partitions = "t", 6
	min := "2"
	if _, err := admin.CreateTopic(ctx, partitions, 3, map[string]*string{"min.insync.replicas": &min}, topic); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, seeds, topic, partitions)
	for round := range rounds(t, 1) {
		p.more(ctx, 300)
		for _, b := range brokers {
			b.Kill()
		}
		for _, b := range brokers {
			b.Start(t)
		}
		for _, b := range brokers {
			b.WaitReady(ctx, t)
		}
		began := time.Now()
		awaitISR(ctx, t, admin, topic, 3)
		t.Logf("round %d: all in sync %v after the start", round, time.Since(began).Round(time.Millisecond))
		paused := brokers[round%len(brokers)]
		paused.Pause()
		began = time.Now()
		awaitISR(ctx, t, admin, topic, 2)
		t.Logf("round %d: %s is out %v after it was paused", round, paused, time.Since(began).Round(time.Millisecond))
		p.more(ctx, 300)
		paused.Resume()
		began = time.Now()
		awaitISR(ctx, t, admin, topic, 3)
		t.Logf("round %d: %s is in sync %v after it goes on", round, paused, time.Since(began).Round(time.Millisecond))
	}
	p.finish(ctx, seeds)
	t.Logf("%d bytes are equal on all replicas", sameBytes(ctx, t, dirs, topic, partitions))
}
