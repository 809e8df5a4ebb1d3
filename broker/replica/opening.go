package replica

import (
	"context"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// A broker that starts has thousands of logs on its disks, and its clients want a
// few of them first. So Publish hosts a partition whose log is on the disk without
// opening it: it is cold. Who asks for it first opens it, and becomes what the
// image says; one goroutine opens the rest. What a start takes does not grow with
// the logs, or with what a crash left to be recovered.

// cold is what a partition that is not open is to become: the newest word of the
// image about it. Publish replaces it, warm uses it up.
type cold struct {
	assignment
	image    *image.Image
	settings *settings
}

// chill gives a cold partition a newer word to become; false where it is not cold
// any more.
func (p *Partition) chill(c *cold) bool {
	for old := p.cold.Load(); old != nil; old = p.cold.Load() {
		if p.cold.CompareAndSwap(old, c) {
			return true
		}
	}
	return false
}

// warm opens a partition that is cold and returns when it is open, or has failed.
func (p *Partition) warm() {
	p.warming.Lock()
	defer p.warming.Unlock()
	for c := p.cold.Load(); c != nil; c = p.cold.Load() {
		p.become(c)
		p.cold.CompareAndSwap(c, nil) // else Publish knows better meanwhile
	}
}

// become opens the partition's log and makes the partition what the image says;
// warming is held.
func (p *Partition) become(c *cold) {
	setting := c.settings.of(p.name.Topic)
	if l := p.log.Load(); l != nil {
		l.SetConfig(setting.log)
	} else if err := p.owner.openLog(p, c.assignment, c.image, c.settings); err != nil {
		p.owner.logger.Error("log could not be opened", "partition", p.name, "error", err)
		p.mu.Lock()
		p.gone = errors.KafkaStorageError.Err()
		p.mu.Unlock()
	}
	if p.fault() == nil {
		p.assume(c.assignment, coreState(c.assignment, c.image, setting.minISR))
	}
}

// openCold opens what is cold, one partition after the other so that clients have
// the processors, whenever Publish has hosted some.
func (ps *Partitions) openCold(ctx context.Context) {
	for {
		select {
		case <-ps.chilled:
		case <-ctx.Done():
			return
		}
		for _, p := range ps.Hosted() {
			if ctx.Err() != nil {
				return
			}
			p.warm()
		}
	}
}

// known is the partition of a name as it is, nil if it is not hosted.
func (ps *Partitions) known(tp kafka.TopicPartition) *Partition {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return ps.hosted[tp]
}

// hostedAs is the partition of a name, open; nil if it is not hosted.
func (ps *Partitions) hostedAs(tp kafka.TopicPartition) *Partition {
	p := ps.known(tp)
	if p != nil && p.cold.Load() != nil {
		p.warm()
	}
	return p
}

// coldLeader reports whether the partition is to be led here when it is open.
func (p *Partition) coldLeader() bool {
	c := p.cold.Load()
	return c != nil && c.state.Leader == p.owner.self
}

// revive opens a partition whose log could not be opened before and now is;
// warming is held.
func (ps *Partitions) revive(p *Partition) {
	im := ps.image.Load()
	topic := im.Topic(p.topicID)
	if topic == nil || topic.Partition(p.name.Partition) == nil {
		return // the next Publish takes it away
	}
	p.mu.Lock()
	p.gone = nil
	p.mu.Unlock()
	p.become(&cold{assignment{topic, p.name.Partition, topic.Partition(p.name.Partition)}, im, ps.newSettings(im)})
}
