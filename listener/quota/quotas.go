// Package quota is Kafka's client quotas: how much each user, client id and
// address may send, fetch, ask and connect, and how long it must be silent when
// it did more. Limits come from the image of the metadata log, package listener
// records what happens and mutes connections for the time that it is told.
//
// The rates are those of Apache Kafka (ClientQuotaManager, Rate, TokenBucket,
// ConnectionQuotas). Nothing here reads a clock.
package quota

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/internal/clock"
)

// Quotas keeps the rates of all clients that have a quota. It is safe for
// concurrent use. A nil *Quotas limits nobody.
type Quotas struct {
	window Window
	limits atomic.Pointer[Limits]

	mu     sync.Mutex
	steady clock.Steady // rates do not see that a wall clock is set
	owners map[owner]*usage
	swept  int // entries that were left by the last sweep
}

// usage is what one owner has used.
type usage struct {
	rate   rate
	bucket bucket
}

// maxOwners bounds the rates that are kept: a peer may invent client ids where
// there is a default quota for them. At 400 bytes each they take 6 MiB. Who is
// idle for a whole window is forgotten first, which changes nothing; beyond that
// any is, and starts again from nothing.
const maxOwners = 16 << 10

// New makes quotas without limits.
func New(w Window) *Quotas {
	if w.Samples < 1 || w.Length < time.Millisecond {
		panic("quota: a window without samples or without length")
	}
	q := &Quotas{window: w, owners: map[owner]*usage{}}
	q.limits.Store(&Limits{})
	return q
}

// Publish puts other limits into force; what was used stays recorded.
func (q *Quotas) Publish(l *Limits) { q.limits.Store(l) }

// Record adds value to what a client has used and returns how long it must be
// silent, 0 where it is within its quota or has none. For RequestTime value is
// in percent of a second, and the time is at most one sample's length, as
// Apache's ClientRequestQuotaManager has it.
func (q *Quotas) Record(kind Kind, user, client string, value float64, now time.Time) time.Duration {
	if q == nil {
		return 0
	}
	bound, o, ok := q.limits.Load().find(kind, user, client)
	if !ok {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	nowMs := q.steady.Ms(now)
	u := q.usage(o, nowMs)
	u.rate.record(q.window, value, nowMs)
	wait := u.rate.throttle(q.window, bound, nowMs)
	if kind == RequestTime {
		wait = min(wait, q.window.Length)
	}
	return wait
}

// Limited reports whether a client has a quota for which it may be muted.
func (q *Quotas) Limited(user, client string) bool {
	if q == nil {
		return false
	}
	l := q.limits.Load()
	for kind := range kinds {
		if _, _, ok := l.find(kind, user, client); ok {
			return true
		}
	}
	return false
}

// Undo takes back a value that was recorded: that of a Fetch response that is
// not sent because it was too much (unrecordQuotaSensor).
func (q *Quotas) Undo(kind Kind, user, client string, value float64, now time.Time) {
	if q == nil {
		return
	}
	if _, o, ok := q.limits.Load().find(kind, user, client); ok {
		q.mu.Lock()
		defer q.mu.Unlock()
		nowMs := q.steady.Ms(now)
		q.usage(o, nowMs).rate.record(q.window, -value, nowMs)
	}
}

// Most is what a client may use within one window without being throttled; ok is
// false where it has no quota. A Fetch is bounded by it, so that no response is
// larger than what could ever be sent (getMaxValueInQuotaWindow).
func (q *Quotas) Most(kind Kind, user, client string) (most float64, ok bool) {
	if q == nil {
		return 0, false
	}
	bound, _, ok := q.limits.Load().find(kind, user, client)
	return bound * float64(q.window.Samples-1) * q.window.Length.Seconds(), ok
}

// Mutate asks for partitions to be created or deleted (KIP-599). Where strict is
// set (CreateTopics v6, DeleteTopics v5 and CreatePartitions v3, and later) a
// client without tokens gets none and THROTTLING_QUOTA_EXCEEDED is its answer:
// allowed is false. Otherwise they are spent, and wait is how long the client
// must be silent.
func (q *Quotas) Mutate(user, client string, partitions int, strict bool, now time.Time) (wait time.Duration, allowed bool) {
	if q == nil {
		return 0, true
	}
	bound, o, ok := q.limits.Load().find(Mutations, user, client)
	if !ok {
		return 0, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	nowMs := q.steady.Ms(now)
	b := &q.usage(o, nowMs).bucket
	if wait := b.throttle(q.window, bound, nowMs); strict && wait > 0 {
		return wait, false
	}
	b.spend(q.window, bound, float64(partitions), nowMs)
	if strict {
		return 0, true
	}
	return b.throttle(q.window, bound, nowMs), true
}

// Connect records a new connection from an address. It returns 0 where it may
// stay, else how long it is held, at most the length of a sample, before it is
// closed.
func (q *Quotas) Connect(ip netip.Addr, now time.Time) time.Duration {
	if q == nil {
		return 0
	}
	bound, ok := q.limits.Load().findIP(ip)
	if !ok {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	nowMs := q.steady.Ms(now)
	r := &q.usage(owner{ip: ip}, nowMs).rate
	r.record(q.window, 1, nowMs)
	wait := r.throttle(q.window, bound, nowMs)
	if wait > 0 {
		r.record(q.window, -1, nowMs) // what is refused does not count
	}
	return min(wait, q.window.Length)
}

// usage finds or makes the entry of an owner. The lock is held.
func (q *Quotas) usage(o owner, nowMs int64) *usage {
	if u, ok := q.owners[o]; ok {
		return u
	}
	if len(q.owners) >= min(max(64, 2*q.swept), maxOwners) {
		q.sweep(nowMs)
	}
	u := &usage{}
	q.owners[o] = u
	return u
}

// sweep forgets who is idle, and half of all if hardly anybody is: it looks at
// every entry, so it must not be due again at once.
func (q *Quotas) sweep(nowMs int64) {
	for o, u := range q.owners {
		if u.idle(q.window, nowMs) {
			delete(q.owners, o)
		}
	}
	for o := range q.owners {
		if len(q.owners) <= maxOwners/2 {
			break
		}
		delete(q.owners, o)
	}
	q.swept = len(q.owners)
}

// idle reports whether forgetting the entry changes nothing.
func (u *usage) idle(w Window, nowMs int64) bool {
	return u.rate.idle(w, nowMs) && nowMs-u.bucket.updatedMs >= w.spanMs() && u.bucket.tokens >= 0
}

// Meter is one rate with a bound of its own: the connections of a listener, or what
// brokers replicate. The
// zero value is not usable; it is not safe for concurrent use.
type Meter struct {
	Window Window
	Bound  float64 // a second
	steady clock.Steady
	rate   rate
}

// Record adds value and returns the time to wait until the rate is within the
// bound again, at most the length of a sample (ConnectionQuotas).
func (m *Meter) Record(value float64, now time.Time) time.Duration {
	m.rate.record(m.Window, value, m.steady.Ms(now))
	return m.Wait(now)
}

// Wait is the time until the rate is within the bound, at most the length of a
// sample.
func (m *Meter) Wait(now time.Time) time.Duration {
	return min(m.rate.throttle(m.Window, m.Bound, m.steady.Ms(now)), m.Window.Length)
}
