package controller

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// AlterPartitionReassignments begins, replaces or (without a target) cancels
// the reassignment of partitions (AlterPartitionReassignments v0-v1, KIP-455;
// KIP-860 brought v1). A reassignment first adds the new replicas, and when the
// ISR has all of them it is completed by whatever change comes then
// (partitionChange.completeReassignment). Errors are told by partition; what
// has none is written atomically.
func AlterPartitionReassignments(in Input, req *kmsg.AlterPartitionAssignmentsRequest) (Decision, *kmsg.AlterPartitionAssignmentsResponse) {
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	resp.Version = req.Version
	mayResize := req.Version < 1 || req.AllowReplicationFactorChange
	resp.AllowReplicationFactorChange = mayResize
	if err := in.Caller.mayCluster(opAlter); err != nil {
		resp.ErrorCode, resp.ErrorMessage = report(err)
		return Decision{}, resp
	}
	pass := newPartitionPass(in)
	for i := range req.Topics {
		asked := &req.Topics[i]
		answer := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		answer.Topic = asked.Topic
		topic := in.Image.TopicByName(asked.Topic)
		for j := range asked.Partitions {
			done := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			done.Partition = asked.Partitions[j].Partition
			done.ErrorCode, done.ErrorMessage = report(pass.reassign(topic, asked.Topic, &asked.Partitions[j], mayResize))
			answer.Partitions = append(answer.Partitions, done)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return Decision{Records: pass.records, Atomic: true}, resp
}

func (p *partitionPass) reassign(topic *image.Topic, name string, asked *kmsg.AlterPartitionAssignmentsRequestTopicPartition, mayResize bool) *errors.Error {
	if topic == nil {
		return errors.New(errors.UnknownTopicOrPartition, "Unable to find a topic named %s.", name)
	}
	ref := partitionRef{topic, kafka.PartitionID(asked.Partition)}
	part := topic.Partition(ref.id)
	if part == nil {
		return errors.New(errors.UnknownTopicOrPartition, "Unable to find partition %s:%d.", name, asked.Partition)
	}
	if len(p.records) >= maxUserRecords {
		return errors.New(errors.PolicyViolation, "Unable to perform excessively large batch operation.")
	}
	part = p.current(ref, part)
	c := p.change(ref, part)
	var err *errors.Error
	if asked.Replicas == nil {
		err = p.cancelReassignment(ref, c)
	} else {
		err = p.beginReassignment(c, asked.Replicas, mayResize)
	}
	if err == nil {
		p.apply(ref, c)
	}
	return err
}

// beginReassignment wishes for the target replicas and keeps those that it
// drops until the new ones are in sync (changePartitionReassignment).
func (p *partitionPass) beginReassignment(c *partitionChange, ids []int32, mayResize bool) *errors.Error {
	target, err := manualReplicas(p.img, ids, -1)
	if err != nil {
		return err
	}
	if present := len(without(c.old.Replicas, c.old.Removing)); !mayResize && present != len(target) {
		return errors.New(errors.InvalidReplicationFactor, "The replication factor is changed from %d to %d", present, len(target))
	}
	dropped, added := without(c.old.Replicas, target), without(target, c.old.Replicas)
	slices.Sort(dropped)
	slices.Sort(added)
	c.replicas = slices.Concat(target, dropped)
	// A list that is empty leaves what an earlier reassignment had there: so a
	// cancelled one still knows which replicas are not original.
	if len(dropped) > 0 {
		c.removing = dropped
	}
	if len(added) > 0 {
		c.adding = added
	}
	return nil
}

// cancelReassignment wishes for the replicas from before the reassignment
// (PartitionReassignmentRevert). If all in-sync replicas were new ones, the
// first old one becomes the ISR, which loses data: only a topic that allows
// unclean elections may do that.
func (p *partitionPass) cancelReassignment(ref partitionRef, c *partitionChange) *errors.Error {
	if !c.old.Reassigning() {
		return bare(errors.NoReassignmentInProgress)
	}
	c.replicas, c.isr = without(c.old.Replicas, c.old.Adding), without(c.old.ISR, c.old.Adding)
	c.removing, c.adding = nil, nil
	if len(c.replicas) == 0 {
		return errors.New(errors.InvalidReplicaAssignment, "Invalid replica assignment: addingReplicas contains all replicas.")
	}
	if len(c.isr) == 0 {
		if !p.topic.unclean {
			return errors.New(errors.InvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d because "+
				"it would require an unclean leader election.", ref.topic.Name, ref.id)
		}
		c.isr = c.replicas[:1:1]
	}
	if p.topic.unclean {
		c.election = electUnclean
	}
	return nil
}

// ListPartitionReassignments tells which partitions are being reassigned: of
// the topics that are asked for, or of all (ListPartitionReassignments v0).
func ListPartitionReassignments(in Input, req *kmsg.ListPartitionReassignmentsRequest) *kmsg.ListPartitionReassignmentsResponse {
	resp := kmsg.NewPtrListPartitionReassignmentsResponse()
	resp.Version = req.Version
	if err := in.Caller.mayCluster(opDescribe); err != nil {
		resp.ErrorCode, resp.ErrorMessage = report(err)
		return resp
	}
	if req.Topics == nil {
		for topic := range in.Image.TopicsByName("") {
			resp.Topics = appendOngoing(resp.Topics, topic, reassigning(topic))
		}
	}
	for _, asked := range req.Topics {
		if topic := in.Image.TopicByName(asked.Topic); topic != nil {
			resp.Topics = appendOngoing(resp.Topics, topic, asked.Partitions)
		}
	}
	return resp
}

// reassigning lists the partitions of a topic that are being reassigned.
func reassigning(topic *image.Topic) []int32 {
	var ids []int32
	for id, part := range topic.Partitions() {
		if part.Reassigning() {
			ids = append(ids, int32(id))
		}
	}
	return ids
}

// appendOngoing adds what is being reassigned of some partitions of a topic; a
// topic with nothing to tell is left out.
func appendOngoing(to []kmsg.ListPartitionReassignmentsResponseTopic, topic *image.Topic, ids []int32) []kmsg.ListPartitionReassignmentsResponseTopic {
	answer := kmsg.NewListPartitionReassignmentsResponseTopic()
	answer.Topic = topic.Name
	for _, n := range ids {
		id := kafka.PartitionID(n)
		if part := topic.Partition(id); part != nil && part.Reassigning() {
			answer.Partitions = append(answer.Partitions, ongoingReassignment(id, part))
		}
	}
	if len(answer.Partitions) == 0 {
		return to
	}
	return append(to, answer)
}

func ongoingReassignment(id kafka.PartitionID, part *image.Partition) kmsg.ListPartitionReassignmentsResponseTopicPartition {
	answer := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
	answer.Partition = int32(id)
	answer.Replicas, answer.AddingReplicas, answer.RemovingReplicas = kafka.Int32s(part.Replicas), kafka.Int32s(part.Adding), kafka.Int32s(part.Removing)
	return answer
}
