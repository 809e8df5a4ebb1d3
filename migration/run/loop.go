package run

import (
	"context"
	"fmt"
	"time"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/driver"
)

// loop is what the runner's one loop owns.
type loop struct {
	runner *Runner
	driver driver.Driver
	leads  bool
	epoch  kafka.LeaderEpoch
	term   *term           // nil unless this controller leads and there is something to do
	ended  <-chan struct{} // of the last term that was cancelled
	timer  clock.Timer     // nil unless a retry is on its way
	retry  driver.Retry
}

// run is the loop.
func (r *Runner) run(ctx context.Context) {
	defer close(r.done)
	none := make(chan struct{})
	close(none)
	l := &loop{runner: r, ended: none}
	defer func() {
		l.cancel()
		<-l.ended
	}()
	for {
		var answers <-chan driver.Done
		if l.term != nil {
			answers = l.term.answers
		}
		var retry <-chan time.Time
		if l.timer != nil {
			retry = l.timer.C()
		}
		select {
		case <-r.wake:
			l.take(ctx)
		case d := <-answers:
			l.step(d)
		case <-retry:
			l.timer = nil
			l.step(l.retry)
		case <-ctx.Done():
			return
		}
		r.publish(l.driver.Status(), l.leads, l.epoch)
	}
}

// take empties the inbox.
func (l *loop) take(ctx context.Context) {
	r := l.runner
	r.mu.Lock()
	became, resume, start, back, newest := r.role, r.resume, r.start, r.back, r.newest
	r.role, r.resume, r.start, r.back = nil, false, false, false
	r.mu.Unlock()
	if became != nil && l.leads {
		l.leads = false
		l.cancel()
		r.forget()
		l.step(driver.Deposed{})
	}
	if newest.Image != nil {
		l.step(driver.Committed{Log: newest.log()})
	}
	if start && became == nil {
		l.step(driver.Start{Epoch: l.epoch})
	}
	stopped := l.driver.Status().State == driver.Stopped
	if back && became == nil {
		if stopped {
			l.cancel()
			l.term = begin(ctx, r, l.epoch, l.ended)
		}
		l.step(driver.RollBack{Epoch: l.epoch})
		return
	}
	switch {
	case became != nil && became.leads:
		l.leads, l.epoch = true, became.epoch
	case became == nil && resume && stopped:
	default:
		return
	}
	l.cancel()
	l.term = begin(ctx, r, l.epoch, l.ended)
	l.step(driver.Elected{Epoch: l.epoch, OnCommand: r.config.OnCommand})
}

// log is what the driver has to know of the log.
func (c Committed) log() driver.Log {
	l := driver.Log{Offset: c.Offset, State: driver.LogState(c.Image.ZkMigrationState()), Open: c.Open, Unready: c.Unready}
	for b := range c.Image.Brokers() {
		if b.IsMigratingZkBroker {
			l.ZooKeeperMode = append(l.ZooKeeperMode, b.ID)
		}
	}
	return l
}

// step gives an event to the driver and begins what it asks for.
func (l *loop) step(e driver.Event) {
	before := l.driver.Status()
	for _, effect := range l.driver.Step(e) {
		if r, ok := effect.(driver.RetryIn); ok {
			l.rest(r)
			continue
		}
		select {
		case l.term.commands <- effect:
		default:
			panic(fmt.Sprintf("run: %+v in state %v while the term has %d commands", effect, l.driver.Status().State, len(l.term.commands)))
		}
	}
	after := l.driver.Status()
	if after.State == before.State {
		return
	}
	log := l.runner.config.Log.With("from", before.State.String(), "to", after.State.String(), "epoch", l.epoch)
	if after.State == driver.Stopped {
		log.Error("the migration from ZooKeeper has stopped", "reason", after.Reason)
	} else {
		log.Info("the migration from ZooKeeper goes on")
	}
	switch after.State {
	case driver.Stopped, driver.KRaft, driver.RolledBack:
		l.cancel()
	}
}

// rest arms the one retry.
func (l *loop) rest(r driver.RetryIn) {
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer, l.retry = l.runner.config.Clock.NewTimer(r.After), driver.Retry{Epoch: r.Epoch}
}

// cancel breaks off the term. It ends by itself, and the next begins after it.
func (l *loop) cancel() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if l.term != nil {
		l.term.cancel()
		l.ended, l.term = l.term.done, nil
	}
}

// newestImage is the newest image; a term is asked for one only after there was
// one.
func (r *Runner) newestImage() *image.Image {
	c, _ := r.committed()
	return c.Image
}
