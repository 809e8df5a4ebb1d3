package storage

import (
	"errors"
	"fmt"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/kafka"
	wire "kvorum/protocol/errors"
)

// A partition is moved to another log directory of the broker (KIP-113) by a
// future log there: <topic>-<partition>.<id>-future. Who owns the partition copies
// the current log into it; FinishMove puts it in the current one's place.
//
// While there is a future log its partition is not compacted: a tombstone that the
// cleaner removed before it was copied would leave the records behind that it had
// deleted.

// DirectoryAt is the log directory of a path as DescribeLogDirs tells it:
// LOG_DIR_NOT_FOUND where log.dirs has none such, KAFKA_STORAGE_ERROR where it is
// offline (LogManager.isLogDirOnline).
func (d *Dirs) DirectoryAt(path string) (kafka.DirectoryID, error) {
	for _, dir := range d.dirs {
		if dir.Path == path {
			return dir.ID, dir.offline()
		}
	}
	return kafka.DirectoryUnassigned, wire.New(wire.LogDirNotFound, "log directory %q is none of log.dirs of this broker", path)
}

// FutureIn is the log directory of a partition's future log; false where it has
// none.
func (d *Dirs) FutureIn(p kafka.TopicPartition) (Directory, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if f := d.futures[p]; f != nil {
		return f.home.Directory, true
	}
	return Directory{}, false
}

// Future is the future log of a partition, opened if it was not yet. It fails with
// ErrNoLog where there is none.
func (d *Dirs) Future(p kafka.TopicPartition) (*Log, error) {
	d.mu.RLock()
	f := d.futures[p]
	d.mu.RUnlock()
	if f == nil {
		return nil, fmt.Errorf("future log of %s: %w", p, ErrNoLog)
	}
	return d.open(f)
}

// CanMove fails with INVALID_TOPIC_EXCEPTION where the name of a future log's
// directory would be too long for the file system.
func CanMove(p kafka.TopicPartition) error {
	if named, _ := parseDirName(dirName(p, future, kafka.ZeroUUID)); named != p {
		return wire.New(wire.InvalidTopicException, "the name of %s is too long for a directory of a future log", p)
	}
	return nil
}

// BeginMove makes the future log of a partition in a directory that is not its
// own; there must be none yet. The log begins where the current one does. Nothing
// of it is durable before its first Flush, and nothing need be: without it the
// current log is all there is.
//
// It fails with KAFKA_STORAGE_ERROR while any directory is offline, which may hold
// another future log of the partition, and as CanMove does.
func (d *Dirs) BeginMove(p kafka.TopicPartition, to kafka.DirectoryID) error {
	current, err := d.Get(p)
	if err != nil {
		return err
	}
	if err := CanMove(p); err != nil {
		return err
	}
	home, err := d.target(p, to)
	if err != nil {
		return err
	}
	id, err := kafka.RandomUUID(d.o.Random)
	if err != nil {
		return fmt.Errorf("name the future directory of %s: %w", p, err)
	}
	f := &holding{partition: p, home: home, name: dirName(p, future, id), future: true, start: current.LogStart(), high: kafka.NoOffset, clean: true}
	l := begin(d.logOptions(f, current.TopicID(), current.Config()))
	// With a file, so that its name tells where the log begins.
	if err := errors.Join(l.Make(), l.TruncateFullyAndStartAt(f.start)); err != nil {
		return err
	}
	f.log.Store(l)
	d.mu.Lock()
	defer d.mu.Unlock()
	if other := d.futures[p]; other != nil {
		panic(fmt.Sprintf("storage: move %s to %s while it is moved to %s", p, home.Path, other.home.Path))
	}
	d.futures[p] = f
	if stop := d.cleaner.busy[current]; stop != nil {
		stop()
	}
	return nil
}

// target is the directory that a partition is to be moved to.
func (d *Dirs) target(p kafka.TopicPartition, to kafka.DirectoryID) (home *directory, err error) {
	for _, dir := range d.dirs {
		if err := dir.offline(); err != nil {
			return nil, wire.New(wire.KafkaStorageError, "no future log of %s is made while log directory %s is offline", p, dir.Path)
		}
		if dir.ID == to {
			home = dir
		}
	}
	if home == nil {
		return nil, wire.New(wire.LogDirNotFound, "log directory %s is none of this broker", to)
	}
	return home, nil
}

// BeingCleaned reports whether the log is compacted at the moment: a future log
// must not be filled from it before that has ended.
func (d *Dirs) BeingCleaned(l *Log) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.cleaner.busy[l] != nil
}

// CancelMove takes the future log of a partition out; its files are removed as
// those of a deleted partition are. Nothing is done where there is none.
func (d *Dirs) CancelMove(p kafka.TopicPartition) error { return d.dropFuture(p, deleting) }

// StrayFuture keeps a future log aside that is of another topic than its name says
// now, or of a partition that is not here any more.
func (d *Dirs) StrayFuture(p kafka.TopicPartition) error { return d.dropFuture(p, stray) }

func (d *Dirs) dropFuture(p kafka.TopicPartition, kind dirKind) error {
	f := d.leaveFuture(p)
	if f == nil {
		return nil
	}
	if done, err := d.retire(f, kind); err != nil || !done {
		return err
	}
	if err := f.home.sync(d.o.FS); err != nil {
		err = fmt.Errorf("fsync log directory %s after a rename: %w", f.home.Path, err)
		d.diskError(f.home, err)
		return err
	}
	return nil
}

func (d *Dirs) leaveFuture(p kafka.TopicPartition) *holding {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.futures[p]
	delete(d.futures, p)
	return f
}

// FinishMove puts the future log of a partition, which has all that the current
// one has, in its place, and returns it. The caller sees to it that nobody appends
// to either or cuts them meanwhile, and that no other move of the partition begins.
// Who still uses the log that was current is refused.
//
// What is durable when, each step before the next begins:
//
//  1. the future log is closed: its records, indexes, epochs, producers' states,
//     its directory and its name;
//  2. its directory's checkpoints have its recovery point and its start;
//  3. the current directory is renamed to -delete;
//  4. the future directory gets the partition's name.
//
// After a crash before 3 both logs are there, and the move goes on. Between 3 and
// 4 the future log alone is there, and complete: Adopt gives it the name, as
// Apache's broker does (LogManager.recoverAbandonedFutureLogs), for by then the
// controllers know the directory. Two current logs, which neither broker would
// start with, are never there; Apache renames in the other order and may leave them.
//
// With an error the log that is returned is the current one still, opened anew; nil
// if that has failed, too.
func (d *Dirs) FinishMove(p kafka.TopicPartition) (*Log, error) {
	d.mu.RLock()
	e, f := d.holdings[p], d.futures[p]
	d.mu.RUnlock()
	if e == nil || f == nil {
		return nil, fmt.Errorf("finish the move of %s: %w", p, ErrNoLog)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	l := e.log.Load()
	if l == nil {
		return nil, fmt.Errorf("finish the move of %s: its log is not open", p)
	}
	if err := d.completeFuture(f); err != nil {
		return l, fmt.Errorf("complete the future log of %s in %s: %w", p, f.home.Path, err)
	}
	cleaned := d.cleaned(e)
	e.recovery, e.start, e.high, e.clean = l.RecoveryPoint(), l.LogStart(), l.HighWatermark(), false
	moved, err := d.swap(e, f, l)
	if err != nil {
		return d.reinstate(e, l), err
	}
	d.dropCleaned(e)
	d.settle(l)
	if cleaned != kafka.NoOffset {
		d.setCleaned(moved, cleaned)
	}
	moved.mu.Lock()
	defer moved.mu.Unlock()
	made, err := d.openLog(moved)
	if err != nil {
		d.refuse(moved, err)
		return nil, err
	}
	made.SetHighWatermark(e.high)
	return made, nil
}

// completeFuture closes a future log in order, so that everything of it is durable,
// and enters it into the checkpoints of its directory; f.mu is held.
func (d *Dirs) completeFuture(f *holding) error {
	l := f.log.Load()
	if l == nil {
		return errors.New("it is not open")
	}
	if err := l.Close(); err != nil {
		return err
	}
	if err := l.Err(); err != nil {
		return err
	}
	f.recovery, f.start, f.high, f.clean = l.RecoveryPoint(), l.LogStart(), l.HighWatermark(), true
	d.settle(l)
	f.log.Store(nil)
	for _, name := range []string{checkpoint.RecoveryPoint, checkpoint.LogStart} {
		if err := d.writeCheckpoint(f.home, name, false); err != nil {
			d.diskError(f.home, err)
			return err
		}
	}
	return nil
}

// swap does the renames of FinishMove and undoes the first where the second fails.
func (d *Dirs) swap(e, f *holding, l *Log) (*holding, error) {
	l.Fail(errTakenOut) // closing it writes nothing
	if err := l.Close(); err != nil {
		d.o.Logger.Warn("close a log that is moved", "partition", e.partition.String(), "error", err)
	}
	id, err := kafka.RandomUUID(d.o.Random)
	if err != nil {
		return nil, fmt.Errorf("name the directory of %s: %w", e.partition, err)
	}
	was, gone := e.name, dirName(e.partition, deleting, id)
	if err := d.renameDir(e.home, was, gone); err != nil {
		return nil, err
	}
	moved, err := d.install(f)
	if err != nil {
		return nil, errors.Join(err, d.renameDir(e.home, gone, was))
	}
	e.gone = true
	d.mu.Lock()
	e.home.logs--
	d.doom(e.home, gone, d.o.Config(e.partition.Topic).FileDeleteDelayMs)
	d.mu.Unlock()
	return moved, nil
}

// renameDir renames a directory within a log directory, durably.
func (d *Dirs) renameDir(home *directory, from, to string) error {
	fs := d.o.FS
	err := fs.Rename(fs.PathJoin(home.Path, from), fs.PathJoin(home.Path, to))
	if err == nil {
		err = home.sync(fs)
	}
	if err != nil {
		err = fmt.Errorf("rename %s to %s in log directory %s: %w", from, to, home.Path, err)
		d.diskError(home, err)
	}
	return err
}

// install gives the directory of a future log the partition's name, durably, and
// enters it as the current one. Its log is not open; f.mu is held.
func (d *Dirs) install(f *holding) (*holding, error) {
	name := dirName(f.partition, current, kafka.UUID{})
	if err := d.renameDir(f.home, f.name, name); err != nil {
		return nil, err
	}
	f.gone = true
	e := &holding{partition: f.partition, home: f.home, name: name, recovery: f.recovery, start: f.start, high: f.high, clean: f.clean}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.futures, f.partition)
	d.holdings[f.partition] = e
	f.home.logs++
	return e, nil
}

// reinstate opens a log again that was to be moved away and could not be; e.mu is
// held.
func (d *Dirs) reinstate(e *holding, old *Log) *Log {
	d.settle(old)
	e.log.Store(nil)
	if e.home.offline() != nil {
		return nil
	}
	l, err := d.openLog(e)
	if err != nil {
		d.refuse(e, err)
		return nil
	}
	l.SetHighWatermark(e.high)
	return l
}

// Adopt makes a future log the current one where there is no current one and the
// controllers have the partition in the future log's directory: a crash, or a
// failed disk, came between the two renames of FinishMove. It reports whether it
// did.
func (d *Dirs) Adopt(p kafka.TopicPartition, topic kafka.TopicID, where kafka.DirectoryID) (bool, error) {
	d.mu.RLock()
	e, f := d.holdings[p], d.futures[p]
	d.mu.RUnlock()
	if e != nil || f == nil || f.home.ID != where {
		return false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id, _, err := checkpoint.ReadTopicID(d.o.FS, d.o.FS.PathJoin(f.home.Path, f.name))
	if err != nil || id != topic || f.gone {
		return false, err
	}
	if f.log.Load() != nil {
		if err := d.completeFuture(f); err != nil {
			return false, err
		}
	}
	d.o.Logger.Warn("a move between directories is completed that was interrupted", "partition", p.String(), "path", f.home.Path)
	_, err = d.install(f)
	return err == nil, err
}
