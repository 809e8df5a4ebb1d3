package join

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// brokerID is kvorum's broker; the controllers and Apache's brokers count from
// below.
const brokerID = 77

// startBroker formats and starts kvorum's broker on a quorum.
func startBroker(ctx context.Context, t *testing.T, q *cluster.Quorum) *cluster.Node {
	t.Helper()
	address := loopback.Address(t)
	n := &cluster.Node{
		ID: brokerID, Binary: cluster.Binary(t), Dir: filepath.Join(t.TempDir(), "broker"), Client: address,
		Properties: map[string]string{
			"process.roles":                       "broker",
			"node.id":                             fmt.Sprint(brokerID),
			"controller.quorum.bootstrap.servers": strings.Join(q.Addresses, ","),
			"controller.listener.names":           "CONTROLLER",
			"listeners":                           "PLAINTEXT://" + address,
			"listener.security.protocol.map":      "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
			"inter.broker.listener.name":          "PLAINTEXT",
			"offsets.topic.replication.factor":    "1",
			"offsets.topic.num.partitions":        "4",
			"group.initial.rebalance.delay.ms":    "0",
		},
	}
	n.Format(ctx, t, q.ClusterID)
	n.Start(t)
	n.WaitReady(ctx, t)
	return n
}

// use creates a topic on the broker alone, writes to it and reads it in a group.
func use(ctx context.Context, t *testing.T, address, topic string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic),
		kgo.ConsumerGroup("g-"+topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := kadm.NewClient(c)
	// The answer means that this broker knows the topic and leads it.
	if _, err := req.CreateTopic(ctx, 3, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	const records = 30
	for i := range records {
		if err := c.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for read := 0; read < records; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		read += fetches.NumRecords()
	}
	if err := c.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestJoinKvorum: a broker of its own on three controllers, of which the active one
// is killed; the broker goes on, makes topics by the next one, and starts again.
func TestJoinKvorum(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 3})
	b := startBroker(ctx, t, q)
	use(ctx, t, b.Client, "before")
	q.Controllers[q.Active(ctx, t)].Kill()
	use(ctx, t, b.Client, "after")
	b.Stop(t)
	b.Start(t)
	b.WaitReady(ctx, t)
	use(ctx, t, b.Client, "again")
	b.Stop(t)
}

// TestJoinApache: the same broker on controllers of Apache Kafka, which serve
// records before they are committed.
func TestJoinApache(t *testing.T) {
	kit := peer.Require(t, peer.Versions[len(peer.Versions)-1])
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	driver := kit.StartDriver(t)
	q := cluster.StartApache(ctx, t, kit, driver, cluster.Options{Size: 1})
	b := startBroker(ctx, t, q)
	use(ctx, t, b.Client, "before")
	b.Stop(t)
	b.Start(t)
	b.WaitReady(ctx, t)
	use(ctx, t, b.Client, "again")
	b.Stop(t)
}
