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

// load is a producer's load on a topic of six partitions with replicas on three
// brokers, of which two must be in sync; a broker's session is short.
type load struct {
	brokers     []*cluster.Node
	seeds, dirs []string
	admin       *kadm.Client
	producer    *producer
}

const loadTopic, loadPartitions = "t", 6

func startLoad(ctx context.Context, t *testing.T, controllers int) *load {
	t.Helper()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: controllers, Properties: map[string]string{"broker.session.timeout.ms": "3000"}})
	l := &load{brokers: q.StartKvorumBrokers(ctx, t, 3, map[string]string{"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"})}
	l.seeds, l.dirs = addresses(l.brokers)
	l.admin = kadm.NewClient(newClient(t, kgo.SeedBrokers(l.seeds...)))
	min := "2"
	if _, err := l.admin.CreateTopic(ctx, loadPartitions, 3, map[string]*string{"min.insync.replicas": &min}, loadTopic); err != nil {
		t.Fatal(err)
	}
	l.awaitISR(ctx, t, 3)
	l.producer = startProducer(t, l.seeds, loadTopic, loadPartitions)
	return l
}

func (l *load) awaitISR(ctx context.Context, t *testing.T, size int) {
	t.Helper()
	awaitISR(ctx, t, l.admin, loadTopic, size)
}

// finish ends the load and checks what is left of it: every record that was
// acknowledged, once and in order, and the same bytes on all brokers.
func (l *load) finish(ctx context.Context, t *testing.T) {
	t.Helper()
	l.producer.finish(ctx, l.seeds)
	t.Logf("%d bytes are equal on all replicas", cluster.SameBytes(ctx, t, l.dirs, loadTopic, loadPartitions))
}

// TestKilledBrokersComeBack kills one broker after the other under load. The
// leaders move, the broker comes back into every ISR, no acknowledged record is
// lost or doubled, and all replicas have the same bytes at the end.
func TestKilledBrokersComeBack(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	l := startLoad(ctx, t, 3)
	l.producer.more(ctx, 300)
	for round := range rounds(t, 3) {
		b := l.brokers[round%len(l.brokers)]
		b.Kill()
		l.awaitISR(ctx, t, 2)
		l.producer.more(ctx, 300)
		b.Start(t)
		b.WaitReady(ctx, t)
		began := time.Now()
		l.awaitISR(ctx, t, 3)
		t.Logf("round %d: in sync %v after the start", round, time.Since(began).Round(time.Millisecond))
		l.producer.more(ctx, 300)
	}
	l.finish(ctx, t)
}

// TestAllBrokersKilledAtOnce kills all brokers at the same moment, under load, and
// pauses one for longer than its session: nothing acknowledged is lost, doubled or
// out of order, and the replicas become one.
func TestAllBrokersKilledAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	l := startLoad(ctx, t, 1)
	for round := range rounds(t, 1) {
		l.producer.more(ctx, 300)
		for _, b := range l.brokers {
			b.Kill()
		}
		for _, b := range l.brokers {
			b.Start(t)
		}
		for _, b := range l.brokers {
			b.WaitReady(ctx, t)
		}
		began := time.Now()
		l.awaitISR(ctx, t, 3)
		t.Logf("round %d: all in sync %v after the start", round, time.Since(began).Round(time.Millisecond))
		paused := l.brokers[round%len(l.brokers)]
		paused.Pause()
		began = time.Now()
		l.awaitISR(ctx, t, 2)
		t.Logf("round %d: %s is out %v after it was paused", round, paused, time.Since(began).Round(time.Millisecond))
		l.producer.more(ctx, 300)
		paused.Resume()
		began = time.Now()
		l.awaitISR(ctx, t, 3)
		t.Logf("round %d: %s is in sync %v after it goes on", round, paused, time.Since(began).Round(time.Millisecond))
	}
	l.finish(ctx, t)
}
