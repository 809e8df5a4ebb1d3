package control

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// recorded is one request that Apache's controller sent.
type recorded struct {
	Name     string
	Key      int16
	Version  int16
	ClientID string
	Request  map[string]any
}

func loadRequests(t *testing.T) []recorded {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "requests.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []recorded
	for line := range bytes.Lines(text) {
		var r recorded
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// The recorded cluster: three brokers, of which the requests went to broker 2.
var head = Head{Controller: 3001, ControllerEpoch: 4, Listener: "PLAINTEXT"}

// builder makes images.
type builder struct {
	t  testing.TB
	im *image.Image
}

func newBuilder(t testing.TB) *builder {
	b := &builder{t: t, im: image.Empty()}
	for id, epoch := range map[kafka.BrokerID]kafka.BrokerEpoch{1: 28, 2: 68, 3: 108} {
		b.register(id, epoch, true)
	}
	return b
}

func (b *builder) add(records ...record.Record) {
	b.t.Helper()
	d := image.NewDelta(b.im)
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			b.t.Fatal(err)
		}
	}
	b.im = d.Apply(image.Position{Offset: b.im.At().Offset + 1, Epoch: 1})
}

// register registers a broker and unfences it.
func (b *builder) register(id kafka.BrokerID, epoch kafka.BrokerEpoch, zookeeper bool) {
	b.t.Helper()
	b.add(&record.RegisterBrokerRecord{
		BrokerID: id, BrokerEpoch: epoch, IncarnationID: kafka.UUID{15: byte(id), 14: byte(epoch)}, IsMigratingZkBroker: zookeeper, Fenced: true,
		EndPoints: []record.Endpoint{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: uint16(41090 + id)}},
	})
	b.fence(id, false)
}

func (b *builder) fence(id kafka.BrokerID, fenced bool) {
	b.t.Helper()
	change := int8(-1)
	if fenced {
		change = 1
	}
	b.add(&record.BrokerRegistrationChangeRecord{BrokerID: id, BrokerEpoch: b.im.Broker(id).Epoch, Fenced: change})
}

// topics adds the topics of a recorded UpdateMetadata.
func (b *builder) topics(request map[string]any) {
	b.t.Helper()
	for _, t := range request["topicStates"].([]any) {
		topic := t.(map[string]any)
		id, err := kafka.ParseUUID(topic["topicId"].(string))
		if err != nil {
			b.t.Fatal(err)
		}
		b.add(&record.TopicRecord{Name: topic["topicName"].(string), TopicID: id})
		for _, p := range topic["partitionStates"].([]any) {
			state := p.(map[string]any)
			number := func(key string) int32 { return int32(state[key].(float64)) }
			b.add(&record.PartitionRecord{
				TopicID: id, PartitionID: kafka.PartitionID(number("partitionIndex")), Leader: kafka.BrokerID(number("leader")),
				LeaderEpoch: kafka.LeaderEpoch(number("leaderEpoch")), PartitionEpoch: kafka.PartitionEpoch(number("zkVersion")),
				ISR: brokers(state["isr"]), Replicas: brokers(state["replicas"]),
			})
		}
	}
}

func brokers(list any) []kafka.BrokerID {
	var out []kafka.BrokerID
	for _, id := range list.([]any) {
		out = append(out, kafka.BrokerID(id.(float64)))
	}
	return out
}

func (b *builder) topic(name string) kafka.TopicID {
	b.t.Helper()
	topic := b.im.TopicByName(name)
	if topic == nil {
		b.t.Fatalf("there is no topic %s", name)
	}
	return topic.ID
}

// TestTheRequestsAreApaches: what we would have sent in the recorded migration is
// what Apache's controller sent, field by field; the order of topics and partitions
// is free. Apache's first UpdateMetadata, without a type, has nothing that its full
// one does not have, and is not sent.
func TestTheRequestsAreApaches(t *testing.T) {
	want := loadRequests(t)
	b := newBuilder(t)
	b.topics(want[0].Request)
	to := b.im.Broker(2)
	got := Full(head, b.im, to)
	if len(got) != 2 {
		t.Fatalf("%d requests", len(got))
	}
	same(t, want[2], got[0])
	same(t, want[1], got[1])

	before := b.im
	b.add(&record.PartitionChangeRecord{TopicID: b.topic("orders"), PartitionID: 0, ISR: []kafka.BrokerID{1, 2, 3}, Leader: -2, LeaderRecoveryState: -1})
	got = Changed(head, image.Diff(before, b.im), to)
	if len(got) != 2 {
		t.Fatalf("%d requests after the change of an ISR", len(got))
	}
	same(t, want[3], got[0])

	for p := range kafka.PartitionID(2) {
		b.add(&record.PartitionChangeRecord{TopicID: b.topic("victim"), PartitionID: p, ISR: []kafka.BrokerID{1, 2, 3}, Leader: -2, LeaderRecoveryState: -1})
	}
	before = b.im
	b.add(&record.RemoveTopicRecord{TopicID: b.topic("victim")})
	got = Changed(head, image.Diff(before, b.im), to)
	if len(got) != 2 {
		t.Fatalf("%d requests after the deletion of a topic", len(got))
	}
	same(t, want[4], got[0])
	same(t, want[5], got[1])
}

// same compares a request with a recorded one.
func same(t *testing.T, want recorded, got kmsg.Request) {
	t.Helper()
	if got.Key() != want.Key || got.GetVersion() != want.Version {
		t.Errorf("%s: %s version %d", want.Name, kmsg.NameForKey(got.Key()), got.GetVersion())
	}
	text, err := json.Marshal(describe(t, got))
	if err != nil {
		t.Fatal(err)
	}
	var ours any
	if err := json.Unmarshal(text, &ours); err != nil {
		t.Fatal(err)
	}
	a, b := ordered(ours), ordered(any(want.Request))
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s:\nours     %v\nApache's %v", want.Name, a, b)
	}
}

// describe writes a request as Kafka's request log does.
func describe(t testing.TB, r kmsg.Request) map[string]any {
	t.Helper()
	switch r := r.(type) {
	case *kmsg.UpdateMetadataRequest:
		return describeUpdateMetadata(r)
	case *kmsg.LeaderAndISRRequest:
		var topics, leaders []any
		for _, s := range r.TopicStates {
			var states []any
			for _, p := range s.PartitionStates {
				states = append(states, map[string]any{
					"partitionIndex": p.Partition, "controllerEpoch": p.ControllerEpoch, "leader": p.Leader, "leaderEpoch": p.LeaderEpoch, "isr": p.ISR,
					"partitionEpoch": p.ZKVersion, "replicas": p.Replicas, "addingReplicas": p.AddingReplicas, "removingReplicas": p.RemovingReplicas,
					"isNew": p.IsNew, "leaderRecoveryState": p.LeaderRecoveryState,
				})
			}
			topics = append(topics, map[string]any{"topicName": s.Topic, "topicId": kafka.UUID(s.TopicID).String(), "partitionStates": states})
		}
		for _, l := range r.LiveLeaders {
			leaders = append(leaders, map[string]any{"brokerId": l.BrokerID, "hostName": l.Host, "port": l.Port})
		}
		return map[string]any{
			"controllerId": r.ControllerID, "isKRaftController": r.IsKRaftController, "controllerEpoch": r.ControllerEpoch, "brokerEpoch": r.BrokerEpoch,
			"type": r.Type, "topicStates": topics, "liveLeaders": leaders,
		}
	case *StopReplica:
		var topics []any
		for _, s := range r.Topics {
			var states []any
			for _, p := range s.PartitionStates {
				states = append(states, map[string]any{"partitionIndex": p.Partition, "leaderEpoch": p.LeaderEpoch, "deletePartition": p.Delete})
			}
			topics = append(topics, map[string]any{"topicName": s.Topic, "partitionStates": states})
		}
		return map[string]any{
			"controllerId": r.ControllerID, "isKRaftController": r.IsKRaftController, "controllerEpoch": r.ControllerEpoch, "brokerEpoch": r.BrokerEpoch, "topicStates": topics,
		}
	}
	t.Fatalf("a %T", r)
	return nil
}

func describeUpdateMetadata(r *kmsg.UpdateMetadataRequest) map[string]any {
	topics, live := []any{}, []any{}
	for _, s := range r.TopicStates {
		var states []any
		for _, p := range s.PartitionStates {
			states = append(states, map[string]any{
				"partitionIndex": p.Partition, "controllerEpoch": p.ControllerEpoch, "leader": p.Leader, "leaderEpoch": p.LeaderEpoch, "isr": p.ISR,
				"zkVersion": p.ZKVersion, "replicas": p.Replicas, "offlineReplicas": append([]int32{}, p.OfflineReplicas...),
			})
		}
		topics = append(topics, map[string]any{"topicName": s.Topic, "topicId": kafka.UUID(s.TopicID).String(), "partitionStates": states})
	}
	for _, b := range r.LiveBrokers {
		var endpoints []any
		for _, e := range b.Endpoints {
			endpoints = append(endpoints, map[string]any{"port": e.Port, "host": e.Host, "listener": e.ListenerName, "securityProtocol": e.SecurityProtocol})
		}
		live = append(live, map[string]any{"id": b.ID, "endpoints": endpoints, "rack": b.Rack})
	}
	out := map[string]any{
		"controllerId": r.ControllerID, "isKRaftController": r.IsKRaftController, "controllerEpoch": r.ControllerEpoch, "brokerEpoch": r.BrokerEpoch,
		"topicStates": topics, "liveBrokers": live,
	}
	r.UnknownTags.Each(func(key uint32, value []byte) {
		if key == 0 && len(value) == 1 {
			out["type"] = value[0]
		} else {
			out[fmt.Sprint("tag ", key)] = value
		}
	})
	return out
}

// ordered sorts every list of objects by what names them.
func ordered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = ordered(v[key])
		}
	case []any:
		for i := range v {
			v[i] = ordered(v[i])
		}
		slices.SortStableFunc(v, func(a, b any) int { return cmp.Compare(nameOf(a), nameOf(b)) })
	}
	return v
}

// nameOf is what names an object in a list; plain values keep their order.
func nameOf(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	for _, key := range []string{"topicName", "partitionIndex", "id", "brokerId"} {
		if name, ok := m[key]; ok {
			return fmt.Sprint(name)
		}
	}
	return ""
}
