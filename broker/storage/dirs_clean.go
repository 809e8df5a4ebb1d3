package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// CleanerOptions say how logs are compacted; the zero value compacts nothing.
type CleanerOptions struct {
	// Threads is log.cleaner.threads: how many logs are compacted at a time. 0:
	// log.cleaner.enable is false.
	Threads int
	// KeyMemory is log.cleaner.dedupe.buffer.size, for all threads together. It is
	// taken while a log is compacted, and as much of it as its keys need.
	KeyMemory int64
	// KeyLoad is log.cleaner.io.buffer.load.factor: the share of the key memory that
	// may be full. 0 is Kafka's default.
	KeyLoad float64
	// IOMemory is log.cleaner.io.buffer.size, for all threads together: half is read
	// into, half is written from. A longer batch gets what it needs. 0 is Kafka's
	// default.
	IOMemory int64
	// BytesPerSecond is log.cleaner.io.max.bytes.per.second, read and written, for
	// all threads together; 0: no limit.
	BytesPerSecond float64
	// Backoff is log.cleaner.backoff.ms.
	Backoff time.Duration
}

// share is the key memory of one compaction.
func (o CleanerOptions) share() int64 { return o.KeyMemory / int64(max(o.Threads, 1)) }

const (
	defaultKeyLoad  = 0.9
	defaultIOMemory = 512 << 10
	// minCleanerBuffer is a page: with less each read would cost more than what it
	// reads.
	minCleanerBuffer = 4 << 10
)

// load is the share of the key map that may be full. A map that is nearly full is
// slow, and one that is quite full has no end to a search.
func (o CleanerOptions) load() float64 {
	if o.KeyLoad == 0 {
		return defaultKeyLoad
	}
	return min(max(o.KeyLoad, 0.01), 0.99)
}

// buffer is the length of each of the two buffers of one compaction.
func (o CleanerOptions) buffer() int {
	if o.IOMemory == 0 {
		o.IOMemory = defaultIOMemory
	}
	return int(max(o.IOMemory/int64(max(o.Threads, 1))/2, minCleanerBuffer))
}

// cleanState is what Dirs knows of the compaction of its logs.
type cleanState struct {
	// offsets say how far each log of a directory is compacted: the content of
	// cleaner-offset-checkpoint.
	offsets map[*directory]checkpoint.Offsets
	// busy logs are being compacted, and can be stopped; failed ones are left alone until the next
	// start, because their segments cannot be read.
	failed map[*Log]bool
	busy   map[*Log]context.CancelFunc
	// What CleanerStats tells.
	looked time.Time
	dirty  float64
	took   time.Duration
}

// CleanerStats is what the compaction of logs has come to.
type CleanerStats struct {
	// Uncleanable logs are left alone until the next start, because their segments
	// cannot be read.
	Uncleanable int
	// DirtyRatio is the largest share of uncompacted bytes that a log had at the last
	// look, due or not; SinceLook is how long ago that was, 0 before the first one.
	DirtyRatio float64
	SinceLook  time.Duration
	// Took is how long the newest round that came to its end took.
	Took time.Duration
}

// CleanerStats tells how the compaction goes. Safe for concurrent use.
func (d *Dirs) CleanerStats() CleanerStats {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := CleanerStats{Uncleanable: len(d.cleaner.failed), DirtyRatio: d.cleaner.dirty, Took: d.cleaner.took}
	if !d.cleaner.looked.IsZero() {
		s.SinceLook = d.o.Clock.Now().Sub(d.cleaner.looked)
	}
	return s
}

// runCleaners runs as many cleaners as log.cleaner.threads says at the time, until
// ctx ends.
func (d *Dirs) runCleaners(ctx context.Context) {
	var (
		work    sync.WaitGroup
		running []context.CancelFunc
	)
	defer work.Wait()
	for {
		for len(running) < d.tuning.Load().Cleaner.Threads {
			one, stop := context.WithCancel(ctx)
			running = append(running, stop)
			work.Go(func() { d.runCleaner(ctx, one) })
		}
		for most := max(d.tuning.Load().Cleaner.Threads, 0); len(running) > most; running = running[:len(running)-1] {
			running[len(running)-1]()
		}
		select {
		case <-ctx.Done():
			for _, stop := range running {
				stop()
			}
			return
		case <-d.tuned:
		}
	}
}

// runCleaner compacts logs, the dirtiest first, until ctx ends, or until one does: then
// the log that is being compacted is the last.
func (d *Dirs) runCleaner(ctx, one context.Context) {
	timer := d.o.Clock.NewTimer(d.tuning.Load().Cleaner.Backoff)
	defer timer.Stop()
	for {
		select {
		case <-one.Done():
			return
		case <-timer.C():
		}
		for one.Err() == nil && d.cleanDirtiest(ctx) {
		}
		timer.Reset(d.tuning.Load().Cleaner.Backoff)
	}
}

// cleanDirtiest compacts one log; false where none is due.
func (d *Dirs) cleanDirtiest(all context.Context) bool {
	ctx, stop := context.WithCancel(all)
	defer stop()
	e, l, r := d.dirtiest(stop)
	if e == nil {
		return false
	}
	defer d.doneCleaning(l)
	c := &cleaning{l: l, nowMs: d.wallMs(), r: r, o: d.tuning.Load().Cleaner, pace: d.pace}
	from := d.o.Clock.Now()
	before := l.Size()
	end, replaced, err := c.clean(ctx)
	d.doomFiles(e.home, replaced, l.Config().FileDeleteDelayMs)
	switch {
	case errors.Is(err, errCleaningStopped) || l.Err() != nil || errors.Is(err, errGone):
		return all.Err() == nil && l.Err() == nil
	case err != nil:
		d.o.Logger.Error("a log cannot be compacted and is left alone until the next start", "partition", e.partition.String(), "error", err)
		d.mu.Lock()
		d.cleaner.failed[l] = true
		d.mu.Unlock()
		return true
	}
	took := d.o.Clock.Now().Sub(from)
	d.o.Logger.Info("a log is compacted", "partition", e.partition.String(), "from", int64(r.first), "to", int64(end),
		"bytes_before", before, "bytes_after", l.Size(), "took", took)
	d.mu.Lock()
	d.cleaner.took = took
	d.mu.Unlock()
	d.setCleaned(e, end)
	return true
}

// dirtiest finds the log with the largest share of uncompacted bytes among those
// that are due, and marks it as busy until stop is called or it is done.
func (d *Dirs) dirtiest(stop context.CancelFunc) (*holding, *Log, dirtyRange) {
	var (
		best  *holding
		log   *Log
		worst dirtyRange
		dirty float64
	)
	for _, e := range d.list(func(e *holding) bool { l := e.log.Load(); return l != nil && l.Config().Compact && l.Err() == nil }) {
		l := e.log.Load()
		if d.notCleanable(l) {
			continue
		}
		r, err := l.dirty(d.cleaned(e), d.wallMs())
		if err != nil {
			d.o.Logger.Error("what is to be compacted cannot be found out", "partition", e.partition.String(), "error", err)
			continue
		}
		dirty = max(dirty, r.ratio())
		if r.due(l.Config()) && (best == nil || r.ratio() > worst.ratio()) {
			best, log, worst = e, l, r
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cleaner.looked, d.cleaner.dirty = d.o.Clock.Now(), dirty
	if best == nil {
		return nil, nil, worst
	}
	if d.cleaner.busy[log] != nil || d.futures[best.partition] != nil {
		return nil, nil, worst // another thread was faster, or it is moved; the next look finds another log
	}
	d.cleaner.busy[log] = stop
	return best, log, worst
}

func (d *Dirs) notCleanable(l *Log) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.cleaner.busy[l] != nil || d.cleaner.failed[l] || d.futures[l.Partition()] != nil
}

func (d *Dirs) doneCleaning(l *Log) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.cleaner.busy, l)
}

// cleaned is how far a log is compacted by the checkpoint.
func (d *Dirs) cleaned(e *holding) kafka.Offset {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if at, ok := d.cleaner.offsets[e.home][e.partition]; ok {
		return at
	}
	return kafka.NoOffset
}

// setCleaned notes how far a log is compacted, durably. After a crash before it,
// the log is compacted again, with the same result.
func (d *Dirs) setCleaned(e *holding, at kafka.Offset) {
	e.home.writing.Lock()
	defer e.home.writing.Unlock()
	d.mu.Lock()
	offsets := d.cleaner.offsets[e.home]
	offsets[e.partition] = at
	for p := range offsets { // those that were deleted meanwhile
		if h := d.holdings[p]; h == nil || h.home != e.home {
			delete(offsets, p)
		}
	}
	content := offsets.Append(nil)
	d.mu.Unlock()
	if err := vfs.Replace(d.o.FS, d.o.FS.PathJoin(e.home.Path, checkpoint.Cleaner), content); err != nil {
		d.diskError(e.home, err)
	}
}

// lowerCleaned says that a log was cut: what comes after an offset has to be
// compacted again.
func (d *Dirs) lowerCleaned(e *holding, to kafka.Offset) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.cleaner.offsets[e.home][e.partition]; ok && at > to {
		d.cleaner.offsets[e.home][e.partition] = to
	}
}

// dropCleaned forgets how far a log was compacted that is taken out: one that is
// made under its name begins anew.
func (d *Dirs) dropCleaned(e *holding) {
	e.home.writing.Lock()
	defer e.home.writing.Unlock()
	d.mu.Lock()
	offsets := d.cleaner.offsets[e.home]
	_, had := offsets[e.partition]
	delete(offsets, e.partition)
	content := offsets.Append(nil)
	d.mu.Unlock()
	if !had {
		return
	}
	if err := vfs.Replace(d.o.FS, d.o.FS.PathJoin(e.home.Path, checkpoint.Cleaner), content); err != nil {
		d.diskError(e.home, err)
	}
}

// pace keeps a compaction within its bytes per second.
func (d *Dirs) pace(ctx context.Context, n int) error {
	tuned := d.tuning.Load().Cleaner
	rate := tuned.BytesPerSecond / float64(max(tuned.Threads, 1))
	if rate <= 0 {
		return ctx.Err()
	}
	wait := time.Duration(min(float64(n)/rate*float64(time.Second), float64(time.Minute)))
	if wait < time.Millisecond {
		return ctx.Err()
	}
	timer := d.o.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C():
		return nil
	}
}
