package replication

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/cluster"
)

// fetchedFrom counts the bytes of Fetch answers by broker.
type fetchedFrom struct {
	mu    sync.Mutex
	bytes map[int32]int
}

func (f *fetchedFrom) OnBrokerRead(m kgo.BrokerMetadata, key int16, n int, _, _ time.Duration, _ error) {
	if key == kmsg.Fetch.Int16() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.bytes[m.NodeID] += n
	}
}

// TestNearestReplica: a consumer that says its rack is sent to the replica there and
// reads all records from it; one in the leader's rack, in one that no broker is in,
// or that does not say, reads from the leader (KIP-392).
func TestNearestReplica(t *testing.T) {
	ctx := t.Context()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1})
	brokers := q.FormatKvorumBrokers(ctx, t, 3, map[string]string{"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"})
	var racks []string
	for i, b := range brokers {
		racks = append(racks, fmt.Sprintf("rack-%d", i))
		appendProperty(t, b, "broker.rack="+racks[i])
		b.Start(t)
	}
	for _, b := range brokers {
		b.WaitReady(ctx, t)
	}
	seeds, _ := addresses(brokers)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	if _, err := admin.CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, "t", 3)
	topics, err := admin.ListTopics(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	leader := topics["t"].Partitions[0].Leader
	const records, size = 3000, 1000
	producer := newClient(t, kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range records {
		producer.Produce(ctx, &kgo.Record{Value: make([]byte, size)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := producer.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, rack := range []string{"rack-0", "rack-1", "rack-2", "rack-3", ""} {
		from := &fetchedFrom{bytes: map[int32]int{}}
		consumer := newClient(t, kgo.SeedBrokers(seeds...), kgo.ConsumeTopics("t"), kgo.Rack(rack), kgo.WithHooks(from), kgo.FetchMaxPartitionBytes(100*size))
		for n := 0; n < records; {
			fetches := consumer.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			n += fetches.NumRecords()
		}
		consumer.Close()
		want := leader
		if i := slices.Index(racks, rack); i >= 0 {
			want = brokers[i].ID
		}
		from.mu.Lock()
		if from.bytes[want] < records*size {
			t.Errorf("a consumer in rack %q read %v bytes by broker, where %d is its replica and %d leads", rack, from.bytes, want, leader)
		}
		from.mu.Unlock()
	}
}

// appendProperty adds a line to the server.properties of a node that does not run.
func appendProperty(t *testing.T, n *cluster.Node, line string) {
	t.Helper()
	f, err := os.OpenFile(n.PropertiesFile(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, line); err != nil {
		t.Fatal(err)
	}
}
