package snapshot

import (
	"errors"
	"fmt"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// Retention says how much is kept (metadata.max.retention.bytes and .ms).
type Retention struct {
	MaxBytes int64 // of log and snapshots together
	MaxAgeMs int64 // by the snapshot's LastContainedLogTimestampMs
}

// Expire deletes the oldest snapshot if log and snapshots have more than
// MaxBytes together or it is older than MaxAgeMs, but never the last one
// (KafkaRaftLog.maybeClean). It returns where the log may start from then on:
// the end of the oldest snapshot that is left. The caller trims the log there
// and calls again, with the log's new size, until deleted is false.
//
// A snapshot that cannot be read counts as old: the age of what follows decides.
func (d *Dir) Expire(r Retention, nowMs, logBytes int64) (logStart kafka.Offset, deleted bool, err error) {
	list := d.List()
	if len(list) < 2 {
		return 0, false, nil
	}
	oldest, next := list[len(list)-1], list[len(list)-2]
	total := logBytes
	for _, s := range list {
		total += s.Size
	}
	if total <= r.MaxBytes {
		young, err := d.younger(oldest.ID, nowMs-r.MaxAgeMs)
		if err != nil || young {
			return 0, false, err
		}
	}
	if err := d.remove(oldest.ID, nowMs); err != nil {
		return 0, false, err
	}
	return next.ID.Offset, true, nil
}

// younger reports whether a snapshot's last record was written at or after ms.
func (d *Dir) younger(id kafka.EpochOffset, ms int64) (bool, error) {
	r, err := d.Open(id)
	if errors.Is(err, ErrDamaged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.Header().LastContainedLogTimestampMs >= ms, r.Close()
}

// DeleteBefore deletes every snapshot that ends before the log's start: the log
// does not continue it. It keeps the newest, whatever its end.
func (d *Dir) DeleteBefore(logStart kafka.Offset, nowMs int64) error {
	list := d.List()
	for i := len(list) - 1; i > 0; i-- {
		if list[i].ID.Offset >= logStart {
			continue
		}
		if err := d.remove(list[i].ID, nowMs); err != nil {
			return err
		}
	}
	return nil
}

// remove renames a snapshot out of the way; it stays readable until Purge.
func (d *Dir) remove(id kafka.EpochOffset, nowMs int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.IndexFunc(d.snapshots, func(s Info) bool { return s.ID == id })
	if at < 0 {
		return nil
	}
	if err := d.fs.Rename(d.file(id), d.file(id)+".deleted"); err != nil {
		return fmt.Errorf("delete snapshot %s: %w", Name(id), err)
	}
	d.deleted[id] = deletion{size: d.snapshots[at].Size, atMs: nowMs}
	d.snapshots = slices.Delete(d.snapshots, at, at+1)
	return nil
}

// Purge removes the files of snapshots that were deleted DeleteDelayMs ago.
func (d *Dir) Purge(nowMs int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, del := range d.deleted {
		if nowMs-del.atMs < DeleteDelayMs {
			continue
		}
		if err := d.fs.Remove(d.file(id) + ".deleted"); err != nil {
			return fmt.Errorf("purge snapshot %s: %w", Name(id), err)
		}
		delete(d.deleted, id)
	}
	return nil
}

// LoadNewest gives the newest whole snapshot to load. A damaged one is renamed
// to NAME.damaged, and the one before it is tried: load is called again then and
// must begin anew. Each is read to its end after load returns, so what load has
// seen can be believed when LoadNewest returns without error. damaged is what
// was set aside, for the log and a metric.
//
// ok is false when there is no snapshot at all and the log starts at 0. Without
// a snapshot that reaches the log's start the node cannot go on alone, and that
// is the error.
func (d *Dir) LoadNewest(logStart kafka.Offset, load func(kafka.EpochOffset, *Reader) error) (id kafka.EpochOffset, ok bool, damaged []error, err error) {
	for _, s := range d.List() {
		if s.ID.Offset < logStart {
			break
		}
		err := d.load(s.ID, load)
		if err == nil {
			return s.ID, true, damaged, nil
		}
		if !errors.Is(err, ErrDamaged) {
			return s.ID, false, damaged, err
		}
		damaged = append(damaged, err)
		if err := d.setAside(s.ID); err != nil {
			return s.ID, false, damaged, err
		}
	}
	if logStart > 0 {
		return id, false, damaged, fmt.Errorf("load a snapshot from %s: no whole one reaches offset %d, where the log starts: %w",
			d.path, logStart, errors.Join(append(damaged, ErrNotFound)...))
	}
	return id, false, damaged, nil
}

func (d *Dir) load(id kafka.EpochOffset, load func(kafka.EpochOffset, *Reader) error) error {
	r, err := d.Open(id)
	if err != nil {
		return err
	}
	err = load(id, r)
	if err == nil {
		err = r.Verify()
	}
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("load snapshot %s: %w", Name(id), err)
	}
	return nil
}

// setAside keeps a damaged snapshot under another name.
func (d *Dir) setAside(id kafka.EpochOffset) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fs.Rename(d.file(id), d.file(id)+".damaged"); err != nil {
		return fmt.Errorf("set snapshot %s aside: %w", Name(id), err)
	}
	if err := vfs.SyncDir(d.fs, d.path); err != nil {
		return fmt.Errorf("set snapshot %s aside: %w", Name(id), err)
	}
	d.snapshots = slices.DeleteFunc(d.snapshots, func(s Info) bool { return s.ID == id })
	return nil
}
