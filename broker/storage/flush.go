package storage

import (
	"errors"
	"fmt"
	"hash/maphash"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/internal/vfs"
)

// Flush makes everything that has been appended durable and moves the recovery
// point to the log's end at the time of the call. Appends and reads go on
// meanwhile.
func (l *Log) Flush() error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.check(); err != nil {
		return err
	}
	w, err := l.pending()
	if err == nil {
		err = l.syncPending(w)
	}
	if err != nil {
		return l.fail(fmt.Errorf("flush the log of %s: %w", l.options.Partition, err))
	}
	l.recoveryPoint.Store(int64(w.end))
	return nil
}

// pendingWork is what a flush has to fsync to reach end.
type pendingWork struct {
	end       kafka.Offset
	segments  []*segment
	sizes     []int64
	snapshots []kafka.Offset
	newDir    bool
	names     bool
	epochs    *checkpoint.Epochs // nil: their file is right
}

// pending collects what is not on the disk, and writes what indexes still hold
// in memory.
func (l *Log) pending() (pendingWork, error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	w := pendingWork{end: l.LogEnd(), names: l.newFiles, newDir: l.newDir}
	if l.fresh() {
		return pendingWork{end: w.end}, nil // a log without a file has nothing to lose
	}
	point := l.RecoveryPoint()
	all := *l.segments.Load()
	for _, s := range all[max(floor(all, point), 0):] {
		if err := errors.Join(s.offsets.flush(), s.times.flush()); err != nil {
			return w, err
		}
		w.segments, w.sizes = append(w.segments, s), append(w.sizes, s.size.Load())
	}
	for _, at := range l.snapshots {
		if at >= point {
			w.snapshots = append(w.snapshots, at)
		}
	}
	w.epochs = l.changedEpochs(w.end)
	l.newFiles, l.newDir, l.unflushed = false, false, 0
	return w, nil
}

// syncPending fsyncs without the append lock. The index of the last segment may
// stay behind: recovery builds it anew.
func (l *Log) syncPending(w pendingWork) error {
	if w.newDir {
		if err := checkpoint.SyncTopicID(l.fs(), l.dir); err != nil {
			return err
		}
	}
	if w.epochs != nil {
		if err := checkpoint.WriteEpochs(l.fs(), l.dir, w.epochs); err != nil {
			return err
		}
	}
	for i, s := range w.segments {
		if err := l.syncSegment(s, w.sizes[i], i < len(w.segments)-1); err != nil && !errors.Is(err, errGone) {
			return err
		}
	}
	for _, at := range w.snapshots {
		if err := l.syncSnapshot(at); err != nil {
			return err
		}
	}
	if w.names || w.newDir {
		if err := vfs.SyncDir(l.fs(), l.dir); err != nil {
			return err
		}
	}
	if w.newDir && l.options.SyncParent != nil {
		return l.options.SyncParent()
	}
	return nil
}

func (l *Log) syncSegment(s *segment, size int64, sealed bool) error {
	if s.synced.Load() < size && !planted.Is(planted.FlushNothing) {
		if err := s.log.sync(); err != nil {
			return err
		}
		s.synced.Store(size)
	}
	if err := s.aborted.flush(); err != nil {
		return err
	}
	if !sealed {
		return nil
	}
	return errors.Join(s.offsets.file.sync(), s.times.file.sync())
}

func (l *Log) syncSnapshot(at kafka.Offset) error {
	f, err := vfs.OpenReadWrite(l.fs(), l.at(fileName(at, snapshotSuffix)))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// changedEpochs copies the epochs of the records before end where their file does
// not have them; nil where it does. An epoch that begins at the end has no record
// yet: it need not be durable, and a log that is opened drops it. So to become the
// leader of a log, and to write nothing, costs nothing.
func (l *Log) changedEpochs(end kafka.Offset) *checkpoint.Epochs {
	l.epochLock.Lock()
	defer l.epochLock.Unlock()
	if !l.newEpochs {
		return nil
	}
	e, err := checkpoint.ParseEpochs(checkpoint.EpochsFile, l.epochs.Append(nil))
	if err != nil {
		panic(fmt.Sprintf("storage: epochs that do not read back: %v", err))
	}
	l.newEpochs = e.TruncateEnd(end)
	sum := sumOf(e)
	if sum == l.epochSum {
		return nil
	}
	l.epochSum = sum
	return e
}

// sumOf is a hash of what the file of epochs would hold.
func sumOf(e *checkpoint.Epochs) uint64 { return maphash.Bytes(checkpointSeed, e.Append(nil)) }

// Close makes everything durable, writes the producers' states so that the next
// Open has nothing to read again, and closes the files. A log that is offline is
// only closed. Slices that were read stay good until they are released.
func (l *Log) Close() error {
	err := l.finish()
	l.appending.Lock()
	defer l.appending.Unlock()
	l.shut.Store(true)
	for _, s := range *l.segments.Load() {
		err = errors.Join(err, s.forget())
	}
	return err
}

// finish brings the files of a log into the state that a clean stop promises.
func (l *Log) finish() error {
	if l.check() != nil {
		return nil // what is on the disk is for recovery to judge
	}
	l.appending.Lock()
	if l.fresh() {
		l.appending.Unlock()
		return nil
	}
	err := l.active().seal()
	if err == nil && (len(l.snapshots) > 0 || l.hasProducers()) {
		err = l.writeSnapshot(l.LogEnd())
	}
	l.appending.Unlock()
	if err != nil {
		return l.fail(fmt.Errorf("close the log of %s: %w", l.options.Partition, err))
	}
	return l.Flush()
}

func (l *Log) hasProducers() bool {
	l.producing.Lock()
	defer l.producing.Unlock()
	return l.producers.Len() > 0
}
