package quorum

import (
	"kvorum/internal/kafka"
	"kvorum/quorum/controller"
)

// timer is something the active controller decides by itself from time to time.
type timer struct {
	name   string
	every  int64 // milliseconds
	due    int64 // milliseconds since 1970; 0: not scheduled yet
	decide func(controller.Input) (controller.Decision, bool)
}

// newTimers lists the periodic decisions. The bool of decide asks to be called
// again at once, since the decision was one of several.
func (c *Core) newTimers() []timer {
	timers := []timer{
		{name: "fence expired brokers", every: c.sessionCheckMs(), decide: c.fenceExpired},
		{name: "follow the membership", every: voterCheckMs, decide: c.followMembership},
		{name: "expire delegation tokens", every: 3_600_000, decide: once(controller.ExpireTokens)},
	}
	if c.cfg.MaxIdleMs > 0 {
		timers = append(timers, timer{name: "no-op", every: c.cfg.MaxIdleMs, decide: once(controller.NoOp)})
	}
	if c.cfg.BalanceIntervalMs > 0 {
		timers = append(timers, timer{name: "balance leaders", every: c.cfg.BalanceIntervalMs, decide: controller.BalanceLeaders})
	}
	if c.cfg.UncleanIntervalMs > 0 {
		timers = append(timers, timer{name: "unclean elections", every: c.cfg.UncleanIntervalMs, decide: controller.ElectUnclean})
	}
	return timers
}

// sessionCheckMs is how often sessions are looked at: often enough that fencing
// is late by a tenth of a session at most.
func (c *Core) sessionCheckMs() int64 { return max(10, c.cfg.Settings.SessionTimeoutMs/20) }

func once(decide func(controller.Input) controller.Decision) func(controller.Input) (controller.Decision, bool) {
	return func(in controller.Input) (controller.Decision, bool) { return decide(in), false }
}

func (c *Core) fenceExpired(in controller.Input) (controller.Decision, bool) {
	if d, again := c.electHeldBack(in); again || len(d.Records) > 0 {
		return d, true
	}
	d, id := controller.FenceExpired(in)
	if id == kafka.NoLeader {
		c.sessions.Prune(c.pending, c.now, c.cfg.Settings.SessionTimeoutMs)
		return d, false
	}
	c.stats.FencedBySession++
	c.note(false, "fencing broker %d: no heartbeat for %d ms", id, c.cfg.Settings.SessionTimeoutMs)
	return d, true
}

// maxTimerRounds bounds the decisions of one timer in one step, so that a large
// rebalance cannot keep requests waiting; the rest follows in the next step.
const maxTimerRounds = 4

// runTimers takes the decisions that are due.
func (c *Core) runTimers() {
	if c.role != active || c.transaction != nil {
		return
	}
	for i := range c.timers {
		t := &c.timers[i]
		if t.due == 0 {
			t.due = c.now + t.every
		}
		if c.now < t.due || c.bytes > c.limits.pendingBytes {
			continue
		}
		t.due = c.now + t.every
		for range maxTimerRounds {
			d, again := t.decide(c.input(controller.Caller{}))
			if err := c.apply(d); err != nil {
				c.note(true, "%s: %v", t.name, err)
				break
			}
			if !again {
				break
			}
			t.due = c.now
		}
	}
}

// nextWake is when the core has something to do without an event.
func (c *Core) nextWake() int64 {
	next := c.parked.nextDeadline()
	if c.reclaimAt > 0 && (next == 0 || c.reclaimAt < next) {
		next = c.reclaimAt
	}
	if due := c.nextProbe(); due > 0 && (next == 0 || due < next) {
		next = due
	}
	if due := c.deaths.nextMs(); c.role == active && due > 0 && (next == 0 || due < next) {
		next = due
	}
	if c.role == active && c.transaction != nil && (next == 0 || c.transaction.dueMs < next) {
		next = c.transaction.dueMs
	}
	if c.role != active || c.bytes > c.limits.pendingBytes || c.transaction != nil {
		return next // no timer runs: runTimers
	}
	for i := range c.timers {
		if due := c.timers[i].due; next == 0 || due < next {
			next = due
		}
	}
	return next
}
