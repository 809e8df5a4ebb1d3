package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// errCleaningStopped ends a compaction whose segments have gone meanwhile, or
// that the broker has no time for; nothing has changed then.
var errCleaningStopped = errors.New("the compaction was stopped")

// dirtyRange is what a compaction of a log would look at (LogToClean).
type dirtyRange struct {
	first kafka.Offset // not compacted from here on
	end   kafka.Offset // where the first segment begins that must be left alone
	// cleanBytes and dirtyBytes are before first, and between first and end.
	cleanBytes, dirtyBytes int64
	// late: a record is older than max.compaction.lag.ms.
	late bool
}

// ratio is the share of the log that is dirty.
func (r dirtyRange) ratio() float64 {
	if r.cleanBytes+r.dirtyBytes == 0 {
		return 0
	}
	return float64(r.dirtyBytes) / float64(r.cleanBytes+r.dirtyBytes)
}

// due reports whether the log is to be compacted now.
func (r dirtyRange) due(c LogConfig) bool {
	return r.dirtyBytes > 0 && (r.late || r.ratio() > c.MinCleanableDirtyRatio)
}

// dirty finds what there is to compact; checkpoint is how far the last round
// got, or NoOffset (LogCleanerManager.cleanableOffsets). Left alone are the active
// segment, what is not stable yet, and from the first segment on that has a record
// younger than min.compaction.lag.ms.
func (l *Log) dirty(checkpoint kafka.Offset, nowMs int64) (dirtyRange, error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	all, c := *l.segments.Load(), l.Config()
	r := dirtyRange{first: checkpoint}
	if start := l.LogStart(); r.first < start || r.first > l.LogEnd() {
		r.first = start
	}
	closed := all[:len(all)-1]
	limit := min(l.LastStable(), all[len(all)-1].base)
	oldest := int64(math.MaxInt64)
	for _, s := range closed[max(floor(closed, r.first), 0):] {
		if c.MinCompactionLagMs > 0 {
			t, err := l.lastWritten(s)
			if err != nil {
				return r, err
			}
			if t > nowMs-c.MinCompactionLagMs {
				limit = min(limit, s.base)
			}
		}
		if s.size.Load() == 0 {
			continue
		}
		t, err := s.firstTimestamp()
		if err != nil {
			return r, err
		}
		if t > 0 {
			oldest = min(oldest, t)
		}
	}
	r.late = oldest < nowMs-max(c.MaxCompactionLagMs, 0)
	limit = max(limit, r.first)
	r.end = all[len(all)-1].base
	for i, s := range closed {
		if next := all[i+1].base; next > limit {
			r.end = s.base
			break
		}
		if s.base < r.first {
			r.cleanBytes += s.size.Load()
		} else {
			r.dirtyBytes += s.size.Load()
		}
	}
	if r.end < r.first { // within one segment: nothing to do
		r.dirtyBytes, r.late = 0, false
	}
	return r, nil
}

// cleaning is one round of compaction of one log.
type cleaning struct {
	l     *Log
	nowMs int64
	r     dirtyRange
	o     CleanerOptions
	buf   []byte // what is read
	out   []byte // what is written
	// pace is called with the bytes that were read or written.
	pace func(context.Context, int) error
}

// clean compacts the log (Cleaner.doClean): of the records with the same key the
// last one stays, with its offset. It returns up to where the log is compacted
// now, and the files of the segments that were replaced, which the caller removes
// later. Where the keys do not fit into their memory the round ends earlier.
func (c *cleaning) clean(ctx context.Context) (kafka.Offset, []string, error) {
	// So that the recovery point is behind what is replaced: a truncation below it
	// says so.
	if err := c.l.Flush(); err != nil {
		return 0, nil, err
	}
	offsets := newOffsetMap(c.o.share(), c.o.load())
	offsets.latest = c.r.first - 1
	if err := c.readKeys(ctx, offsets); err != nil {
		return 0, nil, err
	}
	end := offsets.latest + 1
	if end == c.r.first {
		return 0, nil, fmt.Errorf("compact the log of %s at offset %d: %d bytes of log.cleaner.dedupe.buffer.size do not hold the keys of one batch", c.l.options.Partition, end, c.o.share())
	}
	var replaced []string
	f := &filter{offsets: offsets, nowMs: c.nowMs, deleteRetentionMs: c.l.Config().DeleteRetentionMs, end: c.r.end, active: c.producers()}
	f.transactions = newCleanedTransactions(nil)
	for _, group := range c.groups(end) {
		paths, err := c.cleanGroup(ctx, f, group)
		replaced = append(replaced, paths...)
		if err != nil {
			return 0, replaced, err
		}
	}
	return end, replaced, nil
}

func (c *cleaning) producers() map[kafka.ProducerID]producer.Entry {
	active := map[kafka.ProducerID]producer.Entry{}
	for _, e := range c.l.Producers() {
		active[e.ID] = e
	}
	return active
}

// readKeys fills the map with the dirty part of the log, or with as much of it as
// fits.
func (c *cleaning) readKeys(ctx context.Context, offsets *offsetMap) error {
	aborted, err := c.l.AbortedTransactions(c.r.first, c.r.end)
	if err != nil {
		return err
	}
	transactions := newCleanedTransactions(nil)
	transactions.expect(aborted)
	keys := &filter{} // for its buffers
	all := *c.l.segments.Load()
	for i := max(floor(all, c.r.first), 0); i < len(all)-1 && all[i].base < c.r.end; i++ {
		full := false
		err := c.read(ctx, all[i], func(v batch.View) (bool, error) {
			discardable, err := transactions.read(v)
			if err != nil || v.EndOffset() <= c.r.first {
				return err == nil, err
			}
			if !discardable && !v.Control() {
				if full, err = keys.note(v, offsets, c.r.first); full || err != nil {
					return false, err
				}
			}
			offsets.latest = max(offsets.latest, v.LastOffset())
			return true, nil
		})
		if full || err != nil {
			return err
		}
		offsets.latest = max(offsets.latest, all[i+1].base-1)
	}
	return nil
}

// note puts the keys of a batch into the map; full where they do not fit.
func (f *filter) note(v batch.View, offsets *offsetMap, first kafka.Offset) (full bool, err error) {
	it, err := f.walk(v)
	if err != nil {
		return false, err
	}
	for it.Next() {
		if key := it.Record().Key; key != nil && it.Offset() >= first && !offsets.put(key, it.Offset()) {
			return true, nil
		}
	}
	return false, it.Err()
}

// read calls each for the batches of a segment until it returns false.
func (c *cleaning) read(ctx context.Context, s *segment, each func(batch.View) (bool, error)) error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	if c.buf == nil {
		c.buf = make([]byte, c.o.buffer())
	}
	size := s.size.Load()
	for position := int64(0); position < size; {
		if ctx.Err() != nil {
			return errCleaningStopped
		}
		n, err := f.ReadAt(c.buf[:min(int64(len(c.buf)), size-position)], position)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s at position %d: %w", s.log.name(), position, err)
		}
		if err := c.pace(ctx, n); err != nil {
			return errCleaningStopped
		}
		used, more, err := eachBatch(c.buf[:n], each)
		if err != nil {
			return fmt.Errorf("compact %s at position %d: %w", s.log.name(), position+int64(used), err)
		}
		if !more {
			return nil
		}
		if used == 0 {
			if err := c.enlarge(s, position, n, size); err != nil {
				return err
			}
		}
		position += int64(used)
	}
	return nil
}

// enlarge makes room for the batch at a position, of which n bytes are read.
func (c *cleaning) enlarge(s *segment, position int64, n int, size int64) error {
	w := walk(nil, s.log.name())
	defer w.done()
	copy(w.buf, c.buf[:min(n, len(w.buf))])
	w.at, w.n = position, min(n, len(w.buf))
	h, err := w.next(position, size)
	if err != nil {
		return err
	}
	if int64(len(c.buf)) >= h.size {
		return fmt.Errorf("%w: the batch at position %d of %s cannot be read", batch.ErrCorrupt, position, s.log.name())
	}
	c.buf = make([]byte, h.size)
	return nil
}

// eachBatch calls each for the whole batches of data; used is how many bytes they
// have.
func eachBatch(data []byte, each func(batch.View) (bool, error)) (used int, more bool, err error) {
	for rest := data; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if errors.Is(err, batch.ErrShort) {
			break
		}
		if err != nil {
			return used, false, err
		}
		if more, err := each(v); !more || err != nil {
			return used, false, err
		}
		used, rest = used+v.Size(), after
	}
	return used, true, nil
}

// groups divides the segments before end into runs that become one segment each:
// together they are no larger than a segment may be (Cleaner.groupSegmentsBySize).
func (c *cleaning) groups(end kafka.Offset) [][]*segment {
	all, config := *c.l.segments.Load(), c.l.Config()
	var groups [][]*segment
	var group []*segment
	var bytes, offsets, times int64
	for i, s := range all[:len(all)-1] {
		if s.base >= min(end, c.r.end) {
			break
		}
		size, o, t := s.size.Load(), s.offsets.bytes(), s.times.bytes()
		fits := len(group) > 0 && bytes+size <= config.SegmentBytes && offsets+o <= config.IndexBytes &&
			times+t <= config.IndexBytes && all[i+1].base-1-group[0].base <= math.MaxInt32
		if !fits {
			if len(group) > 0 {
				groups = append(groups, group)
			}
			group, bytes, offsets, times = nil, 0, 0, 0
		}
		group, bytes, offsets, times = append(group, s), bytes+size, offsets+o, times+t
	}
	if len(group) > 0 {
		groups = append(groups, group)
	}
	return groups
}

// bytes is the size of an index's entries, as far as is known without reading it.
func (x *entries) bytes() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return int64(x.count()) * int64(x.width)
}

// cleanGroup writes what stays of a run of segments into one and puts it in their
// place.
func (c *cleaning) cleanGroup(ctx context.Context, f *filter, group []*segment) ([]string, error) {
	l := c.l
	cleaned, err := createSegment(l.files, l.dir, group[0].base, cleanedSuffix, c.nowMs)
	if err != nil {
		return nil, err
	}
	f.transactions.ended = func(a AbortedTransaction) error { return cleaned.aborted.add(a) }
	for i, s := range group {
		if err = c.cleanSegment(ctx, f, s, c.upper(group, i), cleaned); err != nil {
			break
		}
	}
	if err == nil {
		err = c.finish(cleaned)
	}
	if err != nil {
		return nil, errors.Join(err, cleaned.remove())
	}
	cleaned.modified, cleaned.createdMs = group[len(group)-1].modified, group[len(group)-1].createdMs
	return c.swap(cleaned, group)
}

// upper is where a segment of a group ends.
func (c *cleaning) upper(group []*segment, i int) kafka.Offset {
	if i+1 < len(group) {
		return group[i+1].base
	}
	all := *c.l.segments.Load()
	if at := slices.Index(all, group[i]); at >= 0 && at+1 < len(all) {
		return all[at+1].base
	}
	return c.r.end // it has gone, and swap will find it out
}

// cleanSegment writes what stays of a segment to the end of another.
func (c *cleaning) cleanSegment(ctx context.Context, f *filter, s *segment, upper kafka.Offset, to *segment) error {
	aborted, err := c.l.AbortedTransactions(s.base, upper)
	if err != nil {
		return err
	}
	f.transactions.expect(aborted)
	c.out = c.out[:0]
	write := func() error {
		if len(c.out) == 0 {
			return nil
		}
		if err := c.pace(ctx, len(c.out)); err != nil {
			return errCleaningStopped
		}
		if err := to.append(c.out, c.l.Config().IndexIntervalBytes); err != nil {
			return err
		}
		to.size.Add(int64(len(c.out)))
		c.out = c.out[:0]
		return nil
	}
	err = c.read(ctx, s, func(v batch.View) (bool, error) {
		var err error
		if c.out, err = f.add(c.out, v); err != nil {
			return false, fmt.Errorf("batch at offset %d: %w", v.BaseOffset(), err)
		}
		if len(c.out) >= c.o.buffer() {
			err = write()
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	return write()
}

// finish makes a compacted segment durable.
func (c *cleaning) finish(s *segment) error {
	if err := s.seal(); err != nil {
		return err
	}
	if err := errors.Join(s.log.sync(), s.offsets.file.sync(), s.times.file.sync(), s.aborted.flush()); err != nil {
		return err
	}
	s.synced.Store(s.size.Load())
	return nil
}

// swap puts a compacted segment in the place of those it was made from
// (UnifiedLog.replaceSegments): its files are renamed to .swap, which is on the
// disk before the others are touched, then the others to .deleted, and then it
// gets its name. When a log is opened, .cleaned files are thrown away and .swap
// files take the place of the segments in their range, so that after a crash
// there is all of the old or all of the new. It returns the .deleted files.
func (c *cleaning) swap(cleaned *segment, group []*segment) ([]string, error) {
	l := c.l
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := cleaned.renameFrom(cleanedSuffix, swapSuffix); err != nil {
		return nil, errors.Join(err, cleaned.remove())
	}
	if err := vfs.SyncDir(l.fs(), l.dir); err != nil {
		return nil, l.fail(err)
	}
	l.appending.Lock()
	defer l.appending.Unlock()
	all := *l.segments.Load()
	at := slices.Index(all, group[0])
	if l.check() != nil || at < 0 || len(all) < at+len(group) || !slices.Equal(all[at:at+len(group)], group) {
		// They were truncated or deleted. The files go before anything else can fail,
		// or a .swap would take the place of what is there now.
		if err := errors.Join(cleaned.remove(), vfs.SyncDir(l.fs(), l.dir)); err != nil {
			return nil, l.fail(err)
		}
		return nil, errCleaningStopped
	}
	next := slices.Concat(all[:at], []*segment{cleaned}, all[at+len(group):])
	l.segments.Store(&next)
	paths, err := removeLater(group)
	if err == nil {
		err = cleaned.renameFrom(swapSuffix, "")
	}
	if err == nil {
		err = vfs.SyncDir(l.fs(), l.dir)
	}
	if err != nil {
		return paths, l.fail(fmt.Errorf("put a compacted segment in place: %w", err))
	}
	return paths, nil
}

// removeLater renames the files of segments that are out of the log to .deleted
// and closes them; who reads one goes on until it is released. It returns their
// paths. The first segments go first, so that a crash leaves no gap.
func removeLater(segments []*segment) ([]string, error) {
	var paths []string
	for _, s := range segments {
		if err := s.rename(deletedSuffix); err != nil {
			return paths, err
		}
		for _, h := range []*file{s.log, s.offsets.file, s.times.file, s.aborted.file} {
			if path := h.name(); strings.HasSuffix(path, deletedSuffix) {
				paths = append(paths, path)
			}
		}
		if err := s.forget(); err != nil {
			return paths, err
		}
	}
	return paths, nil
}

// renameFrom replaces one suffix of the segment's files by another. A file that
// is not there, the index of aborted transactions of a segment without any,
// only gets its name.
func (s *segment) renameFrom(from, to string) error {
	for _, h := range []*file{s.log, s.offsets.file, s.times.file, s.aborted.file} {
		path := strings.TrimSuffix(h.name(), from) + to
		err := h.rename(path)
		if errors.Is(err, errNotExist) && h == s.aborted.file {
			h.renamed(path)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}
