package config

import (
	"slices"
	"strings"
	"time"
)

// Broker is what a node with the role of a broker takes from its
// server.properties besides what every node does. What an operator may change
// at run time is not here: it comes from Layers, whose lowest is Node.Static.
type Broker struct {
	// Listeners are those of clients and of other brokers, in the order of
	// listeners. InterBroker is the name of the one that other brokers use.
	Listeners   []Listener
	InterBroker string
	// Rack is broker.rack, empty where not set.
	Rack string
	// RackAware says that consumers are sent to replicas in their rack.
	RackAware bool

	// HeartbeatInterval and SessionTimeout are this broker's own: the controllers
	// have theirs.
	HeartbeatInterval, SessionTimeout time.Duration
	// RegistrationTimeout is how long the first registration may take; after it
	// the broker gives up.
	RegistrationTimeout time.Duration
	// StartupTimeout bounds the whole start.
	StartupTimeout time.Duration
	// ControlledShutdown tells the controllers before the broker stops, so that
	// its partitions have other leaders by then.
	ControlledShutdown bool
	// DirectoryFailureTimeout is how long a failed directory may stay unknown to
	// the controllers.
	DirectoryFailureTimeout time.Duration

	// RequestTimeout bounds one request to a controller, MetadataTimeout one Fetch
	// of the metadata log; MetadataBackoff is the pause after one that failed.
	RequestTimeout, MetadataTimeout, MetadataBackoff time.Duration
	// MarkerTimeout is request.timeout.ms: how long the end of a transaction may
	// wait for the in-sync replicas, as whoever coordinates it waits for the answer.
	MarkerTimeout time.Duration
	// FetchBytes and SnapshotBytes are what one Fetch of the metadata log and one
	// FetchSnapshot ask for.
	FetchBytes, SnapshotBytes int32

	// AutoCreateTopics lets clients make topics by asking for them.
	AutoCreateTopics bool
	// Offsets is how __consumer_offsets is made.
	Offsets OffsetsTopic

	// Group are the rules of the group coordinator.
	Group GroupRules
	// Logs are the chores of the log directories.
	Logs LogRules
	// ReplicaLagMax is how long a follower may be behind and stay in sync.
	ReplicaLagMax time.Duration
	// Fetch is how followers fetch.
	Fetch FetchRules

	// FetchMaxBytes bounds the answer to one Fetch, FetchSessions the fetch
	// sessions that are remembered, DescribedPartitions the partitions in one answer
	// to DescribeTopicPartitions.
	FetchMaxBytes       int
	FetchSessions       int
	DescribedPartitions int

	// ServeWithoutQuorum says that the broker serves, also after a restart, while no
	// controller lives, and does not stop for want of one.
	ServeWithoutQuorum bool
	// AcksAllWithoutQuorum says that one that was started so refuses acks=0 and 1 for
	// as long as no controller has confirmed its metadata.
	AcksAllWithoutQuorum bool

	// TopicMetrics is how many topics have metrics of their own, PartitionMetrics
	// whether each partition has.
	TopicMetrics     int
	PartitionMetrics bool
}

// FetchRules say how followers fetch from leaders, as the node was started with;
// Layers.Running says how many fetchers there are now.
type FetchRules struct {
	Fetchers              int // for each other broker
	MaxBytes, AnswerBytes int32
	MinBytes              int32
	MaxWait               time.Duration
	Backoff, Timeout      time.Duration
}

// OffsetsTopic is how the topic of the group coordinators is made and kept.
type OffsetsTopic struct {
	Partitions        int32
	ReplicationFactor int16
	SegmentBytes      int32
	// Codec is offsets.topic.compression.codec: the number of a record batch's
	// attributes.
	Codec int8
}

// GroupRules are the rules of the group coordinator; times are positive.
type GroupRules struct {
	InitialRebalanceDelay                time.Duration
	MinSessionTimeout, MaxSessionTimeout time.Duration
	MaxSize                              int // members of a group
	OffsetMetadataMax                    int // as Kafka counts: UTF-16 units
	OffsetsRetention, RetentionCheck     time.Duration
	CommitTimeout                        time.Duration
}

// LogRules say how often the chores of the log directories are done.
type LogRules struct {
	HighWatermark, RecoveryPoint, LogStart time.Duration // checkpoints
	Retention, FirstRetention              time.Duration // checks
	ProducerCheck                          time.Duration // for producers that are expired
}

// CleanerRules say how logs are compacted.
type CleanerRules struct {
	Threads        int     // 0: nothing is compacted
	KeyMemory      int64   // bytes, for all threads together
	KeyLoad        float64 // the share of it that may be full
	IOMemory       int64   // bytes, for all threads together
	BytesPerSecond float64 // for all threads together; 0: no limit
	Backoff        time.Duration
}

// What replica.selector.class may be.
const (
	leaderSelector    = "org.apache.kafka.common.replica.LeaderSelector"
	rackAwareSelector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
)

// rackAware reports whether consumers are sent to replicas in their rack.
func (p *nodeParser) rackAware() bool {
	switch class := p.value("replica.selector.class").Text; class {
	case "", leaderSelector:
		return false
	case rackAwareSelector:
		return true
	default:
		p.fail("replica.selector.class", "replica.selector.class=%s: Java classes cannot be loaded here; leave it out, or use %s", class, rackAwareSelector)
		return false
	}
}

// broker reads the keys of a broker.
func (p *nodeParser) broker(n *Node) {
	b := n.Broker
	b.Rack, b.RackAware = p.value("broker.rack").Text, p.rackAware()
	b.HeartbeatInterval, b.SessionTimeout = p.millis("broker.heartbeat.interval.ms"), p.millis("broker.session.timeout.ms")
	b.RegistrationTimeout = p.millis("initial.broker.registration.timeout.ms")
	b.StartupTimeout = p.millis("server.max.startup.time.ms")
	b.ControlledShutdown = p.value("controlled.shutdown.enable").Bool
	b.DirectoryFailureTimeout = p.millis("log.dir.failure.timeout.ms")
	b.RequestTimeout = p.millis("controller.socket.timeout.ms")
	b.MarkerTimeout = p.millis("request.timeout.ms")
	b.MetadataTimeout, b.MetadataBackoff = p.millis("controller.quorum.request.timeout.ms"), p.millis("controller.quorum.retry.backoff.ms")
	b.FetchBytes, b.SnapshotBytes = int32(p.int("controller.quorum.fetch.max.bytes")), int32(p.int("controller.quorum.fetch.snapshot.max.bytes"))
	b.AutoCreateTopics = p.value("auto.create.topics.enable").Bool
	b.Offsets = OffsetsTopic{
		Partitions:        int32(p.int("offsets.topic.num.partitions")),
		ReplicationFactor: int16(p.int("offsets.topic.replication.factor")),
		SegmentBytes:      int32(p.int("offsets.topic.segment.bytes")),
		Codec:             int8(p.int("offsets.topic.compression.codec")),
	}
	b.Group = GroupRules{
		InitialRebalanceDelay: p.millis("group.initial.rebalance.delay.ms"),
		MinSessionTimeout:     p.millis("group.min.session.timeout.ms"), MaxSessionTimeout: p.millis("group.max.session.timeout.ms"),
		MaxSize: p.int("group.max.size"), OffsetMetadataMax: p.int("offset.metadata.max.bytes"),
		OffsetsRetention: time.Duration(p.int("offsets.retention.minutes")) * time.Minute, RetentionCheck: p.millis("offsets.retention.check.interval.ms"),
		CommitTimeout: p.millis("offsets.commit.timeout.ms"),
	}
	b.Logs = LogRules{
		HighWatermark: p.millis("replica.high.watermark.checkpoint.interval.ms"), RecoveryPoint: p.millis("log.flush.offset.checkpoint.interval.ms"),
		LogStart: p.millis("log.flush.start.offset.checkpoint.interval.ms"), Retention: p.millis("log.retention.check.interval.ms"),
		FirstRetention: p.millis("log.initial.task.delay.ms"), ProducerCheck: p.millis("producer.id.expiration.check.interval.ms"),
	}
	b.ReplicaLagMax = p.millis("replica.lag.time.max.ms")
	b.Fetch = FetchRules{
		Fetchers: p.layers.Running().Fetchers, MaxBytes: int32(p.int("replica.fetch.max.bytes")), AnswerBytes: int32(p.int("replica.fetch.response.max.bytes")),
		MinBytes: int32(p.int("replica.fetch.min.bytes")), MaxWait: p.millis("replica.fetch.wait.max.ms"),
		Backoff: p.millis("replica.fetch.backoff.ms"), Timeout: p.millis("replica.socket.timeout.ms"),
	}
	b.FetchMaxBytes, b.FetchSessions = p.int("fetch.max.bytes"), p.int("max.incremental.fetch.session.cache.slots")
	b.DescribedPartitions = p.int("max.request.partition.size.limit")
	b.ServeWithoutQuorum = p.value("kvorum.serve.without.quorum").Bool
	b.AcksAllWithoutQuorum = p.value("kvorum.serve.without.quorum.acks.all").Bool
	b.TopicMetrics, b.PartitionMetrics = p.int("kvorum.metrics.topics.max"), p.value("kvorum.metrics.partitions.enable").Bool
	p.brokerListeners(n)
}

// brokerListeners checks that clients and other brokers can find this one.
func (p *nodeParser) brokerListeners(n *Node) {
	b := n.Broker
	if len(b.Listeners) == 0 {
		if p.set("controller.listener.names") {
			p.fail("listeners", "listeners has no listener for clients: a broker needs one that is not in controller.listener.names, for instance PLAINTEXT://:9092")
		}
		return
	}
	if protocol := p.value("security.inter.broker.protocol").Text; protocol != "PLAINTEXT" {
		p.fail("security.inter.broker.protocol", "security.inter.broker.protocol=%s is not supported by this release; use PLAINTEXT on a network that you trust", protocol)
	}
	b.InterBroker = strings.ToUpper(n.InterBrokerListener)
	if b.InterBroker == "" {
		b.InterBroker = "PLAINTEXT"
	}
	if !slices.ContainsFunc(b.Listeners, func(l Listener) bool { return l.Name == b.InterBroker }) {
		p.fail("inter.broker.listener.name", "inter.broker.listener.name: the listener %s is not among the broker's listeners; name the one that other brokers are to use", b.InterBroker)
	}
}
