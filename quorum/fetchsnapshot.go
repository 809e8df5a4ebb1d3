package quorum

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// fetchSnapshot sends a piece of a checkpoint file
// (KafkaRaftClient.handleFetchSnapshotRequest).
func (c *Controller) fetchSnapshot(listener string, req *kmsg.FetchSnapshotRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FetchSnapshotResponse)
	if req.ClusterID != nil && *req.ClusterID != c.cfg.ClusterID {
		resp.ErrorCode = int16(errors.InconsistentClusterID)
		return resp
	}
	if len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 {
		resp.ErrorCode = int16(errors.InvalidRequest)
		return resp
	}
	part := &req.Topics[0].Partitions[0]
	answer := kmsg.NewFetchSnapshotResponseTopicPartition()
	answer.Partition = part.Partition
	if req.Topics[0].Topic != kafka.MetadataTopic || part.Partition != 0 {
		answer.ErrorCode = int16(errors.UnknownTopicOrPartition)
	} else {
		c.snapshotPiece(&answer, part, int(req.MaxBytes))
	}
	topic := kmsg.NewFetchSnapshotResponseTopic()
	topic.Topic = req.Topics[0].Topic
	topic.Partitions = append(topic.Partitions, answer)
	resp.Topics = append(resp.Topics, topic)
	if e, ok := c.endpointOf(kafka.NodeID(answer.CurrentLeader.LeaderID), listener); ok {
		n := kmsg.NewFetchSnapshotResponseNodeEndpoint()
		n.NodeID, n.Host, n.Port = answer.CurrentLeader.LeaderID, e.Host, e.Port
		resp.NodeEndpoints = append(resp.NodeEndpoints, n)
	}
	return resp
}

func (c *Controller) snapshotPiece(answer *kmsg.FetchSnapshotResponseTopicPartition, part *kmsg.FetchSnapshotRequestTopicPartition, maxBytes int) {
	state := c.state.Load()
	answer.CurrentLeader.LeaderID, answer.CurrentLeader.LeaderEpoch = int32(state.Leader), int32(state.Epoch)
	answer.SnapshotID.EndOffset, answer.SnapshotID.Epoch = part.SnapshotID.EndOffset, part.SnapshotID.Epoch
	if code := checkEpoch(state, kafka.LeaderEpoch(part.CurrentLeaderEpoch)); code != errors.None {
		answer.ErrorCode = int16(code)
		return
	}
	id := kafka.EpochOffset{Offset: kafka.Offset(part.SnapshotID.EndOffset), Epoch: kafka.LeaderEpoch(part.SnapshotID.Epoch)}
	piece, size, err := c.snapshots.ReadChunk(id, part.Position, min(max(maxBytes, 1), maxFetchBytes))
	if err != nil {
		answer.ErrorCode = int16(errors.CodeOf(err))
		return
	}
	answer.Position, answer.Size, answer.Bytes = part.Position, size, piece
}
