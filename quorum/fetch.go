package quorum

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

const (
	// maxFetchBytes bounds one Fetch answer (KafkaRaftClient.MAX_FETCH_SIZE_BYTES).
	maxFetchBytes = 8 << 20
	// maxFetchWait bounds a long poll, whatever the request asks for; brokers ask
	// for half a second.
	maxFetchWait = 5 * time.Second
)

// fetch serves the committed metadata log to brokers, controllers and tools
// (KafkaRaftClient.handleFetchRequest). What is served is committed, so that
// the high watermark is always the end of the log.
func (c *Controller) fetch(ctx context.Context, listener string, req *kmsg.FetchRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	part, code := c.fetchPartition(req)
	if code != errors.None {
		resp.ErrorCode = int16(code)
		return resp
	}
	replica := kafka.NodeID(req.ReplicaID)
	if req.Version >= 15 {
		replica = kafka.NodeID(req.ReplicaState.ID)
	}
	deadline := time.Now().Add(min(maxFetchWait, time.Duration(req.MaxWaitMillis)*time.Millisecond))
	answer := kmsg.NewFetchResponseTopicPartition()
	for noted := false; ; {
		changed := c.log.Store().WaitChanged()
		answer = c.readLog(req, part)
		wait := time.Until(deadline)
		if !noted && answer.ErrorCode == 0 && answer.DivergingEpoch.Epoch < 0 && answer.SnapshotID.Epoch < 0 {
			noted = true
			if arriving := c.noteFetched(replica, part); arriving {
				break
			}
		}
		if answer.ErrorCode != 0 || len(answer.RecordBatches) > 0 || answer.DivergingEpoch.Epoch >= 0 || answer.SnapshotID.Epoch >= 0 || wait <= 0 {
			break
		}
		if behind := req.Version >= 18 && part.HighWatermark < answer.HighWatermark; behind {
			break // KIP-1166: the replica has the records but not the high watermark
		}
		if !sleep(ctx, changed, wait) {
			break
		}
	}
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic, topic.TopicID = kafka.MetadataTopic, kafka.MetadataTopicID
	topic.Partitions = append(topic.Partitions, answer)
	resp.Topics = append(resp.Topics, topic)
	if e, ok := c.endpointOf(kafka.NodeID(answer.CurrentLeader.LeaderID), listener); ok {
		broker := kmsg.NewFetchResponseBroker()
		broker.NodeID, broker.Host, broker.Port = answer.CurrentLeader.LeaderID, e.Host, int32(e.Port)
		resp.Brokers = append(resp.Brokers, broker)
	}
	return resp
}

// sleep waits for a change, the end of the wait, or of the connection; false on
// the last.
func sleep(ctx context.Context, changed <-chan struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// fetchPartition finds the one partition that a Fetch of the metadata log may
// name; the code is a top-level error.
func (c *Controller) fetchPartition(req *kmsg.FetchRequest) (*kmsg.FetchRequestTopicPartition, errors.Code) {
	if req.ClusterID != nil && *req.ClusterID != c.cfg.ClusterID {
		return nil, errors.InconsistentClusterID
	}
	if len(req.Topics) != 1 || len(req.Topics[0].Partitions) != 1 || req.Topics[0].Partitions[0].Partition != 0 {
		return nil, errors.InvalidRequest
	}
	t := &req.Topics[0]
	if req.Version >= 13 && kafka.TopicID(t.TopicID) != kafka.MetadataTopicID || req.Version < 13 && t.Topic != kafka.MetadataTopic {
		return nil, errors.InvalidRequest
	}
	return &t.Partitions[0], errors.None
}

// readLog answers the fetch of one partition from the state of this moment.
func (c *Controller) readLog(req *kmsg.FetchRequest, part *kmsg.FetchRequestTopicPartition) kmsg.FetchResponseTopicPartition {
	answer := kmsg.NewFetchResponseTopicPartition()
	answer.RecordBatches = []byte{}
	answer.HighWatermark = -1
	state := c.state.Load()
	answer.CurrentLeader.LeaderID, answer.CurrentLeader.LeaderEpoch = int32(state.Leader), int32(state.Epoch)
	refuse := func(code errors.Code) kmsg.FetchResponseTopicPartition {
		answer.ErrorCode = int16(code)
		return answer
	}
	if req.MaxWaitMillis < 0 || part.FetchOffset < 0 || part.LastFetchedEpoch < 0 ||
		part.CurrentLeaderEpoch < 0 || part.LastFetchedEpoch > part.CurrentLeaderEpoch {
		return refuse(errors.InvalidRequest)
	}
	if code := checkEpoch(state, kafka.LeaderEpoch(part.CurrentLeaderEpoch)); code != errors.None {
		return refuse(code)
	}
	store := c.log.Store()
	answer.LogStartOffset = int64(store.LogStart())
	answer.HighWatermark = int64(store.EndOffset())
	from, epoch := kafka.Offset(part.FetchOffset), kafka.LeaderEpoch(part.LastFetchedEpoch)
	if id, ok := c.snapshotFor(from, epoch); ok {
		answer.SnapshotID.EndOffset, answer.SnapshotID.Epoch = int64(id.Offset), int32(id.Epoch)
		return answer
	}
	if from != 0 || store.LogStart() != 0 {
		if end := store.EpochEnd(epoch); end.Epoch != epoch || end.Offset < from {
			answer.DivergingEpoch.Epoch, answer.DivergingEpoch.EndOffset = int32(end.Epoch), int64(end.Offset)
			return answer
		}
	}
	data, err := store.Read(from, int(min(max(req.MaxBytes, 1), maxFetchBytes)))
	if err != nil {
		c.logger.Error("read the metadata log for a fetch", "offset", from, "error", err)
		return refuse(errors.UnknownServerError)
	}
	if store.LastEpoch() > state.Epoch {
		// Another controller's claim is in the log, and what was read may be of its
		// epoch. A broker that took it from the leader of an older epoch would ask
		// for more in a way that no controller can answer.
		answer.HighWatermark, answer.LogStartOffset = -1, -1
		return refuse(errors.NotLeaderOrFollower)
	}
	answer.RecordBatches = data
	// Read after the records, so that none of them is above it: a replica must not
	// get a record without the permission to apply it.
	answer.HighWatermark = int64(store.EndOffset())
	return answer
}

// snapshotFor says whether a replica at (from, epoch) must begin with a
// snapshot: it is new and there is one, or the log does not reach back that far
// (KafkaMetadataLog.validateOffsetAndEpoch).
func (c *Controller) snapshotFor(from kafka.Offset, epoch kafka.LeaderEpoch) (kafka.EpochOffset, bool) {
	latest, earliest, ok := c.snapshots.Range()
	if !ok {
		return kafka.EpochOffset{}, false
	}
	start := c.log.Store().LogStart()
	if from == 0 || from < start || from == start && epoch != earliest.Epoch && start > 0 || epoch < earliest.Epoch {
		return latest, true
	}
	return kafka.EpochOffset{}, false
}

// checkEpoch compares a replica's epoch with ours
// (KafkaRaftClient.validateLeaderOnlyRequest).
func checkEpoch(state *State, epoch kafka.LeaderEpoch) errors.Code {
	switch {
	case epoch < state.Epoch:
		return errors.FencedLeaderEpoch
	case epoch > state.Epoch:
		return errors.UnknownLeaderEpoch
	case !state.Active:
		return errors.NotLeaderOrFollower
	}
	return errors.None
}
