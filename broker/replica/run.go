package replica

import (
	"context"
	"sync"
	"time"

	"kvorum/broker/replica/core"
)

// Run does what replicas need done as time goes by: it looks for followers that
// lag and tells the controllers what they have to know. It returns when ctx has
// ended and everything that it began has ended too.
func (ps *Partitions) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { ps.reportISRs(ctx) })
	work.Go(func() { ps.reportDirectories(ctx) })
	work.Go(func() { ps.watchLag(ctx) })
	work.Go(func() { ps.fetchers.run(ctx) })
	work.Go(func() { ps.openCold(ctx) })
	work.Go(func() { ps.runMoves(ctx) })
	work.Wait()
}

// watchLag looks for followers to be taken out of ISRs, every half of the
// allowed lag (ReplicaManager's isr-expiration).
func (ps *Partitions) watchLag(ctx context.Context) {
	interval := time.Duration(ps.lagMaxMs) * time.Millisecond / 2
	timer := ps.clock.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C():
		case <-ctx.Done():
			return
		}
		ps.tick()
		ps.journal.tidy()
		timer.Reset(interval)
	}
}

// tick tells every leader with followers what time it is.
func (ps *Partitions) tick() {
	now := ps.nowMs()
	for _, p := range ps.Hosted() {
		p.mu.Lock()
		p.step(core.Tick{NowMs: now})
		p.mu.Unlock()
	}
}
