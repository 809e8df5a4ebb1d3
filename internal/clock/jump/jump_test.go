//go:build planted && linux && (amd64 || arm64)

package jump

import (
	"path/filepath"
	"testing"
	"time"

	"kvorum/internal/clock"
)

// TestFollow: the wall clock goes where the file says, at once; differences of times do
// not, nor what is reckoned by clock.Steady.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	if err := Follow(path); err == nil {
		t.Fatal("a file that is not there was followed")
	}
	if err := Set(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := Follow(path); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	steady := clock.SteadyFrom(began)
	for _, by := range []time.Duration{time.Hour, -time.Hour, 1000 * time.Hour, 0} {
		if err := Set(path, by); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		passed, wall := now.Sub(began), now.Round(0).Sub(began.Round(0))
		if off := wall - by; passed < 0 || passed > time.Minute || off < 0 || off > time.Minute {
			t.Errorf("set by %v: the wall clock moved by %v and the steady one by %v", by, wall, passed)
		}
		if ms := steady.Ms(now) - began.UnixMilli(); ms != passed.Milliseconds() {
			t.Errorf("set by %v: %d ms passed, of %v", by, ms, passed)
		}
	}
}
