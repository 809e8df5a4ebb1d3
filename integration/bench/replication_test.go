package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// six is a cluster of three controllers and three brokers of one make, each a
// process of its own.
type six struct {
	side    side
	quorum  *cluster.Quorum
	brokers []cluster.Server
	ids     []int32  // of the brokers
	clients []string // the brokers' listeners
}

// benchSix runs a benchmark on six nodes of kvorum and then of Apache, the short
// form on kvorum's alone: six JVMs cost a minute.
func benchSix(t *testing.T, run func(t *testing.T, c *six)) {
	for _, s := range []side{kvorum, apache} {
		t.Run(string(s), func(t *testing.T) {
			if s == apache && !full {
				t.Skip("skipped: only KVORUM_BENCH=1 runs it on Apache's nodes")
			}
			run(t, formatSix(t, s))
		})
	}
}

func formatSix(t *testing.T, s side) *six {
	c := &six{side: s, quorum: s.format(t, cluster.Options{Size: 3})}
	if s == kvorum {
		for _, n := range c.quorum.FormatKvorumBrokers(t.Context(), t, 3, nodeProperties) {
			c.brokers, c.ids, c.clients = append(c.brokers, n), append(c.ids, n.ID), append(c.clients, n.Client)
		}
		return c
	}
	kit := peer.Require(t, peer.V43)
	for _, n := range c.quorum.FormatBrokers(t.Context(), t, kit.StartDriver(t), nodeProperties, kit, kit, kit) {
		n.JVM = serverJVM
		c.brokers, c.ids, c.clients = append(c.brokers, n), append(c.ids, n.ID), append(c.clients, n.Listener)
	}
	for _, n := range c.quorum.Controllers {
		n.(*peer.Node).JVM = serverJVM
	}
	return c
}

// start starts all six at once and returns how long it took from there to the
// first acknowledged record of a topic with three replicas.
func (c *six) start(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	for _, n := range c.quorum.Controllers {
		n.Start(t)
	}
	for _, n := range c.brokers {
		n.Start(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := firstRecord(ctx, c.clients); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// processes are all six nodes.
func (c *six) processes() (all []running) {
	for _, n := range c.brokers {
		all = append(all, n)
	}
	for _, n := range c.quorum.Controllers {
		all = append(all, n.(running))
	}
	return all
}

func (c *six) cpuSeconds(t *testing.T) (sum float64) {
	for _, n := range c.processes() {
		sum += cpuSeconds(t, n)
	}
	return sum
}

// client is a client that asks again soon where a broker does not answer.
func (c *six) client(t *testing.T, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.clients...), kgo.MetadataMinAge(10 * time.Millisecond), kgo.ProducerLinger(0),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond })}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// awaitISR waits until every replica of the topic is in sync.
func (c *six) awaitISR(t *testing.T, topic string) kadm.TopicDetail {
	t.Helper()
	admin := kadm.NewClient(c.client(t))
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		topics, err := admin.ListTopics(t.Context(), topic)
		d := topics[topic]
		whole := err == nil && len(d.Partitions) > 0
		for _, p := range d.Partitions {
			whole = whole && p.Leader >= 0 && len(p.ISR) == 3
		}
		if whole {
			return d
		}
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("after two minutes not all replicas of %s are in sync: %v, %v", topic, d.Partitions, err)
		}
	}
}

// TestReplication measures three controllers and three brokers under records with
// three replicas, acknowledged by all.
func TestReplication(t *testing.T) {
	benchSix(t, func(t *testing.T, c *six) {
		noteDuration(t, c.side, "from formatted disks to the first record with 3 replicas", "2 s", c.start(t))
		createOn(t, c.clients[0], "steady", 6, 3)
		c.awaitISR(t, "steady")
		time.Sleep(sizes.idle)
		noteResident(t, c.side, "six nodes resident, idle", "400 MiB", c.processes()...)
		all := steady(t, c.clients[0], "steady", 1000, sizes.steady)
		p50, p99 := quantile(all, 0.5), quantile(all, 0.99)
		note(t, c.side, "acknowledged at 1000/s by 3 replicas, p50 / p99", "p99 15 ms", p99.Seconds(), short(p50)+" / "+short(p99))
		c.killBrokers(t, "steady")
		c.killControllers(t, "steady")
		c.rates(t)
		noteResident(t, c.side, "six nodes resident after these rates", "800 MiB", c.processes()...)
		time.Sleep(sizes.removal) // gigabytes of deleted files go meanwhile, which holds up who fsyncs on the same disk
		c.createTopics(t)
	})
}

// rates measures how fast records get on three disks, and what that costs.
func (c *six) rates(t *testing.T) {
	t.Helper()
	var memory pages
	var rate, cpu []float64
	total := sizes.replicatedBytes
	for round := range sizes.turns + 1 {
		topic := fmt.Sprintf("bytes-%d", round)
		createOn(t, c.clients[0], topic, 6, 3)
		c.awaitISR(t, topic)
		memory.use(t)
		settleDisk()
		before, began := c.cpuSeconds(t), time.Now()
		produceBytes(t, c.clients[0], topic, 1024, total)
		if round > 0 { // the first one warms up
			rate = append(rate, float64(total)/time.Since(began).Seconds())
			cpu = append(cpu, (c.cpuSeconds(t)-before)/(float64(total)/1e9))
		}
		removeOn(t, c.clients[0], topic)
	}
	noteRate(t, c.side, "produce 1024 B to 3 replicas, acks=all", "2 : 1", 1024, rate)
	noteCPU(t, c.side, "processor time of all six, produce 1024 B", "half of Apache's", cpu)
}

// createTopics creates topics of one partition with three replicas.
func (c *six) createTopics(t *testing.T) {
	t.Helper()
	for _, outstanding := range []int{1, 32} {
		r := createTopics(t, c.clients, 3, outstanding, sizes.one, 1<<30)
		r.note(t, c.side, fmt.Sprintf("topics with 3 replicas created, %d outstanding", outstanding), "500/s", "")
	}
}

// index is where a broker stands among the brokers.
func (c *six) index(id int32) int { return slices.Index(c.ids, id) }
