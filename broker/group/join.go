package group

import (
	"bytes"
	"encoding/hex"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

const (
	// newMemberTimeoutMs is how long a new member may wait for its first
	// rebalance: it has no id to heartbeat with, and a client that gave up must
	// not stay for ever (GroupCoordinatorConfig, classicGroupNewMemberJoinTimeoutMs).
	newMemberTimeoutMs = 5 * 60 * 1000
	// maxJoining bounds the ids that a group has given out and that have not
	// joined: each lives for a session timeout of the client's choice, up to half
	// an hour. Apache has no such limit; real groups have as many as members.
	maxJoining = 10_000
	// maxProtocols bounds the protocols of one member, which are compared with each
	// other; clients have two or three.
	maxProtocols = 100
	// maxMemberBytes bounds what one member says of its protocols: with more, the
	// record of its group would not fit max.message.bytes. maxGroupBytes bounds it
	// for a group, which may have many protocols of which one is written.
	maxMemberBytes = 1 << 20
	maxGroupBytes  = 64 << 20
)

// joining is a JoinGroup under way.
type joining struct {
	token     Token
	client    Client
	req       *kmsg.JoinGroupRequest
	protocols []protocol
	rebalance int32 // its rebalance timeout
}

func (t *step) joinGroup(token Token, client Client, q *kmsg.JoinGroupRequest) {
	j := joining{token: token, client: client, req: q, rebalance: q.RebalanceTimeoutMillis}
	if q.Version < 1 {
		j.rebalance = q.SessionTimeoutMillis
	}
	for _, p := range q.Protocols[:min(len(q.Protocols), maxProtocols)] {
		j.protocols = append(j.protocols, protocol{p.Name, bytes.Clone(p.Metadata)})
	}
	switch _, exists := t.groups.Get(q.Group); {
	case q.Group == "":
		t.refuseJoin(token, q.MemberID, errors.InvalidGroupID)
	case q.SessionTimeoutMillis < t.env.Config.MinSessionTimeoutMs || q.SessionTimeoutMillis > t.env.Config.MaxSessionTimeoutMs:
		t.refuseJoin(token, q.MemberID, errors.InvalidSessionTimeout)
	case len(q.Protocols) > maxProtocols || size(j.protocols) > maxMemberBytes:
		t.refuseJoin(token, q.MemberID, errors.InvalidRequest)
	case t.isForeign(q.Group):
		t.refuseJoin(token, "", errors.InconsistentGroupProtocol)
	case !exists && q.MemberID != "":
		t.refuseJoin(token, q.MemberID, errors.UnknownMemberID)
	case !exists:
		t.foundGroup(&j)
	default:
		t.joinExisting(t.edit(q.Group), &j)
	}
}

// foundGroup makes the group of its first member. A group begins with a record,
// so that it is there after a failover too.
func (t *step) foundGroup(j *joining) {
	g := newGroup(j.req.Group, t.env.WallMs)
	if !g.supports(j.req.ProtocolType, j.protocols) {
		t.refuseJoin(j.token, "", errors.InconsistentGroupProtocol)
		return
	}
	t.save(g)
	t.groups.Set(g.id, g)
	t.joinNew(g, j)
}

func (t *step) joinExisting(g *group, j *joining) {
	id := j.req.MemberID
	switch {
	case !t.accepts(g, id):
		g.remove(id)
		t.refuseJoin(j.token, "", errors.GroupMaxSizeReached)
	case !g.supports(j.req.ProtocolType, j.protocols):
		t.refuseJoin(j.token, id, errors.InconsistentGroupProtocol)
	case g.bytes+size(j.protocols) > maxGroupBytes:
		t.refuseJoin(j.token, id, errors.GroupMaxSizeReached)
	case id == "":
		t.joinNew(g, j)
	case g.isJoining(id):
		if j.req.InstanceID != nil {
			// Ids are given out to dynamic members only.
			t.refuseJoin(j.token, id, errors.UnknownMemberID)
			return
		}
		t.admit(g, j, id)
	default:
		if code := g.validate(id, j.req.InstanceID); code != errors.None {
			t.refuseJoin(j.token, id, code)
			return
		}
		t.rejoin(g, j, g.member(id))
	}
}

// accepts applies group.max.size. While members join, those that wait are
// counted, so that the last to come are left out when the limit was lowered
// (GroupMetadataManager.acceptJoiningMember).
func (t *step) accepts(g *group, id string) bool {
	m := g.member(id)
	switch g.phase {
	case PreparingRebalance:
		return m != nil && m.join != 0 || g.waiting < t.env.Config.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || g.members.Len() < t.env.Config.MaxSize
	default:
		return true
	}
}

func (g *group) isJoining(id string) bool {
	_, ok := g.joining.Get(id)
	return ok
}

// joinNew handles a member without an id.
func (t *step) joinNew(g *group, j *joining) {
	if instance := j.req.InstanceID; instance != nil {
		id := memberID(*instance, t.env.Random)
		if old, ok := g.static.Get(*instance); ok {
			t.replaceStatic(g, j, g.member(old), id)
		} else {
			t.admit(g, j, id)
		}
		return
	}
	id := memberID(j.client.ID, t.env.Random)
	if j.req.Version < 4 {
		t.admit(g, j, id)
		return
	}
	// KIP-394: it gets an id and comes again with it.
	if g.joining.Len() >= maxJoining {
		t.refuseJoin(j.token, "", errors.GroupMaxSizeReached)
		return
	}
	g.joining.Set(id, struct{}{})
	t.setTimer(SessionTimer, g, id, j.req.SessionTimeoutMillis)
	t.refuseJoin(j.token, id, errors.MemberIDRequired)
}

// memberID makes an id: prefix, a dash and a random (version 4) UUID.
func memberID(prefix string, random [16]byte) string {
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	h := hex.EncodeToString(random[:])
	return prefix + "-" + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// admit takes a new member in and rebalances.
func (t *step) admit(g *group, j *joining, id string) {
	m := &member{
		id: id, instance: j.req.InstanceID, clientID: j.client.ID, clientHost: j.client.Host,
		rebalanceTimeoutMs: j.rebalance, sessionTimeoutMs: j.req.SessionTimeoutMillis,
		protocols: j.protocols, join: j.token, fresh: true,
	}
	if g.phase == PreparingRebalance && g.previous == Empty {
		g.grew = true
	}
	if g.members.Len() == 0 {
		g.protocolType = j.req.ProtocolType
	}
	g.add(m)
	t.setTimer(SessionTimer, g, id, newMemberTimeoutMs)
	t.rebalanceOrComplete(g)
}

// rejoin handles a JoinGroup of a member: it forces a rebalance when it leads or
// brings something new, else it is told what it missed.
func (t *step) rejoin(g *group, j *joining, m *member) {
	same := m.offersSame(j.protocols)
	switch {
	case g.phase == CompletingRebalance && same, g.phase == Stable && same && g.leader != m.id:
		t.answer(j.token, g.joined(m, false))
	case g.phase == Empty:
		t.refuseJoin(j.token, m.id, errors.UnknownMemberID)
	default:
		t.update(g, j, m)
		t.rebalanceOrComplete(g)
	}
}

// update gives a member what its JoinGroup says. An earlier JoinGroup that is
// still parked was given up by the client (it opens a new connection, or sends
// again): it is answered, so that nobody waits for ever.
func (t *step) update(g *group, j *joining, m *member) *member {
	if m.join != 0 {
		t.refuseJoin(m.join, m.id, errors.RebalanceInProgress)
	}
	return g.change(m, func(m *member) {
		m.protocols, m.join = j.protocols, j.token
		m.rebalanceTimeoutMs, m.sessionTimeoutMs = j.rebalance, j.req.SessionTimeoutMillis
	})
}

// replaceStatic gives the place of a static member to the process that now
// claims its instance id (KIP-345). In a stable group whose protocol stays the
// same nothing else changes, and a leader is told to skip the assignment
// (KIP-814).
func (t *step) replaceStatic(g *group, j *joining, old *member, id string) {
	if old.join != 0 {
		a := kmsg.NewPtrJoinGroupResponse()
		a.MemberID, a.ErrorCode = old.id, int16(errors.FencedInstanceID)
		t.answer(old.join, a)
	}
	if old.sync != 0 {
		t.refuseSync(old.sync, errors.FencedInstanceID)
	}
	led := g.leader
	wasSyncing := g.phase == CompletingRebalance
	g.remove(old.id)
	t.stopTimer(SessionTimer, g, old.id)
	m := *old
	m.id, m.join, m.sync, m.fresh = id, 0, 0, false
	g.static.Set(*m.instance, id)
	if g.leader = led; led == old.id {
		g.leader = id
	}
	g.put(&m)
	n := t.update(g, j, &m)
	t.session(g, n)
	switch {
	case g.phase == Stable && equal(g.choose(), g.protocol):
		g.subscribe() // it may read other topics than its predecessor
		t.save(g)
		t.answerStatic(g, j, n, led)
	case g.phase == Stable:
		t.rebalanceOrComplete(g)
	case wasSyncing:
		// The leader may be assigning to the old id already.
		t.prepare(g)
	default:
		t.maybeCompleteJoin(g)
	}
}

// answerStatic answers a static member that has come back without a rebalance.
func (t *step) answerStatic(g *group, j *joining, m *member, led string) {
	m = g.change(m, func(m *member) { m.join = 0 })
	leads := g.leader == m.id
	a := g.joined(m, leads)
	if j.req.Version < 9 {
		// Before KIP-814 it must not think that it has to assign.
		a.Members, a.SkipAssignment, a.LeaderID = nil, false, led
	}
	t.answer(j.token, a)
}

// joined is the answer of a JoinGroup that succeeded. The leader gets the
// members; skip tells it not to assign.
func (g *group) joined(m *member, skip bool) *kmsg.JoinGroupResponse {
	a := kmsg.NewPtrJoinGroupResponse()
	a.Generation, a.ProtocolType, a.Protocol = g.generation, &g.protocolType, g.protocol
	a.LeaderID, a.MemberID, a.SkipAssignment = g.leader, m.id, skip
	if g.leader != m.id {
		return a
	}
	for _, o := range g.all() {
		r := kmsg.NewJoinGroupResponseMember()
		r.MemberID, r.InstanceID, r.ProtocolMetadata = o.id, o.instance, o.metadata(g.protocol)
		a.Members = append(a.Members, r)
	}
	return a
}

func (t *step) refuseJoin(token Token, id string, code errors.Code) {
	a := kmsg.NewPtrJoinGroupResponse()
	a.MemberID, a.ErrorCode = id, int16(code)
	t.answer(token, a)
}

func equal(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }
