//go:build planted

package sim

import (
	"testing"

	"kvorum/internal/planted"
)

// TestPlantedBugs plants one bug after the other: the simulator must find each
// within the seeds that main is tested with. KVORUM_SEEDS and KVORUM_SEED are
// those of TestSeeds.
func TestPlantedBugs(t *testing.T) {
	defer planted.Set(planted.None)
	first, n := seeds(t, 500)
	for bug := planted.None + 1; bug < planted.Bugs; bug++ {
		t.Run(bug.String(), func(t *testing.T) {
			planted.Set(bug)
			for seed := first; seed < first+n; seed++ {
				if r := Run(seed, NewPlan(seed)); r.Broken != "" {
					t.Logf("found by seed %d as %s: %.200s", seed, r.Broken, r.Problem)
					return
				}
			}
			t.Errorf("%d seeds did not find it", n)
		})
	}
}
