package leaving

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// load is an idempotent producer that sends a numbered record each millisecond with
// acks=all, and never waits for one before it sends the next.
type load struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	acked   map[uint64]bool
	errs    []error
	last    time.Time     // of an acknowledgement
	longest time.Duration // between two, since gap was called
	most    time.Duration // between two, ever
}

func startLoad(t *testing.T, c *Cluster, topic string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{client: c.Client(t, kgo.DefaultProduceTopic(topic), kgo.RecordDeliveryTimeout(2*time.Minute)), stop: cancel, acked: map[uint64]bool{}, last: time.Now()}
	l.done.Go(func() {
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		for n := uint64(0); ctx.Err() == nil; n++ {
			l.client.Produce(context.WithoutCancel(ctx), &kgo.Record{Value: binary.BigEndian.AppendUint64(nil, n)}, func(_ *kgo.Record, err error) { l.note(n, err) })
			<-ticks.C
		}
		_ = l.client.Flush(context.WithoutCancel(ctx)) // each record has its own error
	})
	t.Cleanup(func() { cancel(); l.client.Close(); l.done.Wait() }) // the brokers of a test that failed may be gone
	return l
}

func (l *load) note(n uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	l.acked[n] = true
	now := time.Now()
	l.longest, l.last = max(l.longest, now.Sub(l.last)), now
	l.most = max(l.most, l.longest)
}

// gap is the longest time without an acknowledgement since the last call.
func (l *load) gap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := max(l.longest, time.Since(l.last))
	l.longest, l.most = 0, max(l.most, longest)
	return longest
}

// state is how many records were acknowledged, how many were refused, and the
// longest gap since gap was called.
func (l *load) state() (acked, failed int, gap time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), len(l.errs), max(l.longest, time.Since(l.last))
}

// verdict is what became of the records of a load.
type verdict struct {
	acked, lost, twice int
	errs               []error
	longest            time.Duration // without an acknowledgement
}

// end stops the load and reads everything back.
func (l *load) end(ctx context.Context, t *testing.T, c *Cluster, topic string) verdict {
	t.Helper()
	l.gap()
	l.stop()
	l.done.Wait()
	seen := readBack(ctx, t, c, topic)
	v := verdict{acked: len(l.acked), errs: l.errs, longest: l.most}
	for n := range l.acked {
		if seen[n] == 0 {
			v.lost++
		}
	}
	for _, times := range seen {
		if times > 1 {
			v.twice++
		}
	}
	return v
}

// readBack reads a topic to its end, and counts how often each number is there.
func readBack(ctx context.Context, t *testing.T, c *Cluster, topic string, opts ...kgo.Opt) map[uint64]int {
	t.Helper()
	reader := c.Client(t, append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())...)
	ends, err := kadm.NewClient(reader).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{} // the ends of the partitions that are not read to there yet
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	seen := map[uint64]int{}
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	for len(left) > 0 {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%s was not read up to %v", topic, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() { // the end of a transaction
				seen[binary.BigEndian.Uint64(r.Value)]++
			}
			if end, ok := left[r.Partition]; ok && r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		})
	}
	return seen
}
