package robustness

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

const (
	// defaultRounds is what a plain `go test` runs; KVORUM_ROUNDS says otherwise.
	defaultRounds = 3
	// recovery bounds the time from a kill to the next acknowledged creation and
	// record: after it the test fails for liveness.
	recovery = 90 * time.Second
)

// TestKillActive kills the active controller in each round.
func TestKillActive(t *testing.T) {
	run(t, func(w *world, _ int) {
		active := w.quorum.Active(w.ctx, t)
		w.kill(active)
		w.tr.untilAfter(t, w.killed, recovery)
		w.failovers = append(w.failovers, time.Since(w.killed))
		w.start(active)
	})
}

// TestKillEach kills one controller after the other, whether it is active or not.
func TestKillEach(t *testing.T) {
	run(t, func(w *world, _ int) {
		for victim := range w.quorum.Controllers {
			w.kill(victim)
			w.tr.untilAfter(t, w.killed, recovery)
			w.failovers = append(w.failovers, time.Since(w.killed))
			w.start(victim)
		}
	})
}

// TestKillAll kills all controllers at once and starts them again in any order.
func TestKillAll(t *testing.T) {
	run(t, func(w *world, _ int) {
		all := w.random.Perm(len(w.quorum.Controllers))
		w.kill(all...)
		w.start(all...)
		w.tr.untilAfter(t, w.killed, recovery)
		w.failovers = append(w.failovers, time.Since(w.killed))
	})
}

// world is one test's cluster and clients.
type world struct {
	t         *testing.T
	ctx       context.Context
	random    *rand.Rand
	quorum    *cluster.Quorum
	tr        *traffic
	killed    time.Time       // when the last kill began
	failovers []time.Duration // from a kill to the next acknowledged operations
}

// kill kills controllers, one right after the other.
func (w *world) kill(victims ...int) {
	w.killed = time.Now()
	for _, v := range victims {
		w.quorum.Controllers[v].Kill()
	}
}

// start starts controllers again and waits until they serve.
func (w *world) start(victims ...int) {
	for _, v := range victims {
		w.quorum.Controllers[v].Start(w.t)
	}
	for _, v := range victims {
		w.quorum.Controllers[v].WaitReady(w.ctx, w.t)
	}
}

// run starts three controllers and three Apache brokers, runs rounds of faults
// under traffic and checks the history. KVORUM_ROUNDS and KVORUM_SEED choose the
// rounds; KVORUM_CONTROLLERS=apache puts Apache's controllers in kvorum's place,
// to prove the harness.
func run(t *testing.T, round func(w *world, n int)) {
	kit := peer.Require(t, peer.V43)
	rounds, seed := number(t, "KVORUM_ROUNDS", defaultRounds), number(t, "KVORUM_SEED", 1)
	w := &world{t: t, ctx: context.Background(), random: rand.New(rand.NewPCG(uint64(seed), 0))}
	o := cluster.Options{Size: 3, ReleaseVersion: "4.3-IV0"}
	var driver *peer.Driver
	if os.Getenv("KVORUM_CONTROLLERS") == "apache" {
		driver = kit.StartDriver(t)
		w.quorum = cluster.StartApache(w.ctx, t, kit, driver, o)
	} else {
		w.quorum = cluster.StartKvorum(w.ctx, t, o)
		driver = kit.StartDriver(t)
	}
	brokers := w.quorum.Brokers(w.ctx, t, driver, nil, kit, kit, kit)
	var bootstrap []string
	for _, b := range brokers {
		bootstrap = append(bootstrap, b.Listener)
	}
	w.tr = startTraffic(t, bootstrap)
	w.tr.untilAfter(t, time.Now(), recovery)
	for n := range rounds {
		round(w, n)
		for _, b := range brokers {
			if !b.Running() {
				t.Fatalf("%s died in round %d (seed %d)", b, n, seed)
			}
		}
		time.Sleep(time.Duration(w.random.IntN(200)) * time.Millisecond) // so that the next kill meets another moment
	}
	w.tr.untilAfter(t, time.Now(), recovery)
	w.tr.finish()
	w.check(bootstrap)
	w.report(rounds, seed)
}

// check compares the history with each broker's view. A broker may lag behind
// the last operations for a moment, so that a view is read again until it has no
// violation, or patience ends.
func (w *world) check(bootstrap []string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, recovery)
	defer cancel()
	for _, broker := range bootstrap {
		deadline := time.Now().Add(10 * time.Second)
		for {
			violations := w.tr.history.Check(w.tr.observe(ctx, w.t, broker))
			if len(violations) == 0 {
				break
			}
			if time.Now().After(deadline) {
				for _, v := range violations {
					w.t.Errorf("%s: %s", broker, v)
				}
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// report logs the counts, which docs/reliability.md is written from.
func (w *world) report(rounds, seed int) {
	created, deleted, records := w.tr.history.Counts()
	slices.Sort(w.failovers)
	w.t.Logf("%d rounds from seed %d: %d topics created, %d deleted, %d records acknowledged; from a kill to the next acknowledged creation and record: p50 %v, worst %v",
		rounds, seed, created, deleted, records,
		w.failovers[len(w.failovers)/2].Round(time.Millisecond), w.failovers[len(w.failovers)-1].Round(time.Millisecond))
}

// number reads a positive number from the environment.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number above 0", name, text)
	}
	return n
}
