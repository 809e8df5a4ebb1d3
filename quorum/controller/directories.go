package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// AssignReplicasToDirs notes in which of its log directories a broker keeps
// replicas (AssignReplicasToDirs v0, KIP-858). A replica in a directory that is
// not online counts as gone: it leaves the ISR. Not atomic.
func AssignReplicasToDirs(in Input, req *kmsg.AssignReplicasToDirsRequest) (Decision, *kmsg.AssignReplicasToDirsResponse) {
	resp := kmsg.NewPtrAssignReplicasToDirsResponse()
	resp.Version = req.Version
	if in.Image.MetadataVersion() < image.MV37IV2 {
		resp.ErrorCode = int16(errors.UnsupportedVersion)
		return Decision{}, resp
	}
	b, err := checkBrokerEpoch(in.Image, kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(req.BrokerEpoch))
	if err != nil {
		resp.ErrorCode = int16(err.Code)
		return Decision{}, resp
	}
	assignment := directoryAssignment{pass: newPartitionPass(in), broker: b}
	for i := range req.Directories {
		resp.Directories = append(resp.Directories, assignment.directory(in.Image, &req.Directories[i]))
	}
	for _, ref := range assignment.offline {
		assignment.leave(ref)
	}
	return Decision{Records: assignment.pass.records}, resp
}

type directoryAssignment struct {
	pass    *partitionPass
	broker  *image.Broker
	offline []partitionRef // replicas that were put into a directory that is not online
}

func (a *directoryAssignment) directory(img *image.Image, asked *kmsg.AssignReplicasToDirsRequestDirectory) kmsg.AssignReplicasToDirsResponseDirectory {
	answer := kmsg.NewAssignReplicasToDirsResponseDirectory()
	answer.ID = asked.ID
	for i := range asked.Topics {
		t := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
		t.TopicID = asked.Topics[i].TopicID
		topic := img.Topic(t.TopicID)
		for _, p := range asked.Topics[i].Partitions {
			done := kmsg.NewAssignReplicasToDirsResponseDirectoryTopicPartition()
			done.Partition = p.Partition
			done.ErrorCode = int16(a.assign(topic, kafka.PartitionID(p.Partition), asked.ID))
			t.Partitions = append(t.Partitions, done)
		}
		answer.Topics = append(answer.Topics, t)
	}
	return answer
}

func (a *directoryAssignment) assign(topic *image.Topic, id kafka.PartitionID, dir kafka.DirectoryID) errors.Code {
	if topic == nil {
		return errors.UnknownTopicID
	}
	part := topic.Partition(id)
	switch {
	case part == nil:
		return errors.UnknownTopicOrPartition
	case !slices.Contains(part.Replicas, a.broker.ID):
		return errors.NotLeaderOrFollower
	}
	ref := partitionRef{topic, id}
	c := a.pass.change(ref, a.pass.current(ref, part))
	c.directories = map[kafka.BrokerID]kafka.DirectoryID{a.broker.ID: dir}
	a.pass.apply(ref, c)
	if !a.broker.HasDirectory(dir) {
		a.offline = append(a.offline, ref)
	}
	return errors.None
}

// leave takes the broker out of one partition's ISR.
func (a *directoryAssignment) leave(ref partitionRef) {
	part := a.pass.current(ref, ref.topic.Partition(ref.id))
	a.pass.updateOne(removing(a.broker.ID), ref, part)
}
