package group

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// unknownState is the state of a group whose protocol is not served here and
// which has members on record (GroupState.UNKNOWN).
const unknownState = "Unknown"

// foreignKinds are the group protocols that are not served here: the kind of the
// key that says that a group is there, of the one that says that it has a
// member, and how the type is written.
var foreignKinds = []struct {
	group, member byte
	name          string
}{{3, 5, "Consumer"}, {11, 10, "Share"}, {17, 19, "Streams"}}

// List lists the groups that have one of the states and one of the types, or all
// where a filter is empty; case does not matter.
func (s *State) List(states, types []string) []kmsg.ListGroupsResponseGroup {
	found := []kmsg.ListGroupsResponseGroup{}
	take := func(id, protocolType, state, kind string) {
		if matches(states, state) && matches(types, kind) {
			found = append(found, kmsg.ListGroupsResponseGroup{Group: id, ProtocolType: protocolType, GroupState: state, GroupType: kind})
		}
	}
	s.groups.Scan(func(id string, g *group) bool {
		if !s.isForeign(id) {
			take(id, g.protocolType, g.phase.String(), "Classic")
		}
		return true
	})
	s.eachForeign(func(id, kind, state string) { take(id, strings.ToLower(kind), state, kind) })
	return found
}

// Counts say how many groups and offsets there are.
type Counts struct {
	Classic [Dead + 1]int  // groups of the classic protocol by phase
	Kept    map[string]int // groups of the others by their kind in lower case, which are kept and not served
	Offsets int            // committed ones, of whatever group
}

// ClassicGroups are the groups of the classic protocol in all phases.
func (c *Counts) ClassicGroups() (n int) {
	for _, in := range c.Classic {
		n += in
	}
	return n
}

// Count adds what this partition has.
func (s *State) Count(to *Counts) {
	s.groups.Scan(func(id string, g *group) bool {
		if !s.isForeign(id) {
			to.Classic[g.phase]++
		}
		return true
	})
	s.eachForeign(func(_, kind, _ string) { to.Kept[strings.ToLower(kind)]++ })
	to.Offsets += s.offsets.Len()
}

// eachForeign walks the groups of other protocols.
func (s *State) eachForeign(f func(id, kind, state string)) {
	id, kind, state, first := "", "", "", true
	flush := func() {
		if kind != "" {
			f(id, kind, state)
		}
	}
	s.foreign.Scan(func(k string, _ struct{}) bool {
		g, rest, err := readString([]byte(k))
		if err != nil {
			panic(fmt.Sprintf("group: the state holds the key %q: %v", k, err))
		}
		if first || g != id {
			flush()
			id, kind, state, first = g, "", Empty.String(), false
		}
		for _, fk := range foreignKinds {
			switch rest[1] {
			case fk.group:
				kind = fk.name
			case fk.member:
				state = unknownState
			}
		}
		return true
	})
	flush()
}

// hasForeignMember reports whether a group of another protocol has a member on
// record.
func (s *State) hasForeignMember(id string) bool {
	prefix, found := foreignPrefix(id), false
	s.foreign.Ascend(prefix, func(k string, _ struct{}) bool {
		if !strings.HasPrefix(k, prefix) {
			return false
		}
		for _, fk := range foreignKinds {
			found = found || k[len(prefix)+1] == fk.member
		}
		return !found
	})
	return found
}

func matches(filter []string, s string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(strings.TrimSpace(f), s) })
}

// Describe describes one group. From v6 on a group that is not there is an
// error; before, it is Dead.
func (s *State) Describe(version int16, id string) kmsg.DescribeGroupsResponseGroup {
	a := kmsg.NewDescribeGroupsResponseGroup()
	a.Group, a.State = id, Dead.String()
	g, ok := s.groups.Get(id)
	switch foreign := s.isForeign(id); {
	case id == "":
		a.ErrorCode = int16(errors.InvalidGroupID)
		return a
	case !ok || foreign:
		if version >= 6 {
			a.ErrorCode = int16(errors.GroupIDNotFound)
			message := fmt.Sprintf("Group %s not found.", id)
			if foreign {
				message = fmt.Sprintf("Group %s is not a classic group.", id)
			}
			a.ErrorMessage = &message
		}
		return a
	}
	a.State, a.ProtocolType = g.phase.String(), g.protocolType
	stable := g.phase == Stable
	if stable {
		a.Protocol = text(g.protocol)
	}
	for _, m := range g.all() {
		r := kmsg.NewDescribeGroupsResponseGroupMember()
		r.MemberID, r.InstanceID, r.ClientID, r.ClientHost = m.id, m.instance, m.clientID, m.clientHost
		if stable {
			r.ProtocolMetadata, r.MemberAssignment = m.metadata(g.protocol), m.assignment
		}
		a.Members = append(a.Members, r)
	}
	return a
}

// deleteGroups deletes groups without members and all their offsets; the group's
// own record goes last, so that a deletion that is cut short can be repeated.
func (t *step) deleteGroups(q *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	a := kmsg.NewPtrDeleteGroupsResponse()
	t.out.Splittable = true
	for _, id := range q.Groups {
		r := kmsg.NewDeleteGroupsResponseGroup()
		r.Group = id
		g, ok := t.groups.Get(id)
		switch {
		case !ok || t.isForeign(id):
			r.ErrorCode = int16(errors.GroupIDNotFound)
		case g.phase != Empty:
			r.ErrorCode = int16(errors.NonEmptyGroup)
		default:
			t.deleteGroup(g)
		}
		a.Groups = append(a.Groups, r)
	}
	return a
}

func (t *step) deleteGroup(g *group) {
	prefix := offsetPrefix(g.id)
	for _, key := range withPrefix(&t.offsets, prefix) {
		t.drop(key)
		t.out.Deletions++
	}
	for _, key := range withPrefix(&t.open, prefix) {
		if _, ok := t.open.Get(key); ok { // another producer's is gone with the partition
			t.drop(key[:len(key)-producerKeySize])
			t.out.Deletions++
		}
	}
	t.dropGroup(g)
}

// drop writes the tombstone of an offset.
func (t *step) drop(key string) {
	t.forgetOffset(key)
	t.write(Record{Key: []byte(key)})
}

// dropGroup writes the tombstone of a group; ids that it has given out are
// forgotten with it.
func (t *step) dropGroup(g *group) {
	for _, id := range g.joining.Keys() {
		t.stopTimer(SessionTimer, g, id)
	}
	t.groups.Delete(g.id)
	t.write(Record{Key: groupKey(g.id)})
}

// deleteOffsets removes committed offsets of topics that the group does not
// read (KIP-496).
func (t *step) deleteOffsets(q *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	a := kmsg.NewPtrOffsetDeleteResponse()
	t.out.Splittable = true
	g, ok := t.groups.Get(q.Group)
	switch {
	case !ok || t.isForeign(q.Group):
		a.ErrorCode = int16(errors.GroupIDNotFound)
		return a
	case g.phase != Empty && g.protocolType != consumerType:
		a.ErrorCode = int16(errors.NonEmptyGroup)
		return a
	}
	for _, topic := range q.Topics {
		r := kmsg.NewOffsetDeleteResponseTopic()
		r.Topic = topic.Topic
		for _, p := range topic.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			key := string(offsetRef{q.Group, topic.Topic, kafka.PartitionID(p.Partition)}.key())
			_, committed := t.offsets.Get(key)
			switch {
			case g.subscribed(topic.Topic):
				rp.ErrorCode = int16(errors.GroupSubscribedToTopic)
			case committed || t.isPending(key):
				t.drop(key)
				t.out.Deletions++
			}
			r.Partitions = append(r.Partitions, rp)
		}
		a.Topics = append(a.Topics, r)
	}
	return a
}
