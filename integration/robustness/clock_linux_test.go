package robustness

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/internal/clock/jump"
)

// The counts of jumps for KVORUM_ROUNDS=200, as in faultShare. One to another time and
// back counts as one.
const (
	jumpsFull       = 20 // of each node, forward and as many back
	wrongStartsFull = 40
)

const (
	// jumpLength is how far a wall clock jumps: beyond every session and each wait of
	// the clusters of these tests.
	jumpLength = time.Hour
	// jumpSession is short of it, and so long that no machine under load ends one.
	jumpSession = 5 * time.Minute

	stampedTopic = "stamped"
)

// jumping is what a cluster needs whose clocks jump: nobody's session is to end for
// another reason, no leader is to change, and records may be an hour in the future of
// the broker that takes them, which it refuses otherwise.
var jumping = map[string]string{
	"broker.session.timeout.ms":           fmt.Sprint(jumpSession.Milliseconds()),
	"replica.lag.time.max.ms":             fmt.Sprint(jumpSession.Milliseconds()),
	"auto.leader.rebalance.enable":        "false",
	"log.message.timestamp.after.max.ms":  fmt.Sprint((2 * jumpLength).Milliseconds()),
	"log.message.timestamp.before.max.ms": fmt.Sprint((2 * jumpLength).Milliseconds()),
}

// clocked is a six whose nodes have wall clocks that a test sets.
type clocked struct {
	*six
	clocks   []string        // files by node
	stamping *kgo.Client     // writes to and reads stampedTopic, whose brokers say what time it is
	leads    map[int32]int32 // a partition of it by its leader
	member   *kgo.Client     // of a group that nobody joins or leaves
}

func startClocked(t *testing.T) *clocked {
	t.Helper()
	c := &clocked{leads: map[int32]int32{}}
	dir := t.TempDir()
	for host := range sixNodes {
		c.clocks = append(c.clocks, filepath.Join(dir, fmt.Sprint(host)))
		if err := jump.Set(c.clocks[host], 0); err != nil {
			t.Fatal(err)
		}
	}
	c.six = startSixOf(t, cluster.PlantedBinary(t), func(host int) []string { return []string{"env", "KVORUM_CLOCK=" + c.clocks[host]} }, jumping)
	c.startStamping()
	c.startMember()
	c.awaitInSync()
	return c
}

// startStamping makes a topic with a partition led by each broker, whose records get
// the broker's time.
func (c *clocked) startStamping() {
	c.t.Helper()
	c.stamping = c.connect(kgo.DefaultProduceTopic(stampedTopic), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConsumeTopics(stampedTopic), kgo.FetchMaxWait(100*time.Millisecond))
	admin, own := kadm.NewClient(c.stamping), "LogAppendTime"
	if _, err := admin.CreateTopic(c.ctx, sixBrokers, sixBrokers, map[string]*string{"message.timestamp.type": &own}, stampedTopic); err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(recovery); len(c.leads) != sixBrokers; time.Sleep(20 * time.Millisecond) { // between two questions
		topics, err := admin.ListTopics(c.ctx, stampedTopic)
		if err != nil {
			c.t.Fatal(err)
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the %d partitions of %s have no leader each: %v", sixBrokers, stampedTopic, topics)
		}
		clear(c.leads)
		for _, p := range topics[stampedTopic].Partitions {
			if p.Leader >= 0 {
				c.leads[p.Leader] = p.Partition
			}
		}
	}
}

// startMember starts a consumer, and waits until its group has it.
func (c *clocked) startMember() {
	c.t.Helper()
	joined, join := context.WithCancel(c.ctx)
	defer join()
	c.member = c.connect(kgo.ConsumeTopics(stampedTopic), kgo.ConsumerGroup("stays"), kgo.SessionTimeout(jumpSession), kgo.RebalanceTimeout(jumpSession),
		kgo.HeartbeatInterval(100*time.Millisecond), kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { join() }))
	select {
	case <-joined.Done():
	case <-time.After(recovery):
		c.t.Fatalf("a consumer has not joined its group within %v", recovery)
	}
}

// connect returns a client, to be closed while the nodes run: a member leaves its group.
func (c *clocked) connect(options ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	client, err := c.load.client(options...)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// set moves a node's wall clock.
func (c *clocked) set(node int, by time.Duration) {
	c.t.Helper()
	if err := jump.Set(c.clocks[node], by); err != nil {
		c.t.Fatal(err)
	}
}

// stamp has a broker write a record and checks the time that it got.
func (c *clocked) stamp(node int, by time.Duration) {
	c.t.Helper()
	partition, ok := c.leads[c.nodes[node].ID]
	if !ok {
		return // a controller
	}
	ctx, cancel := context.WithTimeout(c.ctx, recovery)
	defer cancel()
	if _, err := c.stamping.ProduceSync(ctx, &kgo.Record{Partition: partition}).First(); err != nil {
		c.t.Fatalf("write to %s: %v\n%s", c.nodes[node], err, c.report())
	}
	records := c.stamping.PollFetches(ctx).Records()
	if len(records) != 1 || records[0].Partition != partition {
		c.t.Fatalf("read %v where a record of partition %d is (%v)\n%s", records, partition, ctx.Err(), c.report())
	}
	if off := time.Now().Add(by).Sub(records[0].Timestamp); off.Abs() > jumpLength/2 {
		c.t.Fatalf("the clock of %s, set by %v, is %v off", c.nodes[node], by, off)
	}
}

// jump sets a node's wall clock under load, and back, and waits for records and commits
// at each.
func (c *clocked) jump(node int, by time.Duration) {
	c.tell("clock", fmt.Sprintf("%s by %v and back", c.nodes[node], by), func() {
		c.set(node, by)
		c.stamp(node, by)
		if c.load.waitAfter(time.Now()) < 0 {
			c.t.Fatalf("no record and commit were acknowledged within %v\n%s", recovery, c.report())
		}
		time.Sleep(c.upTo(200 * time.Millisecond)) // so that what is due meanwhile is another
		c.set(node, 0)
		c.stamp(node, 0)
	})
}

// startWrong kills a node and starts it with a wrong clock, which is set right under
// load.
func (c *clocked) startWrong() {
	node, by := c.random.IntN(sixNodes), jumpLength
	if c.random.IntN(2) == 0 {
		by = -by
	}
	c.tell("kill", fmt.Sprintf("%s, started with its clock off by %v, then set", c.nodes[node], by), func() {
		c.nodes[node].Kill()
		c.set(node, by)
		c.nodes[node].Start(c.t)
		c.nodes[node].WaitReady(c.ctx, c.t)
		if c.load.waitAfter(time.Now()) < 0 {
			c.t.Fatalf("no record and commit were acknowledged within %v\n%s", recovery, c.report())
		}
		c.set(node, 0)
	})
}

// TestClockJumps sets the wall clocks of nodes forward and back by an hour under load:
// no session ends, of a broker or of a group's member, no leader changes, no replica
// leaves an ISR, and no write fails. Then nodes start with a wrong clock and get a
// right one. 8 s for KVORUM_ROUNDS=20, and the time to build the program that can.
func TestClockJumps(t *testing.T) {
	c := startClocked(t)
	defer c.stamping.Close()
	defer c.member.Close()
	rounds := number(t, "KVORUM_ROUNDS", 2)
	share := func(full int) int { return max(1, full*rounds/200) }
	name, generation := c.member.GroupMetadata()
	before := c.load.views(c.ctx)
	for range share(jumpsFull) {
		for _, node := range c.random.Perm(sixNodes) {
			c.jump(node, jumpLength)
			c.jump(node, -jumpLength)
		}
	}
	c.awaitInSync()
	if after := c.load.views(c.ctx); after != before {
		t.Errorf("leaders or ISRs changed because clocks jumped; before\n%s\nand after\n%s", before, after)
	}
	if n, g := c.member.GroupMetadata(); n != name || g != generation {
		t.Errorf("a member had to join again because clocks jumped: it was %q of generation %d and is %q of %d", name, generation, n, g)
	}
	for range share(wrongStartsFull) {
		c.startWrong()
	}
	c.validate()
	for _, e := range c.load.refused.errors {
		t.Error(e)
	}
}
