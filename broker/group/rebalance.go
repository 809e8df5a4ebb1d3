package group

import "kvorum/protocol/errors"

// rebalanceOrComplete begins a rebalance, or completes the one under way when
// nobody is missing any more.
func (t *step) rebalanceOrComplete(g *group) {
	if g.phase == PreparingRebalance {
		t.maybeCompleteJoin(g)
		return
	}
	t.prepare(g)
}

// prepare begins the join phase. The first one of a group waits for more members
// to come (group.initial.rebalance.delay.ms), later ones for those it has.
func (t *step) prepare(g *group) {
	if g.phase == CompletingRebalance {
		t.resetAssignments(g)
	}
	g.syncing.Clear()
	t.stopTimer(SyncTimer, g, "")
	first := g.phase == Empty
	g.enter(PreparingRebalance, t.env.WallMs)
	if first {
		g.delayMs = t.env.Config.InitialRebalanceDelayMs
		g.delayRemaining = max(g.rebalanceTimeoutMs()-g.delayMs, 0)
		g.grew = false
		t.setTimer(JoinTimer, g, "", g.delayMs)
		return
	}
	if g.allJoined() {
		t.completeJoin(g)
		return
	}
	t.setTimer(JoinTimer, g, "", g.rebalanceTimeoutMs())
}

// resetAssignments sends those who wait for the leader's assignment back to the
// join phase.
func (t *step) resetAssignments(g *group) {
	for _, m := range g.all() {
		if m.sync != 0 {
			t.refuseSync(m.sync, errors.RebalanceInProgress)
			t.session(g, m)
		}
		if m.sync != 0 || m.assignment != nil {
			g.change(m, func(m *member) { m.sync, m.assignment = 0, nil })
		}
	}
}

// maybeCompleteJoin completes the join phase when all have joined. The first
// rebalance ends by its timer only.
func (t *step) maybeCompleteJoin(g *group) {
	if g.phase == PreparingRebalance && g.previous != Empty && g.allJoined() {
		t.completeJoin(g)
	}
}

// joinTimeout ends the join phase: with who is there, or later when the first
// rebalance has just grown (tryCompleteInitialRebalanceElseSchedule).
func (t *step) joinTimeout(g *group) {
	if g.phase != PreparingRebalance {
		return
	}
	if g.previous == Empty && g.grew && g.delayRemaining != 0 {
		g.grew = false
		last := g.delayMs
		g.delayMs = min(t.env.Config.InitialRebalanceDelayMs, g.delayRemaining)
		g.delayRemaining = max(g.delayRemaining-last, 0)
		t.setTimer(JoinTimer, g, "", g.delayMs)
		return
	}
	t.completeJoin(g)
}

// completeJoin closes the join phase: dynamic members that did not come are out,
// and a new generation begins, or the group is empty
// (GroupMetadataManager.completeClassicGroupJoin).
func (t *step) completeJoin(g *group) {
	t.stopTimer(JoinTimer, g, "")
	for _, m := range g.all() {
		if m.join == 0 && m.instance == nil {
			g.remove(m.id)
			t.stopTimer(SessionTimer, g, m.id)
		}
	}
	if !g.elect() && g.members.Len() > 0 {
		// Only static members are left and none has come: wait until their
		// sessions end.
		t.setTimer(JoinTimer, g, "", g.rebalanceTimeoutMs())
		return
	}
	g.nextGeneration(t.env.WallMs)
	if g.phase == Empty {
		t.save(g)
		return
	}
	for _, m := range g.all() {
		if m.join != 0 {
			t.answer(m.join, g.joined(m, false))
		}
		m = g.change(m, func(m *member) { m.join, m.fresh = 0, false })
		t.session(g, m)
		g.syncing.Set(m.id, struct{}{})
	}
	t.setTimer(SyncTimer, g, "", g.rebalanceTimeoutMs())
}

// fired handles a timer. One that has lost its reason does nothing.
func (t *step) fired(timer Timer) {
	g := t.edit(timer.Group)
	if g == nil {
		return
	}
	switch timer.Kind {
	case SessionTimer:
		t.sessionTimeout(g, timer.Member)
	case JoinTimer:
		t.joinTimeout(g)
	case SyncTimer:
		t.syncTimeout(g)
	}
}

// sessionTimeout removes a member that has not been heard of, or an id that
// nobody has joined with.
func (t *step) sessionTimeout(g *group, id string) {
	if g.isJoining(id) {
		g.remove(id)
		if g.phase == PreparingRebalance && g.allJoined() {
			t.completeJoin(g)
		}
		return
	}
	m := g.member(id)
	if m == nil || m.satisfied() {
		return
	}
	t.expel(g, m)
	switch {
	case g.phase == Stable || g.phase == CompletingRebalance:
		t.rebalanceOrComplete(g)
	case g.phase == PreparingRebalance && g.allJoined():
		t.completeJoin(g)
	}
}

// expel answers a member's parked requests and removes it.
func (t *step) expel(g *group, m *member) {
	if m.join != 0 {
		t.refuseJoin(m.join, "", errors.UnknownMemberID)
	}
	if m.sync != 0 {
		t.refuseSync(m.sync, errors.UnknownMemberID)
	}
	g.remove(m.id)
}

// syncTimeout removes the members that have joined but sent no SyncGroup
// (GroupMetadataManager.expirePendingSync).
func (t *step) syncTimeout(g *group) {
	if g.phase != CompletingRebalance && g.phase != Stable || g.syncing.Len() == 0 {
		return
	}
	for _, id := range g.syncing.Keys() {
		if m := g.member(id); m != nil {
			t.expel(g, m)
		}
		t.stopTimer(SessionTimer, g, id)
	}
	t.prepare(g)
}

// loaded begins the sessions of all members; groups that are larger than the
// limit has become rebalance.
func (t *step) loaded() {
	for _, g := range t.groups.Values() {
		for _, m := range g.all() {
			t.session(g, m)
		}
		if g.members.Len() > t.env.Config.MaxSize {
			t.prepare(t.edit(g.id))
		}
	}
}
