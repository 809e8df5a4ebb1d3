package config

import (
	"net/netip"
	"time"

	"kvorum/internal/kafka"
)

// Node is what a node takes from its server.properties, read and checked. It is
// a value: nothing in it changes after ParseNode.
type Node struct {
	ID kafka.NodeID

	// Controller reports whether the node has the role of a controller. Broker is
	// nil where it has not that of a broker.
	Controller bool
	Broker     *Broker

	// Listeners are a controller's listeners in the order of
	// controller.listener.names; the first is the one that brokers use. A broker
	// alone has none here.
	Listeners []Listener
	// InterBrokerListener is inter.broker.listener.name, empty where not set.
	InterBrokerListener string
	// Voters is controller.quorum.voters, BootstrapServers
	// controller.quorum.bootstrap.servers; one of them may be empty.
	Voters           []Voter
	BootstrapServers []Endpoint
	Raft             Raft

	// LogDirs are the data directories; MetadataLogDir is the one that holds
	// __cluster_metadata-0.
	LogDirs        []string
	MetadataLogDir string

	Metadata    Metadata
	Cluster     ClusterRules
	Connections Connections
	// Quotas is over what time client quotas are measured, MutationQuotas those of
	// controller mutations, ReplicationQuotas those of throttled replicas.
	Quotas, MutationQuotas, ReplicationQuotas QuotaWindow

	// Authorizer reports whether StandardAuthorizer is on; SuperUsers are its
	// super.users ("User:name").
	Authorizer                bool
	SuperUsers                []string
	AllowEveryoneIfNoACLFound bool

	// Tokens is how delegation tokens are made.
	Tokens DelegationTokens

	// Migration is nil where zookeeper.metadata.migration.enable is false.
	Migration *Migration

	// MetricsListener is nil where no metrics are served.
	MetricsListener *Endpoint
	// SlowRequest is from when on a request is logged as slow; 0: never.
	SlowRequest time.Duration

	// Static is the file as it was written, with the id by both its names, the lowest
	// of Layers.
	Static map[string]string
	// WithoutEffect names the keys that were set and change nothing on this
	// node; the start is to log them, so that none is ignored silently.
	WithoutEffect []string
}

// Listener is one address that the node listens on.
type Listener struct {
	Name string
	// Bind may have an empty host (every interface).
	Bind Endpoint
	// Advertised has an empty host where neither advertised.listeners nor
	// listeners names one: then it is this machine's host name. Its port is 0
	// where Bind's is: then it is the port that the system chose.
	Advertised Endpoint
}

// Raft is how controllers talk among themselves.
type Raft struct {
	// Listener is nil for a quorum of one that listens to nobody.
	Listener *Endpoint
	// Voters is empty for a quorum of this node alone.
	Voters []Voter
	// TLS files are all set or all empty; empty is allowed on loopback only.
	CertificateFile, KeyFile, CAFile string

	RTT            time.Duration
	ElectionTicks  int
	HeartbeatTicks int
}

// TLS reports whether Raft connections are encrypted and authenticated.
func (r Raft) TLS() bool { return r.CertificateFile != "" }

// Metadata is when snapshots of the metadata log are made and dropped.
type Metadata struct {
	SnapshotBytes    int64         // records since the last snapshot
	SnapshotInterval time.Duration // 0: never by time
	RetentionBytes   int64         // below 0: no limit
	Retention        time.Duration // below 0: no limit
	MaxIdleInterval  time.Duration // between no-op records; 0: none
}

// ClusterRules are the rules by which the active controller decides.
type ClusterRules struct {
	BrokerSessionTimeout time.Duration

	NumPartitions            int32
	DefaultReplicationFactor int16
	DeleteTopicEnable        bool

	AutoLeaderRebalance           bool
	LeaderImbalanceCheckInterval  time.Duration
	UncleanLeaderElectionInterval time.Duration

	// PropagationMaxWait is the longest wait of a reply for the brokers; 0:
	// none.
	PropagationMaxWait time.Duration
	// FenceOnDeath is kvorum.broker.fence.on.death.
	FenceOnDeath bool
	// MaxInflight bounds the requests that wait for their records to commit.
	MaxInflight int
}

// DelegationTokens is how delegation tokens are made (KIP-48).
type DelegationTokens struct {
	// Secret is what tokens are made from; "": there are none. It is not to be
	// logged.
	Secret string
	// MaxLifetime is the longest life of a token, Expiry the time after which it
	// must be renewed.
	MaxLifetime, Expiry time.Duration
}

// QuotaWindow says over what time a rate is measured: so many samples of a length.
type QuotaWindow struct {
	Samples int
	Length  time.Duration
}

// Connections are the limits of the listeners.
type Connections struct {
	Max      int
	MaxPerIP int
	MaxIdle  time.Duration // below 0: no limit

	// PerIP has the addresses with a limit of their own
	// (max.connections.per.ip.overrides), Rate is how many connections a second one
	// listener accepts (max.connection.creation.rate); 0: no limit.
	PerIP map[netip.Addr]int
	Rate  float64

	// MaxQueuedRequestBytes bounds the bytes of requests in memory; -1: the
	// listener's own budget.
	MaxQueuedRequestBytes int64
}
