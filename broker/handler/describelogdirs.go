package handler

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// LogDirs are the log directories of this broker (storage.Dirs).
type LogDirs interface {
	Describe() []storage.DirectoryState
}

// DescribeLogDirs (key 35, versions 1 to 5; KIP-113,
// KafkaApis.handleDescribeLogDirsRequest): what each log directory holds of the
// partitions that are asked for, null for all. A directory that has failed is
// KAFKA_STORAGE_ERROR and tells nothing else. v4 adds the size of the disk, v5
// says whether the directory is cordoned.
func (h *Handlers) describeLogDirs(_ context.Context, c *call, req *kmsg.DescribeLogDirsRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	wanted := map[kafka.TopicPartition]bool{}
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			wanted[kafka.TopicPartition{Topic: req.Topics[i].Topic, Partition: kafka.PartitionID(p)}] = true
		}
	}
	for _, d := range h.cfg.LogDirs.Describe() {
		out := kmsg.NewDescribeLogDirsResponseDir()
		out.Dir, out.TotalBytes, out.UsableBytes = d.Path, d.TotalBytes, d.UsableBytes
		out.IsCordoned = c.cordoned(d.ID)
		if d.Err != nil {
			out.ErrorCode = int16(errors.KafkaStorageError)
		}
		byTopic := map[string]int{}
		for _, r := range d.Replicas {
			if req.Topics != nil && !wanted[r.Partition] {
				continue
			}
			at, ok := byTopic[r.Partition.Topic]
			if !ok {
				at = len(out.Topics)
				byTopic[r.Partition.Topic] = at
				out.Topics = append(out.Topics, kmsg.DescribeLogDirsResponseDirTopic{Topic: r.Partition.Topic})
			}
			out.Topics[at].Partitions = append(out.Topics[at].Partitions, kmsg.DescribeLogDirsResponseDirTopicPartition{
				Partition: int32(r.Partition.Partition), Size: r.SizeBytes, OffsetLag: r.OffsetLag, IsFuture: r.Future,
			})
		}
		res.Dirs = append(res.Dirs, out)
	}
	return res
}

// cordoned reports whether this broker has said that a directory takes no new
// partitions (KIP-1066).
func (c *call) cordoned(dir kafka.DirectoryID) bool {
	b := c.image.Broker(c.cfg.Self)
	return b != nil && slices.Contains(b.CordonedDirectories, dir)
}
