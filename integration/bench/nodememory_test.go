package bench

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestNodeMemory keeps one node saturated by a producer and a consumer for ten
// minutes and reads its resident memory after two of them and at the end.
func TestNodeMemory(t *testing.T) {
	if full && os.Getenv("KVORUM_BENCH_MEMORY") == "" {
		t.Skip("skipped: make bench-memory runs the ten minutes of it")
	}
	node := formatNode(t, kvorum)
	node.StartReady(t.Context(), t)
	keep := "268435456" // bytes of each of six partitions: twenty minutes would fill the disk
	segment := "67108864"
	admin, err := kgo.NewClient(kgo.SeedBrokers(node.Bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := kadm.NewClient(admin).CreateTopic(t.Context(), 6, 1, map[string]*string{"retention.bytes": &keep, "segment.bytes": &segment}, "load"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { saturate(ctx, t, node.Bootstrap, "load") })
	work.Go(func() { drain(ctx, t, node.Bootstrap, "load") })

	began := time.Now()
	read := func(at time.Duration) float64 {
		time.Sleep(time.Until(began.Add(at)))
		mib := float64(node.Process().ResidentBytes()) / (1 << 20)
		note(t, kvorum, fmt.Sprintf("resident after %v under load", at.Round(time.Second/10)), "", mib, fmt.Sprintf("%.0f MiB", mib))
		return mib
	}
	early := read(sizes.load / 5)
	for i := 2; i < 5; i++ {
		read(sizes.load * time.Duration(i) / 5)
	}
	ratio := read(sizes.load) / early
	note(t, kvorum, "the last to the first", "1.1", 0, fmt.Sprintf("%.2f", ratio))
}

// saturate writes records of 1 KiB as fast as they are taken.
func saturate(ctx context.Context, t *testing.T, bootstrap, topic string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(1_000_000))
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	value := randomBytes(1024)
	for ctx.Err() == nil {
		client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil && ctx.Err() == nil {
				t.Errorf("a record was not acknowledged: %v", err)
			}
		})
	}
}

// drain reads what comes; what retention takes away before it is read is skipped.
func drain(ctx context.Context, t *testing.T, bootstrap, topic string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx)
	}
}
