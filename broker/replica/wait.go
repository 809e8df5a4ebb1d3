package replica

import (
	"sync"
	"sync/atomic"

	"kvorum/internal/kafka"
)

// wait is one request that sleeps until its partitions have moved on (Kafka's
// purgatory). It costs a goroutine that is parked and one watch in each of its
// partitions: partitions where nothing happens do nothing, and a change touches
// only who watches that partition. Waits are pooled.
//
// How many there are is bounded by the connections, each of which serves one
// request at a time, and how many watches one has by the size of its request.
type wait struct {
	// wake has one slot, so that any number of changes wake the sleeper once.
	wake chan struct{}
	// min is how many bytes the request wants, got how many may have come: more
	// than there are at worst, and then the sleeper looks in vain.
	min     int64
	got     atomic.Int64
	watches []watch
}

// visibility is which end of a log a request looks up to.
type visibility uint8

const (
	toHighWatermark visibility = iota // consumers
	toLastStable                      // consumers with read_committed
	toLogEnd                          // followers
)

// watch is a wait's entry in the list of one partition. It must not be moved
// while it is linked.
type watch struct {
	partition  *Partition
	wait       *wait
	list       *watchList
	prev, next *watch

	sees   visibility   // in the list of fetches
	offset kafka.Offset // in the list of commits: wakes at this high watermark
}

// watchList is a list of watches under the lock of its partition.
type watchList struct{ head *watch }

func (l *watchList) push(w *watch) {
	w.list, w.prev, w.next = l, nil, l.head
	if l.head != nil {
		l.head.prev = w
	}
	l.head = w
}

func (w *watch) unlink() {
	if w.list == nil {
		return
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		w.list.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.list, w.prev, w.next = nil, nil, nil
}

// moved tells those who look up to an end that it has moved by about so many
// bytes.
func (l *watchList) moved(sees visibility, bytes int64) {
	for w := l.head; w != nil; w = w.next {
		if w.sees == sees && w.wait.got.Add(bytes) >= w.wait.min {
			w.wait.fire()
		}
	}
}

// reached tells those who wait for a high watermark at or below hw.
func (l *watchList) reached(hw kafka.Offset) {
	for w := l.head; w != nil; w = w.next {
		if hw >= w.offset {
			w.wait.fire()
		}
	}
}

// all wakes everybody: the partition is not what it was.
func (l *watchList) all() {
	for w := l.head; w != nil; w = w.next {
		w.wait.fire()
	}
}

func (w *wait) fire() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

var waits = sync.Pool{New: func() any { return &wait{wake: make(chan struct{}, 1)} }}

// newWait returns a wait with room for n watches.
func newWait(n int, minBytes int64) *wait {
	w := waits.Get().(*wait)
	w.min = minBytes
	w.got.Store(0)
	if cap(w.watches) < n {
		w.watches = make([]watch, 0, n)
	}
	return w
}

// add gives out the next watch; there is room for it.
func (w *wait) add(p *Partition) *watch {
	w.watches = append(w.watches, watch{partition: p, wait: w})
	return &w.watches[len(w.watches)-1]
}

// maxPooledWatches keeps one request over thousands of partitions from leaving
// its memory in the pool.
const maxPooledWatches = 1024

// release takes the wait out of all lists and back into the pool.
func (w *wait) release() {
	for i := range w.watches {
		p := w.watches[i].partition
		p.mu.Lock()
		w.watches[i].unlink()
		p.mu.Unlock()
	}
	select {
	case <-w.wake: // nobody can fire any more; the next user begins asleep
	default:
	}
	clear(w.watches)
	if w.watches = w.watches[:0]; cap(w.watches) > maxPooledWatches {
		w.watches = nil
	}
	waits.Put(w)
}
