package storage

import (
	"hash/maphash"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

var checkpointSeed = maphash.MakeSeed()

// checkpointAll writes one checkpoint file of every directory that works.
func (d *Dirs) checkpointAll(name string) {
	for _, dir := range d.dirs {
		if dir.offline() != nil {
			continue
		}
		if err := d.writeCheckpoint(dir, name, false); err != nil {
			d.diskError(dir, err)
		}
	}
}

// writeCheckpoint writes one checkpoint file of a directory durably, unless it
// holds that already; always overrules this.
func (d *Dirs) writeCheckpoint(dir *directory, name string, always bool) error {
	dir.writing.Lock()
	defer dir.writing.Unlock()
	return d.writeOffsets(dir, name, d.offsets(dir, name), always)
}

// writeOffsets writes a checkpoint file; writing is held.
func (d *Dirs) writeOffsets(dir *directory, name string, offsets checkpoint.Offsets, always bool) error {
	content := offsets.Append(nil)
	sum := maphash.Bytes(checkpointSeed, content)
	if was, ok := dir.written[name]; ok && was == sum && !always {
		return nil
	}
	delete(dir.written, name)
	if err := vfs.Replace(d.o.FS, d.o.FS.PathJoin(dir.Path, name), content); err != nil {
		return err
	}
	dir.written[name] = sum
	return nil
}

// offsets are what a checkpoint file of a directory should say now.
func (d *Dirs) offsets(dir *directory, name string) checkpoint.Offsets {
	offsets := checkpoint.Offsets{}
	for _, e := range d.listAll(func(e *holding) bool { return e.home == dir }) {
		if at := e.offset(name); at != kafka.NoOffset {
			offsets[e.partition] = at
		}
	}
	return offsets
}

// offset is what a checkpoint should say of a partition: what the log says, or
// what it said before if it was not opened; NoOffset for nothing.
func (e *holding) offset(name string) kafka.Offset {
	l := e.log.Load()
	switch name {
	case checkpoint.RecoveryPoint:
		if l != nil {
			return l.RecoveryPoint()
		}
		return e.recovery
	case checkpoint.HighWatermark:
		if l != nil {
			return l.HighWatermark()
		}
		return e.high
	}
	// Where the log begins with its first segment, its name says it.
	if l == nil {
		if e.start > 0 {
			return e.start
		}
		return kafka.NoOffset
	}
	if start := l.LogStart(); start > l.firstBase() {
		return start
	}
	return kafka.NoOffset
}

// firstBase is where the first segment begins.
func (l *Log) firstBase() kafka.Offset { return (*l.segments.Load())[0].base }

// lowerRecoveryPoint writes a lower recovery point of one log, durably, before
// its bytes are taken away.
func (d *Dirs) lowerRecoveryPoint(e *holding, to kafka.Offset) error {
	dir := e.home
	d.lowerCleaned(e, to)
	dir.writing.Lock()
	defer dir.writing.Unlock()
	offsets := d.offsets(dir, checkpoint.RecoveryPoint)
	offsets[e.partition] = min(to, max(offsets[e.partition], 0))
	return d.writeOffsets(dir, checkpoint.RecoveryPoint, offsets, true)
}
