package controller

import (
	"cmp"
	"math"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// Sessions is what the active controller knows about brokers and does not
// write to the log: when each was last heard, how far it has applied the
// metadata, and how far the others must be before it may end a controlled
// shutdown (Kafka's BrokerHeartbeatManager and BrokerHeartbeatTracker).
//
// It has no clock and no lock: times come in, in milliseconds of any one
// steadily growing clock, and the quorum's loop owns it. A broker has at most
// one session, that of its newest broker epoch, and only Reset, Registered and
// Touch (of a broker that a decision has found registered) make one: so there
// are never more than registered brokers once Prune has run.
//
// Decisions read it only. The loop calls Reset at activation; Touch when a
// heartbeat arrives; Registered, Heartbeat and Prune when it has folded the
// records of RegisterBroker, Heartbeat, and anything that fences or removes.
type Sessions struct {
	brokers map[kafka.BrokerID]*session
	// presumed are the brokers that were fenced or replaced on proof of death, and
	// when their session would have expired. They were registered when they came in,
	// and leave it soon after that time (Forgive).
	presumed map[kafka.BrokerID]int64
	// inheritedMs is until when an election may be waiting for the end of a session
	// that only an earlier active controller knew of; 0 after Forgive.
	inheritedMs int64
}

type session struct {
	epoch          kafka.BrokerEpoch
	lastContactMs  int64
	metadataOffset kafka.Offset // the newest that the broker said to have applied, or NoOffset
	// shutdownOffset is the offset of the last record that moved leaders off a
	// broker in controlled shutdown, NoOffset if it is in none.
	shutdownOffset          kafka.Offset
	wantFence, wantShutdown bool
	// hungUp is true when the broker closed its heartbeat connection and was not
	// heard since.
	hungUp bool
	// unheard is true as long as nothing but the log says that the broker is there:
	// this controller became active and has not heard it yet.
	unheard bool
}

// BrokerSession is a view of one session.
type BrokerSession struct {
	ID             kafka.BrokerID
	Epoch          kafka.BrokerEpoch
	LastContactMs  int64
	MetadataOffset kafka.Offset // kafka.NoOffset if it is not known
	// WantFence and WantShutdown are those of the last heartbeat.
	WantFence, WantShutdown bool
}

// NewSessions returns an empty set of sessions: that of a controller that is
// not active.
func NewSessions() *Sessions {
	return &Sessions{brokers: map[kafka.BrokerID]*session{}, presumed: map[kafka.BrokerID]int64{}}
}

// Reset begins anew, as a controller does when it becomes active: every
// unfenced broker's session restarts at now, so that none is fenced because the
// controllers were busy electing. A broker in controlled shutdown waits until
// the others have applied all of img.
func (s *Sessions) Reset(img *image.Image, nowMs int64) {
	clear(s.brokers)
	clear(s.presumed)
	s.inheritedMs = 0
	for b := range img.Brokers() {
		if b.Fenced {
			continue
		}
		fresh := newSession(b.Epoch, nowMs)
		fresh.unheard = true
		if b.InControlledShutdown {
			fresh.shutdownOffset = img.At().Offset
		}
		s.brokers[b.ID] = fresh
	}
}

func newSession(epoch kafka.BrokerEpoch, nowMs int64) *session {
	return &session{epoch: epoch, lastContactMs: nowMs, metadataOffset: kafka.NoOffset, shutdownOffset: kafka.NoOffset}
}

// Touch notes that a broker was heard at nowMs and says to have applied the
// metadata up to metadataOffset. Call it with the epoch that the broker is
// registered at; a heartbeat with another epoch is no sign of life.
func (s *Sessions) Touch(id kafka.BrokerID, epoch kafka.BrokerEpoch, nowMs int64, metadataOffset kafka.Offset) {
	b := s.brokers[id]
	if b == nil || b.epoch != epoch {
		b = newSession(epoch, nowMs)
		s.brokers[id] = b
	}
	b.lastContactMs = max(b.lastContactMs, nowMs)
	b.metadataOffset = metadataOffset
	b.hungUp, b.unheard = false, false
}

// HangUp notes that a broker that is not fenced closed the connection of its last
// heartbeat.
func (s *Sessions) HangUp(id kafka.BrokerID, epoch kafka.BrokerEpoch) {
	if b := s.brokers[id]; b != nil && b.epoch == epoch {
		b.hungUp = true
	}
}

// Quiet reports whether nothing speaks for a broker any more although its session
// may stand: it closed its heartbeat connection and was not heard since, or this
// controller has been active for a third of a session and has never heard it. A
// broker that lives is heard within broker.heartbeat.interval.ms, which by Kafka's
// defaults is less than a quarter of a session.
func (s *Sessions) Quiet(id kafka.BrokerID, epoch kafka.BrokerEpoch, nowMs, timeoutMs int64) bool {
	b := s.brokers[id]
	return b != nil && b.epoch == epoch && b.quiet(nowMs, timeoutMs)
}

func (b *session) quiet(nowMs, timeoutMs int64) bool {
	return b.hungUp || b.unheard && b.lastContactMs+timeoutMs/3 <= nowMs
}

// PresumeDead notes that a broker is fenced or replaced on proof of death, and
// returns the time up to which its session would have stood.
func (s *Sessions) PresumeDead(id kafka.BrokerID, nowMs, timeoutMs int64) (untilMs int64) {
	untilMs = nowMs + timeoutMs
	if b := s.brokers[id]; b != nil {
		untilMs = b.lastContactMs + timeoutMs
	}
	s.presumed[id] = untilMs
	return untilMs
}

// PresumeFenced presumes every fenced broker of img dead until untilMs: whom its
// predecessor fenced on proof, a new controller does not know.
func (s *Sessions) PresumeFenced(img *image.Image, untilMs int64) {
	for b := range img.Brokers() {
		if b.Fenced {
			s.presumed[b.ID] = untilMs
		}
	}
}

// Inherit notes that until untilMs elections may be held back, of partitions of any
// broker, of which the log says nothing: those that a predecessor of this
// controller held back for a broker that may be back and unfenced by now, and those
// of an unfenced broker that it did not live to write. Nobody else will hold them.
func (s *Sessions) Inherit(untilMs int64) { s.inheritedMs = untilMs }

// NoLongerPresumed says whether elections that were held back are due, and of
// whose partitions: of all brokers' (kafka.NoLeader) when what was inherited is over,
// else of the broker with the lowest id that was presumed dead until before nowMs.
// Forgive takes it out.
func (s *Sessions) NoLongerPresumed(nowMs int64) (whose kafka.BrokerID, due bool) {
	if s.inheritedMs > 0 && s.inheritedMs < nowMs {
		return kafka.NoLeader, true
	}
	for id, until := range s.presumed {
		if until < nowMs && (!due || id < whose) {
			whose, due = id, true
		}
	}
	return whose, due
}

// Forgive forgets that a broker was presumed dead, or with kafka.NoLeader what was
// inherited.
func (s *Sessions) Forgive(whose kafka.BrokerID) {
	if whose == kafka.NoLeader {
		s.inheritedMs = 0
		return
	}
	delete(s.presumed, whose)
}

// presumedDead reports whether a broker was fenced or replaced on proof of death
// and its session would still stand.
func (s *Sessions) presumedDead(id kafka.BrokerID, nowMs int64) bool {
	until, ok := s.presumed[id]
	return ok && nowMs <= until
}

// Heartbeat notes what became of a heartbeat: the broker is touched, its wishes
// are kept, and if it entered controlled shutdown, img's end is the offset that
// the other brokers have to apply first. img is the image with the decision's
// records folded in.
func (s *Sessions) Heartbeat(img *image.Image, c BrokerSession) {
	s.Touch(c.ID, c.Epoch, c.LastContactMs, c.MetadataOffset)
	b := s.brokers[c.ID]
	b.wantFence, b.wantShutdown = c.WantFence, c.WantShutdown
	switch reg := img.Broker(c.ID); {
	case reg == nil || reg.Fenced || !reg.InControlledShutdown:
		b.shutdownOffset = kafka.NoOffset
	case b.shutdownOffset == kafka.NoOffset:
		b.shutdownOffset = img.At().Offset
	}
}

// Registered begins the session of a registration that was just decided. An
// amended registration (same epoch) keeps what is known. An incarnation that is
// quiet and replaced before its session has expired is presumed dead.
func (s *Sessions) Registered(id kafka.BrokerID, epoch kafka.BrokerEpoch, nowMs, timeoutMs int64) {
	b := s.brokers[id]
	if b != nil && b.epoch == epoch {
		b.lastContactMs = max(b.lastContactMs, nowMs)
		b.unheard = false
		return
	}
	if b != nil && b.quiet(nowMs, timeoutMs) && !b.expired(nowMs, timeoutMs) {
		s.PresumeDead(id, nowMs, timeoutMs)
	}
	s.brokers[id] = newSession(epoch, nowMs)
}

// Remove forgets a broker.
func (s *Sessions) Remove(id kafka.BrokerID) { delete(s.brokers, id) }

// Prune forgets the sessions of brokers that are not registered at that epoch,
// and of fenced ones that have not been heard for timeoutMs: there is nothing
// left to fence.
func (s *Sessions) Prune(img *image.Image, nowMs, timeoutMs int64) {
	for id, b := range s.brokers {
		reg := img.Broker(id)
		if reg == nil || reg.Epoch != b.epoch || reg.Fenced && b.expired(nowMs, timeoutMs) {
			delete(s.brokers, id)
		}
	}
}

func (b *session) expired(nowMs, timeoutMs int64) bool { return b.lastContactMs+timeoutMs < nowMs }

// Valid reports whether the broker was heard within the last timeoutMs at this
// epoch.
func (s *Sessions) Valid(id kafka.BrokerID, epoch kafka.BrokerEpoch, nowMs, timeoutMs int64) bool {
	b := s.brokers[id]
	return b != nil && b.epoch == epoch && !b.expired(nowMs, timeoutMs)
}

// Expired lists the sessions that were last heard before nowMs-timeoutMs, the
// oldest first and by id where that is equal.
func (s *Sessions) Expired(nowMs, timeoutMs int64) []BrokerSession {
	var out []BrokerSession
	for id, b := range s.brokers {
		if b.expired(nowMs, timeoutMs) {
			out = append(out, b.view(id))
		}
	}
	slices.SortFunc(out, func(a, b BrokerSession) int {
		return cmp.Or(cmp.Compare(a.LastContactMs, b.LastContactMs), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// NextExpiryMs is the first time at which a session will have expired, false
// if there is no session.
func (s *Sessions) NextExpiryMs(timeoutMs int64) (int64, bool) {
	if len(s.brokers) == 0 {
		return 0, false
	}
	oldest := int64(math.MaxInt64)
	for _, b := range s.brokers {
		oldest = min(oldest, b.lastContactMs)
	}
	return oldest + timeoutMs + 1, true
}

// Session returns the session of a broker.
func (s *Sessions) Session(id kafka.BrokerID) (BrokerSession, bool) {
	b := s.brokers[id]
	if b == nil {
		return BrokerSession{}, false
	}
	return b.view(id), true
}

func (b *session) view(id kafka.BrokerID) BrokerSession {
	return BrokerSession{
		ID: id, Epoch: b.epoch, LastContactMs: b.lastContactMs, MetadataOffset: b.metadataOffset,
		WantFence: b.wantFence, WantShutdown: b.wantShutdown,
	}
}

// Len is the number of sessions.
func (s *Sessions) Len() int { return len(s.brokers) }

// LowestActiveOffset is the lowest metadata offset that an active broker
// (unfenced, not shutting down) is known to have applied: NoOffset if one of
// them was not heard yet, math.MaxInt64 if there is none.
func (s *Sessions) LowestActiveOffset(img *image.Image) kafka.Offset {
	lowest := kafka.Offset(math.MaxInt64)
	for reg := range img.Brokers() {
		if !reg.Active() {
			continue
		}
		if b := s.brokers[reg.ID]; b == nil || b.epoch != reg.Epoch {
			lowest = kafka.NoOffset
		} else {
			lowest = min(lowest, b.metadataOffset)
		}
	}
	return lowest
}

// ShutdownOffset is the offset that every active broker must have applied
// before the broker's controlled shutdown may end, false if none is known.
func (s *Sessions) ShutdownOffset(id kafka.BrokerID, epoch kafka.BrokerEpoch) (kafka.Offset, bool) {
	b := s.brokers[id]
	if b == nil || b.epoch != epoch || b.shutdownOffset == kafka.NoOffset {
		return kafka.NoOffset, false
	}
	return b.shutdownOffset, true
}
