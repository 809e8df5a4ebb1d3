package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/coordinator"
	"kvorum/broker/replica"
	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/listener"
	"kvorum/protocol"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// WriteTxnMarkers (key 27, versions 1 to 2; KafkaApis.handleWriteTxnMarkersRequest).
//
// It ends transactions in partitions that this broker leads, whoever coordinates
// them: each partition gets the marker as a control batch and answers when that is
// committed; offsets of groups in the transaction count or are gone with it. v2
// says the version of the transaction protocol.
func (h *Handlers) writeTxnMarkers(ctx context.Context, c *call) (listener.Response, error) {
	req := c.Body.(*kmsg.WriteTxnMarkersRequest)
	if !c.mayCluster(kmsg.ACLOperationAlter) && !c.mayCluster(kmsg.ACLOperationClusterAction) {
		return listener.Reply(protocol.Failure(c.Request.Request, errors.ClusterAuthorizationFailed.Err())), nil
	}
	c.Exempt() // it comes from coordinators
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Broker.MarkerTimeout)
	defer cancel()
	res := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
	var waits []markerWait
	res.Markers = make([]kmsg.WriteTxnMarkersResponseMarker, len(req.Markers))
	for i := range req.Markers {
		m, out := &req.Markers[i], &res.Markers[i]
		out.ProducerID, out.Topics = m.ProducerID, make([]kmsg.WriteTxnMarkersResponseMarkerTopic, len(m.Topics))
		for j := range m.Topics {
			t := &out.Topics[j]
			t.Topic, t.Partitions = m.Topics[j].Topic, make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(m.Topics[j].Partitions))
			for k, id := range m.Topics[j].Partitions {
				t.Partitions[k].Partition = id
				w, err := h.writeMarker(ctx, m, kafka.TopicPartition{Topic: t.Topic, Partition: kafka.PartitionID(id)})
				t.Partitions[k].ErrorCode = int16(errors.CodeOf(err))
				if w.partition != nil {
					w.code = &t.Partitions[k].ErrorCode
					waits = append(waits, w)
				}
			}
		}
	}
	for _, w := range waits {
		if err := w.partition.WaitCommitted(ctx, w.upTo, w.epoch); err != nil {
			*w.code = int16(waitCode(ctx, err))
		}
	}
	return listener.Reply(res), nil
}

// markerWait is a marker that is written and not yet known to be committed.
type markerWait struct {
	partition *replica.Partition
	upTo      kafka.Offset
	epoch     kafka.LeaderEpoch
	code      *int16
}

func waitCode(ctx context.Context, err error) errors.Code {
	if ctx.Err() != nil {
		return errors.RequestTimedOut
	}
	return errors.CodeOf(err)
}

// writeMarker appends a marker. Where the group coordinator writes it, it also
// waits for it.
func (h *Handlers) writeMarker(ctx context.Context, m *kmsg.WriteTxnMarkersRequestMarker, tp kafka.TopicPartition) (markerWait, error) {
	end := batch.EndTxn{
		ProducerID: kafka.ProducerID(m.ProducerID), ProducerEpoch: m.ProducerEpoch, Commit: m.Committed, CoordinatorEpoch: m.CoordinatorEpoch,
	}
	if tp.Topic == coordinator.Topic {
		return markerWait{}, h.cfg.Groups.EndTransaction(ctx, tp.Partition, end, int16(m.TransactionVersion))
	}
	p, err := h.cfg.Replicas.Lookup(tp)
	if err != nil {
		return markerWait{}, err
	}
	epoch, _ := p.LeaderEpoch()
	nowMs := h.cfg.Clock.Now().UnixMilli()
	marker := batch.AppendEndTxn(nil, 0, epoch, nowMs, end)
	done, err := p.Append(marker, replica.AppendOptions{
		AppendOptions: storage.AppendOptions{Origin: producer.Coordinator, NowMs: nowMs, TransactionVersion: int16(m.TransactionVersion)},
		Acks:          -1, LeaderEpoch: epoch,
	})
	if err != nil {
		return markerWait{}, err
	}
	return markerWait{partition: p, upTo: done.Last + 1, epoch: epoch}, nil
}
