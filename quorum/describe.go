package quorum

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// observerTimeoutMs is how long a replica that stopped fetching is still
// described (LeaderState.OBSERVER_SESSION_TIMEOUT_MS).
const observerTimeoutMs = 300_000

type replicaState = kmsg.DescribeQuorumResponseTopicPartitionReplicaState

// describeQuorum answers DescribeQuorum with what the active controller knows
// of the copies of the metadata log (KafkaRaftClient.handleDescribeQuorumRequest).
func (c *Core) describeQuorum(req *kmsg.DescribeQuorumRequest) *kmsg.DescribeQuorumResponse {
	resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewDescribeQuorumResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, c.describeQuorumPartition(t.Topic, p.Partition))
		}
		resp.Topics = append(resp.Topics, topic)
	}
	if c.voters == nil {
		return resp
	}
	for _, v := range c.voters.Voters {
		node := kmsg.NewDescribeQuorumResponseNode()
		node.NodeID = int32(v.VoterID)
		for _, e := range v.Endpoints {
			l := kmsg.NewDescribeQuorumResponseNodeListener()
			l.Name, l.Host, l.Port = e.Name, e.Host, e.Port
			node.Listeners = append(node.Listeners, l)
		}
		resp.Nodes = append(resp.Nodes, node)
	}
	return resp
}

// describeQuorumElsewhere is the answer of a controller that is not active:
// nothing at the top, and NOT_LEADER_OR_FOLLOWER for each partition, as Apache
// 4.3.1 answers.
func describeQuorumElsewhere(req *kmsg.DescribeQuorumRequest) *kmsg.DescribeQuorumResponse {
	resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewDescribeQuorumResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewDescribeQuorumResponseTopicPartition()
			part.Partition, part.ErrorCode = p.Partition, int16(errors.NotLeaderOrFollower)
			topic.Partitions = append(topic.Partitions, part)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (c *Core) describeQuorumPartition(topic string, partition int32) kmsg.DescribeQuorumResponseTopicPartition {
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
	p.Partition = partition
	if topic != kafka.MetadataTopic || partition != 0 {
		p.ErrorCode = int16(errors.UnknownTopicOrPartition)
		return p
	}
	p.LeaderID, p.LeaderEpoch, p.HighWatermark = int32(c.leader), int32(c.epoch), int64(c.end())
	isVoter := map[replicaKey]bool{}
	if c.voters != nil {
		for _, v := range c.voters.Voters {
			key := replicaKey{v.VoterID, v.VoterDirectoryID}
			isVoter[key] = true
			p.CurrentVoters = append(p.CurrentVoters, c.describeReplica(key))
		}
	}
	for _, key := range c.replicas.sorted() {
		if !isVoter[key] && c.now-c.replicas.positions[key].LastFetchMs < observerTimeoutMs {
			p.Observers = append(p.Observers, c.describeReplica(key))
		}
	}
	return p
}

func (c *Core) describeReplica(key replicaKey) replicaState {
	s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
	s.ReplicaID, s.ReplicaDirectoryID = int32(key.ID), key.Directory
	s.LogEndOffset = int64(kafka.NoOffset)
	if key.ID == c.cfg.Self {
		s.LogEndOffset, s.LastFetchTimestamp, s.LastCaughtUpTimestamp = int64(c.end()), c.now, c.now
	} else if pos := c.replicas.positions[key]; pos != nil {
		s.LogEndOffset, s.LastFetchTimestamp, s.LastCaughtUpTimestamp = int64(pos.Offset), pos.LastFetchMs, pos.LastCaughtUpMs
	}
	return s
}
