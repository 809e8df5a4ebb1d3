package core

import (
	"cmp"
	"slices"

	"kvorum/internal/invariant"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
)

// Event is what can happen to a leader.
type Event interface{ leaderEvent() }

// Appended says that the log reaches to End (exclusive) in the file system.
// Events of concurrent appends may come in any order.
type Appended struct {
	End   kafka.Offset
	NowMs int64
}

// FollowerFetched says that a replica asked for Offset and so has everything
// below it. Its log matched: no divergence was found.
type FollowerFetched struct {
	ID kafka.BrokerID
	// BrokerEpoch is what it said it is, kafka.NoBrokerEpoch from an older one.
	BrokerEpoch kafka.BrokerEpoch
	Offset      kafka.Offset
	// LogStart is the follower's, kafka.NoOffset if it did not say.
	LogStart kafka.Offset
	NowMs    int64
}

// ImageChanged says that a new image says something else about the partition or
// the brokers of its replicas. Self is still the leader.
type ImageChanged struct {
	State State
	NowMs int64
}

// Answered is the controller's answer to a proposal. See Withdrawn for what comes
// before.
type Answered struct {
	Proposal *Proposal
	Outcome  Outcome
	// PartitionEpoch is that of an Accepted answer.
	PartitionEpoch kafka.PartitionEpoch
	NowMs          int64
}

// Tick says what time it is; it is due every half of LagMaxMs or more often.
type Tick struct{ NowMs int64 }

func (Appended) leaderEvent()        {}
func (FollowerFetched) leaderEvent() {}
func (ImageChanged) leaderEvent()    {}
func (Answered) leaderEvent()        {}
func (Tick) leaderEvent()            {}

// Effects are what the shell has to do after a step, in the order of the fields.
type Effects struct {
	// HighWatermarkMoved asks to give HighWatermark to the log and to wake up who
	// waits for it.
	HighWatermarkMoved bool
	// Propose is to be sent to the controller; nil: nothing.
	Propose *Proposal
}

// Step applies one event. It does not keep the event and does not allocate for
// Appended and for FollowerFetched without a change of the ISR.
func (l *Leader) Step(e Event) Effects {
	switch e := e.(type) {
	case Appended:
		l.end = max(l.end, e.End)
		return Effects{HighWatermarkMoved: l.advance(e.NowMs)}
	case FollowerFetched:
		return l.fetched(e)
	case ImageChanged:
		return l.changed(e)
	case Answered:
		return l.answered(e)
	case Tick:
		return Effects{Propose: l.shrink(e.NowMs)}
	default:
		invariant.Broken("a leader was given an event that it does not know") // naming it would move every event to the heap
		return Effects{}
	}
}

// Admits reports whether a fetch comes from a replica of the partition, and
// from the incarnation of its broker that the image knows (KIP-903): an older
// one has lost its seat.
func (l *Leader) Admits(id kafka.BrokerID, epoch kafka.BrokerEpoch) bool {
	f := l.follower(id)
	return f != nil && (epoch == kafka.NoBrokerEpoch || f.registered == kafka.NoBrokerEpoch || epoch >= f.registered || planted.Is(planted.IgnoreBrokerEpochs))
}

// Nearest is the replica from which a consumer reads on at offset rather than from
// the leader: of those near it that have that offset the one that has the most
// records, then the one that was caught up last, then the one with the highest id
// (RackAwareReplicaSelector, ReplicaManager.findPreferredReadReplica); in sync or
// not. kafka.NoLeader: there is none.
func (l *Leader) Nearest(offset kafka.Offset, near func(kafka.BrokerID) bool) kafka.BrokerID {
	best := newFollower(kafka.NoLeader)
	for _, f := range l.followers {
		if f.end < offset || f.logStart > offset || !near(f.id) {
			continue
		}
		if cmp.Or(cmp.Compare(f.end, best.end), cmp.Compare(f.caughtUpMs, best.caughtUpMs), cmp.Compare(f.id, best.id)) > 0 {
			best = f
		}
	}
	return best.id
}

// Knows reports whether a broker has a replica of the partition, beside the
// leader.
func (l *Leader) Knows(id kafka.BrokerID) bool { return l.follower(id) != nil }

func (l *Leader) follower(id kafka.BrokerID) *follower {
	for i := range l.followers {
		if l.followers[i].id == id {
			return &l.followers[i]
		}
	}
	return nil
}

func (l *Leader) fetched(e FollowerFetched) Effects {
	f := l.follower(e.ID)
	if f == nil || !l.Admits(e.ID, e.BrokerEpoch) || e.Offset > l.end {
		return Effects{}
	}
	f.fetch(e, l.end)
	propose := l.expand(f)
	return Effects{HighWatermarkMoved: l.advance(e.NowMs), Propose: propose}
}

// expand asks for a follower in the ISR when it has reached the high watermark
// and the beginning of the leader epoch (Partition.maybeExpandIsr).
func (l *Leader) expand(f *follower) *Proposal {
	if l.proposal != nil || l.inISR(f.id) || !f.eligible() || f.end < l.highWatermark || f.end < l.epochStart {
		return nil
	}
	return l.propose(append(slices.Clone(l.isr), f.id))
}

// shrink asks for the ISR without the followers that lag (Partition.
// maybeShrinkIsr).
func (l *Leader) shrink(nowMs int64) *Proposal {
	if l.proposal != nil || len(l.isr) < 2 {
		return nil
	}
	var stay []kafka.BrokerID
	for _, id := range l.isr {
		f := l.follower(id)
		if id == l.self || (f != nil && f.caughtUp(l.end, nowMs, l.lagMaxMs)) {
			stay = append(stay, id)
		}
	}
	if len(stay) == len(l.isr) || len(stay) == 0 {
		return nil
	}
	return l.propose(stay)
}

func (l *Leader) propose(isr []kafka.BrokerID) *Proposal {
	p := &Proposal{LeaderEpoch: l.epoch, PartitionEpoch: l.partitionEpoch, Old: len(l.isr)}
	for _, id := range isr {
		m := Member{ID: id, Epoch: kafka.NoBrokerEpoch}
		if f := l.follower(id); f != nil {
			// The incarnation that fetched; one that has not fetched since the
			// election is the one that the image has in the ISR.
			if m.Epoch = f.epoch; m.Epoch == kafka.NoBrokerEpoch {
				m.Epoch = f.registered
			}
		}
		p.ISR = append(p.ISR, m)
	}
	l.proposal = p
	return p
}

func (l *Leader) answered(e Answered) Effects {
	if e.Proposal != l.proposal {
		return Effects{} // decided by an image meanwhile
	}
	switch {
	case e.Withdrawn():
		l.proposal = nil
	case e.Outcome == Accepted:
		// An answer alone moves nothing: others may not know what it says. The
		// image settles it.
		if planted.Is(planted.CommitByAnswer) {
			l.isr = l.isr[:0:0]
			for _, m := range l.proposal.ISR {
				l.isr = append(l.isr, m.ID)
			}
			l.proposal = nil
		}
	case e.Outcome == Failed:
		return Effects{Propose: l.proposal}
	}
	return Effects{HighWatermarkMoved: l.advance(e.NowMs)}
}

func (l *Leader) changed(e ImageChanged) Effects {
	s := e.State
	if s.LeaderEpoch < l.epoch || s.PartitionEpoch < l.partitionEpoch {
		return Effects{} // an older state says nothing new
	}
	l.take(s)
	if s.LeaderEpoch > l.epoch {
		l.epoch, l.epochStart = s.LeaderEpoch, l.end
		for i := range l.followers {
			l.followers[i].assume(l.inISR(l.followers[i].id), e.NowMs)
		}
	}
	if l.proposal != nil && l.proposal.DecidedBy(s.LeaderEpoch, s.PartitionEpoch) {
		l.proposal = nil
	}
	l.partitionEpoch = s.PartitionEpoch
	return Effects{HighWatermarkMoved: l.advance(e.NowMs)}
}
