package cluster_test

import (
	"context"
	"testing"
	"time"

	"kvorum/integration/cluster"
)

// TestKvorum starts quorums of one and of three kvorum controllers, kills the
// active one, and starts it again: no Java is needed for it.
func TestKvorum(t *testing.T) {
	for _, size := range []int{1, 3} {
		ctx := context.Background()
		began := time.Now()
		q := cluster.StartKvorum(ctx, t, cluster.Options{Size: size, ReleaseVersion: "4.3-IV0"})
		active := q.Active(ctx, t)
		t.Logf("%d controllers: active after %v", size, time.Since(began).Round(time.Millisecond))
		began = time.Now()
		q.Controllers[active].Kill()
		if size > 1 {
			q.Active(ctx, t)
			t.Logf("another one is active after %v", time.Since(began).Round(time.Millisecond))
		}
		q.Controllers[active].Start(t)
		q.Controllers[active].WaitReady(ctx, t)
		q.Active(ctx, t)
		for _, c := range q.Controllers {
			c.Stop(t)
		}
	}
}
