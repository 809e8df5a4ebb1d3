package catchup

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// awayRecords is how many metadata records go by while a broker is off.
const awayRecords = 50_000

// TestBrokerCatchesUpByLog stops a broker, writes 50,000 records and starts it
// again: it must serve what was made meanwhile, from the log alone.
func TestBrokerCatchesUpByLog(t *testing.T) {
	away(t, nil, func(t *testing.T, metrics string) {
		if start := metric(t, metrics, "kafka_raft_log_start_offset"); start != 0 {
			t.Errorf("the log starts at %d: this test is about one that was not cut", start)
		}
	})
}

// TestBrokerCatchesUpBySnapshot does the same with a log that is cut meanwhile,
// so that the broker's own end lies below its start.
func TestBrokerCatchesUpBySnapshot(t *testing.T) {
	small := map[string]string{"metadata.log.max.record.bytes.between.snapshots": "100000", "metadata.max.retention.bytes": "200000"}
	away(t, small, func(t *testing.T, metrics string) {
		deadline := time.Now().Add(30 * time.Second)
		for metric(t, metrics, "kafka_raft_log_start_offset") < awayRecords/2 {
			if time.Now().After(deadline) {
				t.Fatalf("the log still starts at %d", metric(t, metrics, "kafka_raft_log_start_offset"))
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// node is a broker of either make, and where clients find it.
type node struct {
	cluster.Server
	address string
}

// makes are the makes of brokers, and how one is started on a quorum.
var makes = map[string]func(ctx context.Context, t *testing.T, q *cluster.Quorum) node{
	string(peer.V39): func(ctx context.Context, t *testing.T, q *cluster.Quorum) node { return apache(ctx, t, q, peer.V39) },
	string(peer.V43): func(ctx context.Context, t *testing.T, q *cluster.Quorum) node { return apache(ctx, t, q, peer.V43) },
	"kvorum":         func(ctx context.Context, t *testing.T, q *cluster.Quorum) node { return ours(ctx, t, q, nil) },
}

func apache(ctx context.Context, t *testing.T, q *cluster.Quorum, v peer.Version) node {
	kit := peer.Require(t, v)
	b := q.Brokers(ctx, t, kit.StartDriver(t), nil, kit)[0]
	return node{b, b.Listener}
}

func ours(ctx context.Context, t *testing.T, q *cluster.Quorum, properties map[string]string) node {
	b := q.StartKvorumBrokers(ctx, t, 1, properties)[0]
	return node{b, b.Client}
}

// away is the story of the first two tests; meanwhile runs while the broker is off.
func away(t *testing.T, properties map[string]string, meanwhile func(t *testing.T, metrics string)) {
	for name, start := range makes {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			metrics := loopback.Address(t)
			p := map[string]string{"kvorum.metrics.listener": metrics}
			maps.Copy(p, properties)
			q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1, ReleaseVersion: "3.9", Properties: p})
			broker := start(ctx, t, q)
			createTopic(ctx, t, q.Addresses[0], "before")
			broker.Stop(t)
			writeRecords(ctx, t, q.Addresses[0], awayRecords)
			meanwhile(t, metrics)
			broker.Start(t)
			broker.WaitReady(ctx, t)
			createTopic(ctx, t, q.Addresses[0], "after")
			knows(ctx, t, broker.address, "before", "after")
			if cut := properties != nil; cut != hasFetched(t, snapshots(t, broker)) {
				t.Errorf("the broker's snapshots are %v, want one that it fetched: %v", snapshots(t, broker), cut)
			}
		})
	}
}

// metadataDir is where a broker keeps the metadata log.
func metadataDir(b node) string { return filepath.Join(b.DataDir(), "__cluster_metadata-0") }

// snapshots are the paths of a broker's snapshots.
func snapshots(t *testing.T, b node) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(metadataDir(b), "*.checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestBrokerStartsFromItsOwnSnapshot: kvorum's broker makes snapshots and cuts its
// log, is killed, and starts from what it has.
func TestBrokerStartsFromItsOwnSnapshot(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1})
	broker := ours(ctx, t, q, map[string]string{"metadata.log.max.record.bytes.between.snapshots": "100000", "metadata.max.retention.bytes": "200000"})
	createTopic(ctx, t, q.Addresses[0], "before")
	writeRecords(ctx, t, q.Addresses[0], awayRecords)
	for deadline := time.Now().Add(30 * time.Second); !hasFetched(t, snapshots(t, broker)); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %d records the broker's snapshots are %v", awayRecords, snapshots(t, broker))
		}
	}
	broker.Kill()
	broker.Start(t)
	broker.WaitReady(ctx, t)
	createTopic(ctx, t, q.Addresses[0], "after")
	knows(ctx, t, broker.address, "before", "after")
	broker.Stop(t)
}

// TestBrokerWithoutItsMetadata: the metadata log is gone from a directory of
// kvorum's broker, whose other logs are there; it fetches the metadata anew and
// serves the records that it has.
func TestBrokerWithoutItsMetadata(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1})
	broker := ours(ctx, t, q, nil)
	createTopic(ctx, t, q.Addresses[0], "before")
	knows(ctx, t, broker.address, "before")
	c := client(t, broker.address)
	const records = 20
	for i := range records {
		if err := c.ProduceSync(ctx, &kgo.Record{Topic: "before", Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	broker.Stop(t)
	if err := os.RemoveAll(metadataDir(broker)); err != nil {
		t.Fatal(err)
	}
	broker.Start(t)
	broker.WaitReady(ctx, t)
	createTopic(ctx, t, q.Addresses[0], "after")
	knows(ctx, t, broker.address, "before", "after")
	reader, err := kgo.NewClient(kgo.SeedBrokers(broker.address), kgo.ConsumeTopics("before"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for read := 0; read < records; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d records: %v", read, err)
		}
		read += fetches.NumRecords()
	}
	broker.Stop(t)
}

// hasFetched reports whether one of the snapshots is far into the log: the
// broker makes none of its own that early.
func hasFetched(t *testing.T, snapshots []string) bool {
	t.Helper()
	for _, path := range snapshots {
		name := filepath.Base(path)
		end, err := strconv.ParseInt(regexp.MustCompile(`^\d{20}`).FindString(name), 10, 64)
		if err == nil && end > awayRecords/2 {
			return true
		}
	}
	return false
}

// writeRecords changes client quotas until n records are written: nothing else
// gives a broker so many records with so little to do for each.
func writeRecords(ctx context.Context, t *testing.T, controller string, n int) {
	t.Helper()
	const each = 1000
	client := client(t, controller)
	for round := range n / each {
		req := kmsg.NewPtrAlterClientQuotasRequest()
		for i := range each {
			entry := kmsg.NewAlterClientQuotasRequestEntry()
			name := fmt.Sprintf("user-%d", i)
			entry.Entity = append(entry.Entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: "user", Name: &name})
			entry.Ops = append(entry.Ops, kmsg.AlterClientQuotasRequestEntryOp{Key: "producer_byte_rate", Value: float64(1000 + round)})
			req.Entries = append(req.Entries, entry)
		}
		resp, err := client.SeedBrokers()[0].Request(ctx, req)
		if err != nil {
			t.Fatalf("alter quotas, round %d: %v", round, err)
		}
		for _, e := range resp.(*kmsg.AlterClientQuotasResponse).Entries {
			if e.ErrorCode != 0 {
				t.Fatalf("alter quotas, round %d: error %d", round, e.ErrorCode)
			}
		}
	}
}

func createTopic(ctx context.Context, t *testing.T, controller, name string) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 3, 1
	req.Topics = append(req.Topics, topic)
	resp, err := client(t, controller).SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
	if code := resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
		t.Fatalf("create topic %s: error %d", name, code)
	}
}

// knows waits until a broker has metadata of the topics: it has fetched their
// records before their creation was acknowledged, and publishes them soon after.
func knows(ctx context.Context, t *testing.T, broker string, names ...string) {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := client(t, broker).SeedBrokers()[0].Request(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		missing := ""
		for _, topic := range resp.(*kmsg.MetadataResponse).Topics {
			if topic.ErrorCode != 0 || len(topic.Partitions) != 3 {
				missing = fmt.Sprintf("topic %s: error %d and %d partitions", *topic.Topic, topic.ErrorCode, len(topic.Partitions))
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s after the broker has caught up", missing)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func client(t *testing.T, address string) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// metric reads one value of a controller's metrics.
func metric(t *testing.T, address, name string) int64 {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no metric %s in\n%s", name, text)
	}
	v, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(v)
}
