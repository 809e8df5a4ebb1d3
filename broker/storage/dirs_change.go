package storage

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	wire "kvorum/protocol/errors"
)

// Create returns the log of a partition: the one that is there, if it is of the
// same topic, or an empty one. It touches no file: the directory of a new log is
// made by Run soon after, or by its first append, and is durable together with
// the first record that is (see makeDir).
//
// where is the directory that the controllers assigned. With DirectoryUnassigned
// it is the one with the fewest logs; with DirectoryMigrating too, but only while
// every directory is online, for the partition may be in the one that is not. A
// directory that Prefer has named for it goes before these. It fails with KAFKA_STORAGE_ERROR where the directory is offline or not ours, and
// with INCONSISTENT_TOPIC_ID where the name is taken by another topic's partition.
func (d *Dirs) Create(p kafka.TopicPartition, topic kafka.TopicID, config LogConfig, where kafka.DirectoryID) (*Log, error) {
	e, err := d.reserve(p, topic, config, where)
	if err != nil {
		return nil, err
	}
	l, err := d.open(e)
	if err != nil {
		return nil, err
	}
	if l.TopicID() != topic {
		return nil, wire.New(wire.InconsistentTopicID, "the directory of %s holds the partition of topic %s and not of %s", p, l.TopicID(), topic)
	}
	l.SetConfig(config)
	return l, nil
}

// reserve returns the entry of a partition, or enters one with a new log.
func (d *Dirs) reserve(p kafka.TopicPartition, topic kafka.TopicID, config LogConfig, where kafka.DirectoryID) (*holding, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.holdings[p]; e != nil {
		return e, e.home.offline()
	}
	home, err := d.choose(where)
	if err != nil {
		return nil, err
	}
	if preferred := d.preferred[p]; preferred != nil && preferred.offline() == nil {
		home = preferred
	}
	delete(d.preferred, p)
	e := &holding{partition: p, home: home, name: dirName(p, current, kafka.UUID{}), high: kafka.NoOffset, clean: true}
	e.log.Store(begin(d.logOptions(e, topic, config)))
	e.flushedMs.Store(d.nowMs())
	d.holdings[p] = e
	home.logs++
	d.unmade = append(d.unmade, e)
	signal(d.wakeMaker)
	return e, nil
}

// maxPreferred bounds the partitions for which Prefer is remembered: whoever may alter
// the cluster can name any.
const maxPreferred = 10_000

// Prefer has the log of a partition that is not here made in a directory, should this
// broker get a replica (LogManager.maybeUpdatePreferredLogDir). Only the memory knows
// it: a restart forgets. False: there are too many such partitions already.
func (d *Dirs) Prefer(p kafka.TopicPartition, where kafka.DirectoryID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, again := d.preferred[p]; !again && len(d.preferred) >= maxPreferred {
		return false
	}
	for _, dir := range d.dirs {
		if dir.ID == where {
			d.preferred[p] = dir
		}
	}
	return true
}

// choose finds the directory for a new partition; mu is held.
func (d *Dirs) choose(where kafka.DirectoryID) (*directory, error) {
	for _, dir := range d.dirs {
		if dir.ID == where {
			return dir, dir.offline()
		}
	}
	var best *directory
	for _, dir := range d.dirs {
		offline := dir.offline()
		if offline == nil && (best == nil || dir.logs < best.logs) {
			best = dir
		}
		if offline != nil && where == kafka.DirectoryMigrating {
			return nil, wire.New(wire.KafkaStorageError, "the partition may be in log directory %s, which is offline", dir.Path)
		}
	}
	if best == nil || where != kafka.DirectoryUnassigned && where != kafka.DirectoryMigrating {
		return nil, wire.New(wire.KafkaStorageError, "log directory %s is not one of this broker, or it is offline", where)
	}
	return best, nil
}

// Delete takes the logs of partitions out and renames their directories; the files
// are removed after file.delete.delay.ms, by Run of this or a later process. The
// renames are on the disk when it returns, by one fsync for all of a log directory:
// the partitions do not come back. Who still uses a log is refused. Nothing is
// done for a partition that no directory holds.
func (d *Dirs) Delete(ps ...kafka.TopicPartition) error { return d.takeOut(deleting, ps) }

// Stray takes the log of a partition out and keeps its directory under another
// name, with the partition and -stray in it. It is never removed: that it belongs
// to nobody may be a mistake. A directory in which there is neither a record nor a
// topic's id is deleted: it was being made when the power failed.
func (d *Dirs) Stray(p kafka.TopicPartition) error {
	return d.takeOut(stray, []kafka.TopicPartition{p})
}

// errTakenOut is why a log is offline that was deleted.
var errTakenOut = errors.New("the partition was taken out of the log directory")

func (d *Dirs) takeOut(kind dirKind, ps []kafka.TopicPartition) error {
	var errs []error
	renamed := map[*directory]bool{}
	for _, p := range ps {
		errs = append(errs, d.dropFuture(p, kind))
		e := d.leave(p)
		if e == nil {
			continue
		}
		done, err := d.retire(e, kind)
		if done {
			renamed[e.home] = true
		}
		errs = append(errs, err)
	}
	for home := range renamed {
		if err := home.sync(d.o.FS); err != nil {
			err = fmt.Errorf("fsync log directory %s after a rename: %w", home.Path, err)
			d.diskError(home, err)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// leave takes the entry of a partition out of the map.
func (d *Dirs) leave(p kafka.TopicPartition) *holding {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.holdings[p]
	if e != nil {
		delete(d.holdings, p)
		e.home.logs--
	}
	return e
}

// retire closes the log of an entry and renames its directory; done says that it
// had one.
func (d *Dirs) retire(e *holding, kind dirKind) (done bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	if l := e.log.Load(); l != nil {
		l.Fail(errTakenOut) // so that closing it writes nothing
		if err := l.Close(); err != nil {
			d.o.Logger.Warn("close a log that is taken out", "partition", e.partition.String(), "error", err)
		}
		d.settle(l)
		if !l.made() {
			return false, nil
		}
	}
	d.dropCleaned(e)
	if kind == stray && d.worthless(e) {
		kind = deleting
	}
	return true, d.rename(e, kind)
}

// worthless reports whether the directory of an entry has neither a record nor a
// topic's id. What cannot be read is not.
func (d *Dirs) worthless(e *holding) bool {
	path := d.o.FS.PathJoin(e.home.Path, e.name)
	_, ok, err := checkpoint.ReadTopicID(d.o.FS, path)
	if ok || err != nil && !errors.Is(err, checkpoint.ErrDamaged) {
		return false
	}
	size, err := d.measure(path)
	return err == nil && size == 0
}

// rename gives the directory of an entry the name of another kind.
func (d *Dirs) rename(e *holding, kind dirKind) error {
	id, err := kafka.RandomUUID(d.o.Random)
	if err != nil {
		return fmt.Errorf("name the directory of %s: %w", e.partition, err)
	}
	name := dirName(e.partition, kind, id)
	fs, home := d.o.FS, e.home
	if err := fs.Rename(fs.PathJoin(home.Path, e.name), fs.PathJoin(home.Path, name)); err != nil {
		err = fmt.Errorf("rename the directory of %s: %w", e.partition, err)
		d.diskError(home, err)
		return err
	}
	e.name = name
	if kind == deleting {
		d.mu.Lock()
		d.doom(home, name, d.o.Config(e.partition.Topic).FileDeleteDelayMs)
		d.mu.Unlock()
	} else {
		d.o.Logger.Warn("a log belongs to nobody and is kept as a stray", "path", fs.PathJoin(home.Path, name))
	}
	return nil
}

// sync makes the names in a log directory durable; those who ask at the same time
// share the fsync.
func (dir *directory) sync(fs vfs.FS) error {
	return dir.syncing.do(func() error { return vfs.SyncDir(fs, dir.Path) })
}

// doomed is a directory or file to be removed.
type doomed struct {
	home *directory
	path string
	atMs int64
}

// doom plans the removal of a directory; mu is held.
func (d *Dirs) doom(home *directory, name string, delayMs int64) {
	d.doomed = append(d.doomed, doomed{home, d.o.FS.PathJoin(home.Path, name), d.nowMs() + delayMs})
}

// removeDoomed removes the directories whose time has come.
func (d *Dirs) removeDoomed() {
	now := d.nowMs()
	var due []doomed
	d.mu.Lock()
	d.doomed = slices.DeleteFunc(d.doomed, func(x doomed) bool {
		if x.atMs > now {
			return false
		}
		due = append(due, x)
		return true
	})
	d.mu.Unlock()
	for _, x := range due {
		if x.home.offline() != nil {
			continue // found again by the next start
		}
		// RemoveAll takes a file, too, and one that went with its directory.
		if err := d.o.FS.RemoveAll(x.path); err != nil {
			d.o.Logger.Error("deleted files cannot be removed; it is tried again at the next start", "path", x.path, "error", err)
		}
	}
}

// groupSync lets those who need the same fsync at the same time share it.
type groupSync struct {
	mu      sync.Mutex
	running bool
	next    *syncRound // who came while one was running
}

type syncRound struct {
	done chan struct{}
	err  error
}

// do returns after a run of f that began after do was called.
func (g *groupSync) do(f func() error) error {
	g.mu.Lock()
	if g.next == nil {
		g.next = &syncRound{done: make(chan struct{})}
	}
	round := g.next
	if g.running {
		g.mu.Unlock()
		<-round.done
		return round.err
	}
	g.running = true
	for g.next != nil { // and the rounds of those who come meanwhile
		r := g.next
		g.next = nil
		g.mu.Unlock()
		r.err = f()
		close(r.done)
		g.mu.Lock()
	}
	g.running = false
	g.mu.Unlock()
	return round.err
}
