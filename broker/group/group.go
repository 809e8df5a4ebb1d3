package group

import (
	"github.com/tidwall/btree"
)

// Phase is the state of a classic group (ClassicGroupState).
type Phase int8

// The phases of a classic group:
//
//	Empty → PreparingRebalance → CompletingRebalance → Stable
//	          ↑      ↓ all gone      |                   |
//	          |    Empty             |                   |
//	          +----------------------+-------------------+
//
// Dead is what a group that does not exist is described as.
const (
	Empty Phase = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

var phaseNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}

// String is Kafka's name.
func (p Phase) String() string { return phaseNames[p] }

// group is one classic group. It belongs to one State: a step copies it before
// it changes anything (step.edit), so a copy that a Clone holds stays as it is.
type group struct {
	id       string
	phase    Phase
	previous Phase // the phase before; Empty while PreparingRebalance means the first rebalance
	sinceMs  int64 // when the phase began; -1: an old record did not say

	protocolType string  // "" means none: offsets only
	protocol     *string // the chosen one; nil before the first generation and when Empty
	generation   int32
	leader       string // member id, or ""

	members btree.Map[string, *member]
	static  btree.Map[string, string]   // instance id → member id
	joining btree.Map[string, struct{}] // ids given out (KIP-394) that have not joined yet
	syncing btree.Map[string, struct{}] // members whose SyncGroup of this generation is missing
	waiting int                         // members whose JoinGroup is parked
	bytes   int                         // of the members' metadata

	known btree.Map[string, int] // protocol → members that know it

	// topics are what the members subscribe to, where reads is set: the group
	// is of consumers and every subscription could be read.
	topics btree.Set[string]
	reads  bool

	// The first rebalance is delayed in steps while members come in.
	grew                    bool
	delayMs, delayRemaining int32
}

// protocol is one of the assignment protocols that a member offers.
type protocol struct {
	name     string
	metadata []byte
}

// member is one member of a group. It is never changed once it is in a group,
// but replaced (group.put).
type member struct {
	id, clientID, clientHost             string
	instance                             *string
	rebalanceTimeoutMs, sessionTimeoutMs int32
	protocols                            []protocol // in the order of preference
	assignment                           []byte
	join, sync                           Token // parked answers; 0: none
	// fresh marks a member that waits for its first rebalance: it cannot
	// heartbeat yet, so its session ends even while it waits.
	fresh bool
}

func newGroup(id string, nowMs int64) *group {
	return &group{id: id, phase: Empty, previous: Dead, sinceMs: nowMs}
}

// copied is the group as a step may change it.
func (g *group) copied() *group {
	c := *g
	c.members, c.static = *g.members.Copy(), *g.static.Copy()
	c.joining, c.syncing = *g.joining.Copy(), *g.syncing.Copy()
	c.topics, c.known = *g.topics.Copy(), *g.known.Copy()
	return &c
}

// all returns the members in the order of their ids.
func (g *group) all() []*member { return g.members.Values() }

func (g *group) member(id string) *member {
	m, _ := g.members.Get(id)
	return m
}

// add takes a new member in; the first one gives the group its protocol type
// and leads it.
func (g *group) add(m *member) {
	if m.instance != nil {
		g.static.Set(*m.instance, m.id)
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.put(m)
	g.joining.Delete(m.id)
}

// put replaces or adds the member with m's id.
func (g *group) put(m *member) {
	old, _ := g.members.Set(m.id, m)
	if old != nil {
		g.bytes -= size(old.protocols)
		g.countProtocols(old.protocols, -1)
		if old.join != 0 {
			g.waiting--
		}
	}
	g.bytes += size(m.protocols)
	g.countProtocols(m.protocols, 1)
	if m.join != 0 {
		g.waiting++
	}
}

// size is how many bytes protocols take.
func size(protocols []protocol) int {
	n := 0
	for _, p := range protocols {
		n += len(p.name) + len(p.metadata)
	}
	return n
}

// change replaces a member by a copy that f has changed, and returns it.
func (g *group) change(m *member, f func(*member)) *member {
	c := *m
	f(&c)
	g.put(&c)
	return &c
}

// remove takes a member or an id that waits to join out. Its parked answers
// have been given before, or go with it.
func (g *group) remove(id string) {
	if m, ok := g.members.Delete(id); ok {
		g.bytes -= size(m.protocols)
		g.countProtocols(m.protocols, -1)
		if m.join != 0 {
			g.waiting--
		}
		if m.instance != nil {
			g.static.Delete(*m.instance)
		}
	}
	if g.leader == id {
		g.leader, _, _ = g.members.GetAt(0)
	}
	g.joining.Delete(id)
	g.syncing.Delete(id)
}

// allJoined reports whether the join phase has nobody left to wait for.
func (g *group) allJoined() bool { return g.waiting == g.members.Len() && g.joining.Len() == 0 }

// rebalanceTimeoutMs is the longest one that a member asked for.
func (g *group) rebalanceTimeoutMs() int32 {
	var longest int32
	g.members.Scan(func(_ string, m *member) bool {
		longest = max(longest, m.rebalanceTimeoutMs)
		return true
	})
	return longest
}

// enter begins a phase.
func (g *group) enter(p Phase, nowMs int64) {
	g.previous, g.phase, g.sinceMs = g.phase, p, nowMs
}

// elect gives the group a leader that has joined. It reports whether there is
// one (ClassicGroup.maybeElectNewJoinedLeader).
func (g *group) elect() bool {
	if g.leader == "" {
		return false
	}
	if m := g.member(g.leader); m != nil && m.join != 0 {
		return true
	}
	found := false
	g.members.Scan(func(id string, m *member) bool {
		if m.join != 0 {
			g.leader, found = id, true
		}
		return !found
	})
	return found
}

// nextGeneration closes the join phase (ClassicGroup.initNextGeneration).
func (g *group) nextGeneration(nowMs int64) {
	g.generation++
	if g.members.Len() > 0 {
		g.protocol = g.choose()
		g.enter(CompletingRebalance, nowMs)
	} else {
		g.protocol = nil
		g.enter(Empty, nowMs)
	}
	g.subscribe()
	g.syncing.Clear()
}

// satisfied reports whether a member needs no heartbeat now: it waits for us.
func (m *member) satisfied() bool { return !m.fresh && (m.join != 0 || m.sync != 0) }
