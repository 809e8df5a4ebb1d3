package robustness

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kvorum/integration/cluster"
	"kvorum/internal/vfs/powerloss"
)

// The counts of losses of power for KVORUM_ROUNDS=200, as in faultShare.
const (
	loseOneFull     = 40
	loseSeveralFull = 15
	loseAllFull     = 15
)

// powered is a six whose nodes' disks lose what was not synced when their power is taken.
type powered struct {
	*six
	journals []string // by node
	lost     powerloss.Lost
}

// startPowered starts one, with a planted bug ("" for none), on disks that now and then
// freeze for up to a time ("" for never).
func startPowered(t *testing.T, bug, freeze string, properties map[string]string) *powered {
	t.Helper()
	p := &powered{}
	top := t.TempDir() // on the device of the nodes' directories
	for host := range sixNodes {
		p.journals = append(p.journals, filepath.Join(top, fmt.Sprint(host)))
	}
	p.six = startSixOf(t, cluster.PlantedBinary(t), func(host int) []string {
		return []string{"env", "KVORUM_POWERLOSS=" + p.journals[host], "KVORUM_PLANTED=" + bug, "KVORUM_FREEZE=" + freeze}
	}, properties)
	return p
}

// cutPower kills nodes, takes from the first of them what they had not synced, and
// starts all in any order.
func (p *powered) cutPower(nodes []int, losing int) {
	var names []string
	for i, n := range nodes {
		names = append(names, p.nodes[n].String())
		if i >= losing {
			names[i] += " (only killed)"
		}
	}
	p.tell("power", strings.Join(names, ", "), func() {
		for _, n := range nodes {
			p.nodes[n].Kill()
		}
		for _, n := range nodes[:losing] {
			lost, err := powerloss.Lose(p.journals[n], p.random)
			if err != nil {
				p.t.Fatal(err)
			}
			p.lost.Files, p.lost.Bytes, p.lost.Names = p.lost.Files+lost.Files, p.lost.Bytes+lost.Bytes, p.lost.Names+lost.Names
		}
		time.Sleep(p.upTo(600 * time.Millisecond)) // so that some come back to others elected
		p.random.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		for _, n := range nodes {
			p.nodes[n].Start(p.t)
		}
		for _, n := range nodes {
			p.nodes[n].WaitReady(p.ctx, p.t)
		}
	})
}

// loseOne takes the power from one node.
func (p *powered) loseOne() { p.cutPower([]int{p.random.IntN(sixNodes)}, 1) }

// loseSeveral takes it from one broker and some controllers, and kills others.
func (p *powered) loseSeveral() {
	controllers := p.random.Perm(sixControllers)[:1+p.random.IntN(sixControllers)]
	brokers := p.random.Perm(sixBrokers)[:1+p.random.IntN(sixBrokers)]
	for i := range brokers {
		brokers[i] += sixControllers
	}
	p.cutPower(slices.Concat(controllers, brokers), len(controllers)+1)
}

// flushed makes brokers fsync each batch before they count it: what it takes to lose all
// page caches at once.
var flushed = map[string]string{"log.flush.interval.messages": "1"}

// loseAll takes it from all.
func (p *powered) loseAll() { p.cutPower(p.random.Perm(sixNodes), sixNodes) }

// TestPowerLoss takes the power from nodes under the load of TestSix, within the bound
// under which nothing acknowledged may be lost: from fewer brokers at once than
// min.insync.replicas, each time with all replicas in sync. 20 s for KVORUM_ROUNDS=20,
// and the time to build the program that can.
func TestPowerLoss(t *testing.T) {
	rounds := number(t, "KVORUM_ROUNDS", 2)
	share := func(full int) int { return max(1, full*rounds/200) }
	plan := slices.Concat(slices.Repeat([]func(*powered){(*powered).loseOne}, share(loseOneFull)),
		slices.Repeat([]func(*powered){(*powered).loseSeveral}, share(loseSeveralFull)))
	losePower(t, "", nil, plan)
}

// TestPowerLossOfAll takes the power from all nodes at once, where each batch is fsynced
// before it counts. Their disks freeze for longer than an election and a session take,
// so that controllers change while brokers come back: after such a loss partitions
// stayed without a leader (docs/reliability.md). 20 s for one loss.
func TestPowerLossOfAll(t *testing.T) {
	losePower(t, "2s", flushed, slices.Repeat([]func(*powered){(*powered).loseAll}, max(1, loseAllFull*number(t, "KVORUM_ROUNDS", 2)/200)))
}

// losePower plays the losses of a plan in any order.
func losePower(t *testing.T, freeze string, properties map[string]string, plan []func(*powered)) {
	t.Helper()
	p := startPowered(t, "", freeze, properties)
	p.random.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	for _, fault := range plan {
		p.awaitInSync()
		time.Sleep(p.upTo(500 * time.Millisecond)) // so that there is something to lose
		fault(p)
	}
	p.validate()
	t.Logf("%d losses of power changed %d files, by up to %d bytes, and undid %d changes of names", len(plan), p.lost.Files, p.lost.Bytes, p.lost.Names)
	if p.lost.Files == 0 {
		t.Error("no file lost anything: the nodes do not use the disk that can")
	}
}

// TestPowerLossFindsABug lets brokers go on as who they were after a loss of power: one
// of them then leads without what it lost, and the history must tell. 10 s.
func TestPowerLossFindsABug(t *testing.T) {
	p := startPowered(t, "resume after a power loss", "", nil)
	for range 20 {
		p.awaitInSync()
		p.load.finish() // the later times nothing is written, and what is not synced may still be lost
		brokers := p.random.Perm(sixBrokers)
		for i := range brokers {
			brokers[i] += sixControllers
		}
		for _, n := range brokers {
			p.nodes[n].Kill()
		}
		lost, err := powerloss.Lose(p.journals[brokers[0]], p.random)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range brokers {
			p.nodes[n].Start(t)
		}
		for _, n := range brokers {
			p.nodes[n].WaitReady(p.ctx, t)
		}
		p.awaitInSync()
		if violations := p.load.violations(p.ctx, t); len(violations) > 0 {
			t.Logf("found after %+v: %d violations, the first: %s", lost, len(violations), violations[0])
			return
		}
	}
	t.Error("brokers went on without what they had lost, and nothing was missing")
}
