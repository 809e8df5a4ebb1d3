package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/protocol/errors"
)

// MetadataLog is this broker's copy of the metadata log (metadatalog.Store). It holds
// committed records only.
type MetadataLog interface {
	LogStart() kafka.Offset
	EndOffset() kafka.Offset
	// EpochEnd is the largest epoch in the log that is not above e, and its end.
	EpochEnd(e kafka.LeaderEpoch) kafka.EpochOffset
	// Read returns whole batches from the one at from on, nothing at the end.
	Read(from kafka.Offset, maxBytes int) ([]byte, error)
}

// maxMetadataBytes bounds one answer, as a controller's does.
const maxMetadataBytes = 8 << 20

// fetchOrMetadata is fetch on the listener of the brokers, where one of them that
// reaches no controller may ask for the metadata log as it would ask a controller.
// Apache's brokers answer UNKNOWN_TOPIC_ID there, as this one does where it gives
// nothing.
func (h *Handlers) fetchOrMetadata(ctx context.Context, c *call) (listener.Response, error) {
	req := c.Body.(*kmsg.FetchRequest)
	if req.Version < 13 || len(req.Topics) != 1 || kafka.TopicID(req.Topics[0].TopicID) != kafka.MetadataTopicID {
		return h.fetch(ctx, c)
	}
	c.Exempt()
	return listener.Reply(h.fetchMetadata(c, req)), nil
}

// fetchMetadata answers at once. The high watermark is the end of the copy: nothing
// that is not committed is in it. There is no leader in the answer, since this broker
// speaks for none.
func (h *Handlers) fetchMetadata(c *call, req *kmsg.FetchRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.FetchResponse)
	refuse := func(code errors.Code) kmsg.Response {
		res.ErrorCode, res.Topics = int16(code), []kmsg.FetchResponseTopic{}
		return res
	}
	switch {
	case !c.mayCluster(kmsg.ACLOperationClusterAction):
		return refuse(errors.ClusterAuthorizationFailed)
	case req.ClusterID == nil || *req.ClusterID != h.cfg.ClusterID:
		return refuse(errors.InconsistentClusterID)
	case len(req.Topics[0].Partitions) != 1 || req.Topics[0].Partitions[0].Partition != 0:
		return refuse(errors.InvalidRequest)
	}
	topic := kmsg.NewFetchResponseTopic()
	topic.TopicID = kafka.MetadataTopicID
	topic.Partitions = append(topic.Partitions, h.readMetadata(c, req))
	res.Topics = append(res.Topics, topic)
	return res
}

func (h *Handlers) readMetadata(c *call, req *kmsg.FetchRequest) kmsg.FetchResponseTopicPartition {
	part, log := &req.Topics[0].Partitions[0], h.cfg.MetadataLog
	answer := kmsg.NewFetchResponseTopicPartition()
	answer.RecordBatches, answer.CurrentLeader.LeaderID = []byte{}, int32(kafka.NoLeader)
	from, epoch := kafka.Offset(part.FetchOffset), kafka.LeaderEpoch(part.LastFetchedEpoch)
	answer.LogStartOffset, answer.HighWatermark = int64(log.LogStart()), int64(log.EndOffset())
	switch {
	case from < log.LogStart() || from < 0 || epoch < 0:
		answer.ErrorCode = int16(errors.OffsetOutOfRange) // what it lacks is in a snapshot here
		return answer
	case int64(from) >= answer.HighWatermark:
		return answer // it knows as much
	}
	if end := log.EpochEnd(epoch); from > 0 && (end.Epoch != epoch || end.Offset < from) {
		answer.DivergingEpoch.Epoch, answer.DivergingEpoch.EndOffset = int32(end.Epoch), int64(end.Offset)
		return answer
	}
	data, err := log.Read(from, int(min(max(req.MaxBytes, 1), maxMetadataBytes)))
	if err != nil {
		h.cfg.Log.Error("read the metadata log for another broker", "offset", from, "error", err)
		answer.ErrorCode = int16(errors.UnknownServerError)
		return answer
	}
	answer.RecordBatches, answer.HighWatermark = data, int64(log.EndOffset())
	return answer
}
