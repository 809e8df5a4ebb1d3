package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// OffsetForLeaderEpoch (key 23, versions 2 to 4; KIP-101, KIP-279, KIP-320,
// KafkaApis.handleOffsetForLeaderEpochRequest): where a leader epoch ends in this
// leader's log. v3 says which replica asks.
func (h *Handlers) offsetForLeaderEpoch(_ context.Context, c *call, req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	res.Topics = make([]kmsg.OffsetForLeaderEpochResponseTopic, len(req.Topics))
	follower := c.mayCluster(kmsg.ACLOperationClusterAction)
	for i := range req.Topics {
		asked, out := &req.Topics[i], &res.Topics[i]
		out.Topic, out.Partitions = asked.Topic, make([]kmsg.OffsetForLeaderEpochResponseTopicPartition, len(asked.Partitions))
		allowed := follower || c.mayTopic(kmsg.ACLOperationDescribe, asked.Topic)
		for j := range asked.Partitions {
			p, to := &asked.Partitions[j], &out.Partitions[j]
			to.Partition, to.LeaderEpoch, to.EndOffset = p.Partition, int32(kafka.NoEpoch), int64(kafka.NoOffset)
			found, err := kafka.EpochOffset{}, errors.TopicAuthorizationFailed.Err()
			if allowed {
				tp := kafka.TopicPartition{Topic: asked.Topic, Partition: kafka.PartitionID(p.Partition)}
				found, err = h.epochEnd(tp, kafka.LeaderEpoch(p.CurrentLeaderEpoch), kafka.LeaderEpoch(p.LeaderEpoch))
			}
			if err != nil {
				to.ErrorCode = int16(errors.CodeOf(err))
				continue
			}
			to.LeaderEpoch, to.EndOffset = int32(found.Epoch), int64(found.Offset)
		}
	}
	return res
}

func (h *Handlers) epochEnd(tp kafka.TopicPartition, current, wanted kafka.LeaderEpoch) (kafka.EpochOffset, error) {
	p, err := h.cfg.Replicas.Lookup(tp)
	if err != nil {
		return kafka.EpochOffset{}, err
	}
	return p.EpochEnd(current, wanted)
}
