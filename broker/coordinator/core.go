package coordinator

import (
	"log/slog"
	"math"
	"time"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// phase is what a core is doing.
type phase uint8

const (
	proving phase = iota // see prove
	loading
	resting // it could not be loaded: it is tried again
	active
	gone // somebody else leads
)

// CoreOptions is what a core needs. None of it may be nil.
type CoreOptions struct {
	// Log is led in Epoch. Unproven says that this is not shown yet: see prove.
	Log      Partition
	Epoch    kafka.LeaderEpoch
	Unproven bool
	// Group are the keys that decisions need, as they are now.
	Group                         func() *group.Config
	CommitTimeout, RetentionCheck time.Duration
	Compression                   batch.Compression
	// Random draws the random part of a member id.
	Random func() [16]byte
	// NowMs is what everything is waited by: a wall clock that is set ends no session.
	// WallMs goes into records, and what was committed is aged by it.
	NowMs, WallMs func() int64
	Metrics       *Metrics
	Logger        *slog.Logger
}

// Core coordinates the groups of one partition in one leader epoch: it loads their
// state, decides, appends, and answers when that is committed. It waits for nothing,
// and has no goroutine, lock or clock: whoever owns it gives it a turn when
// something has happened that a Wait named. A shard does so in production.
type Core struct {
	CoreOptions
	phase  phase
	state  *group.State
	timers *timers
	parked map[group.Token]*Request // requests that the state will answer
	tokens group.Token
	deciding
	committing
	load
	expireAtMs int64
	expireFrom string
	expiring   bool
	broken     bool // the log is not as thought: load again
}

// Wait is what a core waits for, beside requests.
type Wait struct {
	// AtMs is when it has something to do, by NowMs: 0 at once, never perhaps.
	AtMs int64
	// UpTo is where the high watermark has to come; 0: nowhere.
	UpTo kafka.Offset
}

const never = math.MaxInt64

// NewCore makes a core that has not loaded anything yet.
func NewCore(o CoreOptions) *Core {
	c := &Core{CoreOptions: o}
	c.enter(proving, errors.CoordinatorLoadInProgress)
	return c
}

// Turn does all that there is to do now: it takes requests, and what the high
// watermark and the clock bring.
func (c *Core) Turn(requests []*Request) Wait {
	if c.phase == active {
		c.settle()
	}
	for _, r := range requests {
		c.take(r)
	}
	switch c.phase {
	case active:
		c.work()
	case gone:
	default:
		c.begin()
	}
	if c.broken {
		c.enter(loading, errors.CoordinatorLoadInProgress)
	}
	return c.wait()
}

// work is a turn of a core that has loaded.
func (c *Core) work() {
	now := c.NowMs()
	for c.usable() {
		t, ok := c.timers.due(now)
		if !ok {
			break
		}
		c.decide(decision{event: group.Fired{Timer: t}})
	}
	c.expire(now)
	c.flush()
	if c.phase == active {
		c.settle()
	}
	c.giveUp(now)
}

// Lost ends the work of a core whose broker does not lead any more, or cannot tell,
// before Resign says so. One that has nothing to lose yet tries again.
func (c *Core) Lost(err error) {
	switch c.phase {
	case active:
		c.Logger.Info("this broker leads the partition no longer", "error", err)
		c.Resign()
	case proving:
		c.failed(c.unshown(err))
	}
}

// Resign fails everything that waits and forgets the state: somebody else leads.
func (c *Core) Resign() { c.enter(gone, errors.NotCoordinator) }

// State is what reads see: what is committed. Nil while it is not loaded. It is the
// core's: not to be changed, nor kept beyond the next turn.
func (c *Core) State() *group.State {
	if !c.usable() {
		return nil
	}
	return c.view()
}

// enter begins a phase with an empty state; who waits is told code.
func (c *Core) enter(p phase, code errors.Code) {
	for _, w := range c.waiting {
		w.request.fail(code)
	}
	for _, r := range c.parked {
		r.fail(code)
	}
	c.phase = p
	c.state, c.timers, c.parked = new(group.State), newTimers(), map[group.Token]*Request{}
	c.deciding.reset()
	c.committing, c.load = committing{}, load{}
	c.broken = false
}

// refusal is what requests are told that come now, or None.
func (c *Core) refusal() errors.Code {
	switch {
	case c.phase == gone:
		return errors.NotCoordinator
	case !c.usable():
		return errors.CoordinatorLoadInProgress
	}
	return errors.None
}

// take handles one request.
func (c *Core) take(r *Request) {
	if code := c.refusal(); code != errors.None {
		r.fail(code)
		return
	}
	switch {
	case r.read != nil:
		r.read(c.view())
		r.done <- result{}
	case r.ending != nil:
		e := r.ending
		c.decide(decision{request: r, event: group.Ended{Producer: e.marker.ProducerID, Commit: e.marker.Commit}})
	case r.deleted != nil:
		c.decide(decision{request: r, event: group.TopicsDeleted{Topics: r.deleted}})
	case r.plain():
		c.show(r)
	default:
		c.tokens++
		r.token = c.tokens
		c.parked[r.token] = r
		c.decide(decision{request: r, event: group.Request{Token: r.token, Client: r.client, Body: r.body}})
	}
}

// usable reports whether the state may be gone on with.
func (c *Core) usable() bool { return c.phase == active && !c.broken }

// expire lets offsets and groups expire, a part of them in each turn.
func (c *Core) expire(nowMs int64) {
	if !c.usable() || nowMs < c.expireAtMs && !c.expiring {
		return
	}
	if !c.expiring {
		c.expiring, c.expireFrom = true, ""
	}
	c.decide(decision{event: group.Expire{From: c.expireFrom, Limit: expiredAtOnce}})
}

// expired notes how far an expiry came.
func (c *Core) expired(next string) {
	c.expireFrom = next
	if next == "" {
		c.expiring = false
		c.expireAtMs = c.NowMs() + c.RetentionCheck.Milliseconds()
	}
}

// wait says when the core has something to do next.
func (c *Core) wait() Wait {
	switch c.phase {
	case loading:
		return Wait{}
	case resting:
		return Wait{AtMs: c.againMs}
	case proving:
		return Wait{AtMs: never, UpTo: c.proof}
	case gone:
		return Wait{AtMs: never}
	}
	w := Wait{AtMs: c.expireAtMs}
	if c.expiring {
		w.AtMs = 0
	}
	if t, ok := c.timers.next(); ok {
		w.AtMs = min(w.AtMs, t)
	}
	if len(c.waiting) > 0 {
		w.AtMs = min(w.AtMs, c.waiting[0].byMs)
	}
	if len(c.snapshots) > 0 {
		w.UpTo = c.snapshots[0].end
	}
	return w
}

func (c *Core) env() group.Env {
	return group.Env{NowMs: c.NowMs(), WallMs: c.WallMs(), Random: c.Random(), Config: c.Group()}
}
