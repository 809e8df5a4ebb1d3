package handler

import (
	"math"
	"math/rand/v2"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// The session epochs that are not of an incremental fetch
// (FetchMetadata.INITIAL_EPOCH, FINAL_EPOCH).
const (
	initialEpoch int32 = 0
	finalEpoch   int32 = -1
)

const (
	// sessionStaleMs is for how long a session is safe from another one that wants
	// its place (FetchSession.NUM_INCREMENTAL_FETCH_SESSIONS_EVICTED's constant:
	// min.incremental.fetch.session.eviction.ms).
	sessionStaleMs = 120_000
	// maxSessionPartitions bounds the partitions of all sessions together, about
	// 200 bytes each. It is 500 for each session of the default
	// max.incremental.fetch.session.cache.slots; a fetch that finds no room is
	// answered without a session.
	maxSessionPartitions = 500_000
)

// partitionKey names a partition as the request does: by name up to v12, by the
// topic's id after that.
type partitionKey struct {
	topic     string
	id        kafka.TopicID
	partition kafka.PartitionID
}

// fetched is one partition of a fetch: what the client wants of it and, in a
// session, what it was told last (CachedPartition).
type fetched struct {
	key  partitionKey
	want replica.FetchPartition // without the topic's name, for a key by id

	highWatermark, logStart kafka.Offset
	prev, next              *fetched // in the session's order
}

// session is a fetch session (KIP-227): the partitions that a client fetches
// again and again, so that it need not name them, nor we those without news.
type session struct {
	id         int32
	privileged bool // a follower's
	byID       bool
	createdMs  int64

	// Guarded by sessions.mu.
	lastUsedMs int64
	size       int // partitions, as counted in sessions.partitions

	mu    sync.Mutex
	epoch int32 // the one that the next request must have
	parts map[partitionKey]*fetched
	order fetched // sentinel of the ring: partitions in the order to be read
}

// sessions are the fetch sessions of a broker (FetchSessionCache).
type sessions struct {
	limit int // max.incremental.fetch.session.cache.slots

	mu         sync.Mutex
	byID       map[int32]*session
	partitions int // of all sessions
}

func newSessions(limit int) *sessions {
	return &sessions{limit: limit, byID: map[int32]*session{}}
}

// fetchContext is what one Fetch reads, and how it is answered.
type fetchContext struct {
	session *session // nil: an answer without a session
	// incremental answers leave out what has not changed; epoch is the session's
	// after this request.
	incremental bool
	epoch       int32
	closed      bool // the session has ended with this fetch: the client begins another
	parts       []*fetched
}

// begin finds or ends the session of a request and says what to read
// (FetchManager.newContext). The code is that of a session which cannot be used.
func (s *sessions) begin(req *kmsg.FetchRequest, nowMs int64) (fetchContext, errors.Code) {
	byID := req.Version >= 13
	if req.SessionEpoch == initialEpoch || req.SessionEpoch == finalEpoch || req.Version < 7 {
		if req.SessionID != 0 {
			s.remove(req.SessionID)
		}
		ctx := fetchContext{parts: wanted(req)}
		if req.SessionEpoch == initialEpoch && req.Version >= 7 {
			ctx.session = s.create(ctx.parts, follower(req) >= 0, byID, nowMs)
		}
		return ctx, errors.None
	}
	found := s.find(req.SessionID)
	if found == nil {
		return fetchContext{}, errors.FetchSessionIDNotFound
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	switch {
	case found.epoch != req.SessionEpoch:
		return fetchContext{}, errors.InvalidFetchSessionEpoch
	case found.byID != byID:
		return fetchContext{}, errors.FetchSessionTopicIDError
	}
	found.update(req)
	if len(found.parts) == 0 || !s.touch(found, len(found.parts), nowMs) {
		s.remove(found.id)
		return fetchContext{parts: found.all(), closed: true}, errors.None
	}
	found.epoch = nextEpoch(found.epoch)
	return fetchContext{session: found, incremental: true, epoch: found.epoch, parts: found.all()}, errors.None
}

func nextEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

// wanted are the partitions of a request, each once: the last mention counts.
func wanted(req *kmsg.FetchRequest) []*fetched {
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	list, seen := make([]*fetched, 0, n), make(map[partitionKey]*fetched, n)
	eachWanted(req, func(key partitionKey, want replica.FetchPartition) {
		if f := seen[key]; f != nil {
			f.want = want
			return
		}
		f := &fetched{key: key, want: want, highWatermark: kafka.NoOffset, logStart: kafka.NoOffset}
		seen[key] = f
		list = append(list, f)
	})
	return list
}

func eachWanted(req *kmsg.FetchRequest, take func(partitionKey, replica.FetchPartition)) {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			w := replica.FetchPartition{
				TopicID: t.TopicID, Offset: kafka.Offset(p.FetchOffset), LogStart: kafka.NoOffset,
				MaxBytes: int(p.PartitionMaxBytes), LeaderEpoch: kafka.NoEpoch, LastEpoch: kafka.NoEpoch,
			}
			w.Topic, w.Partition = t.Topic, kafka.PartitionID(p.Partition)
			if req.Version >= 5 {
				w.LogStart = kafka.Offset(p.LogStartOffset)
			}
			if req.Version >= 9 {
				w.LeaderEpoch = kafka.LeaderEpoch(p.CurrentLeaderEpoch)
			}
			if req.Version >= 12 {
				w.LastEpoch = kafka.LeaderEpoch(p.LastFetchedEpoch)
			}
			take(partitionKey{t.Topic, t.TopicID, w.Partition}, w)
		}
	}
}

// update adds and changes what the request names and forgets what it wants
// forgotten, under mu.
func (s *session) update(req *kmsg.FetchRequest) {
	eachWanted(req, func(key partitionKey, want replica.FetchPartition) {
		if f := s.parts[key]; f != nil {
			f.want = want
			return
		}
		s.add(&fetched{key: key, want: want, highWatermark: kafka.NoOffset, logStart: kafka.NoOffset})
	})
	for i := range req.ForgottenTopics {
		t := &req.ForgottenTopics[i]
		for _, p := range t.Partitions {
			key := partitionKey{t.Topic, t.TopicID, kafka.PartitionID(p)}
			if f := s.parts[key]; f != nil {
				f.unlink()
				delete(s.parts, key)
			}
		}
	}
}

func (s *session) add(f *fetched) {
	s.parts[f.key] = f
	s.order.before(f)
}

// before puts f before e in the ring; before the sentinel means last.
func (e *fetched) before(f *fetched) {
	f.prev, f.next = e.prev, e
	e.prev.next, e.prev = f, f
}

func (e *fetched) unlink() {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

// all are the session's partitions in their order, under mu.
func (s *session) all() []*fetched {
	list := make([]*fetched, 0, len(s.parts))
	for f := s.order.next; f != &s.order; f = f.next {
		list = append(list, f)
	}
	return list
}

// news reports whether the client must hear of a partition, and notes what it
// is told; one with records goes to the end of the order, so that none starves
// (CachedPartition.maybeUpdateResponseData).
func (s *session) news(f *fetched, p *kmsg.FetchResponseTopicPartition, bytes int) bool {
	mark, start := kafka.Offset(p.HighWatermark), kafka.Offset(p.LogStartOffset)
	changed := bytes > 0 || mark != f.highWatermark || start != f.logStart || p.PreferredReadReplica >= 0
	f.highWatermark, f.logStart = mark, start
	if p.ErrorCode != 0 || p.DivergingEpoch.Epoch >= 0 {
		f.highWatermark, changed = kafka.NoOffset, true // again when it is over
	}
	if bytes > 0 && f.next != nil {
		f.unlink()
		s.order.before(f)
	}
	return changed
}

// create makes a session, or none if there is no room.
func (s *sessions) create(parts []*fetched, privileged, byID bool, nowMs int64) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.partitions+len(parts) > maxSessionPartitions {
		return nil
	}
	if len(s.byID) >= s.limit && !s.evict(privileged, len(parts), nowMs) {
		return nil
	}
	n := &session{
		id: s.newID(), privileged: privileged, byID: byID, createdMs: nowMs, lastUsedMs: nowMs,
		size: len(parts), epoch: nextEpoch(initialEpoch), parts: make(map[partitionKey]*fetched, len(parts)),
	}
	n.order.prev, n.order.next = &n.order, &n.order
	for _, f := range parts {
		n.add(f)
	}
	s.byID[n.id] = n
	s.partitions += n.size
	return n
}

func (s *sessions) newID() int32 {
	for {
		if id := rand.Int32N(math.MaxInt32-1) + 1; s.byID[id] == nil {
			return id
		}
	}
}

// evict makes room for a session: it takes one that was not used for a while,
// or else the least valuable one, if that is worth less than the new one
// (FetchSessionCache.tryEvict). It looks at all sessions, of which there are a
// thousand at most by default.
func (s *sessions) evict(privileged bool, size int, nowMs int64) bool {
	var stale, least *session
	for _, e := range s.byID {
		if nowMs-e.lastUsedMs > sessionStaleMs && (stale == nil || e.lastUsedMs < stale.lastUsedMs) {
			stale = e
		}
		old := nowMs-e.createdMs > sessionStaleMs
		if (old || privileged && !e.privileged) && (privileged || !e.privileged) && (least == nil || e.lessThan(least.privileged, least.size)) {
			least = e
		}
	}
	switch {
	case stale != nil:
		s.drop(stale)
	case least != nil && least.lessThan(privileged, size):
		s.drop(least)
	default:
		return false
	}
	return true
}

// lessThan compares the worth of sessions: followers' first, then size.
func (s *session) lessThan(privileged bool, size int) bool {
	if s.privileged != privileged {
		return privileged
	}
	return s.size < size
}

// drop forgets a session, under mu.
func (s *sessions) drop(e *session) {
	delete(s.byID, e.id)
	s.partitions -= e.size
}

func (s *sessions) remove(id int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[id]; e != nil {
		s.drop(e)
	}
}

func (s *sessions) find(id int32) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

// touch notes that a session is used and how large it is; false if there is no
// room for it any more, or it has been evicted meanwhile.
func (s *sessions) touch(e *session, size int, nowMs int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[e.id] != e || s.partitions+size-e.size > maxSessionPartitions {
		return false
	}
	s.partitions += size - e.size
	e.size, e.lastUsedMs = size, nowMs
	return true
}

// len is the number of sessions.
func (s *sessions) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}
