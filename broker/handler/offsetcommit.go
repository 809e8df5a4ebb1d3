package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// OffsetCommit (key 8, versions 2 to 10; KafkaApis.handleOffsetCommitRequest).
//
// Topics and partitions that are not there are refused one by one, the others go
// to the coordinator together. v6 adds leader epochs, v7 static members, v10
// names topics by id.
func (h *Handlers) offsetCommit(ctx context.Context, c *call, req *kmsg.OffsetCommitRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	denied := errors.None
	if !c.mayGroup(kmsg.ACLOperationRead, req.Group) {
		denied = errors.GroupAuthorizationFailed
	}
	res.Topics = make([]kmsg.OffsetCommitResponseTopic, 0, len(req.Topics))
	taken := *req
	taken.Topics = nil
	var at []*int16 // where the coordinator's answers go
	for i := range req.Topics {
		asked := &req.Topics[i]
		res.Topics = append(res.Topics, kmsg.OffsetCommitResponseTopic{
			Topic: asked.Topic, TopicID: asked.TopicID, Partitions: make([]kmsg.OffsetCommitResponseTopicPartition, len(asked.Partitions)),
		})
		out := res.Topics[i].Partitions
		name, code := c.groupTopic(req.Version >= 10, asked.Topic, asked.TopicID)
		if denied != errors.None {
			code = denied
		}
		topic := kmsg.OffsetCommitRequestTopic{Topic: name, TopicID: asked.TopicID}
		if t := c.image.TopicByName(name); t != nil {
			topic.TopicID = t.ID // it is kept with the offset, whatever the version
		}
		for j := range asked.Partitions {
			out[j].Partition = asked.Partitions[j].Partition
			switch {
			case code != errors.None:
				out[j].ErrorCode = int16(code)
			case c.image.TopicByName(name).Partition(kafka.PartitionID(out[j].Partition)) == nil:
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
	if len(taken.Topics) == 0 && (denied != errors.None || len(req.Topics) > 0) {
		return res
	}
	answer := h.cfg.Groups.OffsetCommit(ctx, c.client(), &taken)
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			*at[0], at = p.ErrorCode, at[1:]
		}
	}
	return res
}

// groupTopic is the name of a topic that a group commits or fetches offsets of,
// or why it may not.
func (c *call) groupTopic(byID bool, name string, id kafka.TopicID) (string, errors.Code) {
	if byID {
		t := c.image.Topic(id)
		if t == nil {
			return "", errors.UnknownTopicID
		}
		name = t.Name
	}
	switch {
	case !c.mayTopic(kmsg.ACLOperationRead, name):
		return name, errors.TopicAuthorizationFailed
	case c.image.TopicByName(name) == nil:
		return name, errors.UnknownTopicOrPartition
	}
	return name, errors.None
}
