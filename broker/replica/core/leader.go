package core

import (
	"slices"

	"kvorum/internal/invariant"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
)

// Leader is what the leader of a partition knows and decides in one leader
// epoch after the other (Kafka's Partition, leader side). Its rules are Kafka's
// with the strict rule of KIP-966 applied always:
//
//   - the high watermark never moves back, and never moves at all while the
//     ISR of the image is smaller than the effective min.insync.replicas;
//   - it waits for every member of the maximal ISR: the image's, and whatever was
//     proposed to the controller and is not decided as far as the image knows;
//   - it waits for followers that are caught up and about to join.
//
// A Leader has one user at a time.
type Leader struct {
	self     kafka.BrokerID
	lagMaxMs int64

	epoch          kafka.LeaderEpoch
	epochStart     kafka.Offset
	partitionEpoch kafka.PartitionEpoch
	replicas       int
	isr            []kafka.BrokerID // of the image
	minISR         int              // effective: at most the number of replicas

	end, highWatermark kafka.Offset
	followers          []follower

	proposal *Proposal // sent to the controller and not decided in the image; nil: none
}

// LeaderOptions are what a Leader begins with.
type LeaderOptions struct {
	Self kafka.BrokerID
	// LagMaxMs is replica.lag.time.max.ms.
	LagMaxMs int64
	// State is what the image says; its leader is Self.
	State State
	// End is the log end, where the leader epoch of State begins.
	End kafka.Offset
	// HighWatermark is what the log knew; it may be far behind.
	HighWatermark kafka.Offset
	// Proposed is an expansion of the ISR that an earlier run of this broker has
	// proposed in the same leader epoch and State does not decide; nil: none. Its
	// members may be in the ISR by now, so the high watermark waits for them, and
	// it is proposed again to find out.
	Proposed *Proposal
	NowMs    int64
}

// State is what an image says about one partition.
type State struct {
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch kafka.PartitionEpoch
	// Replicas are all replicas, the leader's too.
	Replicas []Replica
	ISR      []kafka.BrokerID
	// MinISR is min.insync.replicas of the topic as configured.
	MinISR int
}

// Replica is one replica and its broker's registration.
type Replica struct {
	ID kafka.BrokerID
	// Epoch is the broker's registration, kafka.NoBrokerEpoch if it has none.
	Epoch kafka.BrokerEpoch
	// Active says that the broker is neither fenced nor shutting down.
	Active bool
}

// Proposal is an ISR that the leader asks the controller for (AlterPartition).
type Proposal struct {
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch kafka.PartitionEpoch // the state that it changes
	ISR            []Member
	// Old is the size of the ISR that it changes.
	Old int
}

// Member is a member of a proposed ISR with the registration that the leader
// knows it by (KIP-903).
type Member struct {
	ID    kafka.BrokerID
	Epoch kafka.BrokerEpoch
}

// Has reports whether a broker is in the proposed ISR.
func (p *Proposal) Has(id kafka.BrokerID) bool {
	return slices.ContainsFunc(p.ISR, func(m Member) bool { return m.ID == id })
}

// Expands reports whether a broker would join the ISR. Such a proposal must be
// durable before it is sent: see LeaderOptions.Proposed.
func (p *Proposal) Expands() bool { return len(p.ISR) > p.Old }

// DecidedBy reports whether an image with these epochs shows what became of the
// proposal: it is in it, or can no longer be applied.
func (p *Proposal) DecidedBy(leader kafka.LeaderEpoch, partition kafka.PartitionEpoch) bool {
	return leader > p.LeaderEpoch || partition > p.PartitionEpoch
}

// NewLeader begins a leader epoch. The second value is what it asks for at once.
func NewLeader(o LeaderOptions) (*Leader, Effects) {
	l := &Leader{
		self: o.Self, lagMaxMs: o.LagMaxMs,
		epoch: o.State.LeaderEpoch, epochStart: o.End, partitionEpoch: o.State.PartitionEpoch,
		end: o.End, highWatermark: o.HighWatermark,
	}
	invariant.Check(o.HighWatermark <= o.End, "the high watermark %d lies after the log end %d", o.HighWatermark, o.End)
	l.take(o.State)
	if o.Proposed != nil && !o.Proposed.DecidedBy(l.epoch, l.partitionEpoch) && !planted.Is(planted.ForgetJournal) {
		l.proposal = o.Proposed
	}
	for i := range l.followers {
		l.followers[i].assume(l.inISR(l.followers[i].id), o.NowMs)
	}
	return l, Effects{HighWatermarkMoved: l.advance(o.NowMs), Propose: l.proposal}
}

// take copies what a state says; followers that stay keep what is known of them.
func (l *Leader) take(s State) {
	l.isr = append(l.isr[:0:0], s.ISR...)
	l.replicas = len(s.Replicas)
	l.minISR = max(1, min(s.MinISR, l.replicas))
	old := l.followers
	l.followers = make([]follower, 0, max(0, len(s.Replicas)-1))
	for _, r := range s.Replicas {
		if r.ID == l.self {
			continue
		}
		f := newFollower(r.ID)
		if i := slices.IndexFunc(old, func(f follower) bool { return f.id == r.ID }); i >= 0 {
			f = old[i]
		}
		f.registered, f.active = r.Epoch, r.Active
		l.followers = append(l.followers, f)
	}
}

// Epoch is the leader epoch.
func (l *Leader) Epoch() kafka.LeaderEpoch { return l.epoch }

// EpochStart is the log end at which the leader epoch began.
func (l *Leader) EpochStart() kafka.Offset { return l.epochStart }

// PartitionEpoch is that of the image.
func (l *Leader) PartitionEpoch() kafka.PartitionEpoch { return l.partitionEpoch }

// HighWatermark is the offset below which every record is committed.
func (l *Leader) HighWatermark() kafka.Offset { return l.highWatermark }

// End is the log end.
func (l *Leader) End() kafka.Offset { return l.end }

// ISR is the in-sync set of the image; it must not be changed.
func (l *Leader) ISR() []kafka.BrokerID { return l.isr }

// EffectiveMinISR is min.insync.replicas, at most the number of replicas.
func (l *Leader) EffectiveMinISR() int { return l.minISR }

// UnderMinISR reports whether writes with acks=all have to be refused and the
// high watermark stands still.
func (l *Leader) UnderMinISR() bool { return len(l.isr) < l.minISR }

// AtMinISR reports whether one more failure would make it UnderMinISR.
func (l *Leader) AtMinISR() bool { return len(l.isr) == l.minISR }

// UnderReplicated reports whether a replica is not in sync.
func (l *Leader) UnderReplicated() bool { return len(l.isr) < l.replicas }

// Settled reports whether the high watermark has reached the beginning of the
// leader epoch. Before that a client must not be told where the log ends
// (KIP-207).
func (l *Leader) Settled() bool { return EndKnown(l.epochStart, l.highWatermark) }

// InMaximalISR reports whether the high watermark waits for a broker because it
// is in the ISR or may already be, for all that this broker knows.
func (l *Leader) InMaximalISR(id kafka.BrokerID) bool {
	return l.inISR(id) || (l.proposal != nil && l.proposal.Has(id) && !planted.Is(planted.ForgetProposedISR))
}

// Proposed is the ISR change that is not decided in the image, nil if there is
// none.
func (l *Leader) Proposed() *Proposal { return l.proposal }

func (l *Leader) inISR(id kafka.BrokerID) bool { return slices.Contains(l.isr, id) }

// advance moves the high watermark as far as the rules allow.
func (l *Leader) advance(nowMs int64) bool {
	if l.UnderMinISR() && !planted.Is(planted.CommitUnderMinISR) {
		return false
	}
	to := l.end
	for i := range l.followers {
		f := &l.followers[i]
		if f.end < to && (l.InMaximalISR(f.id) || (f.eligible() && f.caughtUp(l.end, nowMs, l.lagMaxMs))) {
			to = f.end
		}
	}
	if to <= l.highWatermark {
		return false
	}
	l.highWatermark = to
	return true
}

// LowWatermark is the offset below which no live replica keeps records: the
// least log start of this log, which begins at logStart, and of the followers
// whose brokers are active. It is kafka.NoOffset while one of them is unknown
// (Partition.lowWatermarkIfLeader).
func (l *Leader) LowWatermark(logStart kafka.Offset) kafka.Offset {
	for i := range l.followers {
		if f := &l.followers[i]; f.active {
			logStart = min(logStart, f.logStart)
		}
	}
	return logStart
}
