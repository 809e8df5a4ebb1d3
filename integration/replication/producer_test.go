package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

	mu   sync.Mutex
	sent [][]attempt // by partition, in the order in which they were sent
	n    int         // acknowledged
	gap  time.Duration
}

// attempt is a record that was sent. One that is not acknowledged may be there or
// not.
type attempt struct {
	value string
	acked bool
}

// startProducer begins to write.
func startProducer(t *testing.T, seeds []string, topic string, partitions int) *producer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &producer{t: t, topic: topic, stop: cancel, sent: make([][]attempt, partitions)}
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
		err := p.client.ProduceSync(context.WithoutCancel(ctx), r).FirstErr()
		if gaveUp := new(kgo.ErrFirstReadEOF); err != nil && !errors.As(err, &gaveUp) {
			p.t.Errorf("record %d of partition %d: %v", n, partition, err)
			return
		}
		// The client takes the end of a connection that has not answered yet, because
		// its broker was killed, for a wrong protocol, and gives up.
		p.mu.Lock()
		p.sent[partition] = append(p.sent[partition], attempt{value, err == nil})
		if err == nil {
			p.n++
			p.gap = max(p.gap, time.Since(began))
		}
		p.mu.Unlock()
	}
}

// written is how many records are acknowledged.
func (p *producer) written() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
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

// finish stops writing and reads everything back: each partition must hold the
// numbers that were acknowledged, once and in order, and no others but such as the
// client gave up.
func (p *producer) finish(ctx context.Context, seeds []string) {
	p.t.Helper()
	p.stop()
	p.done.Wait()
	p.t.Logf("%d records acknowledged, the longest wait for one was %v", p.written(), p.gap.Round(time.Millisecond))
	c := newClient(p.t, kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(p.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := make([][]string, len(p.sent))
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !p.allIn(got) {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			p.t.Fatalf("while the %d records are read back: %v", p.written(), err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got[r.Partition] = append(got[r.Partition], string(r.Value)) })
	}
	for n := range got {
		i := 0
		for _, a := range p.sent[n] {
			switch {
			case i < len(got[n]) && got[n][i] == a.value:
				i++
			case a.acked:
				p.t.Fatalf("partition %d: record %s is acknowledged and not at position %d, after %v", n, a.value, i, got[n][max(0, i-3):min(i+3, len(got[n]))])
			}
		}
		if i < len(got[n]) {
			p.t.Errorf("partition %d holds %v beyond what was written", n, got[n][i:min(i+5, len(got[n]))])
		}
	}
}

// allIn reports whether the last acknowledged record of each partition was read.
func (p *producer) allIn(got [][]string) bool {
	for n, sent := range p.sent {
		last := len(sent) - 1
		for last >= 0 && !sent[last].acked {
			last--
		}
		if last >= 0 && !slices.Contains(got[n], sent[last].value) {
			return false
		}
	}
	return true
}
