package robustness

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

const (
	fewDescriptors  = 512
	manyPartitions  = 2_000 // three files each
	idleConnections = 600   // more than there are descriptors

	descriptorsPatience = 3 * time.Minute
)

// TestFewDescriptors: a node that may open 512 files serves 2,000 partitions, whatever
// clients connect and not say anything, and again after a kill: it loses no partition,
// no log directory and no record to the limit.
func TestFewDescriptors(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), descriptorsPatience)
	defer cancel()
	s := cluster.FormatSingleKvorum(ctx, t, nil)
	node := s.Server.(*cluster.Node)
	node.Wrap = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, fewDescriptors), "sh"}
	s.StartReady(ctx, t)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("wide"), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, manyPartitions, 1, nil, "wide"); err != nil {
		t.Fatal(err)
	}
	produceInACrowd(ctx, t, client, s.Bootstrap)
	readEach(ctx, t, s.Bootstrap, 2)
	node.Kill()
	s.StartReady(ctx, t)
	produceInACrowd(ctx, t, client, s.Bootstrap)
	readEach(ctx, t, s.Bootstrap, 4)
	text, err := os.ReadFile(node.Process().Log())
	if err != nil {
		t.Fatal(err)
	}
	for _, trouble := range []string{"went offline", "partition failed", "panic"} {
		if strings.Contains(string(text), trouble) {
			t.Errorf("the node's log says %q", trouble)
		}
	}
	if err := node.Process().Stop(descriptorsPatience); err != nil {
		t.Error(err)
	}
}

// produceInACrowd writes two records into each partition, the second while many
// connections are made that say nothing; the node refuses what is too many of them.
func produceInACrowd(ctx context.Context, t *testing.T, client *kgo.Client, address string) {
	t.Helper()
	produceOneEach(ctx, t, client)
	for range idleConnections {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	produceOneEach(ctx, t, client) // over the connection that was there before
}

// produceOneEach writes a record into each partition.
func produceOneEach(ctx context.Context, t *testing.T, client *kgo.Client) {
	t.Helper()
	records := make([]*kgo.Record, manyPartitions)
	for p := range records {
		records[p] = &kgo.Record{Partition: int32(p), Value: fmt.Appendf(nil, "of %d", p)}
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// readEach reads so many records from each partition, and no more.
func readEach(ctx context.Context, t *testing.T, bootstrap string, want int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics("wide"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	got := make([]int, manyPartitions)
	for whole := 0; whole < manyPartitions; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d partitions were read: %v", whole, manyPartitions, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if wrote := fmt.Sprintf("of %d", r.Partition); string(r.Value) != wrote {
				t.Fatalf("partition %d has %q, want %q", r.Partition, r.Value, wrote)
			}
			if got[r.Partition]++; got[r.Partition] == want {
				whole++
			}
		})
	}
	for p, n := range got {
		if n != want {
			t.Errorf("%d records in partition %d, want %d", n, p, want)
		}
	}
}
