package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// DescribeProducers (key 61, version 0; KIP-664,
// KafkaApis.handleDescribeProducersRequest): the producers that the leader of a
// partition remembers, and the transactions that they have open.
func (h *Handlers) describeProducers(_ context.Context, c *call, req *kmsg.DescribeProducersRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.DescribeProducersResponse)
	res.Topics = make([]kmsg.DescribeProducersResponseTopic, len(req.Topics))
	for i := range req.Topics {
		asked, out := &req.Topics[i], &res.Topics[i]
		out.Topic, out.Partitions = asked.Topic, make([]kmsg.DescribeProducersResponseTopicPartition, len(asked.Partitions))
		for j, id := range asked.Partitions {
			to := &out.Partitions[j]
			to.Partition, to.ActiveProducers = id, []kmsg.DescribeProducersResponseTopicPartitionActiveProducer{}
			tp := kafka.TopicPartition{Topic: asked.Topic, Partition: kafka.PartitionID(id)}
			if !c.mayTopic(kmsg.ACLOperationRead, asked.Topic) {
				to.ErrorCode = int16(errors.TopicAuthorizationFailed)
				continue
			}
			active, err := h.producersOf(tp)
			if err != nil {
				code := errors.CodeOf(err)
				to.ErrorCode = int16(code)
				if text := code.Message(); c.image.TopicByName(asked.Topic) == nil {
					to.ErrorMessage = &text // for the topic alone, as Apache
				}
				continue
			}
			to.ActiveProducers = active
		}
	}
	return res
}

func (h *Handlers) producersOf(tp kafka.TopicPartition) ([]kmsg.DescribeProducersResponseTopicPartitionActiveProducer, error) {
	out := []kmsg.DescribeProducersResponseTopicPartitionActiveProducer{}
	p, err := h.cfg.Replicas.Lookup(tp)
	if err != nil {
		return out, err
	}
	if _, leads := p.LeaderEpoch(); !leads {
		return out, errors.New(errors.NotLeaderOrFollower, "broker %d does not lead partition %s", h.cfg.Self, tp)
	}
	for _, e := range p.Log().Producers() {
		a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		a.ProducerID, a.ProducerEpoch, a.LastSequence = int64(e.ID), int32(e.Epoch), e.LastSequence()
		a.LastTimestamp, a.CoordinatorEpoch, a.CurrentTxnStartOffset = e.TimestampMs, e.CoordinatorEpoch, int64(e.TransactionFirst)
		out = append(out, a)
	}
	return out, nil
}
