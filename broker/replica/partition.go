package replica

import (
	"sync"
	"sync/atomic"

	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// Partition is one replica of this broker: its log, and what the broker is to
// it. It is safe for concurrent use.
type Partition struct {
	name    kafka.TopicPartition
	topicID kafka.TopicID
	owner   *Partitions
	// log is nil if the log could not be opened, and replaced when storage has
	// opened it again.
	log atomic.Pointer[storage.Log]

	// cold is not nil until the log was opened; warming is held to open it, outside
	// of role.
	warming sync.Mutex
	cold    atomic.Pointer[cold]

	// role is held shared during an append or a read and exclusively while the
	// role changes: what began under one leader epoch has ended before the next
	// one begins.
	role sync.RWMutex

	// mu guards what follows. It is never held during I/O.
	mu sync.Mutex
	// leader is nil unless this broker leads.
	leader *core.Leader
	// follower is nil unless another broker leads.
	follower *core.Follower
	// tenure counts how often this broker has begun to lead. Within one tenure the
	// log is never cut, whatever the leader epoch.
	tenure uint64
	// epoch and leaderID are the image's, whoever leads.
	epoch    kafka.LeaderEpoch
	leaderID kafka.BrokerID
	// gone is what requests are told after the partition was taken away from here
	// or its directory failed; nil while it is well.
	gone error
	// stable is the last stable offset that watchers have been told of.
	stable kafka.Offset
	// unseen counts the bytes that were appended and lie above the high watermark.
	unseen int64
	// changes counts what watchers would have been told: a request that read the
	// partition knows by it whether it may sleep.
	changes uint64
	fetches watchList
	commits watchList
}

// Name is the topic and partition.
func (p *Partition) Name() kafka.TopicPartition { return p.name }

// TopicID is the topic's id.
func (p *Partition) TopicID() kafka.TopicID { return p.topicID }

// Log is the partition's log on disk.
func (p *Partition) Log() *storage.Log { return p.log.Load() }

// ReadLog reads from the log as storage.Log.Read does, up to its end. It waits
// while the log is exchanged for another (AlterLogDir).
func (p *Partition) ReadLog(from kafka.Offset, maxBytes int) (storage.Slice, error) {
	p.role.RLock()
	defer p.role.RUnlock()
	return p.Log().Read(from, maxBytes, p.Log().LogEnd(), true)
}

// LeaderEpoch is the newest leader epoch that the image has given, and whether
// this broker leads in it.
func (p *Partition) LeaderEpoch() (epoch kafka.LeaderEpoch, leads bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch, p.leader != nil
}

// HighWatermark is the offset below which records are committed, as far as this
// replica knows.
func (p *Partition) HighWatermark() kafka.Offset { return p.Log().HighWatermark() }

// led returns the leader core under mu, or why there is none. wanted is the
// leader epoch that the client knows, kafka.NoEpoch if it did not say
// (Partition.getLocalLog).
func (p *Partition) led(wanted kafka.LeaderEpoch) (*core.Leader, error) {
	if err := p.checkEpoch(wanted); err != nil {
		return nil, err
	}
	if p.leader == nil {
		return nil, p.notLed()
	}
	return p.leader, nil
}

// notLed is what requests are told that only a leader answers.
func (p *Partition) notLed() error {
	return errors.New(errors.NotLeaderOrFollower, "leader not local for partition %s on broker %d", p.name, p.owner.self)
}

// checkEpoch compares the leader epoch that a request names with the current
// one, under mu.
func (p *Partition) checkEpoch(wanted kafka.LeaderEpoch) error {
	if p.gone != nil {
		return p.gone
	}
	switch code := core.CheckEpoch(p.epoch, wanted); code {
	case errors.None:
		return nil
	case errors.FencedLeaderEpoch:
		return errors.New(code, "leader epoch %d of the request for %s is older than %d", wanted, p.name, p.epoch)
	default:
		return errors.New(code, "leader epoch %d of the request for %s is newer than %d", wanted, p.name, p.epoch)
	}
}

// step gives the leader core an event under mu and carries out its effects.
func (p *Partition) step(e core.Event) {
	if p.leader == nil {
		return
	}
	p.carryOut(p.leader.Step(e))
}

func (p *Partition) carryOut(e core.Effects) {
	if e.HighWatermarkMoved {
		p.raise(p.leader.HighWatermark())
	}
	if e.Propose != nil {
		p.owner.isrs.propose(p, e.Propose)
	}
}

// raise gives the log a new high watermark and wakes up who waits for it, under
// mu.
func (p *Partition) raise(to kafka.Offset) {
	hw := p.Log().SetHighWatermark(to)
	p.changes++
	bytes := p.unseen
	if hw >= p.Log().LogEnd() {
		p.unseen = 0
	}
	p.fetches.moved(toHighWatermark, bytes)
	p.commits.reached(hw)
	if stable := p.Log().LastStable(); stable != p.stable {
		p.stable = stable
		p.fetches.moved(toLastStable, bytes)
	}
}

// appended tells the core and the followers that wait of new records, under mu.
func (p *Partition) appended(end kafka.Offset, bytes int, nowMs int64) {
	p.unseen += int64(bytes)
	p.changes++
	p.fetches.moved(toLogEnd, int64(bytes))
	p.step(core.Appended{End: end, NowMs: nowMs})
}

// upset wakes everybody up under mu: who leads, or whether the partition is
// here, has changed.
func (p *Partition) upset() {
	p.changes++
	p.fetches.all()
	p.commits.all()
}

// ISR is the in-sync set of the image while this broker leads, else nil. It must
// not be changed.
func (p *Partition) ISR() []kafka.BrokerID {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return nil
	}
	return p.leader.ISR()
}
