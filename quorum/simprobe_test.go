package quorum

import (
	"strings"

	"kvorum/internal/kafka"
)

// simBroker is a broker as it really is: what it has fetched, and what it has
// applied of that.
type simBroker struct {
	epoch   kafka.BrokerEpoch
	fetched kafka.Offset // the end of its log
	applied kafka.Offset // the last offset in its metadata cache
}

// registered is a new process if the epoch is a new one: it has its log, and
// applies it from the start.
func (b *simBroker) registered(epoch kafka.BrokerEpoch) {
	if b.epoch != epoch {
		b.epoch, b.applied = epoch, kafka.NoOffset
	}
}

// brokerApplies lets a broker get on with what it has fetched.
func (s *sim) brokerApplies() {
	b := &s.brokers[s.rnd.IntN(simBrokers)]
	if behind := b.fetched - 1 - b.applied; behind > 0 {
		b.applied += 1 + kafka.Offset(s.rnd.Int64N(int64(behind)))
	}
}

// simProbes is what the simulation knows of a node's probes.
type simProbes struct {
	inFlight map[kafka.BrokerID]*simProbe
	// overruled are those whose outcome came too late for the core.
	overruled map[kafka.BrokerID]bool
	// answering are the brokers, and their epochs, whose newest probe was answered.
	answering map[kafka.BrokerID]kafka.BrokerEpoch
}

type simProbe struct {
	Probe
	answered bool // the outcome is in the inbox
}

func newSimProbes() simProbes {
	return simProbes{map[kafka.BrokerID]*simProbe{}, map[kafka.BrokerID]bool{}, map[kafka.BrokerID]kafka.BrokerEpoch{}}
}

// answerProbe brings the outcome of a probe into the inbox: the truth, a failure
// or, rarely, nonsense.
func (s *sim) answerProbe(n *simNode) {
	id := kafka.BrokerID(s.rnd.IntN(simBrokers))
	p := n.probes.inFlight[id]
	if p == nil || p.answered || s.told {
		return
	}
	p.answered = true
	ev := Probed{Broker: id, Epoch: p.Epoch, Leader: p.Leader, Applied: s.brokers[id].applied}
	switch {
	case s.rnd.IntN(15) == 0 && !s.healing:
		ev.Problem = "nobody is there"
	case ev.Applied < 0:
		ev.Problem = "it has nothing"
	case s.rnd.IntN(6) == 0 && !s.healing:
		ev.Applied = n.core.end() + 1_000_000
	}
	n.inbox = append(n.inbox, ev)
}

// checkProbes follows which brokers answer, as far as the core can know, and
// checks that no broker is asked twice at a time or without need.
func (s *sim) checkProbes(n *simNode, ev Event, before role, out Effects) {
	k := &n.probes
	if ev, ok := ev.(Probed); ok && before == active && ev.Leader == n.core.epoch && !k.overruled[ev.Broker] {
		switch b := n.core.committed().Broker(ev.Broker); {
		case b == nil || b.Epoch != ev.Epoch:
		case ev.Problem != "":
			s.totals.Unanswered++
			delete(k.answering, ev.Broker)
		case ev.Applied < n.core.end():
			s.totals.Answered++
			k.answering[ev.Broker] = ev.Epoch
		}
	}
	if ev, ok := ev.(Probed); ok && ev.Leader == n.core.epoch {
		delete(k.overruled, ev.Broker)
		if p := k.inFlight[ev.Broker]; p != nil && p.Epoch == ev.Epoch {
			delete(k.inFlight, ev.Broker)
		}
	}
	for _, note := range out.Notes {
		if strings.Contains(note.Text, "stays behind") {
			id := kafka.BrokerID(note.Text[len("broker ")] - '0')
			delete(k.answering, id)
			if _, ok := k.inFlight[id]; ok {
				k.overruled[id] = true
			}
		}
	}
	for id := range k.answering {
		if b := n.core.committed().Broker(id); b == nil || b.Epoch != k.answering[id] {
			delete(k.answering, id)
		}
	}
	for _, p := range out.Probes {
		if n.core.role != active {
			violated("node %d probes and is not active", n.id)
		}
		if other, ok := k.inFlight[p.Broker]; ok && other.Epoch == p.Epoch {
			violated("node %d probes broker %d twice at a time", n.id, p.Broker)
		}
		if k.answering[p.Broker] == p.Epoch && n.core.parked.len() == 0 {
			violated("node %d probes broker %d, for which nobody waits", n.id, p.Broker)
		}
		k.inFlight[p.Broker] = &simProbe{Probe: p}
	}
}
