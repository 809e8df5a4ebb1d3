package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// OffsetDelete (key 47, version 0; KIP-496, KafkaApis.handleOffsetDeleteRequest):
// topics and partitions that are not there are refused, the others go to the
// coordinator together.
func (h *Handlers) offsetDelete(ctx context.Context, c *call, req *kmsg.OffsetDeleteRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	if !c.mayGroup(kmsg.ACLOperationDelete, req.Group) {
		res.ErrorCode = int16(errors.GroupAuthorizationFailed)
		return res
	}
	taken := *req
	taken.Topics = nil
	var at []*int16 // where the coordinator's answers go
	for i := range req.Topics {
		asked := &req.Topics[i]
		res.Topics = append(res.Topics, kmsg.OffsetDeleteResponseTopic{
			Topic: asked.Topic, Partitions: make([]kmsg.OffsetDeleteResponseTopicPartition, len(asked.Partitions)),
		})
		out := res.Topics[i].Partitions
		_, code := c.groupTopic(false, asked.Topic, kafka.ZeroUUID)
		topic := kmsg.OffsetDeleteRequestTopic{Topic: asked.Topic}
		for j := range asked.Partitions {
			out[j].Partition = asked.Partitions[j].Partition
			switch {
			case code != errors.None:
				out[j].ErrorCode = int16(code)
			case c.image.TopicByName(asked.Topic).Partition(kafka.PartitionID(out[j].Partition)) == nil:
				out[j].ErrorCode = int16(errors.UnknownTopicOrPartition)
			default:
				topic.Partitions = append(topic.Partitions, asked.Partitions[j])
				at = append(at, &out[j].ErrorCode)
			}
		}
		if len(topic.Partitions) > 0 {
			taken.Topics = append(taken.Topics, topic)
		}
	}
	answer := h.cfg.Groups.OffsetDelete(ctx, c.client(), &taken)
	if answer.ErrorCode != 0 {
		res.ErrorCode, res.Topics = answer.ErrorCode, nil
		return res
	}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			*at[0], at = p.ErrorCode, at[1:]
		}
	}
	return res
}
