package storage

import (
	"errors"
	"fmt"
	"sort"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/batch"
)

// The producers' states are a fold over the log: the snapshot nearest before an
// offset, and the headers of the batches from there on. What follows is called
// while the log is being opened, or with appending held.

// rewindProducers makes the states those of the log up to end.
func (l *Log) rewindProducers(end kafka.Offset) error {
	if err := l.dropSnapshots(end + 1); err != nil {
		return err
	}
	at, err := l.loadSnapshot(end)
	if err != nil {
		return err
	}
	if err := l.replay(at, end); err != nil {
		return err
	}
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.LogStart(l.LogStart())
	l.high.Store(min(max(l.high.Load(), l.start.Load()), int64(end)))
	l.producers.HighWatermark(l.HighWatermark())
	l.showUnstable()
	return nil
}

// loadSnapshot loads the latest snapshot that is not after an offset, and
// returns where it was taken. Damaged ones are removed. Without one the states
// are empty at the log's first offset.
func (l *Log) loadSnapshot(until kafka.Offset) (kafka.Offset, error) {
	for i := len(l.snapshots) - 1; i >= 0; i-- {
		at := l.snapshots[i]
		if at > until {
			continue
		}
		path := l.at(fileName(at, snapshotSuffix))
		data, err := readFile(l.fs(), path)
		if err != nil {
			return 0, err
		}
		entries, err := producer.ParseSnapshot(data)
		if err == nil {
			l.producing.Lock()
			l.producers.Load(entries, at, l.options.NowMs)
			l.producing.Unlock()
			return at, nil
		}
		l.logger.Warn("a snapshot of the producers is removed", "file", path, "error", err)
		if err := l.fs().Remove(path); err != nil {
			return 0, err
		}
		l.snapshots = append(l.snapshots[:i:i], l.snapshots[i+1:]...)
	}
	// What retention or DeleteRecords has left before the log's start is read,
	// too: a producer that wrote there may still send its last batch again.
	start := until
	if all := *l.segments.Load(); len(all) > 0 {
		start = min(all[0].base, until)
	}
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.Clear(start)
	return start, nil
}

// replay folds the batches from one offset to another.
func (l *Log) replay(from, to kafka.Offset) error {
	all := *l.segments.Load()
	for i := max(floor(all, from), 0); i < len(all) && all[i].base < to; i++ {
		if err := l.replaySegment(all[i], from, to); err != nil {
			return fmt.Errorf("read the producers of %s: %w", all[i].log.name(), err)
		}
	}
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.SetEnd(to)
	return nil
}

func (l *Log) replaySegment(s *segment, from, to kafka.Offset) error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	limit := s.size.Load()
	h, found, err := s.seek(f, from, limit, true)
	if errors.Is(err, errIndex) {
		if err := l.rebuildIndexes(s, limit); err != nil {
			return err
		}
		h, found, err = s.seek(f, from, limit, true)
	}
	if err != nil || !found {
		return err
	}
	w := walk(f, s.log.name())
	defer w.done()
	for position := h.position; position < limit; position = h.end() {
		if h, err = w.next(position, limit); err != nil || h.base >= to {
			return err
		}
		if h.base < from {
			continue
		}
		if err := l.fold(s, w, h); err != nil {
			return err
		}
	}
	return nil
}

// fold takes one batch of the log into the producers' states, and an aborted
// transaction that it ends into the segment's index.
func (l *Log) fold(s *segment, w *walker, h header) error {
	v, err := w.view(h)
	if err != nil || v.ProducerID() < 0 {
		return err
	}
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.Begin(producer.Replication)
	if _, _, err := l.producers.Add(v, 0); err != nil {
		return fmt.Errorf("%w: %w", batch.ErrCorrupt, err)
	}
	ended := l.producers.Commit(h.last + 1)
	if planted.Is(planted.ForgetAborted) {
		return nil
	}
	return s.abort(ended)
}

// abort indexes the aborted ones of transactions that have ended.
func (s *segment) abort(ended []producer.Completed) error {
	for _, t := range ended {
		if !t.Aborted {
			continue
		}
		a := AbortedTransaction{Producer: t.Producer, First: t.First, Last: t.Last, LastStable: t.LastStable}
		if err := s.aborted.add(a); err != nil {
			return err
		}
	}
	return nil
}

// findSnapshots lists the snapshots among the names of the directory.
func (l *Log) findSnapshots(names []string) {
	for _, name := range names {
		if at, suffix, ok := parseName(name); ok && suffix == snapshotSuffix {
			l.snapshots = append(l.snapshots, at)
		}
	}
	sort.Slice(l.snapshots, func(i, j int) bool { return l.snapshots[i] < l.snapshots[j] })
}

// dropSnapshots removes the snapshots at or after an offset.
func (l *Log) dropSnapshots(from kafka.Offset) error {
	keep := sort.Search(len(l.snapshots), func(i int) bool { return l.snapshots[i] >= from })
	err := l.removeSnapshots(l.snapshots[keep:])
	l.snapshots = l.snapshots[:keep:keep]
	return err
}

func (l *Log) removeSnapshots(list []kafka.Offset) error {
	for _, at := range list {
		if err := l.fs().Remove(l.at(fileName(at, snapshotSuffix))); err != nil && !errors.Is(err, errNotExist) {
			return err
		}
	}
	return nil
}
