package storage

import (
	"context"
	"fmt"
	"time"

	"kvorum/broker/storage/checkpoint"
)

// A new log costs nothing on the disk when it is made, because a topic may have
// thousands. In this order, and nothing before it is needed:
//
//	begin          the log is in memory
//	makeDir        its directory and partition.metadata, not fsynced: by the chores
//	               of Dirs soon after, or by the first append
//	first append   its segment's file
//	first Flush    fsyncs partition.metadata, the names in the directory, and the
//	               directory's own, before the recovery point moves off the start
//
// So a power loss before the first Flush may leave no directory, one without
// partition.metadata, or one with an empty one; the end of the process, between
// two steps, an empty directory. Nothing that counts as durable is lost with it,
// as with records that were not flushed; and no record that does outlives the id of
// its topic. Dirs.Stray deletes what is empty, and the log is made again.

// Make makes the directory of a log that is new, if nothing has yet.
func (l *Log) Make() error {
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.check(); err != nil || !l.unmade {
		return err
	}
	if err := l.makeDir(); err != nil {
		return l.fail(err)
	}
	return nil
}

// prepare makes what the first segment's first append needs; appending is held.
func (l *Log) prepare() error {
	l.newFiles = true
	return l.makeDir()
}

// makeDir makes the directory of a log that is new; appending is held.
func (l *Log) makeDir() error {
	if !l.unmade {
		return nil
	}
	if err := l.fs().MkdirAll(l.dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", l.options.Partition, err)
	}
	if err := checkpoint.WriteTopicID(l.fs(), l.dir, l.options.TopicID); err != nil {
		return err
	}
	l.unmade = false
	return nil
}

// fresh reports whether nothing was ever appended to the log and it has no
// segment's file: there is nothing in it to be made durable. appending is held.
func (l *Log) fresh() bool { return l.active().prepare != nil }

// made reports whether the log's directory is there.
func (l *Log) made() bool {
	l.appending.Lock()
	defer l.appending.Unlock()
	return !l.unmade
}

// makeDelay is how long a new log waits for its directory, unless it is written to
// before. Who creates a topic of thousands of partitions has the answer by then.
const makeDelay = 100 * time.Millisecond

// makeNew makes the directories of new logs.
func (d *Dirs) makeNew(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wakeMaker:
		}
		timer := d.o.Clock.NewTimer(makeDelay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		d.makeUnmade(ctx)
	}
}

// makeUnmade makes the directories of the logs that have none yet.
func (d *Dirs) makeUnmade(ctx context.Context) {
	for e := d.nextUnmade(); e != nil && ctx.Err() == nil; e = d.nextUnmade() {
		_ = e.log.Load().Make() // a failure has been told to logFailed
	}
}

func (d *Dirs) nextUnmade() *holding {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.unmade) == 0 {
		d.unmade = nil
		return nil
	}
	e := d.unmade[0]
	d.unmade = d.unmade[1:]
	return e
}
