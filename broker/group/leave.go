package group

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// leaveGroup removes members. From v3 on one request names many, some by their
// instance id alone, which is how an admin does it; before, it is the one that
// asks, and its error stands at the top.
func (t *step) leaveGroup(q *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	a := kmsg.NewPtrLeaveGroupResponse()
	if q.Group == "" {
		a.ErrorCode = int16(errors.InvalidGroupID)
		return a
	}
	leaving := q.Members
	if q.Version < 3 {
		leaving = []kmsg.LeaveGroupRequestMember{{MemberID: q.MemberID}}
	}
	g, left := t.edit(q.Group), false
	for _, l := range leaving {
		code := errors.UnknownMemberID
		if g != nil {
			code = t.leave(g, l)
		}
		left = left || code == errors.None
		r := kmsg.NewLeaveGroupResponseMember()
		r.MemberID, r.InstanceID, r.ErrorCode = l.MemberID, l.InstanceID, int16(code)
		a.Members = append(a.Members, r)
	}
	if q.Version < 3 {
		a.ErrorCode, a.Members = a.Members[0].ErrorCode, nil
	}
	if left && g.phase != Empty {
		t.rebalanceOrComplete(g)
	}
	return a
}

func (t *step) leave(g *group, l kmsg.LeaveGroupRequestMember) errors.Code {
	id := l.MemberID
	switch {
	case id == "":
		if l.InstanceID == nil {
			return errors.UnknownMemberID
		}
		var ok bool
		if id, ok = g.static.Get(*l.InstanceID); !ok {
			return errors.UnknownMemberID
		}
	case g.isJoining(id):
		g.remove(id)
		t.stopTimer(SessionTimer, g, id)
		return errors.None
	default:
		if code := g.validate(id, l.InstanceID); code != errors.None {
			return code
		}
	}
	t.stopTimer(SessionTimer, g, id)
	t.expel(g, g.member(id))
	return errors.None
}
