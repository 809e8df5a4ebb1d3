package quorum

import (
	"testing"

	"kvorum/internal/kafka"
	"kvorum/internal/testlog"
	"kvorum/protocol/errors"
)

// simFault is a bug that is planted around a core, or in the rules of the log,
// to show that the simulation finds its like.
type simFault struct {
	name   string
	log    testlog.Faults
	before func(n *simNode, ev Event) Event
	after  func(n *simNode, ev Event, before role, out *Effects)
}

func (f *simFault) beforeStep(n *simNode, ev Event) Event {
	if f == nil || f.before == nil {
		return ev
	}
	return f.before(n, ev)
}

func (f *simFault) afterStep(n *simNode, ev Event, before role, out *Effects) {
	if f != nil && f.after != nil {
		f.after(n, ev, before, out)
	}
}

var simFaults = []simFault{
	{name: "the log appends at any offset", log: testlog.Faults{AnyBase: true}},
	{name: "the log accepts claims of old terms", log: testlog.Faults{AnyClaim: true}},
	{name: "replies come before the commit", after: func(n *simNode, _ Event, _ role, _ *Effects) {
		for i := range n.core.parked.uncommitted {
			n.core.parked.uncommitted[i].need = 0
		}
	}},
	{name: "replies do not wait for the brokers", after: func(n *simNode, _ Event, _ role, _ *Effects) {
		for i := range n.core.parked.uncommitted {
			n.core.parked.uncommitted[i].brokers = false
		}
	}},
	{name: "replies come before a broker has applied what it has fetched", after: func(n *simNode, _ Event, _ role, _ *Effects) {
		for _, b := range n.core.brokers.list {
			if b.answers {
				b.applied = max(b.applied, n.core.replicas.progress[kafka.NodeID(b.id)].reached-1)
			}
		}
	}},
	{name: "an applied offset beyond the log is believed", before: func(n *simNode, ev Event) Event {
		if p, ok := ev.(Probed); ok && p.Applied >= n.core.end() {
			p.Applied = n.core.end() - 1
			return p
		}
		return ev
	}},
	{name: "an unknown outcome is taken for a commit", before: func(n *simNode, ev Event) Event {
		if a, ok := ev.(Appended); ok && !a.Accepted {
			n.core.parked.propagating = append(n.core.parked.propagating, n.core.parked.uncommitted...)
			n.core.parked.uncommitted = nil
		}
		return ev
	}},
	{name: "an unknown outcome is not minded", before: func(n *simNode, ev Event) Event {
		if a, ok := ev.(Appended); ok && !a.Accepted && n.core.role == active {
			n.core.queue, n.core.inFlight = n.core.queue[n.core.inFlight:], 0
			return nil
		}
		return ev
	}},
	{name: "active before the claim is folded", before: func(n *simNode, ev Event) Event {
		if c, ok := ev.(Claimed); ok && c.Accepted && n.core.role == claiming && n.core.term == c.Term {
			n.core.epoch = c.Epoch
			c.End = 0
			return c
		}
		return ev
	}},
	{name: "an open transaction is not aborted", after: func(n *simNode, _ Event, before role, out *Effects) {
		if c := n.core; before != active && c.role == active {
			if _, open := c.replay.InTransaction(); open {
				c.queue, c.inFlight, c.bytes, c.pending, c.next = nil, 0, 0, c.committed(), c.end()
				out.Append = nil
			}
		}
	}},
	{name: "decisions are not folded into the pending image", after: func(n *simNode, ev Event, _ role, _ *Effects) {
		if _, ok := ev.(Request); ok && n.core.role == active {
			n.core.pending = n.core.committed()
		}
	}},
	{name: "a reply is lost", after: func(n *simNode, _ Event, _ role, _ *Effects) {
		if p := &n.core.parked; len(p.uncommitted) > 1 {
			p.uncommitted = p.uncommitted[:1]
		}
	}},
	{name: "a reply comes twice", after: func(n *simNode, _ Event, _ role, out *Effects) {
		if len(out.Replies) == 1 && out.Replies[0].Err == nil {
			n.core.parked.propagating = append(n.core.parked.propagating, parkedReply{id: out.Replies[0].ID, response: out.Replies[0].Response})
		}
	}},
	{name: "those who wait are told nothing when leadership is lost", after: func(n *simNode, _ Event, before role, out *Effects) {
		if before == active && n.core.role != active {
			out.Replies = nil
		}
	}},
	{name: "losing leadership is told as success", after: func(n *simNode, _ Event, before role, out *Effects) {
		for i := range out.Replies {
			if r := &out.Replies[i]; before == active && r.Err != nil && r.Err.Code == errors.NotController {
				*r = Reply{ID: r.ID, Response: simDescribeQuorum().ResponseKind()}
			}
		}
	}},
}

// TestSimulationFindsFaults plants each bug: some seed must find it.
func TestSimulationFindsFaults(t *testing.T) {
	const seeds = 400
	for i := range simFaults {
		t.Run(simFaults[i].name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				if _, err := runSim(seed, &simFaults[i]); err != nil {
					text := err.Error()
					t.Logf("%.160s", text)
					return
				}
			}
			t.Errorf("%d seeds have not found it", seeds)
		})
	}
}
