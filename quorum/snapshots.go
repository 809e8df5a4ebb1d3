package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/record"
	wire "kvorum/protocol/errors"
	"kvorum/snapshot"
)

// SnapshotConfig says when snapshots are made and what is kept.
type SnapshotConfig struct {
	// Bytes is metadata.log.max.record.bytes.between.snapshots.
	Bytes int64
	// Interval is metadata.log.max.snapshot.interval.ms; 0 makes none by time.
	Interval time.Duration
	// RetentionBytes and Retention are metadata.max.retention.bytes and .ms; below
	// 0 is no limit.
	RetentionBytes int64
	Retention      time.Duration
}

// cleanInterval is how often old snapshots and the log below them are looked at
// (KafkaMetadataLog's cleaner runs once a minute).
const cleanInterval = time.Minute

// snapshotCatalog is the controller's snapshots: it makes them from committed
// images, drops old ones, and serves them. Safe for concurrent use.
type snapshotCatalog struct {
	path   string
	cfg    SnapshotConfig
	logger *slog.Logger
	steady clock.Steady
	dir    atomic.Pointer[snapshot.Dir] // replaced when another controller's files were received

	mu     sync.Mutex
	newest snapshotMade
}

// snapshotMade describes the newest snapshot that was made here, for metrics.
type snapshotMade struct {
	at    time.Time
	bytes int64
	loads int64
}

func openSnapshots(path string, cfg SnapshotConfig, logger *slog.Logger) (*snapshotCatalog, error) {
	s := &snapshotCatalog{path: path, cfg: cfg, logger: logger, steady: clock.SteadyFrom(time.Now()), newest: snapshotMade{at: time.Now()}}
	return s, s.reopen()
}

// reopen lists the directory again.
func (s *snapshotCatalog) reopen() error {
	dir, err := snapshot.OpenDir(nil, s.path)
	if err != nil {
		return err
	}
	s.dir.Store(dir)
	return nil
}

func (s *snapshotCatalog) made() snapshotMade {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest
}

// Range returns the newest and the oldest snapshot, false if there is none.
func (s *snapshotCatalog) Range() (latest, earliest kafka.EpochOffset, ok bool) {
	dir := s.dir.Load()
	newest, ok := dir.Latest()
	oldest, _ := dir.Earliest()
	return newest.ID, oldest.ID, ok
}

// ReadChunk reads a piece of a snapshot. Errors are wire errors.
func (s *snapshotCatalog) ReadChunk(id kafka.EpochOffset, position int64, maxBytes int) (piece []byte, size int64, err error) {
	chunk, err := s.dir.Load().ReadChunk(id, position, maxBytes)
	switch {
	case errors.Is(err, snapshot.ErrNotFound):
		return nil, 0, wire.SnapshotNotFound.Err()
	case errors.Is(err, snapshot.ErrPosition):
		return nil, 0, wire.PositionOutOfRange.Err()
	case err != nil:
		s.logger.Error("read a snapshot for another node", "snapshot", snapshot.Name(id), "position", position, "error", err)
		return nil, 0, wire.UnknownServerError.Err()
	}
	return chunk.Bytes, chunk.Size, nil
}

// loadSnapshot feeds the core the newest whole snapshot that the log continues.
// Without one the log must begin at offset 0.
func (c *Controller) loadSnapshot() error {
	if err := c.snapshots.reopen(); err != nil {
		return err
	}
	start := c.log.Store().LogStart()
	id, ok, damaged, err := c.snapshots.dir.Load().LoadNewest(start, func(id kafka.EpochOffset, r *snapshot.Reader) error {
		return c.step(Loaded{ID: id, Snapshot: r})
	})
	for _, d := range damaged {
		c.logger.Error("a snapshot is damaged and was set aside", "error", d)
	}
	if err != nil {
		return fmt.Errorf("load the metadata: %w", err)
	}
	if ok {
		c.read = id.Offset
		c.snapshots.loaded()
		c.logger.Info("loaded a snapshot", "snapshot", snapshot.Name(id))
	}
	return nil
}

func (s *snapshotCatalog) loaded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest.loads++
}

// makeSnapshots makes and drops snapshots until ctx ends. It works on immutable
// images beside the loop and never holds it up.
func (c *Controller) makeSnapshots(ctx context.Context) {
	clean := time.NewTicker(cleanInterval)
	defer clean.Stop()
	lastBytes, lastTime := int64(0), time.Now()
	for {
		changed := c.WaitState()
		state := c.State()
		due := state.CommittedBytes-lastBytes >= c.cfg.Snapshots.Bytes ||
			c.cfg.Snapshots.Interval > 0 && time.Since(lastTime) >= c.cfg.Snapshots.Interval && state.CommittedBytes > lastBytes
		if due && state.snapshotable() {
			if err := c.snapshots.save(state); err != nil {
				c.logger.Error("make a snapshot", "error", err)
			}
			c.dropOldSnapshots()
			lastBytes, lastTime = state.CommittedBytes, time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-clean.C:
			c.dropOldSnapshots()
		}
	}
}

func (c *Controller) dropOldSnapshots() {
	if err := c.snapshots.clean(c.log.Store()); err != nil {
		c.logger.Error("drop old snapshots", "error", err)
	}
}

// snapshotable reports whether the image is all that is committed: within a
// metadata transaction the image stands still, and its end may lie inside of a
// batch.
func (s *State) snapshotable() bool {
	return s.Image.MetadataVersion() > 0 && s.Image.At().Offset+1 == s.End
}

func (s *snapshotCatalog) save(state *State) error {
	header := snapshot.Header{KRaftVersion: &record.KRaftVersion{KRaftVersion: state.KRaftVersion}, Voters: state.Voters}
	dir := s.dir.Load()
	id, err := dir.Save(state.Image, header, s.steady.Ms(time.Now()))
	if err != nil {
		return err
	}
	info, _ := dir.Latest()
	s.mu.Lock()
	s.newest.at, s.newest.bytes = time.Now(), info.Size
	s.mu.Unlock()
	s.logger.Info("made a snapshot", "snapshot", snapshot.Name(id), "bytes", info.Size)
	return nil
}

// clean drops snapshots that are beyond retention and the log that only they
// needed.
func (s *snapshotCatalog) clean(store *metadatalog.Store) error {
	dir := s.dir.Load()
	now := s.steady.Ms(time.Now())
	retention := snapshot.Retention{MaxBytes: s.cfg.RetentionBytes, MaxAgeMs: s.cfg.Retention.Milliseconds()}
	if retention.MaxBytes < 0 {
		retention.MaxBytes = 1<<63 - 1
	}
	if s.cfg.Retention < 0 {
		retention.MaxAgeMs = now
	}
	for len(dir.List()) > 1 {
		start, deleted, err := dir.Expire(retention, now, store.LogBytes())
		if err != nil || !deleted {
			return errors.Join(err, dir.Purge(now))
		}
		if err := store.TrimTo(start); err != nil {
			return err
		}
		s.logger.Info("the metadata log starts later", "offset", start)
	}
	return dir.Purge(now)
}
