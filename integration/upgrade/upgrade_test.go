package upgrade

import (
	"context"
	"strings"
	"testing"
	"time"

	"kvorum/admin"
	"kvorum/integration/bench/broker"
	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
	"kvorum/internal/kafka"
)

// patience bounds the waits for what takes a moment.
const patience = time.Minute

// TestRoll formats and starts three controllers with the previous commit's
// binary and restarts them one by one with this one's while clients work.
func TestRoll(t *testing.T) {
	before, commit := previous(t)
	after := cluster.Binary(t)
	// Without no-op records the log has an end to compare.
	q := cluster.StartKvorum(t.Context(), t, cluster.Options{Size: 3, Binary: before, Properties: map[string]string{"metadata.max.idle.interval.ms": "0"}})
	startBrokers(t, q)
	tr := startTraffic(t, q.Addresses)
	tr.untilAfter(t, time.Now())
	for _, c := range q.Controllers {
		n := c.(*cluster.Node)
		acked, began := tr.acked.Load(), time.Now()
		n.Stop(t)
		n.Binary = after
		n.Start(t)
		n.WaitReady(t.Context(), t)
		tr.untilAfter(t, time.Now())
		t.Logf("%s rolled from %s in %v, %d operations acknowledged meanwhile", n, commit, time.Since(began).Round(time.Millisecond), tr.acked.Load()-acked)
	}
	tr.finish()
	end := waitEqualEnds(t, q)
	for _, c := range q.Controllers {
		c.Stop(t)
	}
	created, deleted, _ := tr.topics.Counts()
	t.Logf("%d topics created, %d deleted; the log ends at %d on all", created, deleted, end)
	compare(t, q, tr, end)
}

// startBrokers starts three brokers that register, heartbeat and fetch.
func startBrokers(t *testing.T, q *cluster.Quorum) {
	t.Helper()
	var all []*broker.Broker
	for id := int32(11); id <= 13; id++ {
		b, err := broker.Start(t.Context(), broker.Config{ID: id, ClusterID: q.ClusterID, Controllers: q.Addresses, Address: loopback.Address(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		all = append(all, b)
	}
	for _, b := range all {
		select {
		case <-b.Unfenced():
		case <-time.After(patience):
			t.Fatalf("a broker was not unfenced within %v: %v", patience, b.Err())
		}
	}
}

// waitEqualEnds waits until the active controller knows that all logs end where
// its own does, and returns that end.
func waitEqualEnds(t *testing.T, q *cluster.Quorum) kafka.Offset {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ; ; time.Sleep(50 * time.Millisecond) {
		status, err := admin.Quorum(ctx, strings.Join(q.Addresses, ","), 5*time.Second)
		equal := err == nil && len(status.Voters) == len(q.Controllers)
		for i := 0; equal && i < len(status.Voters); i++ {
			equal = status.Voters[i].LogEndOffset == status.HighWatermark
		}
		if equal {
			return status.HighWatermark
		}
		if ctx.Err() != nil {
			t.Fatalf("the logs do not end at one offset after %v: %+v, %v", patience, status, err)
		}
	}
}

// compare folds each controller's log on disk up to end: each must hold all that
// was acknowledged, and all must hold the same.
func compare(t *testing.T, q *cluster.Quorum, tr *traffic, end kafka.Offset) {
	t.Helper()
	var first string
	for i, c := range q.Controllers {
		n := c.(*cluster.Node)
		m, err := admin.OpenMetadata(n.DataDir())
		if err != nil {
			t.Fatal(err)
		}
		state, err := m.StateAt(end - 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if state.OpenTransaction != kafka.NoOffset || len(state.Damaged) > 0 {
			t.Errorf("%s: open transaction at %d, damaged checkpoints %v", n, state.OpenTransaction, state.Damaged)
		}
		for _, v := range tr.check(state.Image) {
			t.Errorf("%s: %s", n, v)
		}
		for id := kafka.BrokerID(11); id <= 13; id++ {
			if b := state.Image.Broker(id); b == nil || b.Fenced {
				t.Errorf("%s: broker %d is gone or fenced: %+v", n, id, b)
			}
		}
		var tree strings.Builder
		if err := state.Tree().WriteTree(&tree, 0); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = tree.String()
		} else if tree.String() != first {
			t.Errorf("%s and %s have different states at offset %d", q.Controllers[0], n, end-1)
		}
	}
}
