package coordinator

import (
	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// decision is an event that the state has folded in, with what came of it. Until
// it is appended it can be taken back.
type decision struct {
	request *request // nil of timers and expiry
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
func (s *shard) decide(d decision) {
	d.env = s.env()
	if s.saved == nil {
		s.saved = s.state.Clone()
	}
	d.effects = s.state.Step(d.env, d.event)
	size := sizeOf(d.effects.Records)
	alone := d.alone()
	if len(s.decisions) > 0 && (alone || s.bytes+size > s.room()) {
		// Take the state back to before this event: append the others first.
		s.state = s.saved.Clone()
		for i := range s.decisions {
			s.state.Step(s.decisions[i].env, s.decisions[i].event)
		}
		s.flush()
		if !s.usable() {
			// Who is parked has its answer by that, or will have.
			if d.request != nil && d.request.body == nil {
				d.request.fail(errors.NotCoordinator)
			}
			return
		}
		s.saved = s.state.Clone()
		d.effects = s.state.Step(d.env, d.event)
		size, alone = sizeOf(d.effects.Records), d.alone()
	}
	s.decisions, s.bytes = append(s.decisions, d), s.bytes+size
	if alone || s.bytes > s.room() {
		s.flush()
	}
}

// alone reports whether the decision needs a batch of its own: of a producer, or
// because it may be split.
func (d *decision) alone() bool {
	_, ending := d.event.(group.Ended)
	return ending || len(d.effects.Records) > 0 && (d.effects.Producer >= 0 || d.effects.Splittable)
}

func (s *shard) room() int { return s.log.MaxBatch() - batch.HeaderSize }

// flush appends the batch. Then its answers wait for the high watermark and its
// timers are set; or the append fails, and nothing of it has happened.
func (s *shard) flush() {
	if len(s.decisions) == 0 {
		return
	}
	appended, err := s.append()
	s.owner.metrics.count(s.decisions, err)
	if err != nil {
		s.rollBack(err, appended)
		s.deciding.reset()
		if lost(err) {
			s.depose(err)
		}
		return
	}
	end := s.state.End()
	if appended > 0 {
		s.appended(end)
	}
	for i := range s.decisions {
		d := &s.decisions[i]
		s.apply(d.effects, end)
		switch {
		case d.request != nil && d.request.body == nil:
			s.reply(d.request, nil, end)
		case d.request == nil:
			if _, ok := d.event.(group.Expire); ok {
				s.expired(d.effects.Next)
			}
		}
	}
	s.deciding.reset()
}

// apply carries out the effects of a decision that is appended.
func (s *shard) apply(e group.Effects, end kafka.Offset) {
	for _, t := range e.Timers {
		s.timers.set(t)
	}
	for _, a := range e.Answers {
		r := s.parked[a.Token]
		if r == nil {
			panic("coordinator: an answer for a request that does not wait")
		}
		delete(s.parked, a.Token)
		a.Response.SetVersion(r.body.GetVersion())
		s.reply(r, a.Response, end)
	}
}

// append writes the records of all decisions, as one batch unless one decision
// has more than fits. It returns how many records, or markers, are in the log.
func (s *shard) append() (int, error) {
	first := &s.decisions[0]
	if r := first.request; r != nil && r.ending != nil {
		return s.appendMarker(r.ending, first.env.WallMs)
	}
	if s.builder == nil {
		s.builder = batch.NewBuilder(s.owner.compression)
	}
	b, now, at, n := s.builder, s.wallMs(), s.saved.End(), 0
	b.Reset()
	begin := func() {
		b.SetProducer(-1, -1, 0, false) // a sequence without a producer, as Apache's coordinators write it
		if e := &first.effects; e.Producer >= 0 {
			b.SetProducer(e.Producer, e.ProducerEpoch, 0, true)
		}
	}
	begin()
	for i := range s.decisions {
		e := &s.decisions[i].effects
		for _, r := range e.Records {
			if e.Splittable && b.Count() > 0 && b.Size()+recordOverhead+len(r.Key)+len(r.Value) > s.room() {
				if err := s.write(at+kafka.Offset(n), now); err != nil {
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
	if err := s.write(at+kafka.Offset(n), now); err != nil {
		return n, err
	}
	return n + b.Count(), nil
}

// write appends the builder's batch.
func (s *shard) write(at kafka.Offset, nowMs int64) error {
	s.buffer = s.builder.AppendTo(s.buffer[:0], at, s.epoch)
	if len(s.buffer) > s.log.MaxBatch() {
		return errors.New(errors.RecordListTooLarge, "the records of the request need a batch of %d bytes, max.message.bytes of %s is %d", len(s.buffer), Topic, s.log.MaxBatch())
	}
	return s.put(at, nowMs, 0)
}

func (s *shard) appendMarker(e *ending, nowMs int64) (int, error) {
	at := s.saved.End()
	s.buffer = batch.AppendEndTxn(s.buffer[:0], at, s.epoch, nowMs, e.marker)
	if err := s.put(at, nowMs, e.transactionVersion); err != nil {
		return 0, err
	}
	return 1, nil
}

// put appends the buffer, which the state thinks to be at an offset. Where the
// log says otherwise somebody else has appended, and the state is built anew.
func (s *shard) put(at kafka.Offset, nowMs int64, transactionVersion int16) error {
	first, err := s.log.Append(s.buffer, nowMs, transactionVersion)
	if err != nil {
		return err
	}
	if first != at {
		s.logger.Error("somebody else has appended to the partition; the groups are loaded anew", "expected", int64(at), "appended", int64(first))
		s.broken = true
	}
	if cap(s.buffer) > keptBuffer {
		s.buffer = nil
	}
	return nil
}

// keptBuffer is the largest buffer that is kept for the next batch, as
// group.coordinator.cached.buffer.max.bytes is by default.
const keptBuffer = 1 << 20

// rollBack takes the decisions back. Of those that were split, the records that
// are in the log stay.
func (s *shard) rollBack(err error, appended int) {
	if s.state = s.saved; appended > 0 {
		s.state = s.saved.Clone()
	}
	partly := appended > 0
	s.logger.Warn("an append failed; its requests are answered with an error", "requests", len(s.decisions), "error", err)
	code := appendError(err)
	for i := range s.decisions {
		d := &s.decisions[i]
		for _, r := range d.effects.Records[:min(appended, len(d.effects.Records))] {
			appended--
			if err := s.state.Load(s.state.End(), -1, r.Key, r.Value); err != nil {
				panic("coordinator: a record of our own cannot be loaded: " + err.Error())
			}
		}
		s.refuse(d, code)
	}
	if partly {
		s.appended(s.state.End())
	}
}

// refuse answers a decision that was taken back; a timer comes again.
func (s *shard) refuse(d *decision, code errors.Code) {
	switch e := d.event.(type) {
	case group.Fired:
		s.timers.set(group.TimerChange{Timer: e.Timer, AtMs: s.nowMs() + retryTimer.Milliseconds()})
	case group.Expire:
		s.expiring, s.expireAtMs = false, s.nowMs()+s.owner.retentionCheck.Milliseconds()
	}
	if d.request != nil {
		delete(s.parked, d.request.token)
		d.request.fail(code)
	}
}
