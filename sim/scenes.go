package sim

import (
	"math"
	"slices"

	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
)

// Some rules matter in a moment that faults at random steps hardly ever meet. The
// faults here are scenes that lead there.

// ambush is a loss of power that waits until its victim is proposed for an ISR. What
// the leader has asked the controllers for stays on its way until they have registered
// the victim's next run, which does not have what the leader has seen it have (KIP-903).
type ambush struct {
	victim *broker
	epoch  kafka.BrokerEpoch // the victim's before it was sprung
	sprung bool
	heal   func()
	until  int // step at which it is given up
}

// held is when what an ambush holds up arrives.
const held = math.MaxInt

// layAmbush cuts a broker off from the others until it must have left their ISRs.
func (w *World) layAmbush(b *broker, steps int) {
	if w.ambush != nil || !b.up {
		return
	}
	w.tell("an ambush for broker %d", b.id)
	w.ambush = &ambush{victim: b, epoch: b.epoch, until: w.step + 20_000}
	w.open = append(w.open, undo{w.step + 4000 + steps, w.cutFromBrokers(b)})
}

func (w *World) cutFromBrokers(b *broker) (end func()) {
	var ends []func()
	for _, other := range w.brokers {
		if other != b {
			ends = append(ends, w.cutLink(b.node(), other.node()), w.cutLink(other.node(), b.node()))
		}
	}
	return together(ends...)
}

// proposed springs the ambush, if it is the victim that a leader has just proposed.
func (w *World) proposed(p *partition, change *core.Proposal) {
	a := w.ambush
	if a == nil || w.healing || p.b == a.victim || !change.Has(a.victim.id) || slices.Contains(p.leader.ISR(), a.victim.id) {
		return
	}
	if !a.sprung {
		if !w.power.allowsNow(a.victim, w.step) {
			return
		}
		a.sprung, a.epoch = true, a.victim.epoch
		w.event("proposed replica lost power")
		a.victim.losePower()
		w.power.lost(a.victim)
		a.heal = w.cutFromBrokers(a.victim)
		w.open = append(w.open, undo{w.step + 100, func() {
			if !a.victim.up {
				a.victim.start()
			}
		}})
	}
	for i := range w.network.messages {
		if m := &w.network.messages[i]; m.from == p.b.node() && m.to >= firstController {
			m.after = held
		}
	}
}

// endAmbush lets what was held up arrive, when the victim's next run is registered and
// unfenced, or nothing came of it.
func (w *World) endAmbush() {
	a := w.ambush
	if a == nil {
		return
	}
	me := w.truth.newest.Broker(a.victim.id)
	back := a.sprung && me != nil && me.Epoch != a.epoch && me.Epoch == a.victim.epoch && !me.Fenced
	if !back && w.step < a.until {
		return
	}
	for i := range w.network.messages {
		if m := &w.network.messages[i]; m.after == held {
			m.after = 0
			w.event("proposal outlived a replica")
		}
	}
	if a.heal != nil {
		w.open = append(w.open, undo{w.step + 300, a.heal})
	}
	w.ambush = nil
}

// hideLog takes the log of one partition away from a broker that is down, kills all
// controllers, and starts the broker, which goes on as who it was. At the end the log is
// back, as that of a disk that was not mounted is. Nothing is lost then, if nobody has
// taken the broker to have nothing.
func (w *World) hideLog(b *broker, which int) (end func()) {
	names := names()
	name := names[which%len(names)]
	if !b.up || !w.plan.Resume || b.hidden != "" || b.partition(name) == nil {
		return nil
	}
	ends := []func(){w.downController(w.controllers[0]), w.downController(w.controllers[1]), w.downController(w.controllers[2])}
	for _, c := range w.controllers {
		ends = append(ends, w.cutLink(b.node(), c.node()), w.cutLink(c.node(), b.node()))
	}
	b.kill()
	b.hide("/" + name.String())
	b.start()
	return func() {
		if b.up {
			b.kill()
		}
		b.show()
		b.start()
		together(ends...)()
	}
}

const hiddenName = "/hidden"

// hide takes a directory away, durably; show brings it back.
func (b *broker) hide(dir string) {
	b.w.tell("%s of broker %d is hidden", dir, b.id)
	if err := b.fs.Rename(dir, hiddenName); err != nil {
		panic(err)
	}
	b.hidden = dir
	syncFile(b, "/")
}

func (b *broker) show() {
	if err := b.fs.RemoveAll(b.hidden); err != nil {
		panic(err)
	}
	if err := b.fs.Rename(hiddenName, b.hidden); err != nil {
		panic(err)
	}
	b.hidden = ""
	syncFile(b, "/")
}

// has says whether the broker has a log of a partition.
func (b *broker) has(name kafka.TopicPartition) bool {
	_, err := b.fs.Stat("/" + name.String())
	return err == nil
}
