package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/migration"
)

// askGroups lists the groups that use more than the classic protocol. Brokers before
// 3.8 do not tell the type, and have classic groups only.
func askGroups(ctx context.Context, client *kgo.Client) (f migration.GroupFacts) {
	for _, shard := range client.RequestSharded(ctx, kmsg.NewPtrListGroupsRequest()) {
		resp, ok := shard.Resp.(*kmsg.ListGroupsResponse)
		if shard.Err == nil && ok {
			shard.Err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if shard.Err != nil || !ok {
			f.Err = errors.Join(f.Err, fmt.Errorf("broker %d: %w", shard.Meta.NodeID, shard.Err))
			continue
		}
		for _, g := range resp.Groups {
			switch strings.ToLower(g.GroupType) {
			case "consumer":
				f.Consumer = append(f.Consumer, g.Group)
			case "share":
				f.Share = append(f.Share, g.Group)
			case "streams":
				f.Streams = append(f.Streams, g.Group)
			}
		}
	}
	for _, groups := range [][]string{f.Consumer, f.Share, f.Streams} {
		slices.Sort(groups)
	}
	return f
}

const (
	// formatsAtOnce bounds the partitions of one Fetch.
	formatsAtOnce = 500
	// formatBytes is asked for of each partition: a broker answers with nothing if the
	// first batch is larger, but for the first partition of the request.
	formatBytes = 16 << 10
	// magicAt is where a batch, and a message of before 0.11, has its format.
	magicAt = 16
)

// firstBatch is a partition and where its records begin.
type firstBatch struct {
	topic     string
	id        [16]byte
	partition int32
	leader    int32
	offset    int64
}

// askFormats looks at the first batch of every partition that has records: formats
// only ever went up, so the first is in the oldest.
func askFormats(ctx context.Context, client *kgo.Client) (f migration.FormatFacts) {
	adm := kadm.NewClient(client)
	left, err := firstBatches(ctx, adm)
	if err != nil {
		return migration.FormatFacts{Unknown: max(1, len(left)), Err: err}
	}
	for len(left) > 0 {
		leader := left[0].leader
		var asked, others []firstBatch
		for _, p := range left {
			if p.leader == leader && len(asked) < formatsAtOnce {
				asked = append(asked, p)
			} else {
				others = append(others, p)
			}
		}
		magics, err := fetchMagics(ctx, client, asked)
		if err == nil && len(magics) == 0 {
			err = fmt.Errorf("broker %d sent nothing of %s-%d", leader, asked[0].topic, asked[0].partition)
		}
		if err != nil {
			f.Unknown, f.Err = len(left), err
			break
		}
		for _, p := range asked {
			switch magic, ok := magics[fmt.Sprint(p.topic, "-", p.partition)]; {
			case !ok:
				others = append(others, p) // too large for this answer: it is a first one soon
			case magic < 2:
				f.Old = append(f.Old, fmt.Sprint(p.topic, "-", p.partition))
			}
		}
		left = others
	}
	slices.Sort(f.Old)
	return f
}

// firstBatches are the partitions that have records.
func firstBatches(ctx context.Context, adm *kadm.Client) ([]firstBatch, error) {
	topics, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, err
	}
	starts, err := adm.ListStartOffsets(ctx, topics.Names()...)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topics.Names()...)
	if err != nil {
		return nil, err
	}
	var out []firstBatch
	for _, p := range topics.TopicsList().Topics() {
		for _, d := range topics[p].Partitions.Sorted() {
			start, _ := starts.Lookup(p, d.Partition)
			end, ok := ends.Lookup(p, d.Partition)
			if err := errors.Join(start.Err, end.Err); err != nil {
				return out, fmt.Errorf("%s-%d: %w", p, d.Partition, err)
			}
			if ok && start.Offset < end.Offset {
				out = append(out, firstBatch{topic: p, id: topics[p].ID, partition: d.Partition, leader: d.Leader, offset: start.Offset})
			}
		}
	}
	return out, nil
}

// fetchMagics asks one leader for the first batches of partitions, and returns the
// format of those that it sent.
func fetchMagics(ctx context.Context, client *kgo.Client, asked []firstBatch) (map[string]byte, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 0, 0, formatBytes*formatsAtOnce, -1
	names := map[[16]byte]string{}
	for _, p := range asked {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != p.topic {
			topic := kmsg.NewFetchRequestTopic()
			topic.Topic, topic.TopicID = p.topic, p.id
			req.Topics = append(req.Topics, topic)
			names[p.id] = p.topic
		}
		partition := kmsg.NewFetchRequestTopicPartition()
		partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes = p.partition, p.offset, formatBytes
		last := &req.Topics[len(req.Topics)-1]
		last.Partitions = append(last.Partitions, partition)
	}
	resp, err := req.RequestWith(ctx, client.Broker(int(asked[0].leader)))
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	out := map[string]byte{}
	for _, t := range resp.Topics {
		name := t.Topic
		if name == "" {
			name = names[t.TopicID]
		}
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("%s-%d: %w", name, p.Partition, err)
			}
			if len(p.RecordBatches) > magicAt {
				out[fmt.Sprint(name, "-", p.Partition)] = p.RecordBatches[magicAt]
			}
		}
	}
	return out, nil
}
