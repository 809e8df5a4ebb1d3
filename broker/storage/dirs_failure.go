package storage

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"kvorum/broker/storage/checkpoint"
	wire "kvorum/protocol/errors"
)

// minFree is the room that a full disk must have before its logs are opened
// again, in bytes: less would only make them fail at the next append.
const minFree = 64 << 20

// offline is the error of a directory that has failed; nil while it works.
func (dir *directory) offline() error {
	if dir.failure.Load() != nil {
		return wire.New(wire.KafkaStorageError, "log directory %s is offline", dir.Path)
	}
	return nil
}

// isShort reports whether an error says that the disk has no room, or the process or
// the system no descriptor. Neither is a failure of the disk, and both pass.
func isShort(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || noDescriptor(err)
}

func noDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// logFailed is called by a log that its disk refused something; the log's locks
// are held.
func (d *Dirs) logFailed(e *holding, l *Log, cause error) {
	if !isShort(cause) {
		d.fail(e.home, cause)
		return
	}
	d.mu.Lock()
	d.short[l] = true
	d.mu.Unlock()
	d.o.Logger.Error("the disk is full, or no descriptor was left; the log is opened again when there is room",
		"partition", e.partition.String(), "path", e.home.Path, "free_bytes_needed", minFree, "error", cause)
}

// diskError judges an error about a directory's files outside of a log.
func (d *Dirs) diskError(dir *directory, err error) {
	if isShort(err) {
		d.o.Logger.Error("the disk is full, or no descriptor was left", "path", dir.Path, "error", err)
		return
	}
	d.fail(dir, err)
}

// fail takes a directory offline. Run does the rest: it takes its logs offline
// and tells the owner.
func (d *Dirs) fail(dir *directory, err error) {
	if dir.failure.CompareAndSwap(nil, &err) {
		d.o.Logger.Error("a log directory went offline", "path", dir.Path, "directory", dir.ID.String(), "error", err)
		d.failures <- dir // has room for each directory once
	}
}

// handleFailure takes the logs of a failed directory offline.
func (d *Dirs) handleFailure(dir *directory) {
	cause := *dir.failure.Load()
	for _, e := range d.listAll(func(e *holding) bool { return e.home == dir }) {
		if l := e.log.Load(); l != nil {
			l.Fail(cause)
			d.settle(l)
		}
		if e.future { // the move is over; a start with the directory finds it again
			d.mu.Lock()
			delete(d.futures, e.partition)
			d.mu.Unlock()
		}
	}
	if d.o.Failed != nil {
		d.o.Failed(dir.ID, cause)
	}
}

// probe takes a directory offline if it cannot be written: after one log could
// not be opened it is not clear whether it alone is damaged.
func (d *Dirs) probe(dir *directory) {
	if err := d.writeCheckpoint(dir, checkpoint.RecoveryPoint, true); err != nil {
		d.diskError(dir, err)
	}
}

// settle forgets that something has to be done for a log.
func (d *Dirs) settle(l *Log) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.rolled, l)
	delete(d.short, l)
	delete(d.cleaner.failed, l)
}

// reopenShort opens the logs again that went offline for want of room or descriptors,
// if there is some now. What was acknowledged is in their files; a batch that was written in
// part is cut off, as after a crash.
func (d *Dirs) reopenShort() {
	d.mu.RLock()
	waiting := make([]*Log, 0, len(d.short))
	for l := range d.short {
		waiting = append(waiting, l)
	}
	d.mu.RUnlock()
	for _, l := range waiting {
		d.mu.RLock()
		e := d.holdings[l.Partition()]
		if f := d.futures[l.Partition()]; f != nil && f.log.Load() == l {
			e = f
		}
		d.mu.RUnlock()
		if e == nil || e.log.Load() != l || e.home.offline() != nil {
			d.settle(l)
			continue
		}
		if usage, err := d.o.FS.GetDiskUsage(e.home.Path); err != nil || usage.AvailBytes < minFree {
			continue
		}
		again, err := d.reopen(e, l)
		if err != nil {
			d.o.Logger.Error("a log that waited for room cannot be opened", "partition", e.partition.String(), "error", err)
			d.probe(e.home)
		}
		if again != nil && d.o.Reopened != nil && !e.future {
			d.o.Reopened(again) // without e.mu: who finishes a move waits for it with the owner's locks
		}
	}
}

// reopen replaces a log that is offline by one that is opened anew; nil if it is
// another one by now.
func (d *Dirs) reopen(e *holding, old *Log) (*Log, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone || e.log.Load() != old {
		return nil, nil
	}
	// The recovery point is the log's own: the checkpoint may be a minute old.
	e.start, e.recovery, e.high, e.clean = old.LogStart(), old.RecoveryPoint(), old.HighWatermark(), false
	if err := old.Close(); err != nil {
		return nil, fmt.Errorf("close the log of %s: %w", e.partition, err)
	}
	l, err := d.replace(e, old)
	if err != nil {
		return nil, err
	}
	l.SetConfig(old.Config())
	d.settle(old)
	d.o.Logger.Info("a log is online again", "partition", e.partition.String(), "end", int64(l.LogEnd()))
	return l, nil
}

// replace opens the log of e anew, or begins it anew if it could not even make its
// directory; e.mu is held.
func (d *Dirs) replace(e *holding, old *Log) (*Log, error) {
	if old.made() {
		return d.openLog(e)
	}
	l := begin(d.logOptions(e, old.TopicID(), old.Config()))
	if err := l.Make(); err != nil {
		return nil, err
	}
	e.log.Store(l)
	return l, nil
}

// A log that could not be opened is tried again: what was in the way may be gone,
// a limit of the system, a file that somebody has put back. A directory that has
// failed is not.
const firstRetryMs, lastRetryMs = 1_000, 60_000

// refuse notes that the log of e cannot be opened; e.mu is held.
func (d *Dirs) refuse(e *holding, err error) {
	e.err = err
	e.backoffMs = min(max(2*e.backoffMs, firstRetryMs), lastRetryMs)
	e.retryMs = d.nowMs() + e.backoffMs
	d.o.Logger.Error("a log cannot be opened; it is tried again", "partition", e.partition.String(), "after_ms", e.backoffMs, "error", err)
	d.probe(e.home)
}

// retryRefused tries to open the logs again whose time has come.
func (d *Dirs) retryRefused(ctx context.Context) {
	for _, e := range d.listAll(func(e *holding) bool { return e.log.Load() == nil && e.home.offline() == nil }) {
		if ctx.Err() != nil {
			return
		}
		if l := d.retry(e); l != nil && d.o.Reopened != nil && !e.future {
			d.o.Reopened(l)
		}
	}
}

// retry opens the log of e if that was refused and its time has come, else nil.
func (d *Dirs) retry(e *holding) *Log {
	if !e.mu.TryLock() {
		return nil // it is being opened for the first time
	}
	defer e.mu.Unlock()
	if e.err == nil || e.gone || d.nowMs() < e.retryMs {
		return nil
	}
	l, err := d.openLog(e)
	if err != nil {
		d.refuse(e, err)
		return nil
	}
	e.err, e.backoffMs = nil, 0
	d.o.Logger.Info("a log is online again", "partition", e.partition.String(), "end", int64(l.LogEnd()))
	return l
}
