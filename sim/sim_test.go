package sim

import (
	"os"
	"strconv"
	"testing"
)

// steps is how long a run is: enough for 1,000 acknowledgements in a bad one.
const steps = 40_000

func TestSeeds(t *testing.T) {
	first, n := seeds(t, 20)
	total, acks := Coverage{}, 0
	for seed := first; seed < first+n; seed++ {
		plan := NewPlan(seed, steps)
		r := Run(seed, plan)
		if r.Broken != "" {
			t.Fatal(r.Report(plan, 120))
		}
		total.Add(r.Coverage)
		acks += r.Acknowledged
	}
	t.Logf("%d seeds, %d acknowledged\n%s", n, acks, total)
}

func seeds(t *testing.T, few uint64) (first, n uint64) {
	read := func(name string, otherwise uint64) uint64 {
		text := env(name)
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

func env(name string) string { return os.Getenv(name) }
