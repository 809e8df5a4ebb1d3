// Package clock is where shells get the time from. Cores take times as values;
// the shells around them take a Clock, which is the machine's here and a
// simulated one in the simulator. It is a leaf.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and wakes its callers up.
type Clock interface {
	// Now is the wall clock's time; differences of two Nows are monotonic.
	Now() time.Time
	// NewTimer sends the time on C once, after d.
	NewTimer(d time.Duration) Timer
	// AfterFunc calls f in a goroutine of its own after d; its C is nil.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a single-use or reset timer, with the rules of time.Timer: after
// Stop or Reset no stale time is received.
type Timer interface {
	C() <-chan time.Time
	// Stop reports whether it kept the timer from firing.
	Stop() bool
	// Reset arms the timer again and reports whether it was armed before.
	Reset(d time.Duration) bool
}

// Rest waits for d by the machine's clock; false if ctx ended first.
func Rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Steady turns times into milliseconds since 1970 that go on evenly: the wall clock's
// at the first of them, and what has passed since. Deadlines, ages and rates of things
// that live in this process are reckoned by them, so that a wall clock that is set
// ends no session. What is written down for another process, or compared with what was,
// is in milliseconds of the wall clock. The zero value begins with the first time that
// it is given; after that it is safe for concurrent use.
type Steady struct{ began time.Time }

// SteadyFrom returns a Steady that begins with a time.
func SteadyFrom(began time.Time) Steady { return Steady{began} }

// Ms is t, which has a monotonic reading as Now's times do; without one it is the wall
// clock's.
func (s *Steady) Ms(t time.Time) int64 {
	if s.began.IsZero() {
		s.began = t
	}
	return s.began.UnixMilli() + t.Sub(s.began).Milliseconds()
}

// System is the machine's clock.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time { return time.Now() }

func (system) NewTimer(d time.Duration) Timer { return timer{time.NewTimer(d)} }

func (system) AfterFunc(d time.Duration, f func()) Timer { return timer{time.AfterFunc(d, f)} }

type timer struct{ *time.Timer }

func (t timer) C() <-chan time.Time { return t.Timer.C }
