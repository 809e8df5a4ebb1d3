package testlog

import (
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/quorum/raft"
)

// Proposal is a command on its way. It may be placed in the log at any time,
// also long after its node has stopped leading, more than once (raft proposes a
// command again when it does not know what became of it), or never.
type Proposal struct {
	Node    kafka.NodeID
	Command Command
	// Term is the raft term by which the node led, as it knew, when it proposed.
	Term uint64

	placed  []int // in Group.log
	settled bool
}

// Placed reports whether the proposal is in the log.
func (p *Proposal) Placed() bool { return len(p.placed) > 0 }

// placement is one command in the log.
type placement struct {
	outcome raft.Outcome
	batches []byte
}

// Group is a quorum. It has one user at a time and no goroutine.
type Group struct {
	machine *Machine
	log     []placement
	term    uint64
	leader  kafka.NodeID
	nodes   map[kafka.NodeID]*Node
}

// Node is what one node of a Group knows.
type Node struct {
	ID    kafka.NodeID
	group *Group
	// Leadership is raft's opinion as this node last heard it.
	Leadership raft.Leadership
	applied    int // commands of the log
	open       []*Proposal
}

// NewGroup returns a quorum of nodes with an empty log and no leader.
func NewGroup(base kafka.LeaderEpoch, nodes ...kafka.NodeID) *Group {
	g := &Group{machine: NewMachine(base), leader: kafka.NoNode, nodes: map[kafka.NodeID]*Node{}}
	for _, id := range nodes {
		g.nodes[id] = &Node{ID: id, group: g, Leadership: raft.Leadership{Leader: kafka.NoNode}}
	}
	return g
}

// Node returns a node of the group.
func (g *Group) Node(id kafka.NodeID) *Node { return g.nodes[id] }

// SetFaults leaves rules out of the state machine.
func (g *Group) SetFaults(f Faults) { g.machine.Faults = f }

// State is the state after everything in the log.
func (g *Group) State() raft.State { return g.machine.State }

// End is the end of the whole log.
func (g *Group) End() kafka.Offset { return g.machine.End() }

// Elect begins a new raft term, led by a node. Nobody has heard of it yet.
func (g *Group) Elect(id kafka.NodeID) (term uint64) {
	g.term++
	g.leader = id
	return g.term
}

// Leader is who leads the newest term, kafka.NoNode before the first.
func (g *Group) Leader() (kafka.NodeID, uint64) { return g.leader, g.term }

// Place puts a copy of a proposal next into the log.
func (g *Group) Place(p *Proposal) raft.Outcome {
	o, batches := g.machine.Apply(p.Command)
	p.placed = append(p.placed, len(g.log))
	g.log = append(g.log, placement{outcome: o, batches: batches})
	return o
}

// Hear lets the node hear who leads now; news says that it is something else
// than what it knew.
func (n *Node) Hear() (news bool) {
	l := raft.Leadership{Term: n.group.term, Leader: n.group.leader, Self: n.group.leader == n.ID}
	news = l != n.Leadership
	n.Leadership = l
	return news
}

// Propose takes a command of this node.
func (n *Node) Propose(c Command) *Proposal {
	p := &Proposal{Node: n.ID, Command: c, Term: n.Leadership.Term}
	n.open = append(n.open, p)
	return p
}

// Behind is how many commands of the log the node has not applied.
func (n *Node) Behind() int { return len(n.group.log) - n.applied }

// Apply applies the next command and returns the batches that it adds to the
// log, nil if none. There must be one: see Behind.
func (n *Node) Apply() (batches []byte, o raft.Outcome) {
	p := n.group.log[n.applied]
	n.applied++
	return p.batches, p.outcome
}

// Settle gives the oldest open proposal its outcome, as quorum/raft would: a
// definite one as soon as this node has applied a copy; ErrIndeterminate once
// this node has heard that it does not lead by the proposal's term any more,
// whatever became of it. Where both are possible, unsure chooses.
func (n *Node) Settle(unsure bool) (p *Proposal, o raft.Outcome, err error, ok bool) {
	if len(n.open) == 0 {
		return nil, raft.Outcome{}, nil, false
	}
	p = n.open[0]
	o, known := n.outcome(p)
	stale := !n.Leadership.Self || n.Leadership.Term != p.Term
	if !known && !stale {
		return nil, raft.Outcome{}, nil, false
	}
	if !known || stale && unsure {
		o, err = raft.Outcome{}, raft.ErrIndeterminate
	}
	p.settled = true
	n.open = n.open[1:]
	return p, o, err, true
}

// outcome is that of the accepted copy, or of the first one.
func (n *Node) outcome(p *Proposal) (o raft.Outcome, known bool) {
	for _, i := range p.placed {
		if i >= n.applied {
			break
		}
		if o = n.group.log[i].outcome; o.Accepted {
			return o, true
		}
		known = true
	}
	return o, known
}

// Open is how many proposals of the node have no outcome.
func (n *Node) Open() int { return len(n.open) }

// Restart is a crash: the node knows no leader, its proposals have nobody who
// waits for them, though they may still be placed, and it has applied no more
// than the first commands of the log: keep, or fewer if it had not got so far.
func (n *Node) Restart(keep int) {
	n.Leadership = raft.Leadership{Leader: kafka.NoNode}
	n.open = nil
	n.applied = min(n.applied, keep)
}

// Applied is how many commands of the log the node has applied.
func (n *Node) Applied() int { return n.applied }

// Batches returns the log from an offset on, as far as this node has applied it:
// whole batches, none if there are none.
func (n *Node) Batches(from kafka.Offset) []byte { return n.group.batches(from, n.applied) }

// Batches returns the whole log from an offset on.
func (g *Group) Batches(from kafka.Offset) []byte { return g.batches(from, len(g.log)) }

// batches is the part from an offset on of the first commands of the log. What a
// node reads next begins with a batch, which may be in the middle of a command.
func (g *Group) batches(from kafka.Offset, commands int) []byte {
	var out []byte
	first := commands
	for first > 0 && g.log[first-1].outcome.End > from {
		first--
	}
	for _, p := range g.log[first:commands] {
		for v := range batch.All(p.batches) {
			if v.EndOffset() > from {
				out = append(out, v...)
			}
		}
	}
	return out
}

// Abandon ends the oldest open proposal without an outcome, as when the log was
// busy; it may be placed all the same.
func (n *Node) Abandon() (p *Proposal, ok bool) {
	if len(n.open) == 0 {
		return nil, false
	}
	p, n.open = n.open[0], n.open[1:]
	p.settled = true
	return p, true
}
