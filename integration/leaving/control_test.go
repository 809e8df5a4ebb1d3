package leaving

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/loopback"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/convert"
	"kvorum/migration/zk"
	"kvorum/migration/zkbroker"
	"kvorum/migration/zkbroker/control"
	"kvorum/migration/znode"
)

// TestTellBrokers: the control requests do in real brokers in ZooKeeper mode what
// they are for. There are no KRaft controllers behind them: we claim ZooKeeper, and
// then elect, create, delete and move by requests alone, each with the proof that a
// client or the broker's disk gives.
func TestTellBrokers(t *testing.T) {
	ctx := t.Context()
	c := StartWith(ctx, t, 2, map[string]string{
		"zookeeper.metadata.migration.enable":      "true",
		"controller.quorum.voters":                 "3001@" + loopback.Address(t), // nobody answers there
		"controller.listener.names":                "CONTROLLER",
		"listener.security.protocol.map":           "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"offsets.topic.replication.factor":         "2",
		"transaction.state.log.replication.factor": "2",
	})
	b := &told{ctx: ctx, t: t, c: c}
	for _, topic := range []string{"elected", "deleted"} {
		if _, err := kadm.NewClient(c.Client(t)).CreateTopic(ctx, 1, 2, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	b.produce("elected", "before")
	b.claim()
	b.publish()
	b.produce("elected", "after the claim")

	elected, deleted := b.im.TopicByName("elected"), b.im.TopicByName("deleted")
	old := elected.Partition(0).Leader
	b.publish(&record.PartitionChangeRecord{TopicID: elected.ID, Leader: 3 - old, LeaderRecoveryState: -1})
	b.leads("elected", 3-old)
	b.produce("elected", "after the election") // acks=all: the old leader follows

	b.publish(&record.RemoveTopicRecord{TopicID: deleted.ID})
	b.replicas("deleted-0")
	if topics, err := kadm.NewClient(c.Client(t)).ListTopics(ctx, "deleted"); err != nil || topics.Has("deleted") {
		t.Errorf("the deleted topic: %v, %v", topics, err)
	}

	// Under the same name at once, with one replica, and then moved to the other broker.
	id := kafka.TopicID{0: 8, 15: 9}
	b.publish(&record.TopicRecord{Name: "deleted", TopicID: id}, &record.PartitionRecord{TopicID: id, Replicas: []kafka.BrokerID{1}, ISR: []kafka.BrokerID{1}, Leader: 1})
	b.leads("deleted", 1)
	b.replicas("deleted-0", 1)
	b.produce("deleted", "again")
	b.publish(&record.PartitionChangeRecord{TopicID: id, Replicas: []kafka.BrokerID{2}, ISR: []kafka.BrokerID{2}, Leader: 2, LeaderRecoveryState: -1})
	b.leads("deleted", 2)
	b.replicas("deleted-0", 2)
	for _, st := range b.sender.Status() {
		if st.Refused > 0 || st.Err != nil {
			t.Errorf("%+v", st)
		}
	}
}

// told is a cluster that we tell what to do.
type told struct {
	ctx    context.Context
	t      *testing.T
	c      *Cluster
	im     *image.Image
	sender *zkbroker.Sender
}

// claim reads ZooKeeper, takes /controller, and makes the image with the brokers
// registered in it.
func (b *told) claim() {
	b.t.Helper()
	client, err := zk.Open(b.ctx, zk.Config{Connect: b.c.Connect})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(client.Close)
	fence, err := client.Claim(b.ctx, zk.Claim{ID: 3001, Epoch: 50})
	if err != nil {
		b.t.Fatal(err)
	}
	tree, err := client.Read(b.ctx, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	messages, problems := convert.Records(znode.Decode(tree), convert.Options{MetadataVersion: image.MV39IV0})
	if len(problems) > 0 {
		b.t.Fatal(problems)
	}
	for _, node := range b.c.Brokers {
		endpoint := loopbackEndpoint(b.t, node.Listener)
		messages = append(messages, record.Message{Record: &record.RegisterBrokerRecord{
			BrokerID: kafka.BrokerID(node.ID), BrokerEpoch: 7, IncarnationID: kafka.UUID{15: byte(node.ID)}, IsMigratingZkBroker: true, EndPoints: []record.Endpoint{endpoint},
		}})
	}
	if b.im, err = image.Fold(image.Empty(), 0, 50, 0, messages); err != nil {
		b.t.Fatal(err)
	}
	b.sender, err = zkbroker.New(zkbroker.Config{Head: control.Head{Controller: 3001, ControllerEpoch: fence.ControllerEpoch.Value, Listener: "PLAINTEXT"}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(b.sender.Close)
}

// publish adds records and waits until both brokers have been told.
func (b *told) publish(records ...record.Record) {
	b.t.Helper()
	d := image.NewDelta(b.im)
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			b.t.Fatal(err)
		}
	}
	b.im = d.Apply(image.Position{Offset: b.im.At().Offset + 1, Epoch: 50})
	b.sender.Publish(b.im)
	b.wait("the brokers to be told", func() bool {
		all := b.sender.Status()
		return len(all) == 2 && !slices.ContainsFunc(all, func(s zkbroker.Status) bool { return s.Told < b.im.At().Offset })
	})
}

func (b *told) wait(what string, done func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain for %s; %+v", what, b.sender.Status())
		}
	}
}

// produce writes a record with acks=all.
func (b *told) produce(topic, value string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := b.c.Client(b.t, kgo.DisableIdempotentWrite()).ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		b.t.Fatalf("produce %s to %s: %v", value, topic, err)
	}
}

// leads waits until each broker says who leads.
func (b *told) leads(topic string, leader kafka.BrokerID) {
	b.t.Helper()
	for _, node := range b.c.Brokers {
		client, err := kgo.NewClient(kgo.SeedBrokers(node.Listener))
		if err != nil {
			b.t.Fatal(err)
		}
		b.wait("a leader in the eyes of "+node.String(), func() bool {
			topics, err := kadm.NewClient(client).ListTopics(b.ctx, topic)
			return err == nil && topics[topic].Partitions[0].Leader == int32(leader)
		})
		client.Close()
	}
}

// replicas waits until these brokers, and no others, have a partition's directory.
func (b *told) replicas(partition string, brokers ...int32) {
	b.t.Helper()
	b.wait("the replicas of "+partition, func() bool {
		var have []int32
		for _, node := range b.c.Brokers {
			if _, err := os.Stat(filepath.Join(node.DataDir(), partition)); err == nil {
				have = append(have, node.ID)
			}
		}
		return slices.Equal(have, brokers)
	})
}

func loopbackEndpoint(t *testing.T, address string) record.Endpoint {
	t.Helper()
	host, port, _ := strings.Cut(address, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return record.Endpoint{Name: "PLAINTEXT", Host: host, Port: uint16(n)}
}
