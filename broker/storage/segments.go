package storage

import (
	"errors"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
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
		info := SegmentInfo{Base: s.base, End: l.LogEnd(), Bytes: s.size.Load(), MaxTimestampMs: t.timestamp, File: s.log.name()}
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
		if err := h.rename(h.name() + suffix); err != nil && !errors.Is(err, errNotExist) {
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
