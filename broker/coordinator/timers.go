package coordinator

import (
	"container/heap"

	"kvorum/broker/group"
)

// timers are the timers of one shard, the next one first. There are at most two
// for each group and one for each member or id given out.
type timers struct {
	heap  []*timer
	named map[group.Timer]*timer
}

type timer struct {
	name  group.Timer
	atMs  int64
	place int
}

func newTimers() *timers { return &timers{named: map[group.Timer]*timer{}} }

// set moves a timer; atMs 0 stops it.
func (ts *timers) set(c group.TimerChange) {
	t, ok := ts.named[c.Timer]
	switch {
	case c.AtMs == 0:
		if ok {
			heap.Remove(ts, t.place)
		}
	case ok:
		t.atMs = c.AtMs
		heap.Fix(ts, t.place)
	default:
		heap.Push(ts, &timer{name: c.Timer, atMs: c.AtMs})
	}
}

// next is when the first timer is due; false without one.
func (ts *timers) next() (int64, bool) {
	if len(ts.heap) == 0 {
		return 0, false
	}
	return ts.heap[0].atMs, true
}

// due takes the first timer out if its time has come.
func (ts *timers) due(nowMs int64) (group.Timer, bool) {
	if at, ok := ts.next(); !ok || at > nowMs {
		return group.Timer{}, false
	}
	return heap.Pop(ts).(*timer).name, true
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (ts *timers) Len() int           { return len(ts.heap) }
func (ts *timers) Less(i, j int) bool { return ts.heap[i].atMs < ts.heap[j].atMs }
func (ts *timers) Swap(i, j int) {
	ts.heap[i], ts.heap[j] = ts.heap[j], ts.heap[i]
	ts.heap[i].place, ts.heap[j].place = i, j
}

// Push is of heap.Interface.
func (ts *timers) Push(x any) {
	t := x.(*timer)
	t.place = len(ts.heap)
	ts.heap = append(ts.heap, t)
	ts.named[t.name] = t
}

// Pop is of heap.Interface.
func (ts *timers) Pop() any {
	last := len(ts.heap) - 1
	t := ts.heap[last]
	ts.heap[last] = nil
	ts.heap = ts.heap[:last]
	delete(ts.named, t.name)
	return t
}
