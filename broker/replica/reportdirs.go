package replica

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// sendDirectories tells the controllers in which directories replicas are
// (AssignReplicasToDirs, AssignmentsManager). What they took is forgotten; the
// rest is sent again. False: some is left.
func (ps *Partitions) sendDirectories(ctx context.Context) bool {
	batch := ps.homes.someDirectories()
	if len(batch) == 0 {
		return true
	}
	req := ps.assignments(batch)
	resp, err := ps.controller.Do(ctx, req)
	answer, ok := resp.(*kmsg.AssignReplicasToDirsResponse)
	if err == nil && ok {
		err = errors.Code(answer.ErrorCode).Err()
	}
	if err != nil || !ok {
		ps.logger.Warn("the controllers were not told where replicas are", "partitions", len(batch), "error", err)
		return false
	}
	taken := map[partitionKey]errors.Code{}
	for _, d := range answer.Directories {
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				taken[partitionKey{t.TopicID, kafka.PartitionID(p.Partition)}] = errors.Code(p.ErrorCode)
			}
		}
	}
	ps.homes.mu.Lock()
	defer ps.homes.mu.Unlock()
	for p, dir := range batch {
		code, ok := taken[partitionKey{p.topicID, p.name.Partition}]
		switch {
		case !ok || ps.homes.directories[p] != dir:
		case code == errors.None, code == errors.UnknownTopicID, code == errors.UnknownTopicOrPartition, code == errors.NotLeaderOrFollower:
			delete(ps.homes.directories, p) // known, or of no interest any more
		}
	}
	return len(ps.homes.directories) == 0
}

func (r *reports) someDirectories() map[*Partition]kafka.DirectoryID {
	r.mu.Lock()
	defer r.mu.Unlock()
	batch := map[*Partition]kafka.DirectoryID{}
	for p, dir := range r.directories {
		if len(batch) == maxDirectories {
			break
		}
		batch[p] = dir
	}
	return batch
}

func (ps *Partitions) assignments(batch map[*Partition]kafka.DirectoryID) *kmsg.AssignReplicasToDirsRequest {
	byDirectory := map[kafka.DirectoryID]map[kafka.TopicID][]kafka.PartitionID{}
	for p, dir := range batch {
		if byDirectory[dir] == nil {
			byDirectory[dir] = map[kafka.TopicID][]kafka.PartitionID{}
		}
		byDirectory[dir][p.topicID] = append(byDirectory[dir][p.topicID], p.name.Partition)
	}
	req := kmsg.NewPtrAssignReplicasToDirsRequest()
	req.BrokerID, req.BrokerEpoch = int32(ps.self), int64(ps.brokerEpoch())
	for dir, topics := range byDirectory {
		d := kmsg.NewAssignReplicasToDirsRequestDirectory()
		d.ID = dir
		for id, numbers := range topics {
			t := kmsg.NewAssignReplicasToDirsRequestDirectoryTopic()
			t.TopicID = id
			for _, n := range numbers {
				p := kmsg.NewAssignReplicasToDirsRequestDirectoryTopicPartition()
				p.Partition = int32(n)
				t.Partitions = append(t.Partitions, p)
			}
			d.Topics = append(d.Topics, t)
		}
		req.Directories = append(req.Directories, d)
	}
	return req
}
