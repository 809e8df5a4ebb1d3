package storage

import (
	"errors"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// Roll begins a new segment at the log's end, if the active one has records.
func (l *Log) Roll(nowMs int64) error {
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.check(); err != nil {
		return err
	}
	if l.active().size.Load() == 0 {
		return nil
	}
	if _, err := l.roll(l.LogEnd(), nowMs); err != nil {
		return l.fail(err)
	}
	return nil
}

// roll ends the active segment and begins one at base, which is at or after the
// log's end; appending is held. The producers' state at that point is written
// beside it, so that recovery has to read one segment only.
func (l *Log) roll(base kafka.Offset, nowMs int64) (*segment, error) {
	old := l.active()
	if base <= old.base {
		panic(fmt.Sprintf("storage: roll %s to %d, its active segment begins at %d", l.options.Partition, base, old.base))
	}
	if old.prepare != nil { // the first batch is too far from where the log begins
		if err := l.prepare(); err != nil {
			return nil, err
		}
		if err := createEmpty(l.fs(), old.log.name()); err != nil {
			return nil, err
		}
		old.prepare = nil
	}
	if err := old.seal(); err != nil {
		return nil, err
	}
	if err := l.writeSnapshot(base); err != nil {
		return nil, err
	}
	s, err := createSegment(l.files, l.dir, base, "", nowMs)
	if err != nil {
		return nil, err
	}
	// Names are durable in their order: a segment that comes back after a crash
	// finds the one before it.
	if err := vfs.SyncDir(l.fs(), l.dir); err != nil {
		return nil, fmt.Errorf("fsync the directory %s: %w", l.dir, err)
	}
	l.newFiles = false
	all := *l.segments.Load()
	grown := append(all[:len(all):len(all)], s)
	l.segments.Store(&grown)
	if l.options.Rolled != nil {
		l.options.Rolled(l)
	}
	return s, nil
}

// writeSnapshot writes the producers' states at an offset, not before the log's
// end; appending is held. The file is fsynced by the next Flush; a torn one is
// thrown away when the log is opened.
func (l *Log) writeSnapshot(at kafka.Offset) error {
	if n := len(l.snapshots); n > 0 && l.snapshots[n-1] >= at {
		return nil
	}
	l.producing.Lock()
	l.producers.SetEnd(at)
	data := l.producers.Snapshot()
	l.producing.Unlock()
	path := l.at(fileName(at, snapshotSuffix))
	f, err := vfs.Create(l.fs(), path)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	l.snapshots = append(l.snapshots, at)
	return nil
}
