package sim

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/quorum"
)

// When a process dies its kernel closes its connections, and refuses new ones. A
// machine that lost its power does neither. Something between the two may do both in
// a broker's name (docs/design/0004-fencing-on-proof-of-death.md).

// connection is the one between a run of a broker and a run of a controller.
func (w *World) connection(b *broker, c *controllerNode) uint64 {
	return uint64(b.id+1)<<48 | uint64(b.lives)<<24 | uint64(c.id-firstController+1)<<20 | uint64(c.lives)
}

// hangUp closes the connections of a broker, or those that lead to it are closed in
// its name.
func (b *broker) hangUp() {
	b.hungUp = b.lives
	for _, c := range b.w.controllers {
		conn := b.w.connection(b, c)
		b.w.send(b.node(), c.node(), func() {
			c.inbox = append(c.inbox, quorum.ConnectionEnded{Connection: conn, ByPeer: true})
		})
	}
}

// dial finds out what a broker's only listener does. The answer is that of the moment
// in which the dial arrives.
func (c *controllerNode) dial(d quorum.Dial) {
	w, b := c.w, c.w.brokers[d.Broker]
	w.send(c.node(), c.node(), func() {
		var a quorum.DialAnswer
		before := c.refused[b.id]
		c.refused[b.id] = 0
		switch {
		case w.network.cut[[2]node{c.node(), b.node()}] > 0, w.network.cut[[2]node{b.node(), c.node()}] > 0, b.dark:
			w.event("dial unanswered")
		case b.slandered > 0, !b.up:
			a.Refused = true
			c.refused[b.id] = before + 1
			w.event("dial refused")
		default: // also where it is paused: its kernel answers
			a.Reached = fmt.Sprintf("127.0.0.%d:9092", b.id)
		}
		c.inbox = append(c.inbox, quorum.Dialed{Broker: d.Broker, Epoch: d.Epoch, Number: d.Number, Answers: []quorum.DialAnswer{a}})
	})
}

// checkProof checks that some broker has refused twice, one right after the other, and
// was not silent in between.
func (c *controllerNode) checkProof() {
	for id, times := range c.refused {
		if times >= 2 {
			c.refused[id] = 0
			return
		}
	}
	c.w.fail("ProofOfDeath", "controller %d fenced a broker on proof of death, and none has refused twice", c.id)
}

// checkSuspicion checks that no more than half of the brokers are taken for dead within one
// session: rather this controller is the one that is cut off. One that is back since
// does not count: it was heard, or could have been.
func (c *controllerNode) checkSuspicion(now *quorum.State) {
	var last int64
	for id := range c.proven {
		was, is := c.state.Image.Broker(kafka.BrokerID(id)), now.Image.Broker(kafka.BrokerID(id))
		if was == nil || is == nil || !is.Fenced || is.Epoch != was.Epoch {
			c.proven[id] = 0
			continue
		}
		if !was.Fenced {
			c.proven[id], c.deciding[id] = c.deciding[id], 0
		}
		if b := c.w.brokers[id]; b.up && b.slandered == 0 || c.proven[id] < b.startedAt {
			c.proven[id] = 0
		}
		last = max(last, c.proven[id])
	}
	dead := 0
	for _, at := range c.proven {
		if at > 0 && last-at < sessionMs {
			dead++
		}
	}
	if 2*dead > brokerCount {
		c.w.fail("ProofOfDeath", "controller %d has fenced %d of %d brokers within one session, and suspects itself of nothing", c.id, dead, brokerCount)
	}
}

// slander closes a broker's connections in its name and refuses new ones, until the
// returned function is called.
func (w *World) slander(b *broker) (end func()) {
	if !b.up {
		return nil
	}
	w.tell("broker %d looks dead", b.id)
	w.event("looked dead")
	b.slandered++
	b.hangUp()
	return func() { b.slandered-- }
}
