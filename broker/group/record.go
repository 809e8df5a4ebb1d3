package group

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

// The kinds of keys in __consumer_offsets that classic groups use; the first
// two bytes of a key (CoordinatorRecordType). Others belong to group protocols
// that are not served here.
const (
	keyLegacyOffset = 0
	keyOffset       = 1
	keyGroup        = 2
)

// The versions that Apache 4.3 writes: a commit with a time of its own to
// expire has the one version that knows such a time.
const (
	offsetVersion         = 4
	offsetExpiringVersion = 1
	groupVersion          = 3
)

// Record is one record of __consumer_offsets: the encoded key and value. A nil
// value is a tombstone.
type Record struct {
	Key, Value []byte
}

// offsetRef names a committed offset.
type offsetRef struct {
	group, topic string
	partition    kafka.PartitionID
}

// key is the record key of the offset; as a string it is also its key in the
// State, where the offsets of one group and topic are neighbours.
func (r offsetRef) key() []byte {
	k := kmsg.OffsetCommitKey{Version: keyOffset, Group: r.group, Topic: r.topic, Partition: int32(r.partition)}
	return k.AppendTo(make([]byte, 0, 10+len(r.group)+len(r.topic)))
}

// nobody is the group of Nothing, which is about its offset in a topic without a
// name: nobody can commit that.
const nobody = "__kvorum_nobody"

// Nothing is a record that means nothing, to Apache's coordinators, too: it removes
// the offset of a group that is not there. A coordinator shows by it that it leads.
func Nothing() Record { return Record{Key: offsetRef{group: nobody}.key()} }

// offsetPrefix begins the keys of all offsets of a group.
func offsetPrefix(group string) string {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 4+len(group)), keyOffset)
	b = binary.BigEndian.AppendUint16(b, uint16(len(group)))
	return string(append(b, group...))
}

// groupKey is the record key of a group's metadata.
func groupKey(id string) []byte {
	k := kmsg.GroupMetadataKey{Version: keyGroup, Group: id}
	return k.AppendTo(make([]byte, 0, 4+len(id)))
}

// Committed is one committed offset.
type Committed struct {
	Offset      kafka.Offset
	LeaderEpoch kafka.LeaderEpoch // -1: not known
	Metadata    string
	CommitMs    int64
	ExpireMs    int64         // -1: as offsets.retention.minutes says
	TopicID     kafka.TopicID // zero: written by a version that did not keep it
	At          kafka.Offset  // where the record is in __consumer_offsets
}

// value encodes the offset as Apache 4.3 does
// (GroupCoordinatorRecordHelpers.newOffsetCommitRecord).
func (c *Committed) value() []byte {
	v := kmsg.OffsetCommitValue{
		Version: offsetVersion, Offset: int64(c.Offset), LeaderEpoch: int32(c.LeaderEpoch), Metadata: c.Metadata,
		CommitTimestamp: c.CommitMs, ExpireTimestamp: c.ExpireMs, TopicID: c.TopicID,
	}
	if c.ExpireMs != -1 {
		v.Version = offsetExpiringVersion
	}
	return v.AppendTo(make([]byte, 0, 48+len(c.Metadata)))
}

// parseCommitted decodes a value of any version, 0 to 4.
func parseCommitted(value []byte, at kafka.Offset) (*Committed, error) {
	var v kmsg.OffsetCommitValue
	if err := readValue(&v, value, offsetVersion); err != nil {
		return nil, err
	}
	c := &Committed{
		Offset: kafka.Offset(v.Offset), LeaderEpoch: kafka.NoEpoch, Metadata: v.Metadata,
		CommitMs: v.CommitTimestamp, ExpireMs: -1, TopicID: v.TopicID, At: at,
	}
	if v.Version >= 3 {
		c.LeaderEpoch = kafka.LeaderEpoch(v.LeaderEpoch)
	}
	if v.Version == 1 {
		c.ExpireMs = v.ExpireTimestamp
	}
	return c, nil
}

// readValue decodes a value whose version is 0 to newest.
func readValue(into interface{ ReadFrom([]byte) error }, value []byte, newest int16) error {
	if len(value) < 2 {
		return fmt.Errorf("a value of %d bytes has no version", len(value))
	}
	version := int16(binary.BigEndian.Uint16(value))
	if version < 0 || version > newest {
		return fmt.Errorf("a value has version %d; 0 to %d are known", version, newest)
	}
	return into.ReadFrom(value)
}

// record encodes what a group is as Apache 4.3 does
// (GroupCoordinatorRecordHelpers.newGroupMetadataRecord).
func (g *group) record() Record {
	v := kmsg.GroupMetadataValue{
		Version: groupVersion, ProtocolType: g.protocolType, Generation: g.generation, Protocol: g.protocol,
		CurrentStateTimestamp: g.sinceMs,
	}
	if g.leader != "" {
		v.Leader = &g.leader
	}
	for _, m := range g.all() {
		v.Members = append(v.Members, kmsg.GroupMetadataValueMember{
			MemberID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeoutMillis: m.rebalanceTimeoutMs, SessionTimeoutMillis: m.sessionTimeoutMs,
			Subscription: m.metadata(g.protocol), Assignment: m.assignment,
		})
	}
	return Record{Key: groupKey(g.id), Value: v.AppendTo(nil)}
}

// parseGroup makes the group that a record describes; it keeps nothing of value: Stable with members,
// Empty without (GroupMetadataManager.replay).
func parseGroup(id string, value []byte) (*group, error) {
	v := kmsg.NewGroupMetadataValue()
	if err := readValue(&v, value, groupVersion+1); err != nil {
		return nil, err
	}
	g := newGroup(id, -1)
	g.generation, g.protocolType, g.protocol = v.Generation, v.ProtocolType, v.Protocol
	if v.Version >= 2 {
		g.sinceMs = v.CurrentStateTimestamp
	}
	if len(v.Members) > 0 {
		g.phase = Stable
	}
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	name := ""
	if v.Protocol != nil {
		name = *v.Protocol
	}
	for i := range v.Members {
		r := &v.Members[i]
		if v.Version < 1 || r.RebalanceTimeoutMillis == -1 {
			r.RebalanceTimeoutMillis = r.SessionTimeoutMillis
		}
		if r.InstanceID != nil {
			if other, ok := g.static.Get(*r.InstanceID); ok {
				return nil, fmt.Errorf("members %s and %s have the instance id %s", other, r.MemberID, *r.InstanceID)
			}
		}
		g.add(&member{
			id: r.MemberID, instance: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
			rebalanceTimeoutMs: r.RebalanceTimeoutMillis, sessionTimeoutMs: r.SessionTimeoutMillis,
			protocols: []protocol{{name, bytes.Clone(r.Subscription)}}, assignment: bytes.Clone(r.Assignment),
		})
	}
	g.subscribe()
	return g, nil
}

// parseOffsetKey reads a key of the State.
func parseOffsetKey(key string) offsetRef {
	ref, err := readOffsetKey(key)
	if err != nil {
		panic(fmt.Sprintf("group: the state holds the offset key %q: %v", key, err))
	}
	return ref
}
