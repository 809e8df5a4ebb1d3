package sim

import (
	"encoding/binary"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

const (
	memberCount = 3
	// membersGroup is the group that the members are of.
	membersGroup = "members"

	memberSessionMs   = 2000
	memberRebalanceMs = 800 // below what clients wait
)

// member is a consumer of one group with the others: it joins, syncs, heartbeats and
// commits by the classic protocol, and now and then it forgets who it was.
//
// The invariants:
//
//	OneAssignment      whoever is told an assignment of a generation is told of the same one
//	GenerationsRise    nobody but a deposed coordinator gives out an assignment of a
//	                   generation after one of a later generation was given out
//	FencedMembersCommitNothing  no commit of a generation is acknowledged that was sent after that
type member struct {
	id         string
	generation int32 // that it has joined, 0 before
	former     int32 // the one before, 0 if there was none
	others     []kmsg.JoinGroupResponseMember
	synced     bool
	waiting    waiting
}

// generations is what members were told.
type generations struct {
	newest int32            // that somebody has got an assignment of
	told   map[int32]uint64 // which assignment, by generation
}

// chore sends the member's next request.
func (m *member) chore(w *World) {
	to := w.coordinatorNow()
	if m.waiting.busy(w.now) || to == nil {
		return
	}
	switch {
	case !w.healing && w.groups.IntN(100) == 0:
		*m = member{waiting: m.waiting}
	case m.generation == 0:
		m.join(w, to)
	case !m.synced:
		m.sync(w, to)
	case w.healing || w.now/quietMs%2 == 0 || w.groups.IntN(3) > 0:
		m.heartbeat(w, to)
	default:
		m.commit(w, to)
	}
}

// refused is what every error means to a member.
func (m *member) refused(code errors.Code) {
	switch code {
	case errors.UnknownMemberID, errors.FencedInstanceID:
		*m = member{waiting: m.waiting}
	case errors.RebalanceInProgress, errors.IllegalGeneration:
		m.generation, m.synced, m.former = 0, false, max(m.former, m.generation)
	}
}

func (m *member) ask(w *World, to *broker, q kmsg.Request, answered func(*coordination, kmsg.Response) func()) {
	w.askCoordinator(&m.waiting, membersGroup, to, q, answered)
}

func (m *member) join(w *World, to *broker) {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Version, q.Group, q.MemberID, q.ProtocolType = 5, membersGroup, m.id, "consumer"
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = memberSessionMs, memberRebalanceMs
	q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0}}}
	m.ask(w, to, q, func(_ *coordination, r kmsg.Response) func() {
		a := r.(*kmsg.JoinGroupResponse)
		return func() {
			switch code := errors.Code(a.ErrorCode); code {
			case errors.None:
				m.id, m.generation, m.others = a.MemberID, a.Generation, a.Members
			case errors.MemberIDRequired:
				m.id = a.MemberID
			default:
				m.refused(code)
			}
		}
	})
}

// sync asks for the assignment. The leader gives one, by a number that nobody else
// draws.
func (m *member) sync(w *World, to *broker) {
	q := kmsg.NewPtrSyncGroupRequest()
	q.Version, q.Group, q.MemberID, q.Generation = 3, membersGroup, m.id, m.generation
	drawn := binary.BigEndian.AppendUint64(nil, w.groups.Uint64())
	for _, other := range m.others {
		q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: other.MemberID, MemberAssignment: drawn})
	}
	newest := w.generations.newest
	m.ask(w, to, q, func(from *coordination, r kmsg.Response) func() {
		a := r.(*kmsg.SyncGroupResponse)
		if a.ErrorCode == 0 {
			w.generations.assigned(w, from, q.Generation, newest, a.MemberAssignment)
		}
		return func() {
			m.synced = a.ErrorCode == 0
			m.refused(errors.Code(a.ErrorCode))
		}
	})
}

// assigned checks an assignment that a coordinator gives out; newest is the newest
// generation when it was asked.
func (g *generations) assigned(w *World, from *coordination, generation, newest int32, assignment []byte) {
	if len(assignment) == 0 {
		// Its leader did not know it: the list of members is of a coordinator that was
		// deposed, whose JoinGroup answers are of no record.
		w.event("member forgotten by its leader")
		return
	}
	number := binary.BigEndian.Uint64(assignment)
	if was, ok := g.told[generation]; ok && was != number {
		w.fail("OneAssignment", "broker %d, the coordinator in epoch %d, gives out assignment %x of generation %d, and %x was given out", from.b.id, from.epoch, number, generation, was)
	}
	if generation < newest && !from.deposed() {
		w.fail("GenerationsRise", "broker %d, the coordinator in epoch %d, gives out an assignment of generation %d after one of %d", from.b.id, from.epoch, generation, newest)
	}
	w.event("member assigned")
	g.told[generation] = number
	g.newest = max(g.newest, generation)
}

func (m *member) heartbeat(w *World, to *broker) {
	q := kmsg.NewPtrHeartbeatRequest()
	q.Version, q.Group, q.MemberID, q.Generation = 3, membersGroup, m.id, m.generation
	m.ask(w, to, q, func(_ *coordination, r kmsg.Response) func() {
		return func() { m.refused(errors.Code(r.(*kmsg.HeartbeatResponse).ErrorCode)) }
	})
}

// commit commits an offset of the partition that the group shares, sometimes with a
// request of a generation that is over.
func (m *member) commit(w *World, to *broker) {
	q := commitRequest(membersGroup, rising, w.now)
	q.MemberID, q.Generation = m.id, m.generation
	late := m.former > 0 && w.groups.IntN(4) == 0
	if late {
		q.Generation = m.former
		w.event("member committed too late")
	}
	newest := w.generations.newest
	m.ask(w, to, q, func(from *coordination, r kmsg.Response) func() {
		code := errors.Code(r.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
		if code == errors.None && q.Generation < newest {
			w.fail("FencedMembersCommitNothing", "broker %d, the coordinator in epoch %d, acknowledges a commit of generation %d that was sent in generation %d", from.b.id, from.epoch, q.Generation, newest)
		}
		if code == errors.None {
			w.event("member committed")
		}
		return func() {
			if !late {
				m.refused(code)
			}
		}
	})
}

// epochOf is the leader epoch that is committed with an offset.
func epochOf(offset int64) int32 { return int32(offset>>4) & math.MaxInt32 }

// commitRequest commits an offset, from outside of the group.
func commitRequest(group string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version, q.Group, q.Generation = 8, group, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch = partition, offset, epochOf(offset)
	q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topics[0], Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return q
}

// allJoined reports whether all members have an assignment of one generation.
func (w *World) allJoined() bool {
	for _, m := range w.members {
		if !m.synced || m.generation != w.generations.newest {
			return false
		}
	}
	return true
}
