package replica

import (
	stderrors "errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/broker/storage"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// Config is what Partitions are made of.
type Config struct {
	Self kafka.BrokerID
	// Dirs are the log directories, in FS; they outlive Partitions.
	Dirs *storage.Dirs
	FS   vfs.FS
	// Static is server.properties: the defaults of topics' configs come from it.
	Static map[string]string
	Clock  clock.Clock
	Log    *slog.Logger
	// LagMax is replica.lag.time.max.ms.
	LagMax time.Duration
	// Controller is how the active controller is reached, and BrokerEpoch this
	// broker's registration at the time.
	Controller  Controller
	BrokerEpoch func() kafka.BrokerEpoch
	// Peers reaches the leaders of what this broker follows, and Fetch says how it
	// is fetched from them.
	Peers Peers
	Fetch FetchRules
	// RackAware says that consumers are sent to a replica in their rack
	// (replica.selector.class is RackAwareReplicaSelector).
	RackAware bool
	// AcksAllWhileUnconfirmed says that nothing is taken with acks=0 or 1 while
	// Unconfirmed (kvorum.serve.without.quorum.acks.all).
	AcksAllWhileUnconfirmed bool
	// ThrottleWindow is over what time the rates of throttled replicas are measured
	// (replication.quota.window.num, .size.seconds).
	ThrottleWindow quota.Window
}

// Partitions are all replicas of this broker. Publish and Close have one caller
// at a time; everything else is safe for concurrent use.
type Partitions struct {
	self       kafka.BrokerID
	dirs       *storage.Dirs
	static     map[string]string
	clock      clock.Clock
	steady     clock.Steady
	logger     *slog.Logger
	lagMaxMs   int64
	controller Controller

	brokerEpoch func() kafka.BrokerEpoch
	isrs, homes *reports
	peers       Peers
	rules       FetchRules
	rackAware   bool
	// sending and fetching bound what throttled replicas cost.
	sending, fetching *throttle
	fetchers          *fetchers
	journal           *journal
	moves             *moves
	moveRate          atomic.Int64 // bytes per second

	image  atomic.Pointer[image.Image] // the last one that was published
	judged bool                        // strays were looked for
	// unconfirmed says that no live quorum stands behind the image: see Distrust.
	unconfirmed atomic.Bool
	acksAll     bool // while unconfirmed
	counters    counters
	chilled     chan struct{} // one slot: some partitions are cold

	mu     sync.RWMutex
	hosted map[kafka.TopicPartition]*Partition
}

// New returns Partitions that host nothing until the first Publish.
func New(c Config) *Partitions {
	ps := &Partitions{
		self: c.Self, dirs: c.Dirs, static: c.Static, clock: c.Clock, steady: clock.SteadyFrom(c.Clock.Now()), logger: c.Log,
		lagMaxMs: c.LagMax.Milliseconds(), controller: c.Controller, brokerEpoch: c.BrokerEpoch,
		isrs: newReports(), homes: newReports(), moves: newMoves(), peers: c.Peers, rules: c.Fetch, rackAware: c.RackAware, acksAll: c.AcksAllWhileUnconfirmed,
		hosted: map[kafka.TopicPartition]*Partition{}, chilled: make(chan struct{}, 1),
	}
	ps.sending = newThrottle(c.Clock, "leader.replication.throttled.rate", "leader.replication.throttled.replicas", c.ThrottleWindow)
	ps.fetching = newThrottle(c.Clock, "follower.replication.throttled.rate", "follower.replication.throttled.replicas", c.ThrottleWindow)
	ps.fetchers = newFetchers(ps)
	ps.journal = newJournal(ps, c.FS)
	ps.image.Store(image.Empty())
	ps.moveRate.Store(ps.newSettings(image.Empty()).layers.Number(moveRateKey))
	return ps
}

// nowMs is what lag is measured by. It does not jump with the wall clock: after a step
// forward every follower would seem to lag at once.
func (ps *Partitions) nowMs() int64 { return ps.steady.Ms(ps.clock.Now()) }

// Lookup returns a partition that this broker hosts. Otherwise the wire error
// says why there is none (ReplicaManager.getPartitionOrError):
// NOT_LEADER_OR_FOLLOWER when the image has the partition elsewhere,
// UNKNOWN_TOPIC_OR_PARTITION when it has none, KAFKA_STORAGE_ERROR when its
// directory has failed.
func (ps *Partitions) Lookup(tp kafka.TopicPartition) (*Partition, error) {
	p, err := ps.find(tp, kafka.ZeroUUID)
	if err != nil {
		return nil, err
	}
	return p, p.fault()
}

// find is Lookup for a request that may name the topic's id as well. A partition
// whose directory has failed is found: whoever asks it something is told.
func (ps *Partitions) find(tp kafka.TopicPartition, id kafka.TopicID) (*Partition, error) {
	p := ps.hostedAs(tp)
	if p == nil {
		return nil, ps.absent(tp)
	}
	if !id.IsZero() && id != p.topicID {
		return nil, errors.New(errors.InconsistentTopicID, "the topic id of %s is %s here, and %s in the request", tp, p.topicID, id)
	}
	return p, nil
}

// absent says why a partition is not here.
func (ps *Partitions) absent(tp kafka.TopicPartition) error {
	if topic := ps.image.Load().TopicByName(tp.Topic); topic != nil && topic.Partition(tp.Partition) != nil {
		return errors.New(errors.NotLeaderOrFollower, "broker %d has no replica of partition %s", ps.self, tp)
	}
	return errors.New(errors.UnknownTopicOrPartition, "there is no partition %s", tp)
}

// fault is why a partition that is hosted cannot be used, nil if it can.
func (p *Partition) fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// Hosted returns all partitions of this broker, in no order, also those whose log
// is not open yet or could not be opened: their Log is nil.
func (ps *Partitions) Hosted() []*Partition {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	all := make([]*Partition, 0, len(ps.hosted))
	for _, p := range ps.hosted {
		all = append(all, p)
	}
	return all
}

// hint is the leader that a client is pointed to along with an error.
func (ps *Partitions) hint(err error, tp kafka.TopicPartition) CurrentLeader {
	none := CurrentLeader{ID: kafka.NoLeader, Epoch: kafka.NoEpoch}
	switch errors.CodeOf(err) {
	case errors.NotLeaderOrFollower, errors.FencedLeaderEpoch:
	default:
		return none
	}
	topic := ps.image.Load().TopicByName(tp.Topic)
	if topic == nil {
		return none
	}
	p := topic.Partition(tp.Partition)
	if p == nil {
		return none
	}
	return CurrentLeader{ID: p.Leader, Epoch: p.LeaderEpoch}
}

// failed turns an error of the log into what a client is told. An operating
// error has been reported to the log's directory by storage, which takes the
// directory offline; it is logged here, since the client is not told the text.
func (ps *Partitions) failed(p *Partition, err error) error {
	var wire *errors.Error
	if stderrors.As(err, &wire) {
		return err // which may say more, as a *batch.Refusal does of single records
	}
	ps.logger.Error("partition failed", "partition", p.name, "error", err)
	return errors.KafkaStorageError.Err()
}
