package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// quietAfter is how long a bounded read waits for records before it asks whether
// any are left before its ends. It decides nothing but when the question comes.
const quietAfter = 300 * time.Millisecond

// fetch waits for records; quiet says that a bounded read got none for a while.
func (r *reading) fetch(ctx context.Context, client *kgo.Client) (fetches kgo.Fetches, quiet bool) {
	if !r.bounded {
		return client.PollRecords(ctx, 1000), false
	}
	waiting, cancel := context.WithTimeout(ctx, quietAfter)
	defer cancel()
	fetches = client.PollRecords(waiting, 1000)
	return fetches, waiting.Err() != nil && fetches.NumRecords() == 0
}

// passGaps ends the partitions that have no record between the last one that was
// read and their end: compaction may have taken those, and the client, which does
// go over the gap, tells nobody.
func (r *reading) passGaps(ctx context.Context, client *kgo.Client) error {
	within, cancel := r.cluster.within(ctx)
	defer cancel()
	m, err := r.cluster.admin.Metadata(within, slices.Collect(maps.Keys(r.ends))...)
	if err != nil {
		return fmt.Errorf("look for the leaders: %w", err)
	}
	start, err := r.cluster.admin.ListStartOffsets(within, slices.Collect(maps.Keys(r.ends))...)
	if err != nil {
		return fmt.Errorf("list the first offsets: %w", err)
	}
	for _, topic := range slices.Sorted(maps.Keys(r.ends)) {
		t := m.Topics[topic]
		for _, partition := range slices.Sorted(maps.Keys(r.ends[topic])) {
			leader := t.Partitions[partition].Leader
			first, _ := start.Lookup(topic, partition)
			if leader < 0 || first.Err != nil {
				continue // it will have one
			}
			// What is below the first offset was deleted meanwhile.
			g := gap{topic: topic, id: t.ID, partition: partition, from: max(r.next[topic][partition], first.Offset), to: r.ends[topic][partition], committed: r.ReadCommitted}
			if !g.empty(within, client.Broker(int(leader))) {
				continue
			}
			if err := r.ended(topic, partition); err != nil {
				return err
			}
		}
	}
	return nil
}

// gap is a run of offsets, to exclusive, that may have no record.
type gap struct {
	topic     string
	id        [16]byte
	partition int32
	from, to  int64
	committed bool
}

// gapBytes bounds what one question reads: whole batches, at least one.
const gapBytes = 1 << 20

// empty reads on from the start of the gap, and says that it has no record that a
// consumer gets. Where anything is doubtful it says no: the question comes again.
func (g *gap) empty(ctx context.Context, leader *kgo.Broker) bool {
	for at := g.from; at < g.to; {
		resp, err := leader.RetriableRequest(ctx, g.request(at))
		if err != nil {
			return false
		}
		fetched := resp.(*kmsg.FetchResponse)
		if fetched.ErrorCode != 0 || len(fetched.Topics) != 1 || len(fetched.Topics[0].Partitions) != 1 {
			return false
		}
		p := &fetched.Topics[0].Partitions[0]
		if p.ErrorCode != 0 {
			return false
		}
		isolation := kgo.ReadUncommitted()
		if g.committed {
			isolation = kgo.ReadCommitted()
		}
		got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			KeepControlRecords: true, Offset: at, IsolationLevel: isolation, Topic: g.topic, Partition: g.partition,
		}, p, kgo.DefaultDecompressor(), nil)
		if got.Err != nil || next <= at {
			return false
		}
		if len(got.Records) > 0 {
			return got.Records[0].Offset >= g.to
		}
		at = next
	}
	return true
}

func (g *gap) request(at int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 0, 0, gapBytes, -1 // no session
	if g.committed {
		req.IsolationLevel = 1
	}
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = g.topic, g.id
	one := kmsg.NewFetchRequestTopicPartition()
	one.Partition, one.FetchOffset, one.PartitionMaxBytes = g.partition, at, gapBytes
	topic.Partitions = append(topic.Partitions, one)
	req.Topics = append(req.Topics, topic)
	return req
}
