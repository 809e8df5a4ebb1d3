package sim

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
	"kvorum/quorum"
	"kvorum/quorum/controller"
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

// beat is the last heartbeat that a controller took from a broker that is not fenced:
// when it arrived, under which epoch.
type beat struct {
	epoch kafka.BrokerEpoch
	at    int64
}

// stands says whether the session of a broker's registration cannot have expired, since
// this controller heard it.
func (c *controllerNode) stands(id kafka.BrokerID, epoch kafka.BrokerEpoch) bool {
	h := c.beats[id]
	return h.at > 0 && h.epoch == epoch && c.w.now-h.at < sessionMs
}

// impostor is how a second process registers with the id of a broker that runs.
type impostor int

const (
	// stranger has directories of its own.
	stranger impostor = iota
	// double has the directories of the one that runs, or says so.
	double
	// strangerAfter is a stranger that comes when the broker's connection has ended.
	strangerAfter
	impostors
)

// secondProcess lets a second process with a running broker's id register, which the
// session must protect. Not one whose connection was ended before: it may be about to be
// fenced.
func (w *World) secondProcess(b *broker, as impostor) {
	c := w.activeController()
	if c == nil || !b.up || b.stopping || !c.stands(b.id, b.epoch) || !w.power.allows(b, w.step) || b.hungUp == b.lives {
		return
	}
	if me := c.state.Image.Broker(b.id); me == nil || me.Fenced || me.Epoch != b.epoch {
		return
	}
	if as == strangerAfter {
		b.hungUp = b.lives
		c.inbox = append(c.inbox, quorum.ConnectionEnded{Connection: w.connection(b, c), ByPeer: true})
	}
	req := b.registration().(*kmsg.BrokerRegistrationRequest)
	req.PreviousBrokerEpoch = -1
	req.IncarnationID = kafka.UUID{0: 6}
	binary.BigEndian.PutUint64(req.IncarnationID[8:], uint64(w.step))
	if as == stranger || as == strangerAfter {
		req.LogDirs = [][16]byte{{0: 8, 15: byte(b.id)}}
	}
	epoch, life, fencings := b.epoch, b.lives, c.state.Stats.FencedOnDeath
	w.lastRequest++
	w.requests[w.lastRequest] = &controllerRequest{from: outside, answer: func(r kmsg.Response) {
		resp, ok := r.(*kmsg.BrokerRegistrationResponse)
		switch {
		case !ok:
		case errors.Code(resp.ErrorCode) == errors.DuplicateBrokerRegistration:
			w.event("second process refused")
		case resp.ErrorCode != 0:
		case c.stands(b.id, epoch) && b.lives == life && !b.stopping && c.state.Stats.FencedOnDeath == fencings && (as != double || b.hungUp != life):
			w.fail("NoLivingBrokerIsReplaced", "a second process took the id of broker %d, which was heard %d ms before", b.id, w.now-c.beats[b.id].at)
		default: // its session had ended: it has lost its seats as by a loss of power
			w.power.lost(b)
			w.power.lostLife--
		}
	}}
	c.inbox = append(c.inbox, quorum.Request{ID: w.lastRequest, Caller: controller.Caller{Principal: "User:sim", Host: "127.0.0.1"}, Body: req, DeadlineMs: w.now + 2000})
}

// checkUnclean checks that an election that may lose data waits until the sessions of all
// replicas would have ended: what proves a broker dead can be false.
func (c *controllerNode) checkUnclean(was, is *image.Image) {
	for _, name := range everything() {
		old, now := partitionIn(was, name), partitionIn(is, name)
		if old == nil || now == nil || now.PartitionEpoch != old.PartitionEpoch+1 || now.Leader == kafka.NoLeader || now.Leader == old.Leader ||
			slices.Contains(old.ISR, now.Leader) || slices.Contains(old.ELR, now.Leader) {
			continue
		}
		c.w.event("election that may lose data")
		for _, id := range now.Replicas { // who is fenced in the same step may be so after the election
			if r := was.Broker(id); id != now.Leader && r != nil && r.Fenced && !r.InControlledShutdown && c.stands(id, r.Epoch) {
				c.w.fail("UncleanElectionsWait", "controller %d elected broker %d for %s, ISR %v, ELR %v, and broker %d was heard %d ms before", c.id, now.Leader, name, old.ISR, old.ELR, id, c.w.now-c.beats[id].at)
			}
		}
	}
}
