package controller

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// CreatePartitions decides CreatePartitions (key 37, versions 0 to 3): more
// partitions for existing topics (ReplicationControlManager.createPartitions).
func CreatePartitions(in Input, req *kmsg.CreatePartitionsRequest) (Decision, *kmsg.CreatePartitionsResponse) {
	res := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	count := make(map[string]int, len(req.Topics))
	for i := range req.Topics {
		count[req.Topics[i].Topic]++
	}
	var records []record.Message
	for i := range req.Topics {
		topic := &req.Topics[i]
		if count[topic.Topic] == 0 {
			continue // a duplicate that was answered
		}
		var err *errors.Error
		switch {
		case count[topic.Topic] > 1:
			err = errors.New(errors.InvalidRequest, "Duplicate topic name.")
		case !in.Caller.may(opAlter, resourceTopic, topic.Topic):
			err = bare(errors.TopicAuthorizationFailed)
		default:
			records, err = addPartitions(in, topic, records)
		}
		count[topic.Topic] = 0
		r := kmsg.NewCreatePartitionsResponseTopic()
		r.Topic = topic.Topic
		r.ErrorCode, r.ErrorMessage = report(err)
		res.Topics = append(res.Topics, r)
	}
	if req.ValidateOnly {
		return Decision{}, res
	}
	return Decision{Records: records, Atomic: true}, res
}

// addPartitions adds the records of one topic's new partitions to records.
func addPartitions(in Input, req *kmsg.CreatePartitionsRequestTopic, records []record.Message) ([]record.Message, *errors.Error) {
	topic := in.Image.TopicByName(req.Topic)
	if topic == nil {
		return records, bare(errors.UnknownTopicOrPartition)
	}
	have := topic.PartitionCount()
	switch {
	case int(req.Count) == have:
		return records, errors.New(errors.InvalidPartitions, "Topic already has %d partition(s).", have)
	case int(req.Count) < have:
		return records, errors.New(errors.InvalidPartitions,
			"The topic %s currently has %d partition(s); %d would not be an increase.", req.Topic, have, req.Count)
	}
	more := int(req.Count) - have
	if req.Assignment != nil && len(req.Assignment) != more {
		return records, errors.New(errors.InvalidReplicaAssignment,
			"Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", more, len(req.Assignment))
	}
	assigned, err := assignMore(in, req, topic, more)
	if err != nil {
		return records, err
	}
	if len(records)+more > maxNewPartitions || len(assigned[0])*more > maxNewReplicas {
		return records, tooManyPartitions()
	}
	if err := in.mutate(more); err != nil {
		return records, err
	}
	return appendNewPartitions(records, in.Image, topic.ID, kafka.PartitionID(have), assigned), nil
}

// assignMore finds the replicas of a topic's new partitions; they have the
// replication factor of the topic's first partition.
func assignMore(in Input, req *kmsg.CreatePartitionsRequestTopic, topic *image.Topic, more int) ([][]kafka.BrokerID, *errors.Error) {
	factor := 0
	for _, p := range topic.Partitions() {
		factor = len(p.Replicas)
		break
	}
	if req.Assignment == nil {
		usable := usableBrokers(in.Image)
		if more > maxNewPartitions || factor <= len(usable) && more*factor > maxNewReplicas {
			return nil, tooManyPartitions()
		}
		return placeReplicas(in.Rand, usable, more, factor)
	}
	assigned := make([][]kafka.BrokerID, 0, len(req.Assignment))
	for i, a := range req.Assignment {
		replicas, err := checkManualReplicas(in.Image, int32(topic.PartitionCount()+i), a.Replicas, factor)
		if err != nil {
			return nil, err
		}
		assigned = append(assigned, replicas)
	}
	return assigned, nil
}
