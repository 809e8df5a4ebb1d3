package sim

import (
	"encoding/binary"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
	"kvorum/quorum"
	"kvorum/quorum/controller"
)

// What a broker's session protects: its id from a second process, and partitions from
// elections that may lose data.

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
	req := b.impostorRequest(as)
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

// impostorRequest is the registration of another process with the broker's id.
func (b *broker) impostorRequest(as impostor) kmsg.Request {
	req := b.registration().(*kmsg.BrokerRegistrationRequest)
	req.PreviousBrokerEpoch = -1
	req.IncarnationID = kafka.UUID{0: 6}
	binary.BigEndian.PutUint64(req.IncarnationID[8:], uint64(b.w.step))
	if as == stranger || as == strangerAfter {
		req.LogDirs = [][16]byte{{0: 8, 15: byte(b.id)}}
	}
	return req
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
