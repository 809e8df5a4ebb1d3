package coordinator

import (
	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// decision is an event that the state has folded in, with what came of it. Until
// it is appended it can be taken back.
type decision struct {
	request *Request // nil of timers and expiry
	event   group.Event
	env     group.Env
	effects group.Effects
}

// deciding is the batch in the making.
type deciding struct {
	// saved is the state before the first of the decisions.
	saved     *group.State
	decisions []decision
	bytes     int // of their records, about
	builder   *batch.Builder
	buffer    []byte
}

func (d *deciding) reset() {
	clear(d.decisions)
	d.saved, d.decisions, d.bytes = nil, d.decisions[:0], 0
}

// recordOverhead is more than a record takes in a batch beside its key and value.
const recordOverhead = 24

func sizeOf(records []group.Record) int {
	n := 0
	for _, r := range records {
		n += recordOverhead + len(r.Key) + len(r.Value)
	}
	return n
}

// decide folds an event in and adds what comes of it to the batch. What does not
// fit goes into the next one.
func (c *Core) decide(d decision) {
	d.env = c.env()
	if c.saved == nil {
		c.saved = c.state.Clone()
	}
	d.effects = c.state.Step(d.env, d.event)
	size := sizeOf(d.effects.Records)
	alone := d.alone()
	if len(c.decisions) > 0 && (alone || c.bytes+size > c.room()) {
		// Take the state back to before this event: append the others first.
		c.state = c.saved.Clone()
		for i := range c.decisions {
			c.state.Step(c.decisions[i].env, c.decisions[i].event)
		}
		c.flush()
		if !c.usable() {
			// Who is parked has its answer by that, or will have.
			if d.request != nil && d.request.body == nil {
				d.request.fail(errors.NotCoordinator)
			}
			return
		}
		c.saved = c.state.Clone()
		d.effects = c.state.Step(d.env, d.event)
		size, alone = sizeOf(d.effects.Records), d.alone()
	}
	c.decisions, c.bytes = append(c.decisions, d), c.bytes+size
	if alone || c.bytes > c.room() {
		c.flush()
	}
}

// alone reports whether the decision needs a batch of its own: of a producer, or
// because it may be split.
func (d *decision) alone() bool {
	_, ending := d.event.(group.Ended)
	return ending || len(d.effects.Records) > 0 && (d.effects.Producer >= 0 || d.effects.Splittable)
}

func (c *Core) room() int { return c.Log.MaxBatch() - batch.HeaderSize }

// flush appends the batch. Then its answers wait for the high watermark and its
// timers are set; or the append fails, and nothing of it has happened.
func (c *Core) flush() {
	if len(c.decisions) == 0 {
		return
	}
	appended, err := c.append()
	c.Metrics.count(c.decisions, err)
	if err != nil {
		c.rollBack(err, appended)
		c.deciding.reset()
		if lost(err) {
			c.Lost(err)
		}
		return
	}
	end := c.state.End()
	if appended > 0 {
		c.appended(end)
	}
	for i := range c.decisions {
		d := &c.decisions[i]
		c.apply(d.effects, end)
		switch {
		case d.request != nil && d.request.body == nil:
			c.reply(d.request, nil, end)
		case d.request == nil:
			if _, ok := d.event.(group.Expire); ok {
				c.expired(d.effects.Next)
			}
		}
	}
	c.deciding.reset()
}

// apply carries out the effects of a decision that is appended.
func (c *Core) apply(e group.Effects, end kafka.Offset) {
	for _, t := range e.Timers {
		c.timers.set(t)
	}
	for _, a := range e.Answers {
		r := c.parked[a.Token]
		if r == nil {
			panic("coordinator: an answer for a request that does not wait")
		}
		delete(c.parked, a.Token)
		a.Response.SetVersion(r.body.GetVersion())
		c.reply(r, a.Response, end)
	}
}

// append writes the records of all decisions, as one batch unless one decision
// has more than fits. It returns how many records, or markers, are in the log.
func (c *Core) append() (int, error) {
	first := &c.decisions[0]
	if r := first.request; r != nil && r.ending != nil {
		return c.appendMarker(r.ending, first.env.WallMs)
	}
	if c.builder == nil {
		c.builder = batch.NewBuilder(c.Compression)
	}
	b, now, at, n := c.builder, c.WallMs(), c.saved.End(), 0
	b.Reset()
	begin := func() {
		b.SetProducer(-1, -1, 0, false) // a sequence without a producer, as Apache's coordinators write it
		if e := &first.effects; e.Producer >= 0 {
			b.SetProducer(e.Producer, e.ProducerEpoch, 0, true)
		}
	}
	begin()
	for i := range c.decisions {
		e := &c.decisions[i].effects
		for _, r := range e.Records {
			if e.Splittable && b.Count() > 0 && b.Size()+recordOverhead+len(r.Key)+len(r.Value) > c.room() {
				if err := c.write(at+kafka.Offset(n), now); err != nil {
					return n, err
				}
				n += b.Count()
				b.Reset()
				begin()
			}
			b.Add(now, r.Key, r.Value)
		}
	}
	if b.Count() == 0 {
		return n, nil
	}
	if err := c.write(at+kafka.Offset(n), now); err != nil {
		return n, err
	}
	return n + b.Count(), nil
}

// write appends the builder's batch.
func (c *Core) write(at kafka.Offset, nowMs int64) error {
	c.buffer = c.builder.AppendTo(c.buffer[:0], at, c.Epoch)
	if len(c.buffer) > c.Log.MaxBatch() {
		return errors.New(errors.RecordListTooLarge, "the records of the request need a batch of %d bytes, max.message.bytes of %s is %d", len(c.buffer), Topic, c.Log.MaxBatch())
	}
	return c.put(at, nowMs, 0)
}

func (c *Core) appendMarker(e *ending, nowMs int64) (int, error) {
	at := c.saved.End()
	c.buffer = batch.AppendEndTxn(c.buffer[:0], at, c.Epoch, nowMs, e.marker)
	if err := c.put(at, nowMs, e.transactionVersion); err != nil {
		return 0, err
	}
	return 1, nil
}

// put appends the buffer, which the state thinks to be at an offset. Where the
// log says otherwise somebody else has appended, and the state is built anew.
func (c *Core) put(at kafka.Offset, nowMs int64, transactionVersion int16) error {
	first, err := c.Log.Append(c.buffer, nowMs, transactionVersion)
	if err != nil {
		return err
	}
	if first != at {
		c.Logger.Error("somebody else has appended to the partition; the groups are loaded anew", "expected", int64(at), "appended", int64(first))
		c.broken = true
	}
	if cap(c.buffer) > keptBuffer {
		c.buffer = nil
	}
	return nil
}

// keptBuffer is the largest buffer that is kept for the next batch, as
// group.coordinator.cached.buffer.max.bytes is by default.
const keptBuffer = 1 << 20

// rollBack takes the decisions back. Of those that were split, the records that
// are in the log stay.
func (c *Core) rollBack(err error, appended int) {
	if !planted.Is(planted.KeepRolledBack) {
		c.state = c.saved
	}
	if appended > 0 {
		c.state = c.saved.Clone()
	}
	partly := appended > 0
	c.Logger.Warn("an append failed; its requests are answered with an error", "requests", len(c.decisions), "error", err)
	code := appendError(err)
	for i := range c.decisions {
		d := &c.decisions[i]
		for _, r := range d.effects.Records[:min(appended, len(d.effects.Records))] {
			appended--
			if err := c.state.Load(c.state.End(), -1, r.Key, r.Value); err != nil {
				panic("coordinator: a record of our own cannot be loaded: " + err.Error())
			}
		}
		c.refuse(d, code)
	}
	if partly {
		c.appended(c.state.End())
	}
}

// refuse answers a decision that was taken back; a timer comes again.
func (c *Core) refuse(d *decision, code errors.Code) {
	switch e := d.event.(type) {
	case group.Fired:
		c.timers.set(group.TimerChange{Timer: e.Timer, AtMs: c.NowMs() + retryTimer.Milliseconds()})
	case group.Expire:
		c.expiring, c.expireAtMs = false, c.NowMs()+c.RetentionCheck.Milliseconds()
	}
	if d.request != nil {
		delete(c.parked, d.request.token)
		d.request.fail(code)
	}
}
