package controller

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// DeleteTopics decides DeleteTopics (key 20, versions 1 to 6), by name and from
// version 6 on also by id (ControllerApis.deleteTopics). The order of the
// answers is random, as in Apache, so that it tells nothing about topics which
// the caller may not see.
func DeleteTopics(in Input, req *kmsg.DeleteTopicsRequest) (Decision, *kmsg.DeleteTopicsResponse) {
	d := topicDeletion{in: in, res: req.ResponseKind().(*kmsg.DeleteTopicsResponse)}
	if !in.Settings.DeleteTopicEnable {
		d.refuseAll(req)
		return Decision{}, d.res
	}
	d.all = in.Caller.may(opDelete, resourceCluster, clusterName)
	names, ids := d.collect(req)
	chosen := make(map[kafka.TopicID]bool)
	var order []kafka.TopicID
	for _, id := range ids {
		if d.admitID(id) {
			chosen[id] = true
			order = append(order, id)
		}
	}
	for _, name := range names {
		id, ok := d.admitName(name)
		switch {
		case !ok:
		case d.duplicateIDs[id] || chosen[id]:
			// One topic by id and by name. Whoever may delete it may learn that.
			chosen[id] = false
			d.duplicateIDs[id] = true
			d.answer(&name, id, errors.New(errors.InvalidRequest,
				"The provided topic name maps to an ID that was already supplied."))
		default:
			chosen[id] = true
			order = append(order, id)
		}
	}
	for _, id := range order {
		if chosen[id] {
			d.remove(in.Image.Topic(id))
		}
	}
	in.Rand.Shuffle(len(d.res.Topics), func(i, j int) {
		d.res.Topics[i], d.res.Topics[j] = d.res.Topics[j], d.res.Topics[i]
	})
	return Decision{Records: d.records, Atomic: true}, d.res
}

// topicDeletion collects the outcome of one DeleteTopics request.
type topicDeletion struct {
	in           Input
	res          *kmsg.DeleteTopicsResponse
	records      []record.Message
	all          bool // the caller may delete every topic
	duplicateIDs map[kafka.TopicID]bool
}

func (d *topicDeletion) remove(topic *image.Topic) {
	err := d.in.mutate(topic.PartitionCount())
	if err == nil {
		d.records = append(d.records, message(&record.RemoveTopicRecord{TopicID: topic.ID}))
	}
	d.answer(&topic.Name, topic.ID, err)
}

func (d *topicDeletion) answer(name *string, id kafka.TopicID, err *errors.Error) {
	t := kmsg.NewDeleteTopicsResponseTopic()
	t.TopicID = id
	if name != nil {
		text := *name
		t.Topic = &text
	}
	t.ErrorCode, t.ErrorMessage = report(err)
	d.res.Topics = append(d.res.Topics, t)
}

// refuseAll answers for delete.topic.enable=false; clients below version 3 do
// not know the proper code.
func (d *topicDeletion) refuseAll(req *kmsg.DeleteTopicsRequest) {
	err := bare(errors.TopicDeletionDisabled)
	if req.Version < 3 {
		err = bare(errors.InvalidRequest)
	}
	for _, name := range req.TopicNames {
		d.answer(&name, kafka.ZeroUUID, err)
	}
	for _, t := range req.Topics {
		d.answer(t.Topic, t.TopicID, err)
	}
}

// collect returns the names and ids that were given once each, and answers for
// all others.
func (d *topicDeletion) collect(req *kmsg.DeleteTopicsRequest) (names []string, ids []kafka.TopicID) {
	d.duplicateIDs = make(map[kafka.TopicID]bool)
	byName, byID := make(map[string]int), make(map[kafka.TopicID]int)
	for _, name := range req.TopicNames {
		byName[name]++
		names = append(names, name)
	}
	for _, t := range req.Topics {
		id := kafka.TopicID(t.TopicID)
		switch {
		case t.Topic == nil && id.IsZero():
			d.answer(nil, id, errors.New(errors.InvalidRequest, "Neither topic name nor id were specified."))
		case t.Topic == nil:
			byID[id]++
			ids = append(ids, id)
		case id.IsZero():
			byName[*t.Topic]++
			names = append(names, *t.Topic)
		default:
			d.answer(t.Topic, id, errors.New(errors.InvalidRequest, "You may not specify both topic name and topic id."))
		}
	}
	names = once(names, byName, func(name string) {
		d.answer(&name, kafka.ZeroUUID, errors.New(errors.InvalidRequest, "Duplicate topic name."))
	})
	ids = once(ids, byID, func(id kafka.TopicID) {
		d.duplicateIDs[id] = true
		d.answer(nil, id, errors.New(errors.InvalidRequest, "Duplicate topic id."))
	})
	return names, ids
}

// once keeps the keys that were counted once, and calls again for each of the
// others one time. It uses up counts.
func once[K comparable](keys []K, counts map[K]int, again func(K)) []K {
	kept := keys[:0]
	for _, k := range keys {
		switch n := counts[k]; {
		case n == 1:
			kept = append(kept, k)
		case n > 1:
			counts[k] = 0
			again(k)
		}
	}
	return kept
}

// admitID checks a topic that was given by its id. Its name is told only to
// those who may describe it.
func (d *topicDeletion) admitID(id kafka.TopicID) bool {
	topic := d.in.Image.Topic(id)
	switch {
	case topic == nil:
		d.answer(nil, id, plain(errors.UnknownTopicID))
	case d.mayDelete(topic.Name):
		return true
	case d.mayDescribe(topic.Name):
		d.answer(&topic.Name, id, plain(errors.TopicAuthorizationFailed))
	default:
		d.answer(nil, id, plain(errors.TopicAuthorizationFailed))
	}
	return false
}

// admitName checks a topic that was given by its name. Whether it exists is
// told only to those who may describe it.
func (d *topicDeletion) admitName(name string) (kafka.TopicID, bool) {
	topic := d.in.Image.TopicByName(name)
	switch {
	case !d.mayDescribe(name):
		d.answer(&name, kafka.ZeroUUID, plain(errors.TopicAuthorizationFailed))
	case topic == nil:
		d.answer(&name, kafka.ZeroUUID, plain(errors.UnknownTopicOrPartition))
	case !d.mayDelete(name):
		d.answer(&name, kafka.ZeroUUID, plain(errors.TopicAuthorizationFailed))
	default:
		return topic.ID, true
	}
	return kafka.ZeroUUID, false
}

func (d *topicDeletion) mayDelete(name string) bool {
	return d.all || d.in.Caller.may(opDelete, resourceTopic, name)
}

func (d *topicDeletion) mayDescribe(name string) bool {
	return d.all || d.in.Caller.may(opDescribe, resourceTopic, name)
}
