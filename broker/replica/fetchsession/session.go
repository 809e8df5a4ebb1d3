package fetchsession

import (
	"math"
	"sync"

	"kvorum/broker/replica"
	"kvorum/internal/kafka"
)

// The session epochs with a meaning of their own (FetchMetadata).
const (
	// InitialEpoch asks for a new session.
	InitialEpoch int32 = 0
	// FinalEpoch ends a session, or fetches without one.
	FinalEpoch int32 = -1
	// NoSession is the id of no session.
	NoSession int32 = 0
)

// nextEpoch is the epoch that follows in a session.
func nextEpoch(e int32) int32 {
	if e == math.MaxInt32 {
		return 1
	}
	return e + 1
}

// Key names a partition in a session: by topic id since Fetch v13, by name
// before.
type Key struct {
	Topic     string
	TopicID   kafka.TopicID
	Partition kafka.PartitionID
}

func keyOf(p *replica.FetchPartition, byID bool) Key {
	if byID {
		return Key{TopicID: p.TopicID, Partition: p.Partition}
	}
	return Key{Topic: p.Topic, Partition: p.Partition}
}

// entry is one partition of a session: what is asked for and what was told last.
type entry struct {
	key                     Key
	asked                   replica.FetchPartition
	highWatermark, logStart kafka.Offset // told last; kafka.NoOffset: must be told
	prev, next              *entry
}

// session is what one client fetches. Its order is the order of reading: a
// partition that gave records goes to the end, so that none starves.
type session struct {
	id         int32
	byID       bool
	privileged bool // a follower's

	// createdMs is when it began; usedMs and weight are the cache's, under
	// its lock.
	createdMs, usedMs int64
	weight            int

	mu      sync.Mutex
	epoch   int32 // that the next request must have
	entries map[Key]*entry
	ring    entry // the list's anchor
}

func newSession(id int32, byID, privileged bool, nowMs int64) *session {
	s := &session{id: id, byID: byID, privileged: privileged, createdMs: nowMs, usedMs: nowMs, epoch: nextEpoch(InitialEpoch), entries: map[Key]*entry{}}
	s.ring.prev, s.ring.next = &s.ring, &s.ring
	return s
}

func (s *session) put(p replica.FetchPartition) *entry {
	k := keyOf(&p, s.byID)
	e := s.entries[k]
	if e == nil {
		e = &entry{key: k, highWatermark: kafka.NoOffset, logStart: kafka.NoOffset}
		s.entries[k] = e
		s.append(e)
	}
	e.asked = p
	return e
}

func (s *session) append(e *entry) {
	e.prev, e.next = s.ring.prev, &s.ring
	e.prev.next, e.next.prev = e, e
}

func (e *entry) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (s *session) forget(k Key) {
	if e := s.entries[k]; e != nil {
		e.unlink()
		delete(s.entries, k)
	}
}

// tell reports whether a result says anything that the client was not told, and
// remembers what it is told (FetchSession.CachedPartition.maybeUpdateResponseData).
func (e *entry) tell(r *replica.FetchResult) bool {
	if r.Err != nil {
		e.highWatermark = kafka.NoOffset // what comes after an error is news
		return true
	}
	news := r.Records.Len() > 0 || r.Diverging.Epoch != kafka.NoEpoch ||
		e.highWatermark != r.HighWatermark || e.logStart != r.LogStart
	e.highWatermark, e.logStart = r.HighWatermark, r.LogStart
	return news
}
