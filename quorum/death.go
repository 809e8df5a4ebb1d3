package quorum

import (
	"kvorum/internal/kafka"
	"kvorum/quorum/controller"
)

// The core's side of deathWatch: what it hears is passed on, and who is proven to
// be dead is fenced by records like anybody else.

// watchesDeaths says whether brokers are fenced on proof of death.
func (c *Core) watchesDeaths() bool { return c.role == active && c.cfg.Settings.FenceOnDeath }

// heard notes a sign of life over a connection.
func (c *Core) heard(id kafka.BrokerID, epoch kafka.BrokerEpoch, conn uint64) {
	b := c.pending.Broker(id)
	if !c.watchesDeaths() || b == nil || b.Epoch != epoch {
		return
	}
	before := c.deaths.brokers[id].inSight()
	c.out.Dials = append(c.out.Dials, c.deaths.heard(b, conn)...)
	c.changed = c.changed || c.deaths.brokers[id].inSight() != before
}

func (c *Core) stepConnectionEnded(ev ConnectionEnded) {
	if !c.watchesDeaths() {
		return
	}
	c.changed = true // BrokersInSight
	if id, hungUp := c.deaths.ended(c.pending, c.now, ev.Connection, ev.ByPeer); hungUp {
		c.sessions.HangUp(id, c.pending.Broker(id).Epoch)
	}
}

func (c *Core) stepDialed(ev Dialed) {
	if !c.watchesDeaths() {
		return
	}
	c.changed = true // BrokersInSight
	if dead := c.deaths.dialed(c.now, ev); dead != kafka.NoLeader {
		c.fenceDead(dead, ev.Epoch)
	}
}

// fenceDead fences a broker on proof of death, unless the proof says more about
// this controller than about the broker, or too much waits for its commit: the
// session will do it then.
func (c *Core) fenceDead(id kafka.BrokerID, epoch kafka.BrokerEpoch) {
	timeout := c.cfg.Settings.SessionTimeoutMs
	if c.deaths.mostLookDead(c.pending, c.now, timeout) {
		c.note(true, "broker %d closed its connection and its listeners refuse, but so do most brokers': "+
			"this controller may be the one that is cut off; no broker is fenced before its session ends", id)
		return
	}
	if c.bytes > c.limits.pendingBytes || c.transaction != nil {
		return
	}
	d, ok := controller.FenceDead(c.input(controller.Caller{}), id, epoch)
	if !ok {
		return
	}
	if err := c.apply(d); err != nil {
		c.note(true, "fence broker %d, whose process is gone: %v", id, err)
		return
	}
	until := c.sessions.PresumeDead(id, c.now, timeout)
	c.deaths.brokers[id].fencedMs = c.now
	c.stats.FencedOnDeath++
	c.note(false, "fencing broker %d: it closed its connection, and every listener of it refused twice; elections that may lose data wait %d ms", id, max(0, until-c.now))
}

// watchDeaths makes the dials that are due.
func (c *Core) watchDeaths() {
	if c.watchesDeaths() {
		c.out.Dials = append(c.out.Dials, c.deaths.tick(c.pending, c.now)...)
	}
}

// electHeldBack holds the elections that waited for the end of the session of
// one broker that was presumed dead, or that this controller inherited; again asks
// to be called once more.
func (c *Core) electHeldBack(in controller.Input) (d controller.Decision, again bool) {
	whose, due := c.sessions.NoLongerPresumed(c.now)
	if !due {
		return controller.Decision{}, false
	}
	d, more := controller.ElectHeldBack(in, whose)
	if !more {
		c.sessions.Forgive(whose)
	}
	return d, true
}
