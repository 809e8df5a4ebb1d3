//go:build planted && linux && (amd64 || arm64)

package quota

import (
	"path/filepath"
	"testing"
	"time"

	"kvorum/internal/clock/jump"
)

// TestRatesWhenTheClockIsSet: a client that was within its quota is not silenced by a
// wall clock that is set back, nor one that was above it let go by one set forward.
func TestRatesWhenTheClockIsSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	if err := jump.Set(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := jump.Follow(path); err != nil {
		t.Fatal(err)
	}
	set := func(by time.Duration) {
		if err := jump.Set(path, by); err != nil {
			t.Fatal(err)
		}
	}
	meter := Meter{Window: Window{Samples: 2, Length: time.Minute}, Bound: 1000}
	if wait := meter.Record(120_000_000, time.Now()); wait == 0 {
		t.Fatal("a rate above its bound has no wait")
	}
	set(time.Hour)
	if wait := meter.Wait(time.Now()); wait == 0 {
		t.Error("a clock that was set forward ended the wait")
	}
	set(0)
	bucket := New(Window{Samples: 2, Length: 5 * time.Millisecond})
	bucket.Publish(limits(t, "user=u: controller_mutation_rate 1000"))
	if wait, _ := bucket.Mutate("u", "", 20, false, time.Now()); wait == 0 {
		t.Fatal("more than there are tokens were spent without a wait")
	}
	set(-time.Hour)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // the bucket fills
		if _, allowed := bucket.Mutate("u", "", 1, true, time.Now()); allowed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a clock that was set back keeps a client from its tokens")
		}
	}
}
