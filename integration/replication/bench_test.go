package replication

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

// benchCluster starts three controllers and three brokers with a topic on all of
// them, and a client that writes to it with acks=all.
func benchCluster(b *testing.B, options ...kgo.Opt) *kgo.Client {
	b.Helper()
	ctx := context.Background()
	q := cluster.StartKvorum(ctx, b, cluster.Options{Size: 3})
	seeds, _ := addresses(q.StartKvorumBrokers(ctx, b, 3, nil))
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("t")}, options...)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	min := "2"
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 6, 3, map[string]*string{"min.insync.replicas": &min}, "t"); err != nil {
		b.Fatal(err)
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Value: []byte("first")}).FirstErr(); err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkProduce writes records of 1 KiB as fast as they are taken, client and
// cluster on one machine.
func BenchmarkProduce(b *testing.B) {
	c := benchCluster(b, kgo.MaxBufferedRecords(50_000), kgo.ProducerBatchMaxBytes(1_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond))
	value := make([]byte, 1024)
	b.SetBytes(int64(len(value)))
	b.ResetTimer()
	for range b.N {
		c.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := c.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkProduceLatency writes 1,000 records a second, each at its time, and
// reports how long the acknowledgements take.
func BenchmarkProduceLatency(b *testing.B) {
	c := benchCluster(b)
	value := make([]byte, 1024)
	took := make([]time.Duration, b.N)
	var acks sync.WaitGroup
	b.ResetTimer()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for i := range b.N {
		<-ticker.C
		began := time.Now()
		acks.Add(1)
		c.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
			took[i] = time.Since(began)
			acks.Done()
		})
	}
	acks.Wait()
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[min(len(took)-1, int(share*float64(len(took))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}
