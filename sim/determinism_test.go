package sim

import (
	"slices"
	"testing"
)

// TestSameSeedSameRun: a failure can be run again.
func TestSameSeedSameRun(t *testing.T) {
	first, n := seeds(t, 5)
	for seed := first; seed < first+n; seed++ {
		plan := NewPlan(seed)
		a, b := Run(seed, plan), Run(seed, plan)
		for i := range min(len(a.Trace), len(b.Trace)) {
			if a.Trace[i] != b.Trace[i] {
				t.Fatalf("seed %d: line %d is\n%s\nand then\n%s\nafter\n%s", seed, i, a.Trace[i], b.Trace[i], slices.Clone(a.Trace[max(0, i-3):i]))
			}
		}
		if a.Steps != b.Steps || a.Acknowledged != b.Acknowledged || a.Broken != b.Broken {
			t.Fatalf("seed %d took %d steps and acknowledged %d, and then %d and %d", seed, a.Steps, a.Acknowledged, b.Steps, b.Acknowledged)
		}
	}
}
