package sim

import (
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// heal ends all faults. From here on everything must come to rest: brokers
// unfenced, every replica in sync, every batch acknowledged, all replicas the
// same bytes.
func (w *World) heal() {
	w.healing = true
	w.tell("all faults end")
	for _, u := range w.open {
		u.end()
	}
	w.open = nil
	if a := w.ambush; a != nil && a.heal != nil {
		a.heal()
	}
	w.ambush = nil
	for _, c := range w.controllers {
		if !c.up {
			c.start()
		}
	}
	for _, b := range w.brokers {
		b.stopping = false
		if !b.up {
			b.start()
		}
	}
	w.calm("recovery", func() bool {
		return w.allUnfenced() && w.allInSync() && w.allAcknowledged() && w.allEnded() && w.allReplicated() && (!w.plan.Groups || w.allCoordinated())
	})
	if w.plan.Groups {
		w.compareGroups()
	}
	for _, name := range w.names() {
		for _, b := range w.brokers {
			w.truth.compare(b.partition(name), 0, w.truth.logs[name].end)
			b.partition(name).compareCommitted(w.truth.logs[name].end)
		}
	}
	w.calm("the consumers' end", w.allConsumed)
}

func (w *World) allUnfenced() bool {
	c := w.activeController()
	if c == nil {
		return false
	}
	for _, b := range w.brokers {
		if me := c.state.Image.Broker(b.id); me == nil || me.Fenced || me.Epoch != b.epoch || !b.up {
			return false
		}
	}
	return true
}

// allInSync reports whether every replica is in sync, in the newest image and in
// what the brokers act on.
func (w *World) allInSync() bool {
	c := w.activeController()
	if c == nil || !w.inSync(c.state.Image) {
		return false
	}
	for _, b := range w.brokers {
		if !w.inSync(b.replay.Image()) {
			return false
		}
	}
	return true
}

func (w *World) inSync(im *image.Image) bool {
	if im.TopicCount() < len(w.topics()) {
		return false
	}
	for t := range im.Topics() {
		for _, p := range t.Partitions() {
			if len(p.ISR) != brokerCount || p.Leader == kafka.NoLeader {
				return false
			}
		}
	}
	return true
}

func (w *World) allAcknowledged() bool {
	for _, p := range w.producers {
		for _, l := range p.lanes {
			if l.batch != nil {
				return false
			}
		}
	}
	return true
}

// allReplicated reports whether all replicas end where the committed log does.
func (w *World) allReplicated() bool {
	for _, name := range w.names() {
		for _, b := range w.brokers {
			p := b.partition(name)
			if p == nil || p.log.LogEnd() != w.truth.logs[name].end {
				return false
			}
		}
	}
	return true
}
