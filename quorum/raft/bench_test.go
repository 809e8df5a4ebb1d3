package raft

import (
	"fmt"
	"sort"
	"sync/atomic"
	"testing"
	"time"

	"kvorum/internal/kafka"
)

// benchCluster starts controllers with the default timing.
func benchCluster(b *testing.B, n int) *testCluster {
	c := newCluster(b, n)
	for _, n := range c.nodes {
		n.cfg.Timing = Timing{}
	}
	c.start()
	return c
}

// BenchmarkAppend appends through the log, with 1 and 64 proposals open.
func BenchmarkAppend(b *testing.B) {
	for _, controllers := range []int{1, 3} {
		for _, open := range []int{1, 64} {
			b.Run(fmt.Sprintf("controllers=%d/open=%d", controllers, open), func(b *testing.B) {
				c := benchCluster(b, controllers)
				leader, claim := c.lead()
				leading := *leader.host.leads.now.Load()
				var failed atomic.Bool
				slots := make(chan struct{}, open)
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					base := claim.End + kafka.Offset(i)
					slots <- struct{}{}
					leader.host.Append(claim.Epoch, base, data(base, claim.Epoch, 200), func(o Outcome, err error) {
						if (err != nil || !o.Accepted) && !failed.Swap(true) {
							b.Errorf("append at %d: %+v, %v; leadership was %+v, is %+v", base, o, err, leading, *leader.host.leads.now.Load())
						}
						<-slots
					})
				}
				for range open {
					slots <- struct{}{}
				}
				b.StopTimer()
				c.stop()
			})
		}
	}
}

// BenchmarkFailover stops the leader of three and waits for the next one's
// claim. The leader leaves cleanly but tells nobody, so that the others wait for
// their election timeout, as after a crash.
func BenchmarkFailover(b *testing.B) {
	c := benchCluster(b, 3)
	leader, _ := c.lead()
	var took []time.Duration
	b.ResetTimer()
	for range b.N {
		leader.stop()
		start := time.Now()
		next, claim := c.lead()
		took = append(took, time.Since(start))
		b.StopTimer()
		if err := leader.start(); err != nil {
			b.Fatal(err)
		}
		c.caughtUp(claim.End)
		leader = next
		b.StartTimer()
	}
	b.StopTimer()
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(took[len(took)-1].Milliseconds()), "max-ms")
	c.stop()
}

// BenchmarkStartOne starts a one-voter quorum until its claim is accepted.
func BenchmarkStartOne(b *testing.B) {
	for range b.N {
		b.StopTimer()
		c := newCluster(b, 1)
		n := c.nodes[0]
		var err error
		if n.store, err = openStore(n); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		c.start()
		running := time.Now()
		c.lead()
		b.ReportMetric(float64(time.Since(running).Milliseconds()), "elected-ms")
		b.StopTimer()
		c.stop()
	}
}

// BenchmarkApply applies appends to the store without raft: what Update costs.
func BenchmarkApply(b *testing.B) {
	m := newTestMachine(b, b.TempDir())
	if m.do(b, 1, testClaim(b, 1, 1)) != resultAccepted {
		b.Fatal("claim rejected")
	}
	base := m.store.EndOffset()
	cmd := (&command{kind: kindAppend, epoch: 1, base: base, batches: data(base, 1, 200)}).append(nil)
	b.ReportAllocs()
	for i := range b.N {
		cmd = (&command{kind: kindAppend, epoch: 1, base: base, batches: data(base, 1, 200)}).append(cmd[:0])
		if v, err := m.apply(cmd, uint64(i+2)); err != nil || v != resultAccepted {
			b.Fatal(v, err)
		}
		base++
	}
}
