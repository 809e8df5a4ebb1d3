package handler

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// DeleteRecords (key 21, versions 0 to 2; KIP-107,
// KafkaApis.handleDeleteRecordsRequest): moves log starts up to the offsets that
// are asked for, -1 for the high watermark, and answers when every live replica
// has followed or the request's time is up.
func (h *Handlers) deleteRecords(ctx context.Context, c *call, req *kmsg.DeleteRecordsRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	var in []replica.DeleteRecordsPartition
	var at []*kmsg.DeleteRecordsResponseTopicPartition
	res.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	for i := range req.Topics {
		asked, out := &req.Topics[i], &res.Topics[i]
		out.Topic, out.Partitions = asked.Topic, make([]kmsg.DeleteRecordsResponseTopicPartition, len(asked.Partitions))
		allowed := c.mayTopic(kmsg.ACLOperationDelete, asked.Topic)
		for j := range asked.Partitions {
			to := &out.Partitions[j]
			to.Partition, to.LowWatermark = asked.Partitions[j].Partition, int64(kafka.NoOffset)
			if !allowed {
				to.ErrorCode = int16(errors.TopicAuthorizationFailed)
				continue
			}
			p := replica.DeleteRecordsPartition{Offset: kafka.Offset(asked.Partitions[j].Offset)}
			p.Topic, p.Partition = asked.Topic, kafka.PartitionID(to.Partition)
			in, at = append(in, p), append(at, to)
		}
	}
	timeout := time.Duration(max(0, req.TimeoutMillis)) * time.Millisecond
	for i, r := range h.cfg.Replicas.DeleteRecords(ctx, timeout, in, nil) {
		at[i].ErrorCode, at[i].LowWatermark = int16(errors.CodeOf(r.Err)), int64(r.LowWatermark)
	}
	return res
}
