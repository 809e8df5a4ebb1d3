package controller

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

const (
	// maxElections bounds a pass of automatic elections, so that it does not
	// hold up the controller; the next pass follows at once
	// (QuorumController.MAX_ELECTIONS_PER_IMBALANCE).
	maxElections = 1000
	// maxUserRecords bounds the records that one request of a user may cause
	// (QuorumController.MAX_RECORDS_PER_USER_OP).
	maxUserRecords = 10_000
)

// The kinds of election in a request (ElectionType).
const (
	askPreferred int8 = 0
	askUnclean   int8 = 1
)

// ElectLeaders elects leaders on demand: the preferred ones, or any at all for
// partitions without one (ElectLeaders v0-v2; ReplicationControlManager.
// electLeaders). Without a list it looks at all partitions and leaves out of
// the answer those that need no election. Not atomic.
func ElectLeaders(in Input, req *kmsg.ElectLeadersRequest) (Decision, *kmsg.ElectLeadersResponse) {
	resp := kmsg.NewPtrElectLeadersResponse()
	resp.Version = req.Version
	refuse := func(err *errors.Error) (Decision, *kmsg.ElectLeadersResponse) {
		resp.ErrorCode, resp.Topics = int16(err.Code), nil
		return Decision{}, resp
	}
	if err := in.Caller.mayCluster(opAlter); err != nil {
		return refuse(err)
	}
	if req.ElectionType != askPreferred && req.ElectionType != askUnclean {
		return refuse(errors.New(errors.InvalidRequest, "Unknown election type %d", req.ElectionType))
	}
	pass := newPartitionPass(in)
	if req.Topics == nil {
		for topic := range in.Image.TopicsByName("") {
			resp.Topics = append(resp.Topics, pass.electAll(topic, req.ElectionType))
		}
	}
	for _, asked := range req.Topics {
		answer := kmsg.NewElectLeadersResponseTopic()
		answer.Topic = asked.Topic
		for _, id := range asked.Partitions {
			err := pass.electLeader(in.Image.TopicByName(asked.Topic), asked.Topic, kafka.PartitionID(id), req.ElectionType)
			answer.Partitions = append(answer.Partitions, electionResult(id, err))
		}
		resp.Topics = append(resp.Topics, answer)
	}
	if len(pass.records) > maxUserRecords {
		return refuse(errors.New(errors.PolicyViolation, "Unable to perform excessively large batch operation."))
	}
	return Decision{Records: pass.records}, resp
}

func (p *partitionPass) electAll(topic *image.Topic, kind int8) kmsg.ElectLeadersResponseTopic {
	answer := kmsg.NewElectLeadersResponseTopic()
	answer.Topic = topic.Name
	for id := range topic.Partitions() {
		err := p.electLeader(topic, topic.Name, id, kind)
		if err == nil || err.Code != errors.ElectionNotNeeded {
			answer.Partitions = append(answer.Partitions, electionResult(int32(id), err))
		}
	}
	return answer
}

func electionResult(id int32, err *errors.Error) kmsg.ElectLeadersResponseTopicPartition {
	answer := kmsg.NewElectLeadersResponseTopicPartition()
	answer.Partition = id
	answer.ErrorCode, answer.ErrorMessage = report(err)
	return answer
}

func (p *partitionPass) electLeader(topic *image.Topic, name string, id kafka.PartitionID, kind int8) *errors.Error {
	if topic == nil {
		return errors.New(errors.UnknownTopicOrPartition, "No such topic as %s", name)
	}
	part := topic.Partition(id)
	if part == nil {
		return errors.New(errors.UnknownTopicOrPartition, "No such partition as %s-%d", name, id)
	}
	ref := partitionRef{topic, id}
	part = p.current(ref, part)
	if kind == askPreferred && hasPreferredLeader(part) || kind == askUnclean && part.Leader != kafka.NoLeader {
		return plain(errors.ElectionNotNeeded)
	}
	c := p.change(ref, part)
	c.election = electPreferred
	if kind == askUnclean {
		c.election, c.cleanOnly = electUnclean, false // an operator knows what it costs
	}
	if p.apply(ref, c) == nil {
		if kind == askPreferred {
			return plain(errors.PreferredLeaderNotAvailable)
		}
		return plain(errors.EligibleLeadersNotAvailable)
	}
	return nil
}

func hasPreferredLeader(p *image.Partition) bool {
	return len(p.Replicas) > 0 && p.Leader == p.Replicas[0]
}

// BalanceLeaders gives partitions back to their preferred leaders
// (auto.leader.rebalance.enable), at most maxElections. more says that there
// may be others: call it again once the records are folded. Not atomic.
func BalanceLeaders(in Input) (decision Decision, more bool) {
	pass := newPartitionPass(in)
	for ref, part := range partitionsOf(in.Image, kafka.NoLeader) {
		if hasPreferredLeader(part) {
			continue
		}
		if len(pass.records) >= maxElections {
			return Decision{Records: pass.records}, true
		}
		c := pass.change(ref, part)
		c.election = electPreferred
		pass.apply(ref, c)
	}
	return Decision{Records: pass.records}, false
}

// ElectUnclean elects leaders for partitions that have none and whose topics
// allow to lose data for that (unclean.leader.election.enable), at most
// maxElections. A topic may allow it long after its partitions lost their
// leaders: this is the periodic pass that notices. Not atomic.
func ElectUnclean(in Input) (decision Decision, more bool) {
	pass := newPartitionPass(in)
	for ref, part := range partitionsOf(in.Image, kafka.NoLeader) {
		if part.Leader != kafka.NoLeader {
			continue
		}
		if len(pass.records) >= maxElections {
			return Decision{Records: pass.records}, true
		}
		c := pass.change(ref, part)
		if !pass.topic.unclean {
			continue
		}
		c.election = electUnclean
		pass.apply(ref, c)
	}
	return Decision{Records: pass.records}, false
}
