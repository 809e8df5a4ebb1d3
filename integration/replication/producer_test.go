package replication

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// producer writes numbers to all partitions of a topic with acks=all and
// idempotence, one record of each partition at a time, until it is stopped.
type producer struct {
	t      *testing.T
	client *kgo.Client
	topic  string
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	acked [][]string // by partition, in the order in which they were sent
	gap   time.Duration
}

// startProducer begins to write.
func startProducer(t *testing.T, seeds []string, topic string, partitions int) *producer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &producer{t: t, topic: topic, stop: cancel, acked: make([][]string, partitions)}
	p.client = newClient(t, kgo.SeedBrokers(seeds...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()))
	for n := range partitions {
		p.done.Go(func() { p.produce(ctx, n) })
	}
	return p
}

func (p *producer) produce(ctx context.Context, partition int) {
	for n := 0; ctx.Err() == nil; n++ {
		value := strconv.Itoa(n)
		r := &kgo.Record{Topic: p.topic, Partition: int32(partition), Value: []byte(value)}
		began := time.Now()
		// It is tried until it is written, so that the order is known.
		if err := p.client.ProduceSync(context.WithoutCancel(ctx), r).FirstErr(); err != nil {
			p.t.Errorf("record %d of partition %d: %v", n, partition, err)
			return
		}
		p.mu.Lock()
		p.acked[partition] = append(p.acked[partition], value)
		p.gap = max(p.gap, time.Since(began))
		p.mu.Unlock()
	}
}

// written is how many records are acknowledged.
func (p *producer) written() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, of := range p.acked {
		n += len(of)
	}
	return n
}

// more waits until n more records are acknowledged.
func (p *producer) more(ctx context.Context, n int) {
	p.t.Helper()
	from := p.written()
	await(ctx, p.t, "more records", func(context.Context) error {
		if now := p.written(); now < from+n && !p.t.Failed() {
			return fmt.Errorf("%d of %d more records are acknowledged", now-from, n)
		}
		return nil
	})
}

// finish stops writing and reads everything back: each partition must hold exactly
// the numbers that were written to it, in order.
func (p *producer) finish(ctx context.Context, seeds []string) {
	p.t.Helper()
	p.stop()
	p.done.Wait()
	p.t.Logf("%d records acknowledged, the longest wait for one was %v", p.written(), p.gap.Round(time.Millisecond))
	c := newClient(p.t, kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(p.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := make([][]string, len(p.acked))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for read := 0; read < p.written(); {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			p.t.Fatalf("after %d of %d records: %v", read, p.written(), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got[r.Partition] = append(got[r.Partition], string(r.Value))
			read++
		})
	}
	for n := range got {
		if len(got[n]) != len(p.acked[n]) {
			p.t.Errorf("partition %d holds %d records, and %d were written", n, len(got[n]), len(p.acked[n]))
		}
		for i := range min(len(got[n]), len(p.acked[n])) {
			if got[n][i] != p.acked[n][i] {
				p.t.Fatalf("partition %d has %s at position %d, where %s was written", n, got[n][i], i, p.acked[n][i])
			}
		}
	}
}
