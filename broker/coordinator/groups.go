package coordinator

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/broker/group"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// Config is what Groups needs. Zero fields that say so have defaults.
type Config struct {
	// Group are the keys that decisions need; group.Defaults are Kafka's.
	Group group.Config
	// CommitTimeout is offsets.commit.timeout.ms: how long an answer waits for the
	// high watermark. 0 is 5 s.
	CommitTimeout time.Duration
	// RetentionCheck is offsets.retention.check.interval.ms. 0 is 10 min.
	RetentionCheck time.Duration
	// Compression is offsets.topic.compression.codec; the zero value is none.
	Compression batch.Compression
	// Random is the source of member ids, which are the only secret of a member:
	// crypto/rand.Reader.
	Random io.Reader
	Clock  clock.Clock  // nil: clock.System
	Logger *slog.Logger // nil: none
}

// loadsAtOnce bounds the partitions that are loaded at one time, each with a
// buffer of loadBytes (group.coordinator.background.threads).
const loadsAtOnce = 4

// Groups is the group coordinator of a broker: the partitions of
// __consumer_offsets that it leads. It is safe for concurrent use.
type Groups struct {
	config         atomic.Pointer[group.Config]
	commitTimeout  time.Duration
	retentionCheck time.Duration
	compression    batch.Compression
	random         io.Reader
	clock          clock.Clock
	steady         clock.Steady
	logger         *slog.Logger
	loads          chan struct{}
	metrics        Metrics

	partitions atomic.Int32

	mu     sync.RWMutex
	shards map[kafka.PartitionID]*shard
	closed bool
}

// New makes a coordinator without partitions.
func New(c Config) *Groups {
	g := &Groups{
		commitTimeout: c.CommitTimeout, retentionCheck: c.RetentionCheck, compression: c.Compression,
		random: c.Random, clock: c.Clock, logger: c.Logger,
		loads: make(chan struct{}, loadsAtOnce), shards: map[kafka.PartitionID]*shard{},
	}
	if g.commitTimeout == 0 {
		g.commitTimeout = 5 * time.Second
	}
	if g.retentionCheck == 0 {
		g.retentionCheck = 10 * time.Minute
	}
	if g.clock == nil {
		g.clock = clock.System
	}
	g.steady = clock.SteadyFrom(g.clock.Now())
	if g.logger == nil {
		g.logger = slog.New(slog.DiscardHandler)
	}
	g.Configure(c.Group)
	return g
}

// Configure changes the keys that decisions need.
func (g *Groups) Configure(c group.Config) { g.config.Store(&c) }

// SetPartitions says how many partitions __consumer_offsets has; 0 as long as it
// is not there.
func (g *Groups) SetPartitions(n int32) { g.partitions.Store(n) }

// Elect makes this broker the coordinator of a partition in a leader epoch: its
// groups are loaded from log in the background. An epoch that is not newer than
// the partition's changes nothing.
func (g *Groups) Elect(p kafka.PartitionID, epoch kafka.LeaderEpoch, log Log) {
	g.coordinate(p, epoch, log, false)
}

// ElectUnconfirmed is Elect for a broker that has started anew and goes by an image
// that no controller has confirmed: somebody else may lead the partition by now, in
// a later epoch, and have taken other offsets. Clients are told to wait until a
// record of this coordinator is committed, which the followers of another leader do
// not let happen.
func (g *Groups) ElectUnconfirmed(p kafka.PartitionID, epoch kafka.LeaderEpoch, log Log) {
	g.coordinate(p, epoch, log, true)
}

func (g *Groups) coordinate(p kafka.PartitionID, epoch kafka.LeaderEpoch, log Log, unproven bool) {
	g.mu.Lock()
	old := g.shards[p]
	if g.closed || old != nil && old.epoch >= epoch {
		g.mu.Unlock()
		return
	}
	s := newShard(p, epoch, log, g, unproven)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Add(1)
	g.shards[p] = s
	g.mu.Unlock()
	// The old loop ends first: there is never more than one that appends.
	go func() {
		if old != nil {
			old.stop()
		}
		s.run(ctx)
	}()
}

// Resign ends the work on a partition that this broker no longer leads, or does
// not lead in this epoch any more; whoever waits is told NOT_COORDINATOR. It
// returns when the partition's loop has ended.
func (g *Groups) Resign(p kafka.PartitionID, epoch kafka.LeaderEpoch) {
	g.mu.Lock()
	s := g.shards[p]
	if s == nil || s.epoch > epoch {
		g.mu.Unlock()
		return
	}
	delete(g.shards, p)
	g.mu.Unlock()
	s.stop()
}

// Close resigns from all partitions.
func (g *Groups) Close() {
	g.mu.Lock()
	shards := g.shards
	g.shards, g.closed = map[kafka.PartitionID]*shard{}, true
	g.mu.Unlock()
	for _, s := range shards {
		s.cancel()
	}
	for _, s := range shards {
		s.stop()
	}
}

// PartitionOf is the partition of a group; COORDINATOR_NOT_AVAILABLE as long as
// __consumer_offsets is not there.
func (g *Groups) PartitionOf(id string) (kafka.PartitionID, error) {
	n := g.partitions.Load()
	if n <= 0 {
		return -1, errors.New(errors.CoordinatorNotAvailable, "the topic %s does not exist yet", Topic)
	}
	return PartitionOf(id, n), nil
}

// stop ends the loop and waits for it.
func (s *shard) stop() {
	s.cancel()
	s.done.Wait()
}

// uuid draws the random part of a member id.
func (g *Groups) uuid() (b [16]byte) {
	if _, err := io.ReadFull(g.random, b[:]); err != nil {
		panic("coordinator: the source of randomness has failed: " + err.Error())
	}
	return b
}

// of finds the shard of a group.
func (g *Groups) of(id string) (*shard, errors.Code) {
	p, err := g.PartitionOf(id)
	if err != nil {
		return nil, errors.CoordinatorNotAvailable
	}
	return g.shard(p)
}

func (g *Groups) shard(p kafka.PartitionID) (*shard, errors.Code) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return nil, errors.CoordinatorNotAvailable
	}
	if s := g.shards[p]; s != nil {
		return s, errors.None
	}
	return nil, errors.NotCoordinator
}
