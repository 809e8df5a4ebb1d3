package listener

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Budget is the memory that the requests of a whole process may hold, in bytes:
// one Budget is shared by every listener. It has two halves, and every request
// takes from them in the same order, which is why waiting cannot deadlock:
// first the bytes of its frame, before the body is read; then what decoding may
// allocate (protocol.Checked.Cost), before it is decoded. Whoever holds the
// second waits for no memory any more. Both are given back when the response
// has been written.
//
// An eighth of each half is for small requests alone, so that heartbeats and
// metadata fetches go on while large frames wait for each other.
type Budget struct {
	frames, decoded pool
}

// Sizes in bytes.
const (
	// DefaultBudget leaves room for one frame of records at Kafka's limit of
	// 100 MiB, or seven of the largest admin requests.
	DefaultBudget = 256 << 20
	// MinBudget is the least that can take in one FramePreAuth and decode it.
	MinBudget = 16 << 20
	// smallFrame is what goes through the reserved eighth.
	smallFrame = 64 << 10
	smallCost  = 256 << 10
)

// NewBudget makes a budget of so many bytes; it panics below MinBudget.
func NewBudget(bytes int64) *Budget {
	if bytes < MinBudget {
		panic(fmt.Sprintf("listener: a budget of %d bytes is below %d", bytes, MinBudget))
	}
	return &Budget{frames: newPool(bytes/2, smallFrame), decoded: newPool(bytes/2, smallCost)}
}

// InUse returns the bytes held by frames and by decoded requests.
func (b *Budget) InUse() (frames, decoded int64) {
	return b.frames.used.Load(), b.decoded.used.Load()
}

// pool is one half.
type pool struct {
	limit        int64 // of one request at or below which it is small
	max          int64 // the largest request that can ever get in
	small, large *semaphore.Weighted
	used         atomic.Int64
}

func newPool(size, small int64) pool {
	large := size - size/8
	return pool{limit: small, max: large, small: semaphore.NewWeighted(size / 8), large: semaphore.NewWeighted(large)}
}

// lease is what one request holds of a pool.
type lease struct {
	pool *pool
	lane *semaphore.Weighted
	n    int64
}

// acquire waits for n bytes, first come first served. n is at most max. A small
// request goes where there is room, and waits only behind small ones.
func (p *pool) acquire(ctx context.Context, n int64) (lease, error) {
	lane := p.large
	switch {
	case n > p.limit:
	case p.small.TryAcquire(n):
		return p.lease(p.small, n), nil
	case p.large.TryAcquire(n):
		return p.lease(p.large, n), nil
	default:
		lane = p.small
	}
	if err := lane.Acquire(ctx, n); err != nil {
		return lease{}, err
	}
	return p.lease(lane, n), nil
}

func (p *pool) lease(lane *semaphore.Weighted, n int64) lease {
	p.used.Add(n)
	return lease{pool: p, lane: lane, n: n}
}

// release gives the bytes back, once.
func (l lease) release() {
	l.pool.used.Add(-l.n)
	l.lane.Release(l.n)
}
