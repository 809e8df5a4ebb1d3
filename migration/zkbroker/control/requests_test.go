package control

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// story is the requests in short, a line each.
func story(t testing.TB, requests []kmsg.Request) string {
	t.Helper()
	var b strings.Builder
	for _, r := range requests {
		switch r := r.(type) {
		case *kmsg.UpdateMetadataRequest:
			d := describeUpdateMetadata(r)
			fmt.Fprintf(&b, "metadata type %d", d["type"])
			for _, s := range r.TopicStates {
				for _, p := range s.PartitionStates {
					fmt.Fprintf(&b, " %s-%d:%d", s.Topic, p.Partition, p.Leader)
					if len(p.OfflineReplicas) > 0 {
						fmt.Fprintf(&b, "!%v", p.OfflineReplicas)
					}
				}
			}
			b.WriteString(" live")
			for _, l := range r.LiveBrokers {
				fmt.Fprintf(&b, " %d", l.ID)
			}
		case *kmsg.LeaderAndISRRequest:
			fmt.Fprintf(&b, "replicas type %d", r.Type)
			for _, s := range r.TopicStates {
				for _, p := range s.PartitionStates {
					fmt.Fprintf(&b, " %s-%d:%d", s.Topic, p.Partition, p.Leader)
				}
			}
			b.WriteString(" leaders")
			for _, l := range r.LiveLeaders {
				fmt.Fprintf(&b, " %d", l.BrokerID)
			}
		case *StopReplica:
			b.WriteString("stop")
			for _, s := range r.Topics {
				for _, p := range s.PartitionStates {
					fmt.Fprintf(&b, " %s-%d epoch %d delete %v", s.Topic, p.Partition, p.LeaderEpoch, p.Delete)
				}
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var uuidOf = map[string]kafka.TopicID{"a": {15: 1}, "b": {15: 2}, "again": {15: 3}}

func (b *builder) create(id kafka.TopicID, name string, replicas ...kafka.BrokerID) {
	b.t.Helper()
	b.add(&record.TopicRecord{Name: name, TopicID: id}, &record.PartitionRecord{TopicID: id, Replicas: replicas, ISR: replicas, Leader: replicas[0], LeaderEpoch: 5})
}

func unchanged() record.PartitionChangeRecord {
	return record.PartitionChangeRecord{Leader: -2, LeaderRecoveryState: -1}
}

// TestChanged: what a broker (always 2) is told of a change.
func TestChanged(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *builder)
		want   string
	}{
		{"nothing", func(b *builder) { b.add(&record.NoOpRecord{}) }, ""},
		{"a configuration", func(b *builder) {
			value := "1"
			b.add(&record.ConfigRecord{ResourceType: 2, ResourceName: "a", Name: "retention.ms", Value: &value})
		}, ""},
		{"a topic of its own", func(b *builder) { b.create(uuidOf["again"], "c", 1, 2) },
			"replicas type 1 c-0:1 leaders 1\nmetadata type 1 c-0:1 live 1 2 3\n"},
		{"a topic of others", func(b *builder) { b.create(uuidOf["again"], "c", 1, 3) },
			"metadata type 1 c-0:1 live 1 2 3\n"},
		{"a new leader", func(b *builder) {
			r := unchanged()
			r.TopicID, r.Leader = uuidOf["a"], 2
			b.add(&r)
		}, "replicas type 1 a-0:2 leaders 2\nmetadata type 1 a-0:2 live 1 2 3\n"},
		{"it is taken out of the replicas", func(b *builder) {
			r := unchanged()
			r.TopicID, r.Leader, r.Replicas, r.ISR = uuidOf["a"], 1, []kafka.BrokerID{1, 3}, []kafka.BrokerID{1}
			b.add(&r)
		}, "metadata type 1 a-0:1 live 1 2 3\nstop a-0 epoch 6 delete true\n"},
		{"another broker is gone, and with it a leader", func(b *builder) {
			b.fence(1, true)
			r := unchanged()
			r.TopicID, r.Leader, r.ISR = uuidOf["a"], 2, []kafka.BrokerID{2}
			b.add(&r)
			r.TopicID, r.Leader, r.ISR = uuidOf["b"], 3, []kafka.BrokerID{3}
			b.add(&r)
		}, "metadata type 1 live 2 3\nreplicas type 1 a-0:2 leaders 2\nmetadata type 1 a-0:2![1] b-0:3![1] live 2 3\n"},
		{"another broker is gone, and nothing with it", func(b *builder) { b.add(&record.UnregisterBrokerRecord{BrokerID: 3, BrokerEpoch: 108}) },
			"metadata type 1 live 1 2\n"},
		{"a broker in KRaft mode comes", func(b *builder) { b.register(4, 400, false) }, "metadata type 1 live 1 2 3 4\n"},
		{"a fenced broker comes", func(b *builder) { b.register(4, 400, true); b.fence(4, true) }, ""},
		{"a fenced broker in ZooKeeper mode leads", func(b *builder) { b.fence(1, true) }, ""},
		{"a topic goes", func(b *builder) { b.add(&record.RemoveTopicRecord{TopicID: uuidOf["a"]}) },
			"metadata type 1 a-0:-2![1 2] live 1 2 3\nstop a-0 epoch -2 delete true\n"},
		{"a topic of others goes", func(b *builder) { b.add(&record.RemoveTopicRecord{TopicID: uuidOf["b"]}) },
			"metadata type 1 b-0:-2![1 3] live 1 2 3\n"},
		{"a topic goes and comes again under its name", func(b *builder) {
			b.add(&record.RemoveTopicRecord{TopicID: uuidOf["a"]})
			b.create(uuidOf["again"], "a", 2, 3)
		}, "metadata type 1 a-0:-2![1 2] live 1 2 3\nstop a-0 epoch -2 delete true\nreplicas type 1 a-0:2 leaders 2\nmetadata type 1 a-0:2 live 1 2 3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t)
			b.create(uuidOf["a"], "a", 1, 2)
			b.create(uuidOf["b"], "b", 1, 3)
			before := b.im
			c.change(b)
			if got := story(t, Changed(head, image.Diff(before, b.im), b.im.Broker(2))); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}

// TestFull: a broker without replicas gets no LeaderAndIsr, whose emptiness would
// make strays of all its logs.
func TestFull(t *testing.T) {
	b := newBuilder(t)
	b.create(uuidOf["a"], "a", 1, 2)
	for id, want := range map[kafka.BrokerID]string{
		1: "metadata type 2 a-0:1 live 1 2 3\nreplicas type 2 a-0:1 leaders 1\n",
		2: "metadata type 2 a-0:1 live 1 2 3\nreplicas type 2 a-0:1 leaders 1\n",
		3: "metadata type 2 a-0:1 live 1 2 3\n",
	} {
		if got := story(t, Full(head, b.im, b.im.Broker(id))); got != want {
			t.Errorf("broker %d: got\n%swant\n%s", id, got, want)
		}
	}
}

// TestStopReplicaBytes: the fields stand in the order of Kafka's StopReplicaRequest
// version 4, which is not kmsg's.
func TestStopReplicaBytes(t *testing.T) {
	b := newBuilder(t)
	b.create(uuidOf["a"], "a", 1, 2)
	before := b.im
	b.add(&record.RemoveTopicRecord{TopicID: uuidOf["a"]})
	r := Changed(head, image.Diff(before, b.im), b.im.Broker(2))[1]
	got := hex.EncodeToString(r.AppendTo([]byte{0xff}))
	want := "ff" + "00000bb9" + "01" + "00000004" + "0000000000000044" + // controller, isKRaftController, its epoch, the broker's
		"02" + "0261" + "02" + "00000000" + "fffffffe" + "01" + "00" + "00" + "00" // topic a: partition 0, epoch -2, delete
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
