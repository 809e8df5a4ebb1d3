package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// earliestPending asks for the first offset that is not in remote storage yet
// (KIP-1023); there is no remote storage, and so no such offset.
const earliestPending int64 = -6

// ListOffsets (key 2, versions 1 to 11; KafkaApis.handleListOffsetRequest).
//
// v2 adds isolation, v4 leader epochs, v7 the largest timestamp, v8 the first
// local offset, v9 and v11 those of remote storage, which there is none of. An
// offset that an election has put in doubt is OFFSET_NOT_AVAILABLE from v5 on
// and LEADER_NOT_AVAILABLE before. A partition that is asked for twice is
// INVALID_REQUEST, once.
func (h *Handlers) listOffsets(_ context.Context, c *call, req *kmsg.ListOffsetsRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	res.Topics = make([]kmsg.ListOffsetsResponseTopic, 0, len(req.Topics))
	twice, told := askedTwice(req), map[kafka.TopicPartition]bool{}
	for i := range req.Topics {
		asked := &req.Topics[i]
		out := kmsg.ListOffsetsResponseTopic{Topic: asked.Topic}
		out.Partitions = make([]kmsg.ListOffsetsResponseTopicPartition, 0, len(asked.Partitions))
		allowed := c.mayTopic(kmsg.ACLOperationDescribe, asked.Topic)
		for _, p := range asked.Partitions {
			if told[partitionOf(asked.Topic, p.Partition)] {
				continue
			}
			tp := kafka.TopicPartition{Topic: asked.Topic, Partition: kafka.PartitionID(p.Partition)}
			var answer replica.OffsetAnswer
			var err error
			switch {
			case !allowed:
				err = errors.TopicAuthorizationFailed.Err()
			case twice[tp]:
				told[tp], err = true, errors.InvalidRequest.Err()
			case !timestampServed(req.Version, p.Timestamp):
				err = errors.UnsupportedVersion.Err()
			default:
				answer, err = h.offsetOf(req, tp, p)
			}
			out.Partitions = append(out.Partitions, listedOffset(req.Version, p.Partition, answer, err))
		}
		res.Topics = append(res.Topics, out)
	}
	return res
}

func partitionOf(topic string, partition int32) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topic, Partition: kafka.PartitionID(partition)}
}

// askedTwice are the partitions that a request names more than once.
func askedTwice(req *kmsg.ListOffsetsRequest) map[kafka.TopicPartition]bool {
	seen, twice := map[kafka.TopicPartition]bool{}, map[kafka.TopicPartition]bool{}
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			tp := kafka.TopicPartition{Topic: req.Topics[i].Topic, Partition: kafka.PartitionID(p.Partition)}
			if seen[tp] {
				twice[tp] = true
			}
			seen[tp] = true
		}
	}
	return twice
}

// timestampServed reports whether a version knows a timestamp that stands for
// something else than a time.
func timestampServed(version int16, timestamp int64) bool {
	switch timestamp {
	case replica.MaxTimestamp:
		return version >= 7
	case replica.EarliestLocal:
		return version >= 8
	case replica.LatestTiered:
		return version >= 9
	case earliestPending:
		return version >= 11
	default:
		return timestamp >= replica.Earliest
	}
}

func (h *Handlers) offsetOf(req *kmsg.ListOffsetsRequest, tp kafka.TopicPartition, p kmsg.ListOffsetsRequestTopicPartition) (replica.OffsetAnswer, error) {
	local, err := h.cfg.Replicas.Lookup(tp)
	if err != nil {
		return replica.OffsetAnswer{}, err
	}
	q := replica.OffsetQuery{
		TimestampMs: p.Timestamp, Consumer: req.ReplicaID == int32(replica.Consumer),
		Isolation: replica.Isolation(req.IsolationLevel), LeaderEpoch: kafka.NoEpoch,
	}
	if req.Version >= 4 {
		q.LeaderEpoch = kafka.LeaderEpoch(p.CurrentLeaderEpoch)
	}
	if q.TimestampMs == earliestPending {
		q.TimestampMs = replica.LatestTiered
	}
	return local.ListOffset(q)
}

func listedOffset(version int16, partition int32, a replica.OffsetAnswer, err error) kmsg.ListOffsetsResponseTopicPartition {
	out := kmsg.NewListOffsetsResponseTopicPartition()
	out.Partition, out.Timestamp, out.Offset, out.LeaderEpoch = partition, -1, -1, -1
	if err == nil {
		out.Timestamp, out.Offset, out.LeaderEpoch = a.TimestampMs, int64(a.Offset), int32(a.Epoch)
		return out
	}
	code := errors.CodeOf(err)
	if code == errors.OffsetNotAvailable && version < 5 {
		code = errors.LeaderNotAvailable
	}
	out.ErrorCode = int16(code)
	return out
}
