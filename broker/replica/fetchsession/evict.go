package fetchsession

import (
	"cmp"

	"kvorum/broker/replica"
	"kvorum/internal/invariant"
)

// create makes a session of a fetch if the cache has room for it or can make
// room, and returns its id, NoSession if not.
func (c *Cache) create(nowMs int64, f *Fetch, results []replica.FetchResult) int32 {
	size := len(f.partitions)
	c.mu.Lock()
	defer c.mu.Unlock()
	if size == 0 || c.o.Slots == 0 {
		return NoSession
	}
	if len(c.sessions) >= c.o.Slots && !c.evict(nowMs, f.request.Follower, size) {
		return NoSession
	}
	if c.partitions+size > c.o.MaxPartitions {
		return NoSession
	}
	s := newSession(c.newID(), f.request.ByID, f.request.Follower, nowMs)
	for i := range f.partitions {
		s.put(f.partitions[i]).tell(&results[i])
	}
	s.weight = len(s.entries)
	c.partitions += s.weight
	c.sessions[s.id] = s
	return s.id
}

// newID draws a positive id that is free.
func (c *Cache) newID() int32 {
	for range 1000 {
		id := int32(c.o.Random() >> 1)
		if _, taken := c.sessions[id]; id != NoSession && !taken {
			return id
		}
	}
	invariant.Broken("no free session id in 1000 draws with %d sessions", len(c.sessions))
	return NoSession
}

// touch keeps a session of the client's that has come to another size; s.mu is
// held. It is false when the session has been evicted meanwhile or is too large.
func (c *Cache) touch(s *session, nowMs int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[s.id] != s {
		return false
	}
	grown := len(s.entries) - s.weight
	if grown > 0 && c.partitions+grown > c.o.MaxPartitions {
		return false
	}
	c.partitions += grown
	s.weight, s.usedMs = len(s.entries), nowMs
	return true
}

func (c *Cache) remove(id int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.sessions[id])
}

func (c *Cache) drop(s *session) {
	if s != nil {
		delete(c.sessions, s.id)
		c.partitions -= s.weight
	}
}

// evict makes room for a session of size partitions (FetchSessionCache.tryEvict):
// the least recently used one goes if it was not used for EvictionMs, else the
// smallest one of those that may be evicted, if it is smaller than the new one.
// Consumers' sessions may be evicted by followers at any time and by consumers
// once they are EvictionMs old, followers' once they are that old. It looks at
// all sessions, some 1,000, each time a session is made in a full cache.
func (c *Cache) evict(nowMs int64, privileged bool, size int) bool {
	var stale, small *session
	for _, s := range c.sessions {
		if stale == nil || cmp.Or(cmp.Compare(s.usedMs, stale.usedMs), cmp.Compare(s.id, stale.id)) < 0 {
			stale = s
		}
		old := nowMs-s.createdMs > c.o.EvictionMs
		if (old || (privileged && !s.privileged)) && (small == nil || lighter(s, small)) {
			small = s
		}
	}
	switch {
	case stale != nil && nowMs-stale.usedMs > c.o.EvictionMs:
		small = stale
	case small == nil || !outweighs(privileged, size, small):
		return false
	}
	c.drop(small)
	c.evictions++
	return true
}

func lighter(a, b *session) bool {
	if a.privileged != b.privileged {
		return b.privileged
	}
	return cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(a.id, b.id)) < 0
}

// outweighs reports whether a new session may take the place of s.
func outweighs(privileged bool, size int, s *session) bool {
	if privileged != s.privileged {
		return privileged
	}
	return size > s.weight
}
