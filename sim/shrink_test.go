package sim

import "testing"

// TestShrink makes a failing seed smaller: KVORUM_SHRINK=1 KVORUM_SEED=n.
func TestShrinkSeed(t *testing.T) {
	if env("KVORUM_SHRINK") == "" {
		t.Skip("KVORUM_SHRINK=1 KVORUM_SEED=n makes the plan of a failing seed smaller")
	}
	seed, _ := seeds(t, 1)
	plan := NewPlan(seed, steps)
	r := Run(seed, plan)
	if r.Broken == "" {
		t.Skipf("seed %d breaks nothing", seed)
	}
	plan = Shrink(seed, plan, r.Broken)
	t.Log(Run(seed, plan).Report(plan, 300))
}
