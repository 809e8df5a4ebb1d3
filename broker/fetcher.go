package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
	"kvorum/metadatalog/replay"
	"kvorum/snapshot"
)

// fetcher runs a fetchCore: it owns this broker's copy of the metadata log and
// the loader that follows it.
//
// A batch is on the disk before the loader can read it, so that no publisher acts
// on what a crash would take back.
type fetcher struct {
	core      *fetchCore
	logger    *slog.Logger
	clientID  string
	timeout   time.Duration // of one request
	learned   func(Leader)
	store     *metadatalog.Store
	snapshots *snapshot.Dir
	applied   *appliedLog
	loader    *replay.Loader
	retention snapshot.Retention
	// snapshotBytes is after how many bytes of the log a snapshot is made.
	snapshotBytes int64
	steady        clock.Steady

	conn     *conn
	incoming *incomingSnapshot
	since    int64         // bytes stored since the last snapshot
	caughtUp chan struct{} // closed when the log has been as long as the leader's
	// following is closed when the loader may read; unreachable when no controller
	// could be reached that is known, before any was.
	following   chan struct{}
	unreachable chan struct{}
	begin       sync.Once
	silent      map[string]bool // addresses that could not be reached
	// peers finds the other brokers in an image; nil where they are not asked.
	peers func(*image.Image) []string

	mu     sync.Mutex
	header snapshot.Header // the newest control records
}

// openFetcher opens this broker's copy of the metadata log.
func openFetcher(cfg *Config, learned func(Leader), logger *slog.Logger) (*fetcher, error) {
	dir := filepath.Join(cfg.Node.MetadataLogDir, nodedir.MetadataDir)
	store, err := metadatalog.Open(filepath.Join(dir, nodedir.StoreDir), metadatalog.Options{Log: logger})
	if err != nil {
		return nil, err
	}
	snapshots, err := snapshot.OpenDir(nil, dir)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	meta, err := nodedir.ReadMeta(cfg.Node.MetadataLogDir)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	own, finder := cfg.Node.Broker, newControllers(cfg)
	f := &fetcher{
		steady: clock.SteadyFrom(time.Now()),
		core: newFetchCore(fetchConfig{
			self: cfg.Node.ID, clusterID: cfg.ClusterID, directory: meta.DirectoryID,
			bootstrap: finder.addresses, voters: finder.voters,
			maxBytes: own.FetchBytes, snapshotBytes: own.SnapshotBytes, backoffMs: max(1, own.MetadataBackoff.Milliseconds()),
		}, store.EndOffset(), store.LastEpoch()),
		logger: logger, clientID: fmt.Sprintf("raft-client-%d", cfg.Node.ID), timeout: max(own.MetadataTimeout, 2*maxWaitMs*time.Millisecond),
		learned: learned, store: store, snapshots: snapshots, applied: &appliedLog{Store: store, changed: make(chan struct{})},
		snapshotBytes: cfg.Node.Metadata.SnapshotBytes, caughtUp: make(chan struct{}), following: make(chan struct{}), unreachable: make(chan struct{}), silent: map[string]bool{},
		retention: snapshot.Retention{MaxBytes: cfg.Node.Metadata.RetentionBytes, MaxAgeMs: cfg.Node.Metadata.Retention.Milliseconds()},
	}
	if own.ServeWithoutQuorum {
		f.peers = func(im *image.Image) []string {
			return peerAddresses(im, kafka.BrokerID(cfg.Node.ID), own.InterBroker)
		}
	}
	f.loader = replay.NewLoader(replay.Options{Log: f.applied, Snapshots: snapshots, Observe: f.observe})
	return f, nil
}

// close ends what openFetcher began, after run.
func (f *fetcher) close() error {
	f.incoming.abandon()
	if f.conn != nil {
		f.conn.close()
	}
	return f.store.Close()
}

// run fetches and replays until ctx ends (nil) or the log cannot be kept or
// understood any more.
func (f *fetcher) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.fetch(ctx) })
	group.Go(func() error {
		// A log that is shorter than the leader's is a state of long ago, or a part of
		// one: replicas that are missing in it would be taken for strays. Who begins
		// without it must know that (Broker.alone).
		select {
		case <-f.following:
			return f.loader.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	return group.Wait()
}

// follow lets the loader begin.
func (f *fetcher) follow() { f.begin.Do(func() { close(f.following) }) }

// empty reports whether there is nothing to follow.
func (f *fetcher) empty() bool { return f.store.EndOffset() == 0 }

// unanswered notes that a controller's address could not be reached.
func (f *fetcher) unanswered(address string) {
	if f.silent != nil {
		f.silent[address] = true
	}
}

// lookAround tells the core where the other brokers are, as far as the image knows.
// When no controller can be reached and they have given what they have, it says so
// once.
func (f *fetcher) lookAround() {
	im := f.loader.Image()
	if f.peers != nil {
		f.core.setPeers(f.peers(im))
	}
	if f.silent == nil || im.At().Offset < 0 || !f.core.peersOver() {
		return
	}
	if all := f.core.cfg.bootstrap; !slices.ContainsFunc(all, func(a string) bool { return !f.silent[a] }) {
		f.silent = nil
		close(f.unreachable)
	}
}

func (f *fetcher) fetch(ctx context.Context) error {
	started := time.Now()
	var ev any = fetchStarted{}
	for ctx.Err() == nil {
		if f.core.failing > 0 {
			f.lookAround()
		}
		out := f.core.step(time.Since(started).Milliseconds(), ev)
		if out.note != "" {
			f.logger.Warn(out.note)
		}
		if out.learned != nil {
			f.learned(*out.learned)
		}
		if out.caughtUp {
			f.follow()
			close(f.caughtUp)
		}
		var err error
		switch {
		case out.fetch != nil:
			ev = f.askFetch(ctx, out.address, out.peer, out.fetch)
		case out.snapshot != nil:
			ev = f.askSnapshot(ctx, out.address, out.snapshot)
		case out.store != nil:
			ev, err = f.keep(ctx, out.store)
		case out.chunk != nil:
			ev, err = f.keepChunk(ctx, out.chunk)
		default:
			clock.Rest(ctx, time.Duration(out.wakeAtMs)*time.Millisecond-time.Since(started))
			ev = fetchTick{}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (f *fetcher) askFetch(ctx context.Context, address string, peer bool, req *kmsg.FetchRequest) fetchAnswered {
	body, err := f.exchange(ctx, address, peer, req)
	if err != nil {
		return fetchAnswered{address: address, err: err}
	}
	return fetchAnswered{address: address, resp: body.(*kmsg.FetchResponse)}
}

func (f *fetcher) askSnapshot(ctx context.Context, address string, req *kmsg.FetchSnapshotRequest) snapshotAnswered {
	body, err := f.exchange(ctx, address, false, req)
	if err != nil {
		return snapshotAnswered{address: address, err: err}
	}
	return snapshotAnswered{address: address, resp: body.(*kmsg.FetchSnapshotResponse)}
}

// peerTimeout bounds a question to another broker, which answers at once from what it
// has: a dead one is not to keep this one from the controllers.
const peerTimeout = 500 * time.Millisecond

// exchange sends one request to an address, over the connection that is there
// where it leads to it.
func (f *fetcher) exchange(ctx context.Context, address string, peer bool, req kmsg.Request) (kmsg.Response, error) {
	timeout, whose := f.timeout, "controller"
	if peer {
		timeout, whose = peerTimeout, "broker"
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if f.conn != nil && f.conn.address != address {
		f.conn.close()
		f.conn = nil
	}
	if f.conn == nil {
		var err error
		if f.conn, err = dialPeer(ctx, whose, address, f.clientID); err != nil {
			f.conn = nil
			if !peer {
				f.unanswered(address)
			}
			return nil, err
		}
		if !peer {
			f.silent = nil
		}
	}
	resp, err := f.conn.do(ctx, req)
	if err != nil {
		f.conn.close()
		f.conn = nil
	}
	return resp, err
}

// keep makes batches durable and waits until they are acted upon.
func (f *fetcher) keep(ctx context.Context, batches []byte) (fetchStored, error) {
	if err := f.store.Append(metadatalog.Append{Batches: batches, Sync: true}); err != nil {
		return fetchStored{}, fmt.Errorf("keep the metadata log: %w", err)
	}
	f.since += int64(len(batches))
	if err := f.waitApplied(ctx); err != nil {
		return fetchStored{}, err
	}
	return fetchStored{f.store.EndOffset(), f.store.LastEpoch()}, f.makeSnapshot()
}

// waitApplied waits for the publishers once they have begun.
func (f *fetcher) waitApplied(ctx context.Context) error {
	select {
	case <-f.following:
		return f.applied.wait(ctx, f.store.EndOffset())
	default:
		return nil
	}
}

// keepChunk writes a piece of a snapshot; the last one replaces the log.
func (f *fetcher) keepChunk(ctx context.Context, c *chunk) (fetchStored, error) {
	if c.position == 0 {
		f.incoming.abandon()
		f.incoming = f.receive(c.id)
	}
	if err := f.incoming.write(c.bytes); err != nil {
		return fetchStored{}, fmt.Errorf("keep the metadata snapshot %s: %w", snapshot.Name(c.id), err)
	}
	if !c.last {
		return fetchStored{f.store.EndOffset(), f.store.LastEpoch()}, nil
	}
	err := f.incoming.finish()
	f.incoming = nil
	if err == nil {
		err = f.store.Reset(c.id, 0, nil)
	}
	if err == nil {
		err = f.snapshots.DeleteBefore(c.id.Offset, f.steady.Ms(time.Now()))
	}
	if err != nil {
		return fetchStored{}, fmt.Errorf("take over the metadata snapshot %s: %w", snapshot.Name(c.id), err)
	}
	f.since = 0
	return fetchStored{f.store.EndOffset(), f.store.LastEpoch()}, f.waitApplied(ctx)
}

// incomingSnapshot is a snapshot that is verified and written as it comes in.
type incomingSnapshot struct {
	to   *io.PipeWriter
	done chan error // one, when it is installed or refused
}

func (f *fetcher) receive(id kafka.EpochOffset) *incomingSnapshot {
	from, to := io.Pipe()
	s := &incomingSnapshot{to: to, done: make(chan error, 1)}
	go func() { // owned by finish and abandon, which wait for it
		err := f.snapshots.Install(id, from)
		from.CloseWithError(err) // a writer that is still at it fails
		s.done <- err
	}()
	return s
}

func (s *incomingSnapshot) write(b []byte) error {
	_, err := s.to.Write(b)
	return err
}

func (s *incomingSnapshot) finish() error {
	s.to.Close()
	return <-s.done
}

func (s *incomingSnapshot) abandon() {
	if s == nil {
		return
	}
	s.to.CloseWithError(errors.New("the rest of the snapshot does not come"))
	<-s.done
}

// observe keeps what a snapshot needs besides the image.
func (f *fetcher) observe(_ kafka.Offset, _ kafka.LeaderEpoch, c record.Control) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch c := c.(type) {
	case *record.KRaftVersion:
		f.header.KRaftVersion = c
	case *record.KRaftVoters:
		f.header.Voters = c
	}
}

// kraftVersion is the newest kraft.version of the log, 0 where it has none.
func (f *fetcher) kraftVersion() int16 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.header.KRaftVersion == nil {
		return 0
	}
	return f.header.KRaftVersion.KRaftVersion
}

// makeSnapshot writes a snapshot of what is published when the log has grown
// enough, and cuts the log behind the oldest one that is kept.
func (f *fetcher) makeSnapshot() error {
	im := f.loader.Image()
	if f.since < f.snapshotBytes || im.At().Offset < 0 {
		return nil
	}
	f.since = 0
	now := f.steady.Ms(time.Now())
	f.mu.Lock()
	header := f.header
	f.mu.Unlock()
	if _, err := f.snapshots.Save(im, header, now); err != nil {
		return fmt.Errorf("write a snapshot of the metadata: %w", err)
	}
	for {
		start, deleted, err := f.snapshots.Expire(f.retention, now, f.store.LogBytes())
		if err != nil {
			return fmt.Errorf("remove old snapshots of the metadata: %w", err)
		}
		if err := f.store.TrimTo(start); err != nil {
			return err
		}
		if !deleted {
			return f.snapshots.Purge(now)
		}
	}
}

// appliedLog is the store as the loader reads it. The loader publishes what it
// has read before it reads on, so that its next read tells how far it is.
type appliedLog struct {
	*metadatalog.Store

	mu      sync.Mutex
	reached kafka.Offset
	changed chan struct{}
}

// Read implements replay.Log.
func (l *appliedLog) Read(from kafka.Offset, maxBytes int) ([]byte, error) {
	l.mu.Lock()
	if from > l.reached {
		l.reached = from
		close(l.changed)
		l.changed = make(chan struct{})
	}
	l.mu.Unlock()
	return l.Store.Read(from, maxBytes)
}

// wait waits until everything below end is acted upon.
func (l *appliedLog) wait(ctx context.Context, end kafka.Offset) error {
	for {
		l.mu.Lock()
		reached, changed := l.reached, l.changed
		l.mu.Unlock()
		if reached >= end {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
