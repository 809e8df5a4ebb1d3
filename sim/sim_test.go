package sim

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// What a run has to hold, as the bar of the project has it.
const (
	minSteps        = 10_000
	minFaults       = 5
	minAcknowledged = 1000
)

// TestSeeds plays seeds: KVORUM_SEEDS of them from KVORUM_SEED on, or a few.
func TestSeeds(t *testing.T) {
	first, n := seeds(t, 25)
	total := Coverage{}
	failed := play(first, n, NewPlan, func(r Result) bool {
		total.Add(r.Coverage)
		if r.Broken == "" && (r.Steps < minSteps || r.Faults < minFaults || r.Acknowledged < minAcknowledged) {
			t.Errorf("seed %d has %d steps, %d faults, %d acknowledgements", r.Seed, r.Steps, r.Faults, r.Acknowledged)
		}
		return r.Broken != ""
	})
	if failed != nil {
		plan := Shrink(failed.Seed, NewPlan(failed.Seed), failed.Broken)
		t.Fatal(Run(failed.Seed, plan).Report(plan, 200))
	}
	t.Logf("%d seeds\n%s", n, total)
	if missing := total.Missing(); len(missing) > 0 && n >= 300 {
		t.Errorf("these never happened: %q", missing)
	}
}

// play runs seeds, as many at a time as there are processors, until one of the
// results is what is looked for, which it returns. found is called for one result
// at a time.
func play(first, n uint64, plan func(seed uint64) Plan, found func(Result) bool) *Result {
	var next atomic.Uint64
	var mu sync.Mutex
	var hit *Result
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				seed := next.Add(1) - 1
				if seed >= n {
					return
				}
				r := Run(first+seed, plan(first+seed))
				mu.Lock()
				if found(r) && (hit == nil || r.Seed < hit.Seed) {
					hit = &r
					next.Store(n)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return hit
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
