package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// OffsetFetch (key 9, versions 1 to 10; KafkaApis.handleOffsetFetchRequest).
//
// One group before v8, any number from then on; null for all topics of a group
// from v2 on. v5 adds leader epochs, v7 a wait for what is being committed, v10
// names topics by id. Offsets of topics that have been deleted are answered by
// name as long as they are kept.
func (h *Handlers) offsetFetch(ctx context.Context, c *call, req *kmsg.OffsetFetchRequest) kmsg.Response {
	if req.Version < 8 {
		return h.offsetFetchOne(ctx, c, req)
	}
	res := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	res.Groups = make([]kmsg.OffsetFetchResponseGroup, 0, len(req.Groups))
	for i := range req.Groups {
		res.Groups = append(res.Groups, h.fetchOffsets(ctx, c, req, &req.Groups[i]))
	}
	return res
}

// offsetFetchOne answers the versions that name one group.
func (h *Handlers) offsetFetchOne(ctx context.Context, c *call, req *kmsg.OffsetFetchRequest) kmsg.Response {
	asked := kmsg.OffsetFetchRequestGroup{Group: req.Group}
	if req.Topics != nil {
		asked.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(req.Topics))
	}
	for i := range req.Topics {
		asked.Topics = append(asked.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: req.Topics[i].Topic, Partitions: req.Topics[i].Partitions})
	}
	found := h.fetchOffsets(ctx, c, req, &asked)
	res := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	res.ErrorCode, res.Topics = found.ErrorCode, []kmsg.OffsetFetchResponseTopic{}
	if found.ErrorCode != 0 && req.Version < 2 { // the answer has no other place for it
		for i := range asked.Topics {
			found.Topics = append(found.Topics, refusedOffsets(&asked.Topics[i], errors.Code(found.ErrorCode)))
		}
	}
	for _, t := range found.Topics {
		topic := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
		res.Topics = append(res.Topics, topic)
	}
	return res
}

// fetchOffsets answers for one group. Topics that the client may not see come
// last in an answer that names topics, and are left out of one for all.
func (h *Handlers) fetchOffsets(ctx context.Context, c *call, req *kmsg.OffsetFetchRequest, asked *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group, out.Topics = asked.Group, []kmsg.OffsetFetchResponseGroupTopic{}
	if !c.mayGroup(kmsg.ACLOperationDescribe, asked.Group) {
		out.ErrorCode = int16(errors.GroupAuthorizationFailed)
		return out
	}
	byID := req.Version >= 10
	one, refused := *asked, []kmsg.OffsetFetchResponseGroupTopic(nil)
	if asked.Topics != nil {
		one.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(asked.Topics))
	}
	for i := range asked.Topics {
		t := asked.Topics[i]
		if byID {
			topic := c.image.Topic(t.TopicID)
			if topic == nil {
				refused = append(refused, refusedOffsets(&t, errors.UnknownTopicID))
				continue
			}
			t.Topic = topic.Name
		} else if topic := c.image.TopicByName(t.Topic); topic != nil {
			t.TopicID = topic.ID // offsets of an earlier topic of the name are not its own
		}
		if !c.mayTopic(kmsg.ACLOperationDescribe, t.Topic) {
			refused = append(refused, refusedOffsets(&t, errors.TopicAuthorizationFailed))
			continue
		}
		one.Topics = append(one.Topics, t)
	}
	question := &kmsg.OffsetFetchRequest{Version: max(8, req.Version), Groups: []kmsg.OffsetFetchRequestGroup{one}, RequireStable: req.RequireStable}
	found := h.cfg.Groups.OffsetFetch(ctx, c.client(), question).Groups[0]
	out.ErrorCode = found.ErrorCode
	if found.ErrorCode != 0 {
		return out
	}
	for _, t := range found.Topics {
		if asked.Topics == nil && !c.showOffsets(byID, &t) {
			continue
		}
		out.Topics = append(out.Topics, t)
	}
	out.Topics = append(out.Topics, refused...)
	return out
}

// showOffsets reports whether a topic belongs into an answer for all topics, and
// gives it its id.
func (c *call) showOffsets(byID bool, t *kmsg.OffsetFetchResponseGroupTopic) bool {
	if byID {
		topic := c.image.TopicByName(t.Topic)
		if topic == nil {
			return false // it has no id any more
		}
		t.TopicID = topic.ID
	}
	return c.mayTopic(kmsg.ACLOperationDescribe, t.Topic)
}

func refusedOffsets(t *kmsg.OffsetFetchRequestGroupTopic, code errors.Code) kmsg.OffsetFetchResponseGroupTopic {
	none := ""
	out := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic, TopicID: t.TopicID}
	for _, p := range t.Partitions {
		out.Partitions = append(out.Partitions, kmsg.OffsetFetchResponseGroupTopicPartition{
			Partition: p, Offset: int64(kafka.NoOffset), LeaderEpoch: int32(kafka.NoEpoch), Metadata: &none, ErrorCode: int16(code),
		})
	}
	return out
}
