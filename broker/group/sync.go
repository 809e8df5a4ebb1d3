package group

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

func (t *step) syncGroup(token Token, q *kmsg.SyncGroupRequest) {
	if q.Group == "" {
		t.refuseSync(token, errors.InvalidGroupID)
		return
	}
	g := t.edit(q.Group)
	if code := g.validateSync(q); code != errors.None {
		t.refuseSync(token, code)
		return
	}
	m := g.member(q.MemberID)
	if m.sync != 0 {
		// The client has given the earlier one up.
		t.refuseSync(m.sync, errors.RebalanceInProgress)
	}
	g.syncing.Delete(m.id)
	if g.syncing.Len() == 0 {
		t.stopTimer(SyncTimer, g, "")
	}
	if g.phase == Stable {
		t.answer(token, g.synced(m))
		return
	}
	g.change(m, func(m *member) { m.sync = token })
	if g.leader == m.id {
		t.assign(g, q.GroupAssignment)
	}
}

func (g *group) validateSync(q *kmsg.SyncGroupRequest) errors.Code {
	if g == nil || g.phase == Empty {
		return errors.UnknownMemberID
	}
	if code := g.validate(q.MemberID, q.InstanceID); code != errors.None {
		return code
	}
	switch {
	case q.Generation != g.generation:
		return errors.IllegalGeneration
	case q.ProtocolType != nil && g.protocolType != "" && *q.ProtocolType != g.protocolType,
		q.Protocol != nil && g.protocol != nil && *q.Protocol != *g.protocol:
		return errors.InconsistentGroupProtocol
	case g.phase == PreparingRebalance:
		return errors.RebalanceInProgress
	}
	return errors.None
}

// assign takes the leader's assignment: the group is stable, its record written
// and everybody who waits answered. A member that the leader forgot gets an
// empty one. Who is not a member is passed by.
func (t *step) assign(g *group, assignments []kmsg.SyncGroupRequestGroupAssignment) {
	given := make(map[string][]byte, len(assignments))
	for _, a := range assignments {
		given[a.MemberID] = a.MemberAssignment
	}
	waiting := make([]*member, 0, g.members.Len())
	for _, m := range g.all() {
		token := m.sync
		m = g.change(m, func(m *member) {
			m.assignment, m.sync = bytes.Clone(given[m.id]), 0
		})
		if token != 0 {
			c := *m
			c.sync = token
			waiting = append(waiting, &c)
		}
	}
	// As Apache does, the record says when the rebalance began to complete.
	t.save(g)
	g.previous, g.phase = g.phase, Stable
	t.out.Rebalances++
	for _, m := range waiting {
		t.answer(m.sync, g.synced(m))
		// Its session was not watched while it waited.
		t.session(g, m)
	}
}

func (g *group) synced(m *member) *kmsg.SyncGroupResponse {
	a := kmsg.NewPtrSyncGroupResponse()
	a.ProtocolType, a.Protocol, a.MemberAssignment = &g.protocolType, g.protocol, m.assignment
	return a
}

func (t *step) refuseSync(token Token, code errors.Code) {
	a := kmsg.NewPtrSyncGroupResponse()
	a.ErrorCode = int16(code)
	t.answer(token, a)
}

// heartbeat keeps a member's session.
func (t *step) heartbeat(q *kmsg.HeartbeatRequest) errors.Code {
	if q.Group == "" {
		return errors.InvalidGroupID
	}
	g, ok := t.groups.Get(q.Group)
	if !ok {
		return errors.UnknownMemberID
	}
	if code := g.validate(q.MemberID, q.InstanceID); code != errors.None {
		return code
	}
	if q.Generation != g.generation {
		return errors.IllegalGeneration
	}
	t.session(g, g.member(q.MemberID))
	if g.phase == PreparingRebalance {
		return errors.RebalanceInProgress
	}
	return errors.None
}
