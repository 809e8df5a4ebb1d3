package replica

import (
	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// TopicConfig is the effective configuration of a topic's logs in the image that
// was published last: storage.DirsOptions.Config.
func (ps *Partitions) TopicConfig(topic string) storage.LogConfig {
	return ps.newSettings(ps.image.Load()).of(topic).log
}

// DirectoryFailed takes the partitions of a log directory offline for good: they
// answer KAFKA_STORAGE_ERROR, to those who wait as well
// (storage.DirsOptions.Failed). The controllers move their leadership away when
// the broker's heartbeat names the directory.
func (ps *Partitions) DirectoryFailed(dir kafka.DirectoryID) {
	for _, p := range ps.Hosted() {
		if where, ok := ps.dirs.Where(p.name); ok && where == dir {
			if ps.moves.drop(p) {
				ps.homes.assign(p, dir) // the controllers may have been told of the other one
			}
			p.end(errors.KafkaStorageError.Err())
		}
	}
}

// Reopened gives a partition another log in place of one that was offline for
// want of room (storage.DirsOptions.Reopened). A leader goes on from the end of
// what is on the disk; who waited for what was never written is told that it
// leads anew. A partition whose log could not be opened before becomes what the
// image says.
func (ps *Partitions) Reopened(l *storage.Log) {
	p := ps.known(l.Partition())
	if p == nil || p.topicID != l.TopicID() {
		return
	}
	p.warming.Lock() // who opens the partition may have the old log in hand
	defer p.warming.Unlock()
	if p.Log() == nil {
		ps.revive(p)
		return
	}
	p.role.Lock()
	defer p.role.Unlock()
	p.log.Store(l)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil || p.gone != nil {
		return
	}
	im := ps.image.Load()
	topic := im.Topic(p.topicID)
	if topic == nil || topic.Partition(p.name.Partition) == nil {
		return // the next Publish takes it away
	}
	a := assignment{topic, p.name.Partition, topic.Partition(p.name.Partition)}
	p.begin(coreState(a, im, ps.newSettings(im).of(p.name.Topic).minISR), l.LogEnd())
	p.upset()
}

// begin makes a new leader core under mu.
func (p *Partition) begin(s core.State, end kafka.Offset) {
	l, effects := core.NewLeader(core.LeaderOptions{
		Self: p.owner.self, LagMaxMs: p.owner.lagMaxMs, State: s, End: end,
		HighWatermark: p.Log().HighWatermark(), Proposed: p.owner.journal.adopt(p, s), NowMs: p.owner.nowMs(),
	})
	p.leader, p.unseen = l, 0
	p.tenure++
	p.carryOut(effects)
}
