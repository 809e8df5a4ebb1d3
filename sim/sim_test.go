package sim

import (
	"os"
	"strconv"
	"testing"
)

// What a run has to hold, as the bar of the project has it.
const (
	minSteps        = 10_000
	minFaults       = 5
	minAcknowledged = 1000
)

// TestSeeds plays seeds one after the other: KVORUM_SEEDS of them from KVORUM_SEED
// on, or a few.
func TestSeeds(t *testing.T) {
	first, n := seeds(t, 25)
	total := Coverage{}
	for seed := first; seed < first+n; seed++ {
		plan := NewPlan(seed)
		r := Run(seed, plan)
		if r.Broken != "" {
			t.Fatal(Run(seed, Shrink(seed, plan, r.Broken)).Report(plan, 200))
		}
		if r.Steps < minSteps || r.Faults < minFaults || r.Acknowledged < minAcknowledged {
			t.Errorf("seed %d has %d steps, %d faults, %d acknowledgements", seed, r.Steps, r.Faults, r.Acknowledged)
		}
		total.Add(r.Coverage)
	}
	t.Logf("%d seeds\n%s", n, total)
	if missing := total.Missing(); len(missing) > 0 {
		t.Errorf("these never happened: %q", missing)
	}
}

func seeds(t *testing.T, few uint64) (first, n uint64) {
	read := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		v, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	return read("KVORUM_SEED", 0), read("KVORUM_SEEDS", few)
}
