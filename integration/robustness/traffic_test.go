package robustness

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/internal/kafka"
)

// The topic that records go to; it is made before the traffic begins.
const recordsTopic = "records"

const (
	partitions = 3
	// operationPatience bounds one operation of a client; it is then a Maybe.
	operationPatience = 20 * time.Second
	// pause between two operations of one client: some load, on two cores that
	// JVMs share.
	pause = 20 * time.Millisecond
)

// traffic is the clients of one test: one creates topics and deletes every third,
// one produces.
type traffic struct {
	history *History
	admin   *kadm.Client
	client  *kgo.Client

	stop    context.CancelFunc
	running sync.WaitGroup
	created atomic.Pointer[time.Time] // when the last acknowledged creation was asked for
	written atomic.Pointer[time.Time] // when the last acknowledged record was sent
}

// startTraffic makes the records' topic and starts the clients; they end with
// finish, at the latest with the test.
func startTraffic(t *testing.T, bootstrap []string) *traffic {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap...), kgo.DefaultProduceTopic(recordsTopic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		kgo.AlwaysRetryEOF(), kgo.MetadataMinAge(100*time.Millisecond), kgo.RequestTimeoutOverhead(5*time.Second),
	)
	if err != nil {
		t.Fatal(err)
	}
	tr := &traffic{history: NewHistory(), client: client, admin: kadm.NewClient(client)}
	tr.admin.SetTimeoutMillis(5000)
	ctx, cancel := context.WithCancel(context.Background())
	tr.stop = cancel
	tr.history.Created(recordsTopic, Maybe, kafka.ZeroUUID)
	min := "2"
	if _, err := tr.admin.CreateTopic(ctx, partitions, 3, map[string]*string{"min.insync.replicas": &min}, recordsTopic); err != nil {
		t.Fatal(err)
	}
	for _, work := range []func(context.Context, int){tr.createTopic, tr.produce} {
		tr.running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				work(ctx, n)
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	t.Cleanup(func() {
		tr.finish()
		client.Close()
	})
	return tr
}

// finish ends the clients' work and waits for it.
func (tr *traffic) finish() {
	tr.stop()
	tr.running.Wait()
}

// createTopic creates one topic, and deletes it if it is a third one.
func (tr *traffic) createTopic(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, operationPatience)
	defer cancel()
	name := fmt.Sprintf("topic-%d", n)
	tr.history.Created(name, Maybe, kafka.ZeroUUID)
	began := time.Now()
	response, err := tr.admin.CreateTopic(ctx, 1, 1, nil, name)
	if err != nil {
		return // it may exist: a retry of the client's own may have found its first try's topic
	}
	tr.history.Created(name, Acknowledged, kafka.TopicID(response.ID))
	tr.created.Store(&began)
	if n%3 != 0 {
		return
	}
	tr.history.Deleted(name, Maybe)
	if _, err := tr.admin.DeleteTopic(ctx, name); err == nil {
		tr.history.Deleted(name, Acknowledged)
	}
}

// produce writes one record with acks=all by an idempotent producer.
func (tr *traffic) produce(ctx context.Context, n int) {
	value := fmt.Sprintf("record-%d", n)
	tr.history.Sent(value)
	began := time.Now()
	record, err := tr.client.ProduceSync(ctx, kgo.StringRecord(value)).First()
	if err != nil {
		return
	}
	tr.history.Acked(value, Position{record.Partition, record.Offset})
	tr.written.Store(&began)
}

// untilAfter waits until both a creation and a record that began after a moment
// have been acknowledged.
func (tr *traffic) untilAfter(t *testing.T, moment time.Time, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		created, written := tr.created.Load(), tr.written.Load()
		if created != nil && written != nil && created.After(moment) && written.After(moment) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no creation and record were acknowledged within %v; the last that were began at %v and %v, %v is the moment", within, created, written, moment)
		}
		time.Sleep(time.Millisecond)
	}
}

// observe reads what the cluster has: the topics as one broker knows them, and
// all records.
func (tr *traffic) observe(ctx context.Context, t *testing.T, broker string) Observed {
	t.Helper()
	o := Observed{Topics: map[string]kafka.TopicID{}, Records: map[Position]string{}}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(recordsTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range topics {
		o.Topics[name] = kafka.TopicID(d.ID)
	}
	ends, err := admin.ListEndOffsets(ctx, recordsTopic)
	if err != nil {
		t.Fatal(err)
	}
	missing := 0
	ends.Each(func(e kadm.ListedOffset) { missing += int(e.Offset) })
	for missing > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read the records back, %d are missing: %v", missing, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			o.Records[Position{r.Partition, r.Offset}] = string(r.Value)
			missing--
		})
	}
	return o
}
