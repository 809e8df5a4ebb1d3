package replica

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// byTopicID is the first version of Fetch that names topics by id. Every release
// that may be in a cluster with this one has it.
const byTopicID = 13

// takeAll gives each partition of an answer to its replica. The error is one of
// the connection.
func (f *fetcher) takeAll(ctx context.Context, answer *kmsg.FetchResponse) error {
	if answer.Version < byTopicID {
		return fmt.Errorf("the broker serves Fetch up to version %d only, and %d is needed", answer.Version, byTopicID)
	}
	var outside []*lane
	for i := range answer.Topics {
		t := &answer.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			l := f.lanes[partitionKey{t.TopicID, kafka.PartitionID(p.Partition)}]
			switch {
			case l == nil || !l.inSession: // not asked for, or no more
			case errors.Code(p.ErrorCode) == errors.OffsetOutOfRange:
				outside = append(outside, l)
			default:
				f.take(l, p)
			}
		}
	}
	for _, l := range outside { // at last, for another request takes the answer's bytes
		if err := f.comeBack(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// take gives one partition's answer to its replica (AbstractFetcherThread.
// processFetchRequest). What goes wrong with one partition rests that one only.
func (f *fetcher) take(l *lane, p *kmsg.FetchResponseTopicPartition) {
	a := core.Answer{
		HighWatermark: kafka.Offset(p.HighWatermark), LogStart: kafka.Offset(p.LogStartOffset), Records: len(p.RecordBatches) > 0,
		Diverging: kafka.EpochOffset{Epoch: kafka.LeaderEpoch(p.DivergingEpoch.Epoch), Offset: kafka.Offset(p.DivergingEpoch.EndOffset)},
	}
	switch code := errors.Code(p.ErrorCode); code {
	case errors.None:
	case errors.FencedLeaderEpoch:
		a.Fenced = true
	default:
		// The leader may not have heard of its election or of this replica yet, or
		// has lost both; the image tells here, too, when that is so.
		f.logger.Debug("partition is not fetched", "partition", l.partition.name, "error", code.Err())
		f.rest(l)
		return
	}
	f.ps.fetching.count(l.partition.name, len(p.RecordBatches))
	if f.give(l, a, p.RecordBatches) {
		f.ps.counters.replicationBytesIn.Add(int64(len(p.RecordBatches)))
	}
}

// give lets a replica do what an answer asks for.
func (f *fetcher) give(l *lane, a core.Answer, records []byte) bool {
	if _, err := l.partition.take(l.asked.Ask, a, records); err != nil {
		f.rest(l)
		return false
	}
	l.failures = 0
	f.session.touch(l)
	return true
}

// comeBack finds out how a replica whose end is not in the leader's log goes on.
func (f *fetcher) comeBack(ctx context.Context, l *lane) error {
	a, err := f.bounds(ctx, l)
	if err != nil {
		return err
	}
	if !a.OutOfRange || !f.give(l, a, nil) {
		f.rest(l)
	}
	return nil
}

// bounds asks the leader where its log begins and ends. An answer that is not
// OutOfRange says that the leader did not tell.
func (f *fetcher) bounds(ctx context.Context, l *lane) (core.Answer, error) {
	a := core.Answer{Diverging: noDivergence}
	end, ok, err := f.listOffset(ctx, l, Latest)
	if err != nil || !ok {
		return a, err
	}
	start, ok, err := f.listOffset(ctx, l, EarliestLocal)
	if err != nil || !ok {
		return a, err
	}
	a.OutOfRange, a.LogStart, a.LogEnd = true, start, end
	return a, nil
}

func (f *fetcher) listOffset(ctx context.Context, l *lane, timestamp int64) (kafka.Offset, bool, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = int32(f.ps.self)
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = l.partition.name.Topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.Timestamp = int32(l.partition.name.Partition), int32(l.asked.LeaderEpoch), timestamp
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := f.ask(ctx, req, false)
	if err != nil {
		return 0, false, err
	}
	answer, ok := resp.(*kmsg.ListOffsetsResponse)
	if !ok || len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return 0, false, fmt.Errorf("the answer to a ListOffsets for one partition is not for one partition")
	}
	found := &answer.Topics[0].Partitions[0]
	return kafka.Offset(found.Offset), found.ErrorCode == 0 && found.Offset >= 0, nil
}
