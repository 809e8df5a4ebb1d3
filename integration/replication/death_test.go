package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// longSession is longer than a test waits for anything: what happens within it does
// not happen because a session has expired.
const longSession = "120000"

// onDeath and bySession are what the active controller logs when it fences a broker.
const (
	onDeath   = "every listener of it refused twice"
	bySession = "no heartbeat for"
)

// logged counts the lines with a text in the logs of all controllers.
func logged(t *testing.T, q *cluster.Quorum, text string) (n int) {
	t.Helper()
	for _, c := range q.Controllers {
		data, err := os.ReadFile(c.(*cluster.Node).Process().Log())
		if err != nil {
			t.Fatal(err)
		}
		n += strings.Count(string(data), text)
	}
	return n
}

// awaitFenced waits until a broker has left every ISR and leads nothing.
func awaitFenced(ctx context.Context, t *testing.T, admin *kadm.Client, topic string, id int32) {
	t.Helper()
	await(ctx, t, fmt.Sprintf("broker %d fenced", id), func(ctx context.Context) error {
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range topics[topic].Partitions.Sorted() {
			if p.Leader < 0 || p.Leader == id || len(p.ISR) != len(p.Replicas)-1 {
				return fmt.Errorf("partition %d: leader %d, ISR %v of %v", p.Partition, p.Leader, p.ISR, p.Replicas)
			}
		}
		return topics[topic].Err
	})
}

// death is a quorum with brokers of ours and a topic on all of them.
type death struct {
	*cluster.Quorum
	metrics string // the address of the controller's
	brokers []*cluster.Node
	seeds   []string
}

// startDeath starts one controller. fence.on.death and the session are its own.
func startDeath(ctx context.Context, t *testing.T, properties map[string]string) *death {
	t.Helper()
	d := &death{metrics: loopback.Address(t)}
	p := map[string]string{"kvorum.metrics.listener": d.metrics}
	maps.Copy(p, properties)
	d.Quorum = cluster.StartKvorum(ctx, t, cluster.Options{Size: 1, Properties: p})
	return d
}

// start starts brokers of ours.
func (d *death) start(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	d.brokers = d.StartKvorumBrokers(ctx, t, n, nil)
	d.seeds, _ = addresses(d.brokers)
}

// awaitInSight waits until the controller would notice the death of each broker.
func (d *death) awaitInSight(ctx context.Context, t *testing.T) {
	t.Helper()
	await(ctx, t, "all brokers in sight of the controller", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.metrics+"/metrics", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && !strings.Contains(string(text), "\nkvorum_controller_brokers_in_sight 3\n") {
			err = errors.New("not all three")
		}
		return err
	})
}

func (d *death) topic(ctx context.Context, t *testing.T) {
	t.Helper()
	admin, min := kadm.NewClient(newClient(t, kgo.SeedBrokers(d.seeds...))), "2"
	if _, err := admin.CreateTopic(ctx, 6, 3, map[string]*string{"min.insync.replicas": &min}, "t"); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, "t", 3)
}

// kill kills a broker that is in sight and returns when every partition has a new
// leader.
func (d *death) kill(ctx context.Context, t *testing.T, id int32, kill func(), witness int) {
	t.Helper()
	d.awaitInSight(ctx, t)
	admin, began := d.admin(t, witness), time.Now()
	kill()
	awaitFenced(ctx, t, admin, "t", id)
	t.Logf("new leaders %v after kill -9 of broker %d", time.Since(began).Round(time.Millisecond), id)
}

// admin asks one broker, which is to live: a client that waits for a dead one would
// measure that.
func (d *death) admin(t *testing.T, broker int) *kadm.Client {
	return kadm.NewClient(newClient(t, kgo.SeedBrokers(d.seeds[broker%len(d.seeds)])))
}

// TestKilledBrokerIsFencedAtOnce kills brokers with sessions that outlive the test:
// their partitions have new leaders because the process is proven to be gone. One
// that restarts is in sync again at once, whether it was fenced before or not.
func TestKilledBrokerIsFencedAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	d := startDeath(ctx, t, map[string]string{"broker.session.timeout.ms": longSession})
	d.start(ctx, t, 3)
	d.topic(ctx, t)
	for round := range rounds(t, 3) {
		b, admin := d.brokers[round%3], d.admin(t, round+1)
		d.kill(ctx, t, b.ID, b.Kill, round+1)
		began := time.Now()
		b.Start(t)
		awaitISR(ctx, t, admin, "t", 3)
		t.Logf("in sync %v after its start", time.Since(began).Round(time.Millisecond))
		d.awaitInSight(ctx, t)
		began = time.Now()
		b.Kill()
		b.Start(t)
		b.WaitReady(ctx, t)
		awaitISR(ctx, t, admin, "t", 3)
		t.Logf("in sync %v after a kill and a start at once", time.Since(began).Round(time.Millisecond))
	}
	if n := logged(t, d.Quorum, bySession); n > 0 {
		t.Errorf("%d brokers were fenced because their session expired", n)
	}
	if n := logged(t, d.Quorum, onDeath); n < rounds(t, 3) {
		t.Errorf("%d brokers were fenced on proof of death", n)
	}
}

// TestKilledBrokerThatANewControllerHasNotHeard: heartbeats are so rare that the
// controller, when it is back, hears none before a broker is killed. It has dialled
// it, and that is enough.
func TestKilledBrokerThatANewControllerHasNotHeard(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	d := startDeath(ctx, t, map[string]string{"broker.session.timeout.ms": longSession})
	d.brokers = d.StartKvorumBrokers(ctx, t, 3, map[string]string{"broker.heartbeat.interval.ms": "100000", "broker.session.timeout.ms": longSession})
	d.seeds, _ = addresses(d.brokers)
	d.topic(ctx, t)
	d.awaitInSight(ctx, t)
	d.Controllers[0].Kill()
	d.Controllers[0].Start(t)
	d.kill(ctx, t, d.brokers[0].ID, d.brokers[0].Kill, 1)
	if n := logged(t, d.Quorum, onDeath); n != 1 {
		t.Errorf("%d brokers were fenced on proof of death", n)
	}
}

// TestPausedBrokerIsNotProvenDead: the kernel of a paused process keeps its sockets.
// It is fenced when its session expires, and for no other reason.
func TestPausedBrokerIsNotProvenDead(t *testing.T) {
	fencedBySession(t, map[string]string{"broker.session.timeout.ms": "6000"}, (*cluster.Node).Pause)
}

// TestFencingOnDeathIsOff: without the key a killed broker is fenced when its session
// expires.
func TestFencingOnDeathIsOff(t *testing.T) {
	fencedBySession(t, map[string]string{"broker.session.timeout.ms": "6000", "kvorum.broker.fence.on.death": "false"}, (*cluster.Node).Kill)
}

func fencedBySession(t *testing.T, properties map[string]string, fault func(*cluster.Node)) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	d := startDeath(ctx, t, properties)
	d.start(ctx, t, 3)
	d.topic(ctx, t)
	if properties["kvorum.broker.fence.on.death"] != "false" {
		d.awaitInSight(ctx, t)
	}
	b, began := d.brokers[0], time.Now()
	fault(b)
	awaitFenced(ctx, t, d.admin(t, 1), "t", b.ID)
	t.Logf("new leaders after %v", time.Since(began).Round(time.Millisecond))
	if died, expired := logged(t, d.Quorum, onDeath), logged(t, d.Quorum, bySession); died != 0 || expired == 0 {
		t.Errorf("%d brokers were fenced on proof of death and %d because their session expired", died, expired)
	}
}

// TestKilledApacheBrokerIsFencedAtOnce: the proof does not depend on whose broker it
// is.
func TestKilledApacheBrokerIsFencedAtOnce(t *testing.T) {
	kit := peer.Require(t, peer.V43)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	d := startDeath(ctx, t, map[string]string{"broker.session.timeout.ms": longSession})
	apache := d.Brokers(ctx, t, kit.StartDriver(t), nil, kit)[0]
	d.start(ctx, t, 2)
	d.topic(ctx, t)
	for range 2 {
		d.kill(ctx, t, apache.ID, apache.Kill, 0)
		began := time.Now()
		apache.Start(t)
		awaitISR(ctx, t, d.admin(t, 0), "t", 3)
		t.Logf("in sync %v after its start", time.Since(began).Round(time.Millisecond))
	}
	if n := logged(t, d.Quorum, bySession); n > 0 {
		t.Errorf("%d brokers were fenced because their session expired", n)
	}
}
