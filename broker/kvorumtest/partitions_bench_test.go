package kvorumtest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/broker/kvorumtest"
)

func newAdmin(b *testing.B, bootstrap string) *kadm.Client {
	b.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return kadm.NewClient(c)
}

// BenchmarkWideTopic creates topics of 5,000 partitions and takes them away again,
// outside of the measurement. In one process with the client its profile shows
// everything that such a topic costs.
func BenchmarkWideTopic(b *testing.B) {
	admin := newAdmin(b, kvorumtest.Start(b))
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("wide-%d", i)
		if _, err := admin.CreateTopic(ctx, 5000, 1, nil, name); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := admin.DeleteTopic(ctx, name); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkTopics creates topics of one partition, 32 at a time.
func BenchmarkTopics(b *testing.B) {
	admin := newAdmin(b, kvorumtest.Start(b))
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	var next atomic.Int64
	var work sync.WaitGroup
	b.ResetTimer()
	for range 32 {
		work.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if _, err := admin.CreateTopic(ctx, 1, 1, nil, fmt.Sprintf("topic-%d", i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "topics/s")
}

// BenchmarkFirstRecords writes the first record of each of 5,000 partitions: it
// ends when every leader has served.
func BenchmarkFirstRecords(b *testing.B) {
	bootstrap := kvorumtest.Start(b)
	admin := newAdmin(b, bootstrap)
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	const partitions = 5000
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		name := fmt.Sprintf("wide-%d", i)
		if _, err := admin.CreateTopic(ctx, partitions, 1, nil, name); err != nil {
			b.Fatal(err)
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(name), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			b.Fatal(err)
		}
		records := make([]*kgo.Record, partitions)
		for p := range records {
			records[p] = &kgo.Record{Partition: int32(p), Value: []byte("first")}
		}
		b.StartTimer()
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		client.Close()
		if _, err := admin.DeleteTopic(ctx, name); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
