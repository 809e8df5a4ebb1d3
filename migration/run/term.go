package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/driver"
	"kvorum/migration/mirror"
	"kvorum/migration/zk"
	"kvorum/migration/zkbroker"
	"kvorum/migration/znode"
)

// patience bounds the part of one action that ZooKeeper has a hand in. Reading or
// writing 100,000 partitions takes about ten seconds; a connection that is lost is
// made again by the client, many times if need be. After it the session is given up
// and the driver tries again with another.
const patience = 2 * time.Minute

// term is one leadership. Its goroutine owns everything but the channels.
type term struct {
	runner   *Runner
	epoch    kafka.LeaderEpoch
	commands chan driver.Effect // Action and Tell: at most one of each is outstanding
	answers  chan driver.Done
	cancel   context.CancelFunc
	done     chan struct{}

	client *zk.Client       // nil without a session
	fence  *zk.Fence        // of our claim, nil before it
	mirror *mirror.Mirror   // of client and fence
	read   *znode.Tree      // by the copy, since the claim, until the mirror has it; else nil
	sender *zkbroker.Sender // of the claim
	told   *image.Image     // what ZooKeeper holds
	frozen bool             // the open transaction is the one of a way back
}

// begin starts a term, which does nothing before the last one has ended.
func begin(ctx context.Context, r *Runner, epoch kafka.LeaderEpoch, last <-chan struct{}) *term {
	ctx, cancel := context.WithCancel(ctx)
	t := &term{runner: r, epoch: epoch, commands: make(chan driver.Effect, 2), answers: make(chan driver.Done), cancel: cancel, done: make(chan struct{})}
	r.mu.Lock()
	r.current = t
	r.status = Status{Leads: true, Epoch: epoch, Written: kafka.NoOffset}
	r.mu.Unlock()
	go func() {
		defer close(t.done)
		<-last // it was cancelled, and waits for ZooKeeper a second at most
		t.run(ctx)
	}()
	return t
}

// run carries out commands until ctx ends.
func (t *term) run(ctx context.Context) {
	defer t.end()
	for {
		select {
		case c := <-t.commands:
			switch c := c.(type) {
			case driver.Tell:
				t.sender.Publish(t.told)
			case driver.Action:
				done := t.act(ctx, c)
				select {
				case t.answers <- done:
				case <-ctx.Done():
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// end gives the connections up. Our claim stays in ZooKeeper: the next controller
// takes it over, and no broker comes in between.
func (t *term) end() {
	t.runner.note(t, func(s *Status) { s.Action = "" })
	if t.sender != nil {
		t.sender.Close()
	}
	t.hangUp()
}

func (t *term) hangUp() {
	if t.client != nil {
		t.client.Close()
		t.client, t.mirror, t.read = nil, nil, nil
	}
}

// act does one action and says what came of it.
func (t *term) act(ctx context.Context, a driver.Action) driver.Done {
	r := t.runner
	r.note(t, func(s *Status) { s.Action, s.Since = a.Kind.String(), r.config.Clock.Now() })
	done := driver.Done{Epoch: a.Epoch}
	err := t.do(ctx, a, &done)
	newest, _ := r.committed()
	done.Log = newest.log()
	done.Failed, done.Rival = err != nil, errors.Is(err, zk.ErrDeposed)
	r.note(t, func(s *Status) {
		s.Action, s.Err = "", ""
		if err != nil {
			s.Err = err.Error()
		}
	})
	if err != nil && ctx.Err() == nil {
		r.config.Log.Warn("a step of the migration from ZooKeeper failed", "step", a.Kind.String(), "epoch", t.epoch, "err", err)
	}
	return done
}

func (t *term) do(ctx context.Context, a driver.Action, done *driver.Done) error {
	switch a.Kind {
	case driver.Look:
		return t.with(ctx, func(ctx context.Context) error { return t.look(ctx, done) })
	case driver.Claim:
		return t.with(ctx, t.claim)
	case driver.Abort:
		return t.abort(ctx)
	case driver.Copy:
		return t.copy(ctx)
	case driver.GiveBack:
		return t.giveBack(ctx, a.Over)
	case driver.Mirror:
		return t.with(ctx, func(ctx context.Context) error { return t.write(ctx, done) })
	}
	panic(fmt.Sprintf("run: the unknown action %d", a.Kind))
}

// with does something with a session, which it opens if there is none, and gives it
// up if it takes too long.
func (t *term) with(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("ZooKeeper took longer than %v", patience))
	defer cancel()
	if t.client == nil {
		var err error
		if t.client, err = zk.Open(ctx, t.runner.config.ZooKeeper); err != nil {
			return err
		}
	}
	err := do(ctx)
	if ctx.Err() != nil { // which has closed the client
		t.hangUp()
	}
	return err
}
