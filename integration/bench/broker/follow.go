package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// fetchVersion is what a 4.x broker fetches the metadata log with.
const fetchVersion = 17

// maxBytes is what a broker asks for at most (KafkaRaftClient.MAX_FETCH_SIZE_BYTES).
const maxBytes = 8 << 20

// follow fetches the metadata log as an observer does (KafkaRaftClient). A
// snapshot is taken as read: its bytes would measure the network.
func (b *Broker) follow(ctx context.Context) {
	l := &link{b: b}
	defer l.close()
	// leaderEpoch is what the broker believes, epoch that of its last record.
	var leaderEpoch, epoch int32
	for ctx.Err() == nil {
		resp := kmsg.NewPtrFetchResponse()
		if !l.call(ctx, b.fetch(leaderEpoch, epoch), resp) {
			continue
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			b.refused("fetch", resp.ErrorCode)
			l.next(ctx)
			continue
		}
		p := &resp.Topics[0].Partitions[0]
		if p.CurrentLeader.LeaderEpoch > leaderEpoch {
			leaderEpoch = p.CurrentLeader.LeaderEpoch
		}
		switch {
		case p.ErrorCode == kerr.FencedLeaderEpoch.Code && l.at == int(p.CurrentLeader.LeaderID)-1:
			// The next fetch says the epoch that this one told.
		case p.ErrorCode != 0:
			b.refused("fetch", p.ErrorCode)
			if leader := int(p.CurrentLeader.LeaderID) - 1; leader >= 0 && leader < len(b.cfg.Controllers) && leader != l.at {
				l.turn(leader)
				continue
			}
			l.next(ctx)
		case p.SnapshotID.Epoch >= 0:
			b.offset.Store(p.SnapshotID.EndOffset)
			epoch = p.SnapshotID.Epoch
		case p.DivergingEpoch.Epoch >= 0:
			b.offset.Store(p.DivergingEpoch.EndOffset)
			epoch = p.DivergingEpoch.Epoch
		default:
			epoch = b.take(p.RecordBatches, epoch)
		}
	}
}

// take moves on behind whole batches and returns the last one's epoch.
func (b *Broker) take(batches []byte, epoch int32) int32 {
	for v, err := range batch.All(batches) {
		if err != nil {
			break // a batch that was cut at the fetch's end
		}
		b.offset.Store(int64(v.EndOffset()))
		epoch = int32(v.Epoch())
	}
	return epoch
}

func (b *Broker) fetch(leaderEpoch, epoch int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.ClusterID = fetchVersion, &b.cfg.ClusterID
	req.ReplicaState.ID, req.ReplicaState.Epoch = b.cfg.ID, -1
	req.MaxWaitMillis, req.MaxBytes, req.SessionEpoch = int32(fetchWait.Milliseconds()), maxBytes, -1
	part := kmsg.NewFetchRequestTopicPartition()
	part.CurrentLeaderEpoch, part.FetchOffset, part.LastFetchedEpoch = leaderEpoch, b.offset.Load(), epoch
	part.ReplicaDirectoryID = b.directory
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = kafka.MetadataTopic, kafka.MetadataTopicID
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	return req
}
