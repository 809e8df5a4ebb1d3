package handler

import (
	"context"
	"iter"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// DescribeTopicPartitions (key 75, version 0; KIP-966,
// DescribeTopicPartitionsRequestHandler).
//
// Topics come by name, all if none is named, and at most
// max.request.partition.size.limit partitions in one answer; then a cursor says
// where the next question goes on. A topic that is not there is an error where
// it was named, and passed over otherwise.
func (h *Handlers) describeTopicPartitions(_ context.Context, c *call, req *kmsg.DescribeTopicPartitionsRequest) kmsg.Response {
	names, err := c.topicsFromCursor(req)
	if err != nil {
		return protocol.Failure(c.Request.Request, err)
	}
	res := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	res.Topics = []kmsg.DescribeTopicPartitionsResponseTopic{}
	var hidden []kmsg.DescribeTopicPartitionsResponseTopic
	left := max(1, min(h.cfg.Broker.DescribedPartitions, int(req.ResponsePartitionLimit)))
	for name := range names {
		if !c.mayTopic(kmsg.ACLOperationDescribe, name) {
			if len(req.Topics) > 0 {
				hidden = append(hidden, describedTopic(name, errors.TopicAuthorizationFailed))
			}
			continue
		}
		if left == 0 {
			res.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name}
			break
		}
		start := 0
		if req.Cursor != nil && req.Cursor.Topic == name {
			start = int(req.Cursor.Partition)
		}
		topic := c.image.TopicByName(name)
		if topic == nil {
			if len(req.Topics) > 0 {
				absent := describedTopic(name, unknownTopic(name))
				absent.AuthorizedOperations = c.operations(kmsg.ACLResourceTypeTopic, name)
				res.Topics = append(res.Topics, absent)
			}
			continue
		}
		t, next := c.describePartitions(topic, start, left)
		res.Topics = append(res.Topics, t)
		if next >= 0 {
			res.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: int32(next)}
			break
		}
		left -= len(t.Partitions)
	}
	res.Topics = append(res.Topics, hidden...)
	return res
}

// topicsFromCursor are the names to describe in their order, from the cursor's.
func (c *call) topicsFromCursor(req *kmsg.DescribeTopicPartitionsRequest) (iter.Seq[string], *errors.Error) {
	from := ""
	if req.Cursor != nil {
		from = req.Cursor.Topic
	}
	if req.Cursor != nil && req.Cursor.Partition < 0 {
		return nil, errors.New(errors.InvalidRequest, "DescribeTopicPartitionsRequest cursor partition must be valid: %d", req.Cursor.Partition)
	}
	if len(req.Topics) == 0 {
		return func(yield func(string) bool) {
			for t := range c.image.TopicsByName(from) {
				if !yield(t.Name) {
					return
				}
			}
		}, nil
	}
	names := make([]string, 0, len(req.Topics))
	for i := range req.Topics {
		if name := req.Topics[i].Topic; name >= from {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if req.Cursor != nil && (len(names) == 0 || names[0] != from) {
		return nil, errors.New(errors.InvalidRequest, "DescribeTopicPartitionsRequest topic list should contain the cursor topic: %s", from)
	}
	return slices.Values(names), nil
}

func describedTopic(name string, code errors.Code) kmsg.DescribeTopicPartitionsResponseTopic {
	t := kmsg.NewDescribeTopicPartitionsResponseTopic()
	t.Topic, t.ErrorCode, t.AuthorizedOperations = &name, int16(code), noOperations
	t.IsInternal, t.Partitions = replica.InternalTopic(name), []kmsg.DescribeTopicPartitionsResponseTopicPartition{}
	return t
}

// describePartitions describes up to limit partitions from start; next is where
// to go on, -1 at the end.
func (c *call) describePartitions(topic *image.Topic, start, limit int) (t kmsg.DescribeTopicPartitionsResponseTopic, next int) {
	t = describedTopic(topic.Name, errors.None)
	t.TopicID, t.AuthorizedOperations = topic.ID, c.operations(kmsg.ACLResourceTypeTopic, topic.Name)
	end := min(topic.PartitionCount(), start+limit)
	for i := start; i < end; i++ {
		p := topic.Partition(kafka.PartitionID(i))
		if p == nil {
			panic("handler: the partitions of topic " + topic.Name + " are not numbered from 0")
		}
		out := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		out.Partition, out.LeaderID, out.LeaderEpoch = int32(i), int32(p.Leader), int32(p.LeaderEpoch)
		if _, ok := c.endpoint(p.Leader); !ok {
			out.LeaderID = int32(kafka.NoLeader)
		}
		out.Replicas, out.ISR, out.OfflineReplicas = kafka.Int32s(p.Replicas), kafka.Int32s(p.ISR), c.offline(p)
		out.EligibleLeaderReplicas, out.LastKnownELR = kafka.Int32s(p.ELR), kafka.Int32s(p.LastKnownELR)
		t.Partitions = append(t.Partitions, out)
	}
	if end < topic.PartitionCount() {
		return t, end
	}
	return t, -1
}
