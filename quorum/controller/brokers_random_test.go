package controller

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// Whatever happens in whatever order, the invariants of world hold after each
// step: see checkInvariants, checkVersions and checkLed.
func TestAnyHistoryKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.SampledFrom([]image.MetadataVersion{7, 8, 12, 14, 17, 21, 23, 26, 30}).Draw(t, "metadata.version")
		features := DefaultFeatures(level)
		if level >= image.MV40IV1 && rapid.Bool().Draw(t, "elr") {
			features[image.FeatureELRVersion] = 1
		}
		h := &history{world: newWorld(t, level, features), t: t}
		h.in.Settings.FenceOnDeath = rapid.Bool().Draw(t, "fence on death")
		h.start(1, 2, 3)
		t.Repeat(map[string]func(*rapid.T){
			"":            h.check,
			"register":    h.anyRegistration,
			"heartbeat":   h.anyHeartbeat,
			"death":       h.anyDeath,
			"time":        h.anyTime,
			"unregister":  h.anyUnregistration,
			"create":      h.anyTopic,
			"alter":       h.anyAlterPartition,
			"elect":       h.anyElection,
			"periodic":    h.anyPeriodic,
			"reassign":    h.anyReassignment,
			"directories": h.anyDirectories,
			"configure":   h.anyConfig,
			"failover":    func(*rapid.T) { h.in.Sessions.Reset(h.in.Image, h.in.NowMs) },
		})
	})
}

// history is a world to which anything happens.
type history struct {
	*world
	t           *rapid.T
	incarnation byte
	topics      byte
}

// anyDeath fences a broker on proof: its partitions change first, and no election
// is held that may lose data.
func (h *history) anyDeath(t *rapid.T) {
	if !h.in.Settings.FenceOnDeath {
		return
	}
	id := kafka.BrokerID(rapid.IntRange(1, 4).Draw(t, "dead"))
	b := h.in.Image.Broker(id)
	if b == nil {
		return
	}
	h.in.Sessions.HangUp(id, b.Epoch)
	d, ok := FenceDead(h.in, id, b.Epoch)
	if ok == b.Fenced {
		t.Fatalf("fenced %v, and a proof of its death fences it: %v", b.Fenced, ok)
	}
	for i, m := range d.Records {
		switch r := m.Record.(type) {
		case *record.PartitionChangeRecord:
			if r.LeaderRecoveryState == int8(image.Recovering) || i == len(d.Records)-1 {
				t.Fatalf("record %d of %s", i, picture(h.in.Image, d.Records))
			}
		case *record.BrokerRegistrationChangeRecord:
			if i != len(d.Records)-1 {
				t.Fatalf("record %d of %s", i, picture(h.in.Image, d.Records))
			}
		}
	}
	if h.apply(d); ok {
		h.in.Sessions.PresumeDead(id, h.in.NowMs, worldTimeout)
	}
}

// check looks at what the state of the whole cluster promises.
func (h *history) check(t *rapid.T) {
	for topic := range h.in.Image.Topics() {
		for id, p := range topic.Partitions() {
			if err := checkPartition(h.in.Image, p); err != nil {
				t.Fatalf("%s-%d %s: %v", topic.Name, id, partitionText(p), err)
			}
		}
	}
	if sessions, brokers := h.in.Sessions.Len(), h.in.Image.BrokerCount(); sessions > brokers {
		t.Fatalf("%d sessions of %d brokers", sessions, brokers)
	}
}

func (h *history) anyID() kafka.BrokerID {
	return kafka.BrokerID(rapid.IntRange(1, 5).Draw(h.t, "broker"))
}

func (h *history) anyIDs(name string) []kafka.BrokerID {
	var registered []kafka.BrokerID
	for b := range h.in.Image.Brokers() {
		registered = append(registered, b.ID)
	}
	if len(registered) == 0 {
		return nil
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(registered), 1, min(4, len(registered)), rapid.ID[kafka.BrokerID]).Draw(h.t, name)
}

func (h *history) anyPartition() (*image.Topic, kafka.PartitionID, *image.Partition) {
	var topics []*image.Topic
	for topic := range h.in.Image.Topics() {
		topics = append(topics, topic)
	}
	if len(topics) == 0 {
		h.t.Skip("no topic")
	}
	topic := rapid.SampledFrom(topics).Draw(h.t, "topic")
	id := kafka.PartitionID(rapid.IntRange(0, topic.PartitionCount()-1).Draw(h.t, "partition"))
	return topic, id, topic.Partition(id)
}

func (h *history) anyRegistration(t *rapid.T) {
	id := h.anyID()
	h.incarnation++
	req := h.registration(id, h.incarnation)
	if b := h.in.Image.Broker(id); b != nil && rapid.Bool().Draw(t, "amend") {
		req.IncarnationID = b.IncarnationID
	}
	if rapid.Bool().Draw(t, "unclean") {
		req.PreviousBrokerEpoch = -1
	}
	req.Version = rapid.Int16Range(2, 4).Draw(t, "version")
	h.register(req)
}

func (h *history) anyHeartbeat(t *rapid.T) {
	id := h.anyID()
	req := h.beat(id)
	req.WantFence = rapid.IntRange(0, 4).Draw(t, "fence") == 0
	req.WantShutdown = rapid.IntRange(0, 4).Draw(t, "shutdown") == 0
	req.CurrentMetadataOffset -= rapid.Int64Range(0, 3).Draw(t, "lag")
	if rapid.IntRange(0, 5).Draw(t, "offline") == 0 {
		req.OfflineLogDirs = [][16]byte{dir(id, byte(rapid.IntRange(0, 1).Draw(t, "dir")))}
	}
	if rapid.Bool().Draw(t, "cordon") {
		req.CordonedLogDirs = [][16]byte{}
		if rapid.Bool().Draw(t, "cordoned") {
			req.CordonedLogDirs = [][16]byte{dir(id, 1)}
		}
	}
	resp := h.heartbeat(req)
	if b := h.in.Image.Broker(id); resp.ErrorCode == 0 && resp.IsFenced != b.Fenced {
		t.Fatalf("broker %d was told fenced=%v", id, resp.IsFenced)
	}
}

func (h *history) anyTime(t *rapid.T) {
	h.in.NowMs += rapid.Int64Range(0, 12_000).Draw(t, "ms")
	for {
		d, fenced := FenceExpired(h.in)
		if fenced == kafka.NoLeader {
			break
		}
		h.apply(d)
		if !h.in.Image.Broker(fenced).Fenced {
			t.Fatalf("broker %d is not fenced", fenced)
		}
	}
	h.in.Sessions.Prune(h.in.Image, h.in.NowMs, worldTimeout)
	if left := h.in.Sessions.Expired(h.in.NowMs, worldTimeout); len(left) > 0 {
		t.Fatalf("sessions are left: %+v", left)
	}
}

func (h *history) anyUnregistration(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "really") > 0 {
		return
	}
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = int32(h.anyID())
	d, _ := UnregisterBroker(h.in, req)
	h.apply(d)
	h.in.Sessions.Prune(h.in.Image, h.in.NowMs, worldTimeout)
}

func (h *history) anyTopic(t *rapid.T) {
	if h.topics >= 5 {
		return
	}
	var partitions [][]kafka.BrokerID
	for i := range rapid.IntRange(1, 3).Draw(t, "partitions") {
		ids := h.anyIDs(fmt.Sprintf("replicas of %d", i))
		if !slices.ContainsFunc(ids, func(id kafka.BrokerID) bool { return h.in.Image.Broker(id).Active() }) {
			return
		}
		partitions = append(partitions, ids)
	}
	h.topics++
	h.topic(h.topics, fmt.Sprintf("t%d", h.topics), nil, partitions...)
}

func (h *history) anyAlterPartition(t *rapid.T) {
	topic, id, p := h.anyPartition()
	sender := h.in.Image.Broker(p.Leader)
	if sender == nil || rapid.IntRange(0, 9).Draw(t, "other sender") == 0 {
		if sender = h.in.Image.Broker(h.anyID()); sender == nil {
			return
		}
	}
	asked := kmsg.NewAlterPartitionRequestTopicPartition()
	asked.Partition, asked.LeaderEpoch, asked.PartitionEpoch = int32(id), int32(p.LeaderEpoch), int32(p.PartitionEpoch)
	asked.LeaderRecoveryState = rapid.SampledFrom([]int8{0, 0, 0, 1}).Draw(t, "recovery")
	asked.PartitionEpoch += rapid.SampledFrom([]int32{0, 0, 0, 0, -1, 1}).Draw(t, "epoch")
	version := rapid.Int16Range(2, 3).Draw(t, "version")
	isr := h.anyIDs("isr")
	if rapid.IntRange(0, 4).Draw(t, "any isr") > 0 {
		isr = slices.DeleteFunc(slices.Clone(p.Replicas), func(id kafka.BrokerID) bool {
			b := h.in.Image.Broker(id)
			return id != p.Leader && (b == nil || rapid.IntRange(0, 3).Draw(t, "out") == 0)
		})
	}
	for _, member := range isr {
		epoch := kafka.NoBrokerEpoch
		if b := h.in.Image.Broker(member); b != nil && rapid.Bool().Draw(t, "with epoch") {
			epoch = b.Epoch
		}
		asked.NewISR = append(asked.NewISR, int32(member))
		asked.NewEpochISR = append(asked.NewEpochISR, kmsg.AlterPartitionRequestTopicPartitionNewEpochISR{BrokerID: int32(member), BrokerEpoch: int64(epoch)})
	}
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = version, int32(sender.ID), int64(sender.Epoch)
	req.Topics = []kmsg.AlterPartitionRequestTopic{{TopicID: topic.ID, Partitions: []kmsg.AlterPartitionRequestTopicPartition{asked}}}
	d, resp := AlterPartition(h.in, req)
	h.apply(d)
	answer := resp.Topics[0].Partitions[0]
	if now := h.in.Image.Partition(topic.ID, id); answer.ErrorCode == 0 &&
		(int32(now.Leader) != answer.LeaderID || int32(now.PartitionEpoch) != answer.PartitionEpoch || !slices.Equal(kafka.Int32s(now.ISR), answer.ISR) ||
			int32(now.LeaderEpoch) != answer.LeaderEpoch || int8(now.Recovery) != answer.LeaderRecoveryState) {
		t.Fatalf("answered %+v, the partition is %s", answer, partitionText(now))
	}
}

func (h *history) anyElection(t *rapid.T) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.ElectionType = 2, rapid.Int8Range(0, 1).Draw(t, "kind")
	if rapid.Bool().Draw(t, "one") {
		topic, id, _ := h.anyPartition()
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic.Name, Partitions: []int32{int32(id), int32(id), 99}}}
	}
	d, _ := ElectLeaders(h.in, req)
	h.apply(d)
}

func (h *history) anyPeriodic(t *rapid.T) {
	d, more := BalanceLeaders(h.in)
	if rapid.Bool().Draw(t, "unclean") {
		d, more = ElectUnclean(h.in)
	}
	h.apply(d)
	if more {
		t.Fatal("there is more after a handful of partitions")
	}
}

func (h *history) anyReassignment(t *rapid.T) {
	topic, id, _ := h.anyPartition()
	asked := kmsg.AlterPartitionAssignmentsRequestTopicPartition{Partition: int32(id)}
	if rapid.IntRange(0, 2).Draw(t, "cancel") > 0 {
		asked.Replicas = kafka.Int32s(h.anyIDs("target"))
	}
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{
		Topic: topic.Name, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{asked},
	}}
	d, _ := AlterPartitionReassignments(h.in, req)
	h.apply(d)
}

func (h *history) anyDirectories(t *rapid.T) {
	topic, id, p := h.anyPartition()
	b := h.in.Image.Broker(rapid.SampledFrom(p.Replicas).Draw(t, "replica"))
	if b == nil {
		return
	}
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	req.BrokerID, req.BrokerEpoch = int32(b.ID), int64(b.Epoch)
	target := rapid.SampledFrom([]kafka.DirectoryID{dir(b.ID, 0), dir(b.ID, 1), kafka.DirectoryLost, dir(b.ID, 9)}).Draw(t, "dir")
	req.Directories = []kmsg.AssignReplicasToDirsRequestDirectory{{
		ID: target,
		Topics: []kmsg.AssignReplicasToDirsRequestDirectoryTopic{{
			TopicID: topic.ID, Partitions: []kmsg.AssignReplicasToDirsRequestDirectoryTopicPartition{{Partition: int32(id)}},
		}},
	}}
	d, _ := AssignReplicasToDirs(h.in, req)
	h.apply(d)
}

// anyConfig changes what elections depend on, and does what the configs'
// decision does with ELR then.
func (h *history) anyConfig(t *rapid.T) {
	topic, _, _ := h.anyPartition()
	set := func(key, value string) {
		h.apply(Decision{Records: []record.Message{message(&record.ConfigRecord{ResourceType: 2, ResourceName: topic.Name, Name: key, Value: &value})}})
	}
	if rapid.Bool().Draw(t, "unclean") {
		set("unclean.leader.election.enable", rapid.SampledFrom([]string{"true", "false"}).Draw(t, "value"))
		return
	}
	set("min.insync.replicas", rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "value"))
	if h.in.Image.ELREnabled() {
		h.apply(Decision{Records: []record.Message{message(&record.ClearElrRecord{TopicName: topic.Name})}})
	}
}
