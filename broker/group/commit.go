package group

import (
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/errors"
)

// committer is who commits offsets.
type committer struct {
	group, member string
	instance      *string
	generation    int32
	transactional bool
	version       int16
}

// validateCommit decides whether offsets may be committed; keep says that the
// commit also keeps the member's session (OffsetMetadataManager.validateOffsetCommit,
// ClassicGroup.validateOffsetCommit).
func (t *step) validateCommit(c committer) (keep *group, _ errors.Code) {
	g, ok := t.groups.Get(c.group)
	switch {
	case t.isForeign(c.group):
		// Epochs of members of other protocols cannot be checked here; an admin
		// may set the offsets of a group without members.
		if c.generation < 0 && !t.hasForeignMember(c.group) {
			return nil, errors.None
		}
		return nil, errors.GroupIDNotFound
	case !ok && c.generation < 0:
		return nil, errors.None // from a consumer outside of any group, or an admin
	case !ok && !c.transactional && c.version >= 9:
		return nil, errors.GroupIDNotFound
	case !ok:
		return nil, errors.IllegalGeneration
	case c.generation < 0 && g.phase == Empty:
		return nil, errors.None
	case c.generation >= 0 || c.member != "" || c.instance != nil:
		if code := g.validate(c.member, c.instance); code != errors.None {
			return nil, code
		}
		if c.generation != g.generation && !planted.Is(planted.AnyGenerationCommits) {
			return nil, errors.IllegalGeneration
		}
	case !c.transactional:
		return nil, errors.UnknownMemberID // somebody outside while the group has members
	}
	if c.transactional {
		return nil, errors.None // versions before 3 do not say who they are
	}
	if g.phase == CompletingRebalance {
		return nil, errors.RebalanceInProgress
	}
	return g, errors.None
}

// commit writes offsets. A handler has found the names of topics that a v10
// request names by id, and has taken out those that are not there.
func (t *step) commit(q *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	g, code := t.validateCommit(committer{q.Group, q.MemberID, q.InstanceID, q.Generation, false, q.Version})
	if g != nil {
		if m := g.member(q.MemberID); m != nil {
			t.session(g, m)
		}
	}
	expire := int64(-1)
	if q.Version >= 2 && q.Version <= 4 && q.RetentionTimeMillis != -1 {
		expire = t.env.WallMs + q.RetentionTimeMillis
	}
	a := kmsg.NewPtrOffsetCommitResponse()
	a.Topics = make([]kmsg.OffsetCommitResponseTopic, 0, len(q.Topics))
	for _, topic := range q.Topics {
		r := kmsg.OffsetCommitResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID}
		r.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, 0, len(topic.Partitions))
		for _, p := range topic.Partitions {
			c := Committed{
				Offset: kafka.Offset(p.Offset), LeaderEpoch: noEpochBefore(q.Version, 6, p.LeaderEpoch), Metadata: text(p.Metadata),
				CommitMs: t.env.WallMs, ExpireMs: expire, TopicID: topic.TopicID,
			}
			if q.Version == 1 && p.Timestamp != -1 {
				c.CommitMs = p.Timestamp
			}
			pc := code
			if pc == errors.None {
				pc = t.keep(offsetRef{q.Group, topic.Topic, kafka.PartitionID(p.Partition)}, -1, &c)
			}
			r.Partitions = append(r.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: int16(pc)})
		}
		a.Topics = append(a.Topics, r)
	}
	return a
}

// commitInTransaction writes offsets that count when the producer's transaction
// is committed. The producer is checked by the log it writes to.
func (t *step) commitInTransaction(q *kmsg.TxnOffsetCommitRequest) *kmsg.TxnOffsetCommitResponse {
	who := committer{q.Group, q.MemberID, q.InstanceID, q.Generation, true, q.Version}
	if q.Version < 3 {
		who.generation = -1
	}
	_, code := t.validateCommit(who)
	if q.Group == "" {
		code = errors.InvalidGroupID
	}
	producer := kafka.ProducerID(q.ProducerID)
	t.out.Producer, t.out.ProducerEpoch = producer, q.ProducerEpoch
	a := kmsg.NewPtrTxnOffsetCommitResponse()
	for _, topic := range q.Topics {
		r := kmsg.TxnOffsetCommitResponseTopic{Topic: topic.Topic, TopicID: topic.TopicID}
		for _, p := range topic.Partitions {
			c := Committed{
				Offset: kafka.Offset(p.Offset), LeaderEpoch: noEpochBefore(q.Version, 2, p.LeaderEpoch), Metadata: text(p.Metadata),
				CommitMs: t.env.WallMs, ExpireMs: -1, TopicID: topic.TopicID,
			}
			pc := code
			if pc == errors.None {
				pc = t.keep(offsetRef{q.Group, topic.Topic, kafka.PartitionID(p.Partition)}, producer, &c)
			}
			r.Partitions = append(r.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: int16(pc)})
		}
		a.Topics = append(a.Topics, r)
	}
	return a
}

// keep writes one offset, unless its metadata is too long.
func (t *step) keep(ref offsetRef, producer kafka.ProducerID, c *Committed) errors.Code {
	if utf16Length(c.Metadata) > t.env.Config.OffsetMetadataMax {
		return errors.OffsetMetadataTooLarge
	}
	key := ref.key()
	if was, ok := t.offsets.Get(string(key)); ok && planted.Is(planted.ObsoleteEpoch) {
		c.LeaderEpoch = was.LeaderEpoch
	}
	c.At = t.end
	t.keepOffset(ref, string(key), producer, c)
	t.write(Record{Key: key, Value: c.value()})
	t.out.Commits++
	return errors.None
}

// noEpochBefore is the leader epoch of a request, which has one from a version on.
func noEpochBefore(version, from int16, epoch int32) kafka.LeaderEpoch {
	if version < from {
		return kafka.NoEpoch
	}
	return kafka.LeaderEpoch(epoch)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// utf16Length is what Java's String.length says.
func utf16Length(s string) int {
	n := utf8.RuneCountInString(s)
	for _, r := range s {
		if r > 0xffff {
			n++
		}
	}
	return n
}
