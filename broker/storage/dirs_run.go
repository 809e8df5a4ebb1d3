package storage

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// Run does the chores of the log directories until ctx ends: it recovers logs
// after an unclean stop, writes checkpoints, flushes, applies retention, removes
// deleted directories, and handles failed and full disks. It is called once, and
// Close after it has returned.
func (d *Dirs) Run(ctx context.Context) {
	var work sync.WaitGroup
	for _, dir := range d.dirs {
		work.Go(func() { d.recoverAll(ctx, dir) })
	}
	work.Go(func() { d.flushRolled(ctx) })
	work.Go(func() { d.makeNew(ctx) })
	work.Go(func() {
		d.every(ctx, d.o.Times.FirstRetention, d.o.Times.Retention, func() { d.retain(ctx) })
	})
	work.Go(func() { d.every(ctx, d.o.Times.ProducerExpiry, d.o.Times.ProducerExpiry, d.expireProducers) })
	work.Go(func() {
		d.every(ctx, d.o.Times.Probe, d.o.Times.Probe, func() { d.flushOld(ctx); d.removeDoomed(); d.reopenShort(); d.retryRefused(ctx) })
	})
	work.Go(func() { d.runCleaners(ctx) })
	d.runCheckpoints(ctx)
	work.Wait()
}

// runCheckpoints writes the checkpoints and handles failures of directories.
func (d *Dirs) runCheckpoints(ctx context.Context) {
	tick := func(every time.Duration) clock.Timer { return d.o.Clock.NewTimer(every) }
	high, recovery, start := tick(d.o.Times.HighWatermark), tick(d.o.Times.RecoveryPoint), tick(d.o.Times.LogStart)
	defer high.Stop()
	defer recovery.Stop()
	defer start.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case dir := <-d.failures:
			d.handleFailure(dir)
		case <-high.C():
			d.checkpointAll(checkpoint.HighWatermark)
			high.Reset(d.o.Times.HighWatermark)
		case <-recovery.C():
			d.checkpointAll(checkpoint.RecoveryPoint)
			recovery.Reset(d.o.Times.RecoveryPoint)
		case <-start.C():
			d.checkpointAll(checkpoint.LogStart)
			start.Reset(d.o.Times.LogStart)
		}
	}
}

// every calls f after first, and then each interval after f has returned.
func (d *Dirs) every(ctx context.Context, first, interval time.Duration, f func()) {
	timer := d.o.Clock.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		f()
		timer.Reset(interval)
	}
}

// recoverAll opens the logs of a directory that was not closed in order, so that
// the next stop can be clean.
func (d *Dirs) recoverAll(ctx context.Context, dir *directory) {
	if dir.clean {
		return
	}
	todo := d.listAll(func(e *holding) bool { return e.home == dir && e.log.Load() == nil })
	if len(todo) == 0 {
		return
	}
	from := d.o.Clock.Now()
	d.o.Logger.Info("recovery begins after an unclean stop", "path", dir.Path, "logs", len(todo))
	parallel(todo, d.tuning.Load().RecoveryThreads, func(e *holding) error {
		if ctx.Err() == nil {
			_, _ = d.open(e) // it has said what is wrong
		}
		return nil
	})
	d.o.Logger.Info("recovery is over", "path", dir.Path, "logs", len(todo), "took", d.o.Clock.Now().Sub(from))
}

// parallel calls f for all entries, so many at a time.
func parallel(all []*holding, atATime int, f func(*holding) error) error {
	var (
		work sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	next := make(chan *holding)
	for range max(atATime, 1) {
		work.Go(func() {
			for e := range next {
				if err := f(e); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, e := range all {
		next <- e
	}
	close(next)
	work.Wait()
	return errors.Join(errs...)
}

// noteRolled remembers a log with a full segment; the log's locks are held.
func (d *Dirs) noteRolled(l *Log) {
	d.mu.Lock()
	d.rolled[l] = true
	d.mu.Unlock()
	signal(d.wake)
}

// signal wakes up who waits for c, or will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is awake already
	}
}

// flushRolled flushes logs whose segment became full, so that a crash leaves
// little to be recovered (UnifiedLog.roll).
func (d *Dirs) flushRolled(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
		for l := d.nextRolled(); l != nil && ctx.Err() == nil; l = d.nextRolled() {
			_ = l.Flush() // a failure has been told to logFailed
		}
	}
}

func (d *Dirs) nextRolled() *Log {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.rolled {
		delete(d.rolled, l)
		return l
	}
	return nil
}

// flushOld flushes the logs whose flush.ms has passed. Without that key a log is
// flushed when a segment is full and when it is closed; replication is what makes
// records durable.
func (d *Dirs) flushOld(ctx context.Context) {
	for _, e := range d.list(func(e *holding) bool { l := e.log.Load(); return l != nil && l.Config().FlushMs < math.MaxInt64 }) {
		l, now := e.log.Load(), d.nowMs()
		if l.LogEnd() == l.RecoveryPoint() {
			e.flushedMs.Store(now)
			continue
		}
		if now-e.flushedMs.Load() < l.Config().FlushMs || ctx.Err() != nil || l.Err() != nil {
			continue
		}
		if l.Flush() == nil {
			e.flushedMs.Store(now)
		}
	}
}

// Close makes everything durable and closes all logs: they are flushed, the
// checkpoints written, and a directory whose logs are all in order gets the marker
// of a clean stop, with the broker's last epoch. Run has returned before.
func (d *Dirs) Close(epoch kafka.BrokerEpoch) error {
	d.makeUnmade(context.Background())
	var errs []error
	for _, dir := range d.dirs {
		errs = append(errs, d.closeDirectory(dir, epoch))
	}
	return errors.Join(append(errs, d.unlock())...)
}

// closeLogs is how many logs of a directory are closed at a time. They wait for
// fsyncs nearly all of the time, and a journal commits those that wait together at
// once. Each holds a thread of the system while it waits, which is the limit.
const closeLogs = 64

// dirtyLogs counts the logs with records that are not on the disk.
func dirtyLogs(all []*holding) (n int) {
	for _, e := range all {
		if l := e.log.Load(); l != nil && l.LogEnd() != l.RecoveryPoint() {
			n++
		}
	}
	return n
}

// closeDirectory brings what is not on the disk there. Where that is of many logs,
// all of it is written back at once first: an fsync then finds little to do, and its
// answer stays what the recovery points go by.
func (d *Dirs) closeDirectory(dir *directory, epoch kafka.BrokerEpoch) error {
	all := d.listAll(func(e *holding) bool { return e.home == dir })
	if dirtyLogs(all) >= closeLogs {
		_ = vfs.WriteBack(d.o.FS, dir.Path) // the fsyncs of each log say what could not be written
	}
	err := parallel(all, closeLogs, func(e *holding) error {
		if l := e.log.Load(); l != nil {
			return l.Close()
		}
		return nil
	})
	if dir.offline() != nil {
		return nil // nothing can be written there, and the owner knows it
	}
	clean := err == nil
	for _, e := range all {
		l := e.log.Load()
		clean = clean && (l == nil && e.clean || l != nil && l.Err() == nil)
	}
	for _, name := range []string{checkpoint.RecoveryPoint, checkpoint.LogStart, checkpoint.HighWatermark} {
		err = errors.Join(err, d.writeCheckpoint(dir, name, false))
	}
	if err != nil || !clean {
		return err
	}
	return checkpoint.WriteCleanShutdown(d.o.FS, dir.Path, epoch)
}
