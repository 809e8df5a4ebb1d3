package coordinator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvorum/protocol/errors"
)

// rounds of each crash test.
const rounds = 25

// ledger is what clients were told.
type ledger struct {
	mu sync.Mutex
	// acknowledged and sent are the highest offsets by group and partition; a
	// client commits growing ones.
	acknowledged, sent map[string]int64
	// generations are those of SyncGroups that succeeded: their records are
	// committed.
	generations map[string]int32
}

func (l *ledger) committing(key string, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[key] = max(l.sent[key], offset)
}

func (l *ledger) committed(key string, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[key] = max(l.acknowledged[key], offset)
}

func (l *ledger) synced(t *testing.T, group string, generation int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if generation < l.generations[group] {
		t.Errorf("group %s was at generation %d and is at %d", group, l.generations[group], generation)
	}
	l.generations[group] = generation
}

// committer commits growing offsets until ctx ends.
func committer(ctx context.Context, g *Groups, l *ledger, name string, partition int32) {
	key := fmt.Sprint(name, partition)
	for ctx.Err() == nil {
		l.mu.Lock()
		next := l.sent[key] + 1
		l.mu.Unlock()
		l.committing(key, next)
		if g.commit(name, "t", partition, next) == errors.None {
			l.committed(key, next)
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
}

// consumer is a member that joins, syncs and heartbeats until ctx ends.
func consumer(ctx context.Context, t *testing.T, g *Groups, l *ledger, name string) {
	member := ""
	for ctx.Err() == nil {
		j := g.join(ctx, name, member)
		switch errors.Code(j.ErrorCode) {
		case errors.None:
		case errors.UnknownMemberID:
			member = ""
			continue
		default:
			time.Sleep(time.Duration(1+rand.IntN(50)) * time.Millisecond)
			continue
		}
		member = j.MemberID
		if s := g.sync(ctx, name, j); s.ErrorCode == 0 {
			l.synced(t, name, j.Generation)
		}
		for ctx.Err() == nil && g.heartbeat(name, j) == errors.None {
			time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
			if rand.IntN(30) == 0 {
				break // joins anew: a rebalance
			}
		}
	}
}

// The broker dies again and again, in the middle of commits and rebalances, and
// loses any part of what was not committed: no acknowledged offset is lost, none
// comes up that nobody sent, and no generation that a member has synced in goes
// back. Appends fail now and then, and the high watermark lags.
func TestCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		l := &ledger{acknowledged: map[string]int64{}, sent: map[string]int64{}, generations: map[string]int32{}}
		for round := range rounds {
			g := newGroups(t, m)
			ctx, cancel := context.WithCancel(context.Background())
			var w sync.WaitGroup
			for i := range 4 {
				w.Go(func() { committer(ctx, g, l, "simple", int32(i)) })
				w.Go(func() { consumer(ctx, t, g, l, "members") })
			}
			w.Go(func() { faults(ctx, m) })
			time.Sleep(time.Duration(rand.IntN(15_000)) * time.Millisecond)
			m.lead() // from now on nothing of the old one gets in
			cancel()
			g.Close()
			w.Wait()
			m.fail(nil)
			m.mu.Lock()
			m.held = false // what is cut is below
			n := len(m.batches)
			m.mu.Unlock()
			m.cut(n - rand.IntN(4))
			m.hold(false)
			survived(t, m, l, round)
		}
	})
}

// faults makes appends fail, and the high watermark wait.
func faults(ctx context.Context, m *memLog) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		switch rand.IntN(3) {
		case 0:
			m.fail(errors.NotEnoughReplicas.Err())
		case 1:
			m.fail(nil)
			m.hold(false)
		case 2:
			m.hold(true)
		}
	}
}

func survived(t *testing.T, m *memLog, l *ledger, round int) {
	t.Helper()
	g := newGroups(t, m)
	defer g.Close()
	synctest.Wait()
	for key, acked := range l.acknowledged {
		name, partition := key[:len(key)-1], int32(key[len(key)-1]-'0')
		o, code := g.fetched(name, "t", partition, true)
		if code != errors.None || o < acked || o > l.sent[key] {
			t.Fatalf("round %d: %s: offset %d (%v), acknowledged is %d, sent %d", round, key, o, code, acked, l.sent[key])
		}
	}
	if round == rounds-1 && (len(l.acknowledged) == 0 || l.generations["members"] < 3) {
		t.Errorf("the clients did too little: %v %v", l.acknowledged, l.generations)
	}
}
