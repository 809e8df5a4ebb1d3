package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// AlterPartition decides on the ISRs and recovery states that a partition
// leader asks for (AlterPartition v2-v3; ReplicationControlManager.
// alterPartition). Every partition that was asked for is answered, else the
// broker would ask for ever. Not atomic.
func AlterPartition(in Input, req *kmsg.AlterPartitionRequest) (Decision, *kmsg.AlterPartitionResponse) {
	resp := kmsg.NewPtrAlterPartitionResponse()
	resp.Version = req.Version
	sender, err := checkBrokerEpoch(in.Image, kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(req.BrokerEpoch))
	if err != nil {
		resp.ErrorCode = int16(err.Code)
		return Decision{}, resp
	}
	pass := newPartitionPass(in)
	for i := range req.Topics {
		asked := &req.Topics[i]
		answer := kmsg.NewAlterPartitionResponseTopic()
		answer.TopidID = asked.TopicID
		topic := in.Image.Topic(asked.TopicID)
		for j := range asked.Partitions {
			answer.Partitions = append(answer.Partitions, pass.alterPartition(sender.ID, topic, &asked.Partitions[j], req.Version))
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return Decision{Records: pass.records}, resp
}

// memberEpoch is a member of a proposed ISR and the registration that the
// leader knows it by; kafka.NoBrokerEpoch is any.
type memberEpoch struct {
	id    kafka.BrokerID
	epoch kafka.BrokerEpoch
}

// proposedISR reads the ISR of a request; v3 brought the epochs (KIP-903).
func proposedISR(asked *kmsg.AlterPartitionRequestTopicPartition, version int16) []memberEpoch {
	var out []memberEpoch
	if version >= 3 {
		for _, m := range asked.NewEpochISR {
			out = append(out, memberEpoch{kafka.BrokerID(m.BrokerID), kafka.BrokerEpoch(m.BrokerEpoch)})
		}
		return out
	}
	for _, id := range asked.NewISR {
		out = append(out, memberEpoch{kafka.BrokerID(id), kafka.NoBrokerEpoch})
	}
	return out
}

func (p *partitionPass) alterPartition(sender kafka.BrokerID, topic *image.Topic, asked *kmsg.AlterPartitionRequestTopicPartition, version int16) kmsg.AlterPartitionResponseTopicPartition {
	answer := kmsg.NewAlterPartitionResponseTopicPartition()
	answer.Partition = asked.Partition
	if topic == nil {
		answer.ErrorCode = int16(errors.UnknownTopicID)
		return answer
	}
	ref := partitionRef{topic, kafka.PartitionID(asked.Partition)}
	part := topic.Partition(ref.id)
	if part != nil {
		part = p.current(ref, part)
	}
	isr := proposedISR(asked, version)
	if code := p.checkAlter(sender, part, asked, isr); code != errors.None {
		answer.ErrorCode = int16(code)
		return answer
	}
	c := p.change(ref, part)
	c.isr = memberIDs(isr)
	c.recovery = image.RecoveryState(asked.LeaderRecoveryState)
	if p.topic.unclean {
		c.election = electUnclean
	}
	if r := p.apply(ref, c); r != nil {
		if r.Leader != leaderUnchanged && r.Leader != sender {
			// The ISR finished a reassignment that takes the leadership away. The
			// old leader has to learn that from the log, so this is an error
			// although it is written.
			answer.ErrorCode = int16(errors.NewLeaderElected)
			return answer
		}
		part = changed(part, r)
	}
	answer.LeaderID, answer.LeaderEpoch = int32(part.Leader), int32(part.LeaderEpoch)
	answer.PartitionEpoch, answer.LeaderRecoveryState = int32(part.PartitionEpoch), int8(part.Recovery)
	for _, id := range part.ISR {
		answer.ISR = append(answer.ISR, int32(id))
	}
	return answer
}

func memberIDs(members []memberEpoch) []kafka.BrokerID {
	ids := make([]kafka.BrokerID, len(members))
	for i, m := range members {
		ids[i] = m.id
	}
	return ids
}

// checkAlter applies the rules of validateAlterPartitionData in their order. A
// leader that knows more than this controller is told to look for another one.
func (p *partitionPass) checkAlter(sender kafka.BrokerID, part *image.Partition, asked *kmsg.AlterPartitionRequestTopicPartition, isr []memberEpoch) errors.Code {
	if part == nil {
		return errors.UnknownTopicOrPartition
	}
	leaderEpoch, partitionEpoch := kafka.LeaderEpoch(asked.LeaderEpoch), kafka.PartitionEpoch(asked.PartitionEpoch)
	recovery := image.RecoveryState(asked.LeaderRecoveryState)
	ids := memberIDs(isr)
	switch {
	case leaderEpoch > part.LeaderEpoch || partitionEpoch > part.PartitionEpoch:
		return errors.NotController
	case leaderEpoch < part.LeaderEpoch:
		return errors.FencedLeaderEpoch
	case sender != part.Leader:
		return errors.InvalidRequest
	case partitionEpoch < part.PartitionEpoch && !planted.Is(planted.IgnorePartitionEpoch):
		return errors.InvalidUpdateVersion
	case len(ids) == 0 || len(ids) > len(part.Replicas) || hasDuplicates(ids) || !containsAll(part.Replicas, ids) || !slices.Contains(ids, part.Leader):
		return errors.InvalidRequest
	case recovery != image.Recovered && recovery != image.Recovering:
		return errors.InvalidRequest
	case recovery == image.Recovering && len(ids) > 1:
		return errors.InvalidRequest
	case recovery == image.Recovering && part.Recovery == image.Recovered:
		return errors.InvalidRequest
	case slices.ContainsFunc(isr, p.ineligible):
		return errors.IneligibleReplica
	}
	return errors.None
}

// ineligible reports whether a broker may not join an ISR: it is not active, or
// it restarted since the leader last heard of it.
func (p *partitionPass) ineligible(m memberEpoch) bool {
	b := p.img.Broker(m.id)
	return !b.Active() && !planted.Is(planted.AdmitFenced) || m.epoch != kafka.NoBrokerEpoch && m.epoch != b.Epoch && !planted.Is(planted.IgnoreBrokerEpochs)
}

func hasDuplicates(ids []kafka.BrokerID) bool {
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			return true
		}
	}
	return false
}
