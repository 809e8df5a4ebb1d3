package sim

import (
	"cmp"
	"slices"

	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

const consumerCount = 2

// consumer reads all partitions from their beginnings, by the rules of KIP-320, and
// now and then asks for the end. It speaks to brokers at once, without the network: who
// is cut off from the controllers still has clients.
type consumer struct{ lanes []*reading }

// reading is a consumer's way through one partition.
type reading struct {
	name     kafka.TopicPartition
	position kafka.Offset
	// last is the leader epoch of the record before position.
	last kafka.LeaderEpoch
	// told is the largest end that it was told.
	told kafka.Offset
	// leader and epoch are the newest that it has heard of: it does not go back.
	leader kafka.BrokerID
	epoch  kafka.LeaderEpoch
	// validated is the leader epoch in which position was checked.
	validated kafka.LeaderEpoch
}

func newConsumer() *consumer {
	c := &consumer{}
	for _, name := range names() {
		c.lanes = append(c.lanes, &reading{name: name, last: kafka.NoEpoch, leader: kafka.NoLeader, epoch: kafka.NoEpoch, validated: kafka.NoEpoch})
	}
	return c
}

// chore asks for metadata, or asks the leader that is known for something.
func (c *consumer) chore(w *World) {
	r := c.lanes[w.read.IntN(len(c.lanes))]
	if r.leader == kafka.NoLeader || w.read.IntN(4) == 0 {
		if leader, epoch := w.leaderBy(w.brokers[w.read.IntN(brokerCount)], r.name); leader != kafka.NoLeader && epoch >= r.epoch {
			r.leader, r.epoch = leader, epoch
		}
		return
	}
	b := w.brokers[r.leader]
	if w.read.IntN(8) == 0 {
		b = w.brokers[w.read.IntN(brokerCount)] // whoever led once has its address still
	}
	p := b.partition(r.name)
	if !b.up || b.paused || p == nil {
		return
	}
	switch {
	case r.validated != r.epoch:
		r.validate(w, p)
	case w.read.IntN(4) == 0:
		r.seekEnd(w, p)
	default:
		r.fetch(w, p)
	}
}

// validate asks a leader that is new to the consumer where the epoch of the last record
// ends there (OffsetForLeaderEpoch): committed records are never cut off.
func (r *reading) validate(w *World, p *partition) {
	if code := p.admits(r.epoch); code != errors.None {
		return
	}
	w.event("consumer followed a leader")
	if r.last != kafka.NoEpoch {
		if epoch, end := p.log.EpochEnd(r.last); epoch != r.last || end < r.position {
			w.fail("NoConsumerGoesBack", "a consumer has read %s to %d in epoch %d; broker %d, which leads in epoch %d, says that epoch %d ends at %d",
				r.name, r.position, r.last, p.b.id, r.epoch, epoch, end)
		}
	}
	r.validated = r.epoch
}

// seekEnd asks for the end of the partition (ListOffsets).
func (r *reading) seekEnd(w *World, p *partition) {
	if code := p.admits(r.epoch); code != errors.None {
		return
	}
	end := p.log.HighWatermark()
	if !core.EndKnown(p.leader.EpochStart(), end) {
		w.event("end not known yet")
		return
	}
	w.event("consumer sought the end")
	if end < max(r.told, r.position) {
		w.fail("NoConsumerGoesBack", "a consumer of %s has read to %d and was told that it ends at %d; broker %d, which leads in epoch %d, says %d",
			r.name, r.position, r.told, p.b.id, r.epoch, end)
	}
	r.told = end
}

// fetch reads on: what it gets is committed.
func (r *reading) fetch(w *World, p *partition) {
	if code := p.admits(r.epoch); code != errors.None {
		return
	}
	hw, end := p.log.HighWatermark(), p.log.LogEnd()
	if !core.InLog(r.position, p.log.LogStart(), end, hw) {
		w.fail("NoConsumerGoesBack", "a consumer has read %s to %d; broker %d, which leads in epoch %d, says that this is out of range: its log goes from %d to %d, high watermark %d",
			r.name, r.position, p.b.id, r.epoch, p.log.LogStart(), end, hw)
	}
	upTo := core.ReadableTo(hw, end)
	if r.position >= upTo {
		return
	}
	known := w.truth.logs[r.name]
	for v, err := range batch.All(p.read(r.position, upTo, 1+w.read.IntN(4<<10))) {
		if err != nil {
			w.fail("ConsistentRead", "broker %d gives a consumer a broken batch of %s at %d: %v", p.b.id, r.name, r.position, err)
		}
		if e := entryOf(v); !known.has(e) {
			w.fail("ConsistentRead", "broker %d gives a consumer of %s %v, which is not committed", p.b.id, r.name, e)
		}
		r.position, r.last = v.EndOffset(), v.Epoch()
		w.event("consumer read")
	}
}

// admits is what a consumer of a leader epoch is told, NONE if it is answered.
func (p *partition) admits(epoch kafka.LeaderEpoch) errors.Code {
	code := core.CheckEpoch(p.epoch, epoch)
	if code == errors.UnknownLeaderEpoch {
		p.b.w.event("consumer asked an older leader")
	}
	if code == errors.None && p.leader == nil {
		code = errors.NotLeaderOrFollower
	}
	return code
}

// has reports whether a batch is committed.
func (l *committedLog) has(e entry) bool {
	i, found := slices.BinarySearchFunc(l.batches, e.base, func(b entry, base kafka.Offset) int { return cmp.Compare(b.base, base) })
	return found && l.batches[i] == e
}

// allConsumed reports whether every consumer has read everything.
func (w *World) allConsumed() bool {
	for _, c := range w.consumers {
		for _, r := range c.lanes {
			if r.position != w.truth.logs[r.name].end {
				return false
			}
		}
	}
	return true
}
