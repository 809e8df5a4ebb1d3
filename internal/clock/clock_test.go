package clock

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := System.Now()
		timer := System.NewTimer(time.Minute)
		if at := <-timer.C(); at.Sub(start) != time.Minute {
			t.Errorf("fired after %v", at.Sub(start))
		}
		if timer.Reset(time.Hour) {
			t.Error("a fired timer was armed")
		}
		if !timer.Stop() {
			t.Error("Stop came too late")
		}
		called := make(chan time.Time)
		System.AfterFunc(time.Second, func() { called <- System.Now() })
		if at := <-called; at.Sub(start) != time.Minute+time.Second {
			t.Errorf("called after %v", at.Sub(start))
		}
		never := System.AfterFunc(time.Second, func() { t.Error("a stopped timer fired") })
		if !never.Stop() {
			t.Error("Stop came too late")
		}
		time.Sleep(time.Minute)
	})
}

func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if !Rest(t.Context(), time.Minute) || time.Since(start) != time.Minute {
			t.Errorf("rested %v", time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if Rest(ctx, time.Minute) || time.Since(start) != time.Minute+time.Second {
			t.Errorf("after %v it rests on", time.Since(start))
		}
	})
}

func TestSteady(t *testing.T) {
	began := time.UnixMilli(1_000)
	var zero Steady
	for name, s := range map[string]Steady{"from a time": SteadyFrom(began), "the zero value": zero} {
		if first, later := s.Ms(began), s.Ms(began.Add(1500*time.Microsecond)); first != 1_000 || later != 1_001 {
			t.Errorf("%s: %d and %d ms", name, first, later)
		}
	}
}
