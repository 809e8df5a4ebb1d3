// Package meter counts what the listeners of a node serve: Kafka's RequestMetrics
// and socket-server-metrics. One Meter stands behind all listeners of a process,
// which tell it by their events; Prometheus reads it when it scrapes.
//
// Counting is atomic additions and allocates nothing. What it can hold is bounded
// by the table of APIs and by Kafka's table of errors: no name that a peer chooses
// becomes a label.
package meter

import (
	"sync"
	"sync/atomic"

	"kvorum/listener"
	"kvorum/protocol"
)

// maxKey is above every key of Kafka's in the API table, and maxOwn is how many of
// kvorum's own there may be.
const (
	maxKey = 128
	maxOwn = 16
)

// slot is the place of a key in Meter.apis, and keyOf the way back.
func slot(k protocol.Key) int {
	if k >= protocol.FirstOwnKey {
		return maxKey + int(k-protocol.FirstOwnKey)
	}
	return int(k)
}

func keyOf(slot int) protocol.Key {
	if slot >= maxKey {
		return protocol.FirstOwnKey + protocol.Key(slot-maxKey)
	}
	return protocol.Key(slot)
}

// maxVersion is above every version of the API table.
const maxVersion = 24

// Meter counts. Make it with New; it is safe for concurrent use.
type Meter struct {
	apis [maxKey + maxOwn]atomic.Pointer[api]
	mu   sync.Mutex // of making an api

	opened  atomic.Uint64
	closed  [maxReason]atomic.Uint64
	refused [maxReason]atomic.Uint64
}

// maxReason is above every listener.Reason.
const maxReason = 32

// api is what one API has served.
type api struct {
	versions                          [maxVersion]atomic.Uint64
	codes                             atomic.Pointer[codes]
	requestBytes, responseBytes       atomic.Uint64
	total, queue, local, remote, send histogram
	throttle                          histogram
}

// New returns a Meter that has counted nothing.
func New() *Meter { return &Meter{} }

// Events are the hooks that a listener is given.
func (m *Meter) Events() listener.Events {
	return listener.Events{
		Opened:  func(listener.Peer) { m.opened.Add(1) },
		Closed:  func(_ listener.Peer, why listener.Reason) { m.closed[why].Add(1) },
		Refused: m.refusedBy,
		Served:  m.served,
	}
}

func (m *Meter) served(s listener.Served) {
	a := m.api(s.Key)
	a.versions[s.Version].Add(1)
	a.requestBytes.Add(uint64(s.RequestBytes))
	a.responseBytes.Add(uint64(s.ResponseBytes))
	a.total.observe(s.Total())
	a.queue.observe(s.Waited)
	a.local.observe(s.Handled - s.Remote)
	a.remote.observe(s.Remote)
	a.send.observe(s.Wrote)
	a.throttle.observe(s.Throttled)
	if s.Response == nil {
		return
	}
	c := a.codes.Load()
	if c == nil { // two that come at once make the same plan; one is kept
		a.codes.CompareAndSwap(nil, newCodes(s.Response))
		c = a.codes.Load()
	}
	c.count(s.Response)
}

// api finds or makes the counters of an API.
func (m *Meter) api(k protocol.Key) *api {
	if a := m.apis[slot(k)].Load(); a != nil {
		return a
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.apis[slot(k)].Load()
	if a == nil {
		a = &api{}
		m.apis[slot(k)].Store(a)
	}
	return a
}
