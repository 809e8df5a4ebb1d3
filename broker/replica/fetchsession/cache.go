package fetchsession

import (
	"sync"

	"kvorum/broker/replica"
	"kvorum/protocol/errors"
)

// Options are the limits of a cache.
type Options struct {
	// Slots is max.incremental.fetch.session.cache.slots; 0: no sessions.
	Slots int
	// EvictionMs is how long a session is safe from larger ones and after which
	// an unused one goes first (min.incremental.fetch.session.eviction.ms).
	EvictionMs int64
	// MaxPartitions bounds the partitions of all sessions: some 300 bytes each. A
	// session that would break it is not made, and one that grows beyond it ends.
	// Apache has no such limit.
	MaxPartitions int
	// Random gives the numbers that session ids are made of.
	Random func() uint32
}

// Cache holds the sessions of a broker. It is safe for concurrent use.
type Cache struct {
	o Options

	mu         sync.Mutex
	sessions   map[int32]*session
	partitions int
	evictions  int64
}

// NewCache returns an empty cache.
func NewCache(o Options) *Cache { return &Cache{o: o, sessions: map[int32]*session{}} }

// Request is what a Fetch says about its session.
type Request struct {
	SessionID, Epoch int32
	// ByID says that partitions are named by topic id (v13), Follower that a
	// broker fetches: its session outlives those of consumers.
	ByID, Follower bool
	// Partitions are those that are new or have changed, Forgotten those that are
	// no longer wanted. Partitions is kept by the fetch.
	Partitions []replica.FetchPartition
	Forgotten  []Key
}

// Fetch is one fetch from Begin to End. It has one user.
type Fetch struct {
	cache   *Cache
	request Request
	session *session // nil: without one, or a new one
	want    bool     // a new session is wanted

	partitions []replica.FetchPartition
	entries    []*entry // of partitions, in a session
}

// Partitions are what has to be read, in this order. The fetch keeps the slice;
// the caller may fill in names and ids that it has resolved.
func (f *Fetch) Partitions() []replica.FetchPartition { return f.partitions }

// SessionID is that of the answer when nothing is read for it, because of a
// quota for instance.
func (f *Fetch) SessionID() int32 {
	if f.session == nil {
		return NoSession
	}
	return f.session.id
}

// Begin takes a request into its session and says what is to be read. The error
// is for the whole request: FETCH_SESSION_ID_NOT_FOUND,
// INVALID_FETCH_SESSION_EPOCH or FETCH_SESSION_TOPIC_ID_ERROR; the client then
// begins a new session.
func (c *Cache) Begin(nowMs int64, r Request) (*Fetch, error) {
	f := &Fetch{cache: c, request: r, partitions: r.Partitions}
	if r.Epoch == InitialEpoch || r.Epoch == FinalEpoch {
		c.remove(r.SessionID)
		f.want = r.Epoch == InitialEpoch
		return f, nil
	}
	s := c.get(r.SessionID)
	if s == nil {
		return nil, errors.FetchSessionIDNotFound.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.epoch != r.Epoch:
		return nil, errors.InvalidFetchSessionEpoch.Err()
	case s.byID != r.ByID:
		return nil, errors.FetchSessionTopicIDError.Err()
	}
	for _, p := range r.Partitions {
		s.put(p)
	}
	for _, k := range r.Forgotten {
		s.forget(k)
	}
	if len(s.entries) == 0 || !c.touch(s, nowMs) {
		// It ends here: the client is answered without a session and begins anew.
		c.remove(s.id)
		return f, nil
	}
	s.epoch = nextEpoch(s.epoch)
	f.session = s
	f.partitions = make([]replica.FetchPartition, 0, len(s.entries))
	f.entries = make([]*entry, 0, len(s.entries))
	for e := s.ring.next; e != &s.ring; e = e.next {
		f.partitions = append(f.partitions, e.asked)
		f.entries = append(f.entries, e)
	}
	return f, nil
}

// End takes what was read, one result per partition, and gives the session's id
// for the answer; include reports of each result whether it belongs into it.
func (f *Fetch) End(nowMs int64, results []replica.FetchResult, include []bool) (id int32, _ []bool) {
	if f.session == nil {
		for range results {
			include = append(include, true)
		}
		if f.want {
			id = f.cache.create(nowMs, f, results)
		}
		return id, include
	}
	s := f.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range results {
		e := f.entries[i]
		news := e.tell(&results[i])
		include = append(include, news)
		if news && results[i].Records.Len() > 0 && s.entries[e.key] == e {
			e.unlink()
			s.append(e)
		}
	}
	return s.id, include
}

func (c *Cache) get(id int32) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[id]
}

// Counts are the gauges of a cache and its evictions so far (FetchSessionCache's
// metrics).
type Counts struct {
	Sessions, Partitions int
	Evictions            int64
}

// Counts reads the gauges.
func (c *Cache) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counts{Sessions: len(c.sessions), Partitions: c.partitions, Evictions: c.evictions}
}
