package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

// TestNodeStart measures from the start of a formatted node's process to the first
// acknowledged record of a new topic, and its memory once it is idle.
func TestNodeStart(t *testing.T) {
	benchNode(t, func(t *testing.T, s side, node *cluster.Single) {
		var took []time.Duration
		for i := range min(sizes.starts, 5) {
			if i > 0 {
				node.Kill()
				node = formatNode(t, s)
			}
			took = append(took, startToFirst(t, node))
		}
		noteSpread(t, s, "start on a formatted directory to the first acknowledged record, min / p50 / worst", "0.3 s", took)
		time.Sleep(sizes.idle)
		noteResident(t, s, "resident, idle", "50 MiB", node)
	})
}

// startToFirst starts the node and returns how long it took from there to the
// first acknowledged record.
func startToFirst(t *testing.T, node *cluster.Single) time.Duration {
	t.Helper()
	began := time.Now()
	node.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := firstOf(ctx, node.Bootstrap); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// noteResident notes the resident memory of nodes together.
func noteResident(t *testing.T, s side, name, target string, nodes ...running) {
	t.Helper()
	mib := 0.0
	for _, n := range nodes {
		mib += float64(n.Process().ResidentBytes()) / (1 << 20)
	}
	note(t, s, name, target, mib, fmt.Sprintf("%.0f MiB", mib))
}

// TestNodePartitions measures topics of many partitions, and what they cost in
// memory when nothing happens in them.
func TestNodePartitions(t *testing.T) {
	n := sizes.nodePartitions
	benchNode(t, func(t *testing.T, s side, node *cluster.Single) {
		node.StartReady(t.Context(), t)
		began := time.Now()
		createOn(t, node.Bootstrap, "many", int32(n), 1)
		noteDuration(t, s, fmt.Sprintf("one topic of %d partitions", n), "100 ms for 5,000", time.Since(began))
		writeEach(t, node.Bootstrap, "many", n)
		noteDuration(t, s, fmt.Sprintf("the same until each of the %d leaders has taken a record", n), "2 s", time.Since(began))
		createOn(t, node.Bootstrap, "more", int32(n), 1)
		writeEach(t, node.Bootstrap, "more", n)
		time.Sleep(sizes.idle)
		noteResident(t, s, fmt.Sprintf("resident with %d idle partitions that have a record each", 2*n), "300 MiB for 10,000", node)
	})
}

// TestNodeRestart measures how long a node with data in many partitions takes to
// come back, after a clean shutdown and after it was killed.
func TestNodeRestart(t *testing.T) {
	n, total := sizes.restartPartitions, sizes.restartBytes
	benchNode(t, func(t *testing.T, s side, node *cluster.Single) {
		node.StartReady(t.Context(), t)
		createOn(t, node.Bootstrap, "many", int32(n), 1)
		produceBytes(t, node.Bootstrap, "many", 1024, total, kgo.RecordPartitioner(kgo.UniformBytesPartitioner(64<<10, false, false, nil)))
		settleDisk()
		what := fmt.Sprintf("restart with %d partitions, %.1f GB, to the first acknowledged record: ", n, float64(total)/1e9)
		node.Stop(t)
		noteDuration(t, s, what+"clean", "1 s for 6,000", startToFirst(t, node))
		node.Kill()
		noteDuration(t, s, what+"killed", "2 s", startToFirst(t, node))
	})
}
