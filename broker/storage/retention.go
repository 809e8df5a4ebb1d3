package storage

import (
	"context"
	"fmt"
	"slices"

	"kvorum/internal/kafka"
)

// deleteOld takes the segments out of the log that its retention does not keep:
// by time and by size where cleanup.policy has delete, and in any case those that
// lie before the log's start. Nothing at or above the high watermark is touched.
// The log's start moves first, so that no reader is sent to a segment that is
// going away. It returns the paths of the files, renamed to .deleted, which the
// caller removes later (UnifiedLog.deleteOldSegments).
//
// A crash in between brings segments back, and the next look takes them out
// again; the oldest go first, so that the log never has a hole.
func (l *Log) deleteOld(nowMs int64) ([]string, error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	if l.check() != nil {
		return nil, nil // whoever took it offline has told it
	}
	n, err := l.countOld(nowMs)
	if err != nil {
		return nil, l.lookupFailed(err)
	}
	if n == 0 {
		return nil, nil
	}
	if n == len(*l.segments.Load()) {
		if _, err := l.roll(l.LogEnd(), nowMs); err != nil {
			return nil, l.fail(fmt.Errorf("roll the log of %s: %w", l.options.Partition, err))
		}
	}
	paths, err := l.deleteFirst(n)
	if err != nil {
		return paths, l.fail(fmt.Errorf("delete segments of %s: %w", l.options.Partition, err))
	}
	return paths, nil
}

// countOld is how many segments at the log's beginning are not to be kept.
func (l *Log) countOld(nowMs int64) (int, error) {
	all, c := *l.segments.Load(), l.Config()
	excess := int64(-1)
	if c.Delete && c.RetentionBytes >= 0 {
		excess = l.Size() - c.RetentionBytes
	}
	hw, start := l.HighWatermark(), l.LogStart()
	for i, s := range all {
		last := i == len(all)-1
		upper := l.LogEnd()
		if !last {
			upper = all[i+1].base
		}
		size := s.size.Load()
		if hw < upper || last && size == 0 {
			return i, nil
		}
		old := !last && upper <= start
		if excess >= size {
			old, excess = true, excess-size
		}
		if !old && c.Delete && c.RetentionMs >= 0 {
			t, err := l.lastWritten(s)
			if err != nil {
				return 0, err
			}
			old = nowMs-t > c.RetentionMs
		}
		if !old {
			return i, nil
		}
	}
	return len(all), nil
}

// lastWritten is the largest timestamp of a segment, or when its file was
// changed where its records have none (LogSegment.largestTimestamp).
func (l *Log) lastWritten(s *segment) (int64, error) {
	t, err := l.timeOf(s)
	if err != nil || t.timestamp >= 0 {
		return t.timestamp, err
	}
	return max(s.modified, s.createdMs), nil
}

// deleteFirst takes the first n segments, not all, out of the log; appending is
// held.
func (l *Log) deleteFirst(n int) ([]string, error) {
	all := *l.segments.Load()
	kept := slices.Clone(all[n:])
	l.moveStart(kept[0].base)
	l.segments.Store(&kept)
	paths, err := removeLater(all[:n])
	if err != nil {
		return paths, err
	}
	return paths, l.dropOldSnapshots(kept[0].base)
}

// retain applies retention to all logs, one after the other.
func (d *Dirs) retain(ctx context.Context) {
	for _, e := range d.list(nil) {
		if ctx.Err() != nil {
			return
		}
		l, err := d.open(e)
		if err != nil {
			continue // said when it was first found out
		}
		paths, err := l.deleteOld(d.wallMs())
		if err != nil {
			continue // told to logFailed
		}
		if len(paths) > 0 {
			d.o.Logger.Info("segments are deleted by retention", "partition", e.partition.String(), "log_start", int64(l.LogStart()), "files", len(paths))
			d.doomFiles(e.home, paths, l.Config().FileDeleteDelayMs)
		}
	}
}

// expireProducers forgets the producers that have sent nothing for too long, of the
// logs that are open: another forgets them when it is opened.
func (d *Dirs) expireProducers() {
	for _, e := range d.listAll(nil) {
		if l := e.log.Load(); l != nil {
			l.ExpireProducers(d.wallMs())
		}
	}
}

// doomFiles plans the removal of files.
func (d *Dirs) doomFiles(home *directory, paths []string, delayMs int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, path := range paths {
		d.doomed = append(d.doomed, doomed{home, path, d.nowMs() + delayMs})
	}
}

// SegmentCount is the number of segments of the log.
func (l *Log) SegmentCount() int { return len(*l.segments.Load()) }

// DeleteRecords makes an offset of a partition the start of its log (see
// Log.DeleteRecordsTo), durably: the log-start checkpoint is written before it
// returns, so that what was deleted stays so.
func (d *Dirs) DeleteRecords(p kafka.TopicPartition, to kafka.Offset) (kafka.Offset, error) {
	l, err := d.Get(p)
	if err != nil {
		return 0, err
	}
	start, err := l.DeleteRecordsTo(to)
	if err != nil {
		return start, err
	}
	return start, d.saveStart(p)
}
