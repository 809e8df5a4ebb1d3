package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// group is a consumer of the group g that commits what it has read, until it is
// stopped. An error of a fetch that the client does not try again by itself, or of a
// commit within its patience, is the test's.
type group struct {
	t      *testing.T
	client *kgo.Client
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	commits int
	gap     time.Duration
}

// startGroup begins to read.
func startGroup(t *testing.T, seeds []string, topic string) *group {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	g := &group{t: t, stop: cancel}
	g.client = newClient(t, kgo.SeedBrokers(seeds...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.RequestTimeoutOverhead(10*time.Second))
	g.work.Go(func() { g.run(ctx) })
	return g
}

func (g *group) run(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := g.client.PollRecords(ctx, 200)
		if session := new(kgo.ErrGroupSession); errors.As(fetches.Err0(), &session) {
			g.t.Logf("the group's member begins anew: %v", session.Err) // its coordinator's broker is down
			continue
		}
		if err := fetches.Err0(); err != nil && ctx.Err() == nil {
			g.t.Errorf("the group reads: %v", err)
			return
		}
		for _, e := range fetches.Errors() {
			if ctx.Err() == nil {
				g.t.Errorf("the group reads partition %d: %v", e.Partition, e.Err)
			}
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		began := time.Now()
		if err := g.client.CommitUncommittedOffsets(context.WithoutCancel(ctx)); err != nil {
			g.t.Errorf("the group commits: %v", err)
			return
		}
		g.mu.Lock()
		g.commits++
		g.gap = max(g.gap, time.Since(began))
		g.mu.Unlock()
	}
}

// done is how many commits were taken.
func (g *group) done() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.commits
}

// more waits for n more commits.
func (g *group) more(ctx context.Context, n int) {
	g.t.Helper()
	from := g.done()
	await(ctx, g.t, "more commits", func(context.Context) error {
		if now := g.done(); now < from+n && !g.t.Failed() {
			return fmt.Errorf("%d of %d more commits are taken", now-from, n)
		}
		return nil
	})
}

// finish ends the reading.
func (g *group) finish() {
	g.stop()
	g.work.Wait()
	g.t.Logf("%d commits, the longest wait for one was %v", g.done(), g.gap.Round(time.Millisecond))
}
