// Package peerlog has the rules by which brokers that reach no controller bring each
// other's copies of the metadata log up to date: what one gives, and what another
// takes of it (docs/design/0008-serving-without-quorum.md). broker asks, and
// broker/handler answers; the simulator plays both.
package peerlog

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// Log is a broker's copy of the metadata log (metadatalog.Store). It holds committed
// records only.
type Log interface {
	LogStart() kafka.Offset
	EndOffset() kafka.Offset
	// EpochEnd is the largest epoch in the log that is not above e, and its end.
	EpochEnd(e kafka.LeaderEpoch) kafka.EpochOffset
	// Read returns whole batches from the one at from on, nothing at the end.
	Read(from kafka.Offset, maxBytes int) ([]byte, error)
}

// maxBytes bounds one answer, as a controller's does.
const maxBytes = 8 << 20

// Give answers a Fetch of the metadata log by a copy of it in a cluster. The high
// watermark is the end of the copy: nothing that is not committed is in it. There is
// no leader in the answer, since a broker speaks for none. Where the log cannot be
// read the answer says so to the other side, and the error why to this one. The
// answer shares no memory with the request.
func Give(log Log, clusterID string, req *kmsg.FetchRequest) (*kmsg.FetchResponse, error) {
	res := req.ResponseKind().(*kmsg.FetchResponse)
	switch {
	case (req.ClusterID == nil || *req.ClusterID != clusterID) && !planted.Is(planted.GiveToStrangers):
		Refuse(res, errors.InconsistentClusterID)
		return res, nil
	case len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 || req.Topics[0].Partitions[0].Partition != 0:
		Refuse(res, errors.InvalidRequest)
		return res, nil
	}
	part, err := read(log, &req.Topics[0].Partitions[0], int(min(max(req.MaxBytes, 1), maxBytes)))
	topic := kmsg.NewFetchResponseTopic()
	topic.TopicID = kafka.MetadataTopicID
	topic.Partitions = append(topic.Partitions, part)
	res.Topics = append(res.Topics, topic)
	return res, err
}

// Refuse makes an answer one that gives nothing.
func Refuse(res *kmsg.FetchResponse, code errors.Code) {
	res.ErrorCode, res.Topics = int16(code), []kmsg.FetchResponseTopic{}
}

func read(log Log, part *kmsg.FetchRequestTopicPartition, limit int) (kmsg.FetchResponseTopicPartition, error) {
	answer := kmsg.NewFetchResponseTopicPartition()
	answer.RecordBatches, answer.CurrentLeader.LeaderID = []byte{}, int32(kafka.NoLeader)
	from, epoch := kafka.Offset(part.FetchOffset), kafka.LeaderEpoch(part.LastFetchedEpoch)
	answer.LogStartOffset, answer.HighWatermark = int64(log.LogStart()), int64(log.EndOffset())
	switch {
	case from < log.LogStart() || from < 0 || epoch < 0:
		answer.ErrorCode = int16(errors.OffsetOutOfRange) // what it lacks is in a snapshot here
		return answer, nil
	case int64(from) >= answer.HighWatermark:
		return answer, nil // it knows as much
	}
	if end := log.EpochEnd(epoch); from > 0 && (end.Epoch != epoch || end.Offset < from) && !planted.Is(planted.GiveAnotherHistory) {
		answer.DivergingEpoch.Epoch, answer.DivergingEpoch.EndOffset = int32(end.Epoch), int64(end.Offset)
		return answer, nil
	}
	data, err := log.Read(from, limit)
	if err != nil {
		answer.ErrorCode = int16(errors.UnknownServerError)
		return answer, fmt.Errorf("read the metadata log at offset %d for another broker: %w", from, err)
	}
	answer.RecordBatches, answer.HighWatermark = data, int64(log.EndOffset())
	return answer, nil
}

// Take returns the whole batches of an answer that follow a log which ends at end, by
// a record of its epoch, and are committed; nil if there are none, or if the answer
// contradicts this log. They are a part of the answer's memory. Neither the epoch nor
// the high watermark of an answer tells how far the controllers are.
func Take(resp *kmsg.FetchResponse, end kafka.EpochOffset) (batches []byte, after kafka.EpochOffset) {
	if resp.ErrorCode != 0 || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, end
	}
	part := &resp.Topics[0].Partitions[0]
	if errors.Code(part.ErrorCode) != errors.None || part.DivergingEpoch.EndOffset >= 0 {
		return nil, end
	}
	size := 0
	after = end
	for v, err := range batch.All(part.RecordBatches) {
		if err != nil || v.BaseOffset() != after.Offset || v.Epoch() < after.Epoch || !committed(v, part) || damaged(v) {
			break
		}
		after, size = kafka.EpochOffset{Offset: v.EndOffset(), Epoch: v.Epoch()}, size+v.Size()
	}
	if size == 0 {
		return nil, end
	}
	return part.RecordBatches[:size:size], after
}

// committed: a leader of Apache's serves what only it has, above its high watermark.
func committed(v batch.View, part *kmsg.FetchResponseTopicPartition) bool {
	return v.EndOffset() <= kafka.Offset(part.HighWatermark) || planted.Is(planted.TakeUncommitted)
}

func damaged(v batch.View) bool { return v.CheckCRC() != nil && !planted.Is(planted.TakeDamaged) }
