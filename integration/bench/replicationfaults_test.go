package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// killBrokers kills the leader of a topic's first partition and measures until
// every partition that it led has acknowledged a record that was sent after the
// kill.
func (c *six) killBrokers(t *testing.T, topic string) {
	t.Helper()
	var took []time.Duration
	for range sizes.brokerKills[c.side] {
		d := c.awaitISR(t, topic)
		victim := c.index(d.Partitions[0].Leader)
		var led []int32
		for _, p := range d.Partitions {
			if c.index(p.Leader) == victim {
				led = append(led, p.Partition)
			}
		}
		took = append(took, c.killBroker(t, victim, topic, led))
		c.brokers[victim].Start(t)
		c.brokers[victim].WaitReady(t.Context(), t)
	}
	noteSpread(t, c.side, "broker killed until its partitions take records again, min / p50 / worst", "1 s", took)
}

// killBroker kills a broker and writes to each partition that it led, until all
// have taken a record.
func (c *six) killBroker(t *testing.T, victim int, topic string, led []int32) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := c.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write := func(partition int32) error {
		return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: []byte("record")}).FirstErr()
	}
	for _, p := range led { // the client knows the leader and has a connection
		if err := write(p); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	c.brokers[victim].Kill()
	var writing sync.WaitGroup
	for _, p := range led {
		writing.Go(func() {
			for write(p) != nil && ctx.Err() == nil { // the client gives up what was cut off
			}
		})
	}
	writing.Wait()
	if ctx.Err() != nil {
		t.Fatalf("partitions %v of %s take no records after their leader was killed", led, topic)
	}
	return time.Since(began)
}

// pulse writes a thousand records a second and keeps when each was acknowledged.
type pulse struct {
	mu    sync.Mutex
	acked []time.Time
	stop  context.CancelFunc
	done  sync.WaitGroup
}

func (c *six) pulse(t *testing.T, topic string) *pulse {
	ctx, cancel := context.WithCancel(t.Context())
	p := &pulse{stop: cancel}
	client := c.client(t, kgo.DefaultProduceTopic(topic))
	p.done.Go(func() {
		defer func() { _ = client.Flush(t.Context()) }()
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			client.Produce(t.Context(), &kgo.Record{Value: []byte("record")}, func(_ *kgo.Record, err error) {
				if err != nil && t.Context().Err() == nil {
					t.Errorf("a record was not acknowledged: %v", err)
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				p.acked = append(p.acked, time.Now())
			})
		}
	})
	return p
}

// gap is the longest time without an acknowledgement between two moments.
func (p *pulse) gap(from, to time.Time) (longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := from
	for _, at := range p.acked {
		if at.After(from) && at.Before(to) {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return max(longest, to.Sub(last))
}

func (p *pulse) close() {
	p.stop()
	p.done.Wait()
}

// killControllers kills the active controller under records and compares the
// longest gap between acknowledgements after it with that of as long a time before.
func (c *six) killControllers(t *testing.T, topic string) {
	t.Helper()
	const window = 3 * time.Second
	c.awaitISR(t, topic)
	p := c.pulse(t, topic)
	defer p.close()
	var quiet, after []time.Duration
	for range sizes.controllerKills[c.side] {
		active := c.quorum.Controllers[c.quorum.Active(t.Context(), t)]
		before := time.Now()
		time.Sleep(window) // what is compared is this long
		killed := time.Now()
		active.Kill()
		time.Sleep(window)
		quiet, after = append(quiet, p.gap(before, killed)), append(after, p.gap(killed, time.Now()))
		active.Start(t)
		active.WaitReady(t.Context(), t)
	}
	noteSpread(t, c.side, "longest gap between acknowledgements, 1000/s, 3 s without a kill, min / p50 / worst", "", quiet)
	noteSpread(t, c.side, "the same when the active controller is killed", "p50 50 ms", after)
}

// TestReplicationPartitions measures how soon the partitions that a killed broker
// led, a third of very many, have other leaders and take records. Apache's brokers
// are left out: so many logs take them hours on this machine.
func TestReplicationPartitions(t *testing.T) {
	n := sizes.replicatedPartitions
	c := formatSix(t, kvorum)
	c.start(t)
	began := time.Now()
	var topics []string
	for len(topics) < 10 {
		topics = append(topics, fmt.Sprintf("many-%d", len(topics)))
		createOn(t, c.clients[0], topics[len(topics)-1], int32(n/10), 3)
	}
	noteDuration(t, kvorum, fmt.Sprintf("%d partitions with 3 replicas in 10 topics created", n), "", time.Since(began))
	for _, topic := range topics {
		c.awaitISR(t, topic)
	}
	noteDuration(t, kvorum, "the same until all are in sync", "", time.Since(began))
	noteResident(t, kvorum, fmt.Sprintf("three brokers resident with %d replicas each", n), "", c.processes()[:3]...)
	admin := kadm.NewClient(c.client(t, kgo.SeedBrokers(c.clients[0], c.clients[1])))
	victim := c.ids[2]
	led, err := ledBy(t.Context(), admin, victim)
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	c.brokers[2].Kill()
	for left := led; len(left) > 0 || err != nil; {
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("two minutes after the kill broker %d leads %d partitions: %v", victim, len(left), err)
		}
		left, err = ledBy(t.Context(), admin, victim)
	}
	row := fmt.Sprintf("broker killed until the %d partitions that it led have other leaders", len(led))
	noteDuration(t, kvorum, row, "3 s for 10,000", time.Since(began))
	writeTo(t, c, led)
	noteDuration(t, kvorum, "the same until each has taken a record", "", time.Since(began))
}

// ledBy are the partitions that a broker leads, by a broker's metadata.
func ledBy(ctx context.Context, admin *kadm.Client, id int32) (led []kadm.Partition, err error) {
	topics, err := admin.ListTopics(ctx)
	if err = errors.Join(err, topics.Error()); err != nil {
		return nil, err
	}
	for _, d := range topics {
		for _, p := range d.Partitions {
			if p.Leader == id || p.Leader < 0 {
				led = append(led, kadm.Partition{Topic: p.Topic, Partition: p.Partition})
			}
		}
	}
	return led, nil
}

// writeTo writes one record to each of the partitions.
func writeTo(t *testing.T, c *six, partitions []kadm.Partition) {
	t.Helper()
	var records []*kgo.Record
	for _, p := range partitions {
		records = append(records, &kgo.Record{Topic: p.Topic, Partition: p.Partition, Value: []byte("record")})
	}
	client := c.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
