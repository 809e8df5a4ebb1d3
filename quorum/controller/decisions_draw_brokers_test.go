package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// How an episode draws what brokers ask, and what the controller does unasked.

func (e *episode) registerBroker() (Decision, []int16, func()) {
	id := kafka.BrokerID(11 + e.random.IntN(12))
	e.incarnation++
	req := e.registration(id, e.incarnation)
	old := e.in.Image.Broker(id)
	switch {
	case old != nil && e.chance(2):
		req.IncarnationID = old.IncarnationID // the same process again
	case e.chance(3):
		req.PreviousBrokerEpoch = -1 // an unclean shutdown
	case e.chance(10):
		req.ClusterID = "other"
	case e.chance(10):
		req.Features = nil
	}
	if e.in.Settings.ZooKeeperMigration && e.chance(2) || e.chance(30) {
		req.IsMigratingZkBroker = true
	}
	if e.chance(2) {
		req.Rack = oneOf(e, ptr("a"), ptr("b"))
	}
	d, res := RegisterBroker(e.in, req)
	return d, []int16{res.ErrorCode}, func() {
		if b := e.in.Image.Broker(id); res.ErrorCode == 0 && b.IsMigratingZkBroker != req.IsMigratingZkBroker {
			e.t.Fatalf("%s: broker %d is registered as %+v", e.at, id, b)
		}
		if res.ErrorCode == 0 {
			e.in.Sessions.Registered(id, kafka.BrokerEpoch(res.BrokerEpoch), e.in.NowMs, e.in.Settings.SessionTimeoutMs)
		}
	}
}

func (e *episode) heartbeats() (Decision, []int16, func()) {
	id := e.brokerID()
	req := e.beat(id)
	req.WantFence, req.WantShutdown = e.chance(60), e.chance(80)
	if e.chance(10) {
		req.CurrentMetadataOffset -= int64(e.random.IntN(200))
	}
	if e.chance(25) {
		req.BrokerEpoch--
	}
	if e.chance(60) {
		req.OfflineLogDirs = [][16]byte{dir(id, byte(e.random.IntN(2)))}
	}
	if e.chance(4) {
		req.CordonedLogDirs = [][16]byte{}
		if e.chance(4) {
			req.CordonedLogDirs = [][16]byte{dir(id, byte(e.random.IntN(2)))}
		}
	}
	d, res := Heartbeat(e.in, req)
	return d, []int16{res.ErrorCode}, func() {
		if res.ErrorCode == 0 {
			e.in.Sessions.Heartbeat(e.in.Image, BrokerSession{
				ID: id, Epoch: kafka.BrokerEpoch(req.BrokerEpoch), LastContactMs: e.in.NowMs,
				MetadataOffset: kafka.Offset(req.CurrentMetadataOffset), WantFence: req.WantFence, WantShutdown: req.WantShutdown,
			})
		}
	}
}

func (e *episode) fenceExpired() (Decision, []int16, func()) {
	d, id := FenceExpired(e.in)
	return d, nil, func() {
		if id != kafka.NoLeader && !e.in.Image.Broker(id).Fenced {
			e.t.Fatalf("%s: broker %d is still unfenced", e.at, id)
		}
		e.in.Sessions.Prune(e.in.Image, e.in.NowMs, worldTimeout)
	}
}

func (e *episode) unregisterBroker() (Decision, []int16, func()) {
	if len(e.brokers()) < 4 {
		return Decision{}, nil, nil
	}
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = int32(e.brokerID())
	d, res := UnregisterBroker(e.in, req)
	return d, []int16{res.ErrorCode}, func() { e.in.Sessions.Prune(e.in.Image, e.in.NowMs, worldTimeout) }
}

// partitionOf draws a partition; nil if there is none.
func (e *episode) partitionOf() (*image.Topic, kafka.PartitionID, *image.Partition) {
	t := e.topicOf()
	if t == nil {
		return nil, 0, nil
	}
	id := kafka.PartitionID(e.random.IntN(t.PartitionCount()))
	return t, id, t.Partition(id)
}

func (e *episode) alterPartition() (Decision, []int16, func()) {
	topic, id, p := e.partitionOf()
	for range 5 {
		if p == nil || p.Leader == kafka.NoLeader {
			topic, id, p = e.partitionOf()
		}
	}
	if p == nil {
		return Decision{}, nil, nil
	}
	sender := p.Leader
	if sender == kafka.NoLeader || e.chance(20) {
		sender = oneOf(e, p.Replicas...)
	}
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version, req.BrokerID = 3, int32(sender)
	if b := e.in.Image.Broker(sender); b != nil {
		req.BrokerEpoch = int64(b.Epoch)
	}
	asked := kmsg.NewAlterPartitionRequestTopicPartition()
	asked.Partition, asked.LeaderEpoch, asked.PartitionEpoch = int32(id), int32(p.LeaderEpoch), int32(p.PartitionEpoch)
	asked.LeaderRecoveryState = int8(p.Recovery)
	if e.chance(3) {
		asked.LeaderRecoveryState = 0
	}
	if e.chance(15) {
		asked.PartitionEpoch += oneOf[int32](e, -1, 1)
	}
	for _, id := range p.Replicas {
		b := e.in.Image.Broker(id)
		if id != sender && (!b.Active() && !e.chance(8) || e.chance(6)) {
			continue
		}
		member := kmsg.AlterPartitionRequestTopicPartitionNewEpochISR{BrokerID: int32(id), BrokerEpoch: -1}
		if b != nil && e.chance(2) {
			member.BrokerEpoch = int64(b.Epoch)
		}
		asked.NewEpochISR = append(asked.NewEpochISR, member)
	}
	req.Topics = []kmsg.AlterPartitionRequestTopic{{TopicID: topic.ID, Partitions: []kmsg.AlterPartitionRequestTopicPartition{asked}}}
	d, res := AlterPartition(e.in, req)
	if res.ErrorCode != 0 {
		return d, []int16{res.ErrorCode}, nil
	}
	answer := res.Topics[0].Partitions[0]
	return d, []int16{answer.ErrorCode}, func() {
		now := e.in.Image.Partition(topic.ID, id)
		if answer.ErrorCode == 0 && (int32(now.Leader) != answer.LeaderID || !slices.Equal(kafka.Int32s(now.ISR), answer.ISR) || int32(now.PartitionEpoch) != answer.PartitionEpoch) {
			e.t.Fatalf("%s: answered %+v, the partition is %s", e.at, answer, partitionText(now))
		}
	}
}

func (e *episode) electLeaders() (Decision, []int16, func()) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.ElectionType = 2, int8(e.random.IntN(2))
	if !e.chance(4) {
		for range 3 {
			if topic, id, p := e.partitionOf(); p != nil && (e.chance(4) || p.Leader != p.Replicas[0]) {
				req.Topics = append(req.Topics, kmsg.ElectLeadersRequestTopic{Topic: topic.Name, Partitions: []int32{int32(id)}})
			}
		}
		req.Topics = append(req.Topics, kmsg.ElectLeadersRequestTopic{Topic: e.topicName(), Partitions: []int32{0}})
	}
	d, res := ElectLeaders(e.in, req)
	codes := []int16{res.ErrorCode}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	return d, codes, nil
}

func (e *episode) balanceLeaders() (Decision, []int16, func()) {
	d, _ := BalanceLeaders(e.in)
	return d, nil, nil
}

func (e *episode) electUnclean() (Decision, []int16, func()) {
	d, _ := ElectUnclean(e.in)
	return d, nil, nil
}

func (e *episode) reassign() (Decision, []int16, func()) {
	topic, id, p := e.partitionOf()
	if p == nil {
		return Decision{}, nil, nil
	}
	asked := kmsg.AlterPartitionAssignmentsRequestTopicPartition{Partition: int32(id)}
	if p.Reassigning() && e.chance(2) || e.chance(12) {
		asked.Replicas = nil // cancel
	} else {
		asked.Replicas = e.drawReplicas(len(p.Replicas))
	}
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{
		Topic: topic.Name, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{asked},
	}}
	d, res := AlterPartitionReassignments(e.in, req)
	if res.ErrorCode != 0 {
		return d, []int16{res.ErrorCode}, nil
	}
	return d, []int16{res.Topics[0].Partitions[0].ErrorCode}, nil
}

func (e *episode) listReassignments() (Decision, []int16, func()) {
	res := ListPartitionReassignments(e.in, kmsg.NewPtrListPartitionReassignmentsRequest())
	return Decision{}, []int16{res.ErrorCode}, nil
}

func (e *episode) assignDirs() (Decision, []int16, func()) {
	topic, id, p := e.partitionOf()
	if p == nil {
		return Decision{}, nil, nil
	}
	b := e.in.Image.Broker(oneOf(e, p.Replicas...))
	if b == nil {
		return Decision{}, nil, nil
	}
	target := dir(b.ID, byte(e.random.IntN(2)))
	if e.chance(15) {
		target = oneOf(e, kafka.DirectoryLost, dir(b.ID, 9))
	}
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	req.BrokerID, req.BrokerEpoch = int32(b.ID), int64(b.Epoch)
	req.Directories = []kmsg.AssignReplicasToDirsRequestDirectory{{ID: target, Topics: []kmsg.AssignReplicasToDirsRequestDirectoryTopic{{
		TopicID: topic.ID, Partitions: []kmsg.AssignReplicasToDirsRequestDirectoryTopicPartition{{Partition: int32(id)}},
	}}}}
	d, res := AssignReplicasToDirs(e.in, req)
	if res.ErrorCode != 0 {
		return d, []int16{res.ErrorCode}, nil
	}
	return d, []int16{res.Directories[0].Topics[0].Partitions[0].ErrorCode}, nil
}

func (e *episode) allocateProducerIDs() (Decision, []int16, func()) {
	id := e.brokerID()
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID = int32(id)
	if b := e.in.Image.Broker(id); b != nil {
		req.BrokerEpoch = int64(b.Epoch)
	}
	d, res := AllocateProducerIDs(e.in, req)
	return d, []int16{res.ErrorCode}, nil
}
