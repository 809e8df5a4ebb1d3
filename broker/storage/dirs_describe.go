package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/kafka"
)

// DirectoryState is what DescribeLogDirs says of a log directory.
type DirectoryState struct {
	Directory
	// TotalBytes and UsableBytes are of the disk, -1 where that is not known.
	TotalBytes, UsableBytes int64
	Replicas                []ReplicaState
}

// ReplicaState is a partition in a directory.
type ReplicaState struct {
	Partition kafka.TopicPartition
	SizeBytes int64
	// OffsetLag is how far a current log's end is behind its high watermark, or a
	// future log's behind the current one's.
	OffsetLag int64
	Future    bool
}

// Describe tells of every directory what is in it. Logs that are not open are
// measured by their files. Err of a directory that is offline says why, and its
// replicas are not listed.
func (d *Dirs) Describe() []DirectoryState {
	states := make([]DirectoryState, 0, len(d.dirs))
	for _, dir := range d.dirs {
		state := DirectoryState{Directory: dir.Directory, TotalBytes: -1, UsableBytes: -1}
		if failed := dir.failure.Load(); failed != nil {
			state.Err = *failed
			states = append(states, state)
			continue
		}
		if usage, err := d.o.FS.GetDiskUsage(dir.Path); err == nil {
			state.TotalBytes, state.UsableBytes = int64(usage.TotalBytes), int64(usage.AvailBytes)
		}
		for _, e := range d.listAll(func(e *holding) bool { return e.home == dir }) {
			state.Replicas = append(state.Replicas, d.describe(e))
		}
		states = append(states, state)
	}
	return states
}

func (d *Dirs) describe(e *holding) ReplicaState {
	state := ReplicaState{Partition: e.partition, Future: e.future}
	if l := e.log.Load(); l != nil {
		state.SizeBytes = l.Size()
		if e.future {
			state.OffsetLag = d.behind(e.partition, l)
			return state
		}
		state.OffsetLag = max(int64(l.HighWatermark()-l.LogEnd()), 0)
		return state
	}
	e.mu.Lock()
	name := e.name
	e.mu.Unlock()
	size, err := d.measure(d.o.FS.PathJoin(e.home.Path, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.o.Logger.Warn("a log cannot be measured", "partition", e.partition.String(), "error", err)
	}
	state.SizeBytes = size
	return state
}

// behind is how far a future log is behind the current one, -1 where that is not
// open (ReplicaManager.getLogEndOffsetLag). A log that is cut may be ahead for a
// moment.
func (d *Dirs) behind(p kafka.TopicPartition, future *Log) int64 {
	d.mu.RLock()
	e := d.holdings[p]
	d.mu.RUnlock()
	if e == nil || e.log.Load() == nil {
		return -1
	}
	return int64(e.log.Load().LogEnd() - future.LogEnd())
}

// measure sums the sizes of the segments in a directory.
func (d *Dirs) measure(path string) (int64, error) {
	names, err := d.o.FS.List(path)
	if err != nil {
		return 0, err
	}
	var size int64
	for _, name := range names {
		if !strings.HasSuffix(name, logSuffix) {
			continue
		}
		info, err := d.o.FS.Stat(d.o.FS.PathJoin(path, name))
		if err != nil {
			return size, err
		}
		size += info.Size()
	}
	return size, nil
}

// saveStart writes the log-start checkpoint of the directory of a partition.
func (d *Dirs) saveStart(p kafka.TopicPartition) error {
	d.mu.RLock()
	e := d.holdings[p]
	d.mu.RUnlock()
	if e == nil {
		return fmt.Errorf("%s: %w", p, ErrNoLog)
	}
	if err := d.writeCheckpoint(e.home, checkpoint.LogStart, false); err != nil {
		err = fmt.Errorf("make the start of %s durable: %w", p, err)
		d.diskError(e.home, err)
		return err
	}
	return nil
}

// SizeOf is the bytes of all logs that are open and the number of them, for
// metrics.
func (d *Dirs) SizeOf() (open int, bytes int64) {
	for _, e := range d.list(nil) {
		if l := e.log.Load(); l != nil {
			open, bytes = open+1, bytes+l.Size()
		}
	}
	return open, bytes
}

// Crowded reports whether more files of logs are open than may be (OpenFiles), because
// all of them are in use.
func (d *Dirs) Crowded() bool { return d.files.Crowded() }

// Offline are the ids of the directories that have failed, in the order of
// log.dirs; a directory whose id was never read is not among them.
func (d *Dirs) Offline() []kafka.DirectoryID {
	var ids []kafka.DirectoryID
	for _, dir := range d.dirs {
		if dir.failure.Load() != nil && !dir.ID.IsZero() && !slices.Contains(ids, dir.ID) {
			ids = append(ids, dir.ID)
		}
	}
	return ids
}
