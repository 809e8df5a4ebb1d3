package storage

import (
	"errors"
	"fmt"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// SegmentInfo describes one segment.
type SegmentInfo struct {
	// Base is its first offset, End the one of the next segment or of the log.
	Base, End kafka.Offset
	Bytes     int64
	// MaxTimestampMs is the largest timestamp of its records; where they have
	// none, when its file was last written before it was opened.
	MaxTimestampMs int64
	File           string
}

// Segments lists the segments in order; the last one is active.
func (l *Log) Segments() ([]SegmentInfo, error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.check(); err != nil {
		return nil, err
	}
	all := *l.segments.Load()
	list := make([]SegmentInfo, 0, len(all))
	for i, s := range all {
		t, err := l.timeOf(s)
		if err != nil {
			return nil, l.lookupFailed(err)
		}
		info := SegmentInfo{Base: s.base, End: l.LogEnd(), Bytes: s.size.Load(), MaxTimestampMs: t.timestamp, File: s.log.path}
		if t.timestamp < 0 {
			info.MaxTimestampMs = max(s.modified, s.createdMs)
		}
		if i < len(all)-1 {
			info.End = all[i+1].base
		}
		list = append(list, info)
	}
	return list, nil
}

// RemoveSegments takes the segments that end at or before an offset out of the
// log and removes their files, but never the active one. The offset is at most
// the high watermark. The log's start moves to what is left. Who reads a removed
// segment goes on. It returns the number of bytes removed.
func (l *Log) RemoveSegments(before kafka.Offset) (int64, error) {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	gone, err := l.takeOut(before)
	var bytes int64
	for _, s := range gone {
		bytes += s.size.Load()
		err = errors.Join(err, s.remove())
	}
	if err != nil {
		return 0, l.fail(fmt.Errorf("remove segments of %s: %w", l.options.Partition, err))
	}
	if len(gone) == 0 {
		return 0, l.check()
	}
	if err := vfs.SyncDir(l.fs(), l.dir); err != nil {
		return bytes, l.fail(err)
	}
	return bytes, nil
}

// takeOut gives the files of old segments their names as deleted ones and the
// log its new start. The oldest go first, so that a crash leaves no gap.
func (l *Log) takeOut(before kafka.Offset) ([]*segment, error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	if l.check() != nil {
		return nil, nil
	}
	all := *l.segments.Load()
	n := 0
	for n < len(all)-1 && all[n+1].base <= min(before, l.HighWatermark()) {
		n++
	}
	if n == 0 {
		return nil, nil
	}
	l.moveStart(all[n].base)
	kept := all[n:len(all):len(all)]
	l.segments.Store(&kept)
	var err error
	for _, s := range all[:n] {
		if err = s.rename(deletedSuffix); err != nil {
			break
		}
	}
	return all[:n], errors.Join(err, l.dropOldSnapshots(all[n].base))
}

// dropOldSnapshots removes the snapshots before the log's first segment.
func (l *Log) dropOldSnapshots(first kafka.Offset) error {
	n := 0
	for n < len(l.snapshots) && l.snapshots[n] < first {
		n++
	}
	err := l.removeSnapshots(l.snapshots[:n])
	l.snapshots = l.snapshots[n:]
	return err
}

// rename adds a suffix to the names of the segment's files.
func (s *segment) rename(suffix string) error {
	for _, h := range []*file{s.log, s.offsets.file, s.times.file, s.aborted.file} {
		if err := h.rename(h.path + suffix); err != nil && !errors.Is(err, errNotExist) {
			return err
		}
	}
	return nil
}

// Producers lists what is known of the partition's producers (DescribeProducers).
func (l *Log) Producers() []producer.Entry {
	l.producing.Lock()
	defer l.producing.Unlock()
	return l.producers.Entries()
}

// ExpireProducers forgets the producers that have not written for
// producer.id.expiration.ms; it returns how many.
func (l *Log) ExpireProducers(nowMs int64) int {
	l.producing.Lock()
	defer l.producing.Unlock()
	return l.producers.Expire(nowMs)
}

// SetProducerExpiration changes producer.id.expiration.ms.
func (l *Log) SetProducerExpiration(ms int64) {
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.SetExpiration(ms)
}
