package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// AlterReplicaLogDirs (key 34, versions 1 and 2; KIP-113,
// KafkaApis.handleAlterReplicaLogDirsRequest): begins to move replicas of this
// broker between its log directories. The answer says that the moves have begun;
// DescribeLogDirs shows how far they are. Of a partition that is named twice the
// last directory counts, as in Apache's.
func (h *Handlers) alterReplicaLogDirs(_ context.Context, c *call, req *kmsg.AlterReplicaLogDirsRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
	wanted := map[kafka.TopicPartition]string{}
	var order []kafka.TopicPartition
	for i := range req.Dirs {
		for _, t := range req.Dirs[i].Topics {
			for _, n := range t.Partitions {
				p := kafka.TopicPartition{Topic: t.Topic, Partition: kafka.PartitionID(n)}
				if _, twice := wanted[p]; !twice {
					order = append(order, p)
				}
				wanted[p] = req.Dirs[i].Dir
			}
		}
	}
	at := map[string]int{}
	for _, p := range order {
		i, ok := at[p.Topic]
		if !ok {
			i = len(res.Topics)
			at[p.Topic] = i
			res.Topics = append(res.Topics, kmsg.AlterReplicaLogDirsResponseTopic{Topic: p.Topic})
		}
		out := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
		out.Partition = int32(p.Partition)
		if err := h.cfg.Replicas.AlterLogDir(p, wanted[p]); err != nil {
			c.cfg.Log.Warn("a replica is not moved to another log directory", "partition", p.String(), "path", wanted[p], "error", err)
			out.ErrorCode = int16(errors.CodeOf(err))
		}
		res.Topics[i].Partitions = append(res.Topics[i].Partitions, out)
	}
	return res
}
