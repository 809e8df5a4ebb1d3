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

// Create makes the directory of a partition and its empty log, or returns the
// log that is there if it is of the same topic. Its directory and
// partition.metadata are on the disk when it returns, so that no record can
// outlive the name of its topic. Many Creates at a time share their fsyncs.
//
// where is the directory that the controllers assigned. With DirectoryUnassigned
// it is the one with the fewest logs; with DirectoryMigrating too, but only while
// every directory is online, for the partition may be in the one that is not. It
// fails with KAFKA_STORAGE_ERROR where the directory is offline or not ours, and
// with INCONSISTENT_TOPIC_ID where the name is taken by another topic's partition.
func (d *Dirs) Create(p kafka.TopicPartition, topic kafka.TopicID, config LogConfig, where kafka.DirectoryID) (*Log, error) {
	e, err := d.reserve(p, where)
	if err != nil {
		return nil, err
	}
	if e.log.Load() == nil {
		if err := d.make(e, topic); err != nil {
			return nil, err
		}
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

// reserve returns the entry of a partition, or enters one.
func (d *Dirs) reserve(p kafka.TopicPartition, where kafka.DirectoryID) (*holding, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.holdings[p]; e != nil {
		return e, e.home.offline()
	}
	home, err := d.choose(where)
	if err != nil {
		return nil, err
	}
	e := &holding{partition: p, home: home, high: kafka.NoOffset, clean: true}
	d.holdings[p] = e
	home.logs++
	return e, nil
}

// choose finds the directory for a new partition; mu is held.
func (d *Dirs) choose(where kafka.DirectoryID) (*directory, error) {
	for _, dir := range d.dirs {
		if dir.ID == where {
			return dir, dir.offline()
		}
	}
	logs := map[*directory]int{}
	if len(d.dirs) > 1 {
		for _, e := range d.holdings {
			logs[e.home]++
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

// make makes the directory of an entry that has none yet, durably.
func (d *Dirs) make(e *holding, topic kafka.TopicID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.name != "" || e.gone {
		return nil
	}
	name := dirName(e.partition, current, kafka.UUID{})
	path := d.o.FS.PathJoin(e.home.Path, name)
	err := d.o.FS.MkdirAll(path, 0o755)
	if err == nil {
		err = checkpoint.WriteTopicID(d.o.FS, path, topic)
	}
	if err == nil {
		err = e.home.syncing.do(func() error { return vfs.SyncDir(d.o.FS, e.home.Path) })
	}
	if err != nil {
		err = fmt.Errorf("make the directory of %s: %w", e.partition, err)
		d.forget(e)
		e.gone = true
		d.diskError(e.home, err)
		return wire.New(wire.KafkaStorageError, "the directory of %s cannot be made", e.partition)
	}
	e.name = name
	return nil
}

// forget takes an entry out of the map.
func (d *Dirs) forget(e *holding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holdings[e.partition] == e {
		delete(d.holdings, e.partition)
		e.home.logs--
	}
}

// Delete takes a partition's log out and renames its directory; the files are
// removed after file.delete.delay.ms, by Run of this or a later process. The
// rename is on the disk when it returns: the partition does not come back. Who
// still uses the log is refused. Nothing is done where no directory
// holds the partition.
func (d *Dirs) Delete(p kafka.TopicPartition) error { return d.takeOut(p, deleting) }

// Stray takes a partition's log out and keeps its directory under another name,
// with the partition and -stray in it. It is never removed: that it belongs to
// nobody may be a mistake.
func (d *Dirs) Stray(p kafka.TopicPartition) error { return d.takeOut(p, stray) }

// errTakenOut is why a log is offline that was deleted.
var errTakenOut = errors.New("the partition was taken out of the log directory")

func (d *Dirs) takeOut(p kafka.TopicPartition, kind dirKind) error {
	d.mu.Lock()
	e := d.holdings[p]
	if e != nil {
		delete(d.holdings, p)
		e.home.logs--
	}
	d.mu.Unlock()
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	if l := e.log.Load(); l != nil {
		l.Fail(errTakenOut) // so that closing it writes nothing
		if err := l.Close(); err != nil {
			d.o.Logger.Warn("close a log that is taken out", "partition", p.String(), "error", err)
		}
		d.settle(l)
	}
	if e.name == "" {
		return nil
	}
	d.dropCleaned(e)
	return d.rename(e, kind)
}

// rename gives the directory of an entry the name of another kind.
func (d *Dirs) rename(e *holding, kind dirKind) error {
	id, err := kafka.RandomUUID(d.o.Random)
	if err != nil {
		return fmt.Errorf("name the directory of %s: %w", e.partition, err)
	}
	name := dirName(e.partition, kind, id)
	fs, home := d.o.FS, e.home
	err = fs.Rename(fs.PathJoin(home.Path, e.name), fs.PathJoin(home.Path, name))
	if err == nil {
		err = home.syncing.do(func() error { return vfs.SyncDir(fs, home.Path) })
	}
	if err != nil {
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
