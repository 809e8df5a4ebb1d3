package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// FetchOffsets reads committed offsets: those of the topics that are asked for,
// or all with nil Topics. A group that is not there has no offsets, which is no
// error. With stable, a partition for which a transaction is open says
// UNSTABLE_OFFSET_COMMIT. Offsets of groups of other protocols are read alike.
// Topics are looked up by name; a handler has found the name of an id. Where the id
// is given too, offsets of another topic of that name are not found.
func (s *State) FetchOffsets(q *kmsg.OffsetFetchRequestGroup, stable bool) kmsg.OffsetFetchResponseGroup {
	a := kmsg.NewOffsetFetchResponseGroup()
	a.Group = q.Group
	if q.Topics == nil {
		a.Topics = s.fetchAll(q.Group, stable)
		return a
	}
	for _, topic := range q.Topics {
		r := kmsg.NewOffsetFetchResponseGroupTopic()
		r.Topic, r.TopicID = topic.Topic, topic.TopicID
		r.Partitions = make([]kmsg.OffsetFetchResponseGroupTopicPartition, 0, len(topic.Partitions))
		for _, p := range topic.Partitions {
			key := string(offsetRef{q.Group, topic.Topic, kafka.PartitionID(p)}.key())
			c, _ := s.offsets.Get(key)
			if c != nil && !c.TopicID.IsZero() && topic.TopicID != [16]byte{} && c.TopicID != topic.TopicID {
				c = nil // of a topic that was deleted, whose name is in use again
			}
			r.Partitions = append(r.Partitions, s.fetched(p, key, c, stable))
		}
		a.Topics = append(a.Topics, r)
	}
	return a
}

func (s *State) fetchAll(group string, stable bool) []kmsg.OffsetFetchResponseGroupTopic {
	topics := []kmsg.OffsetFetchResponseGroupTopic{}
	s.eachOffset(group, func(key string, c *Committed) bool {
		ref := parseOffsetKey(key)
		if n := len(topics); n == 0 || topics[n-1].Topic != ref.topic {
			topics = append(topics, kmsg.OffsetFetchResponseGroupTopic{Topic: ref.topic, TopicID: c.TopicID})
		}
		r := &topics[len(topics)-1]
		r.Partitions = append(r.Partitions, s.fetched(int32(ref.partition), key, c, stable))
		return true
	})
	return topics
}

// fetched is the answer for one partition; c is nil where nothing is committed.
func (s *State) fetched(partition int32, key string, c *Committed, stable bool) kmsg.OffsetFetchResponseGroupTopicPartition {
	none := ""
	r := kmsg.OffsetFetchResponseGroupTopicPartition{Partition: partition, Offset: -1, LeaderEpoch: -1, Metadata: &none}
	switch {
	case stable && s.isPending(key):
		r.ErrorCode = int16(errors.UnstableOffsetCommit)
	case c != nil:
		r.Offset, r.LeaderEpoch, r.Metadata = int64(c.Offset), int32(c.LeaderEpoch), &c.Metadata
	}
	return r
}
