package migration

import (
	"strings"
	"time"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

// Facts are what a plan is made of: the znodes, and what the brokers and the
// controllers-to-be answered.
type Facts struct {
	Connect  string // zookeeper.connect, as it was asked for
	Snapshot *znode.Snapshot
	// ReadTime is how long the reading of ZooKeeper took, and Nodes how many nodes
	// it brought.
	ReadTime time.Duration
	Nodes    int
	// Secret says that password.encoder.secret was given, and the passwords were
	// decrypted with it: Conversion has what failed.
	Secret     bool
	Conversion []znode.Problem
	Records    int // that the copy will write

	Asked
	// Controllers is nil if no controllers were named.
	Controllers *ControllerFacts
}

// Asked is what the brokers say, whoever their controllers are.
type Asked struct {
	Brokers []BrokerFacts
	// Transactions are the transactional ids that the brokers know, and those of
	// them with a transaction in progress. Err says why it is unknown.
	Transactions TransactionFacts
	Groups       GroupFacts
	Formats      FormatFacts
}

// BrokerFacts is what one broker says of itself.
type BrokerFacts struct {
	ID      kafka.BrokerID
	Version string // guessed from the requests that it knows, such as "v3.9"
	// Configs are all of its configuration with a value, and Static those that its
	// server.properties sets. Values of passwords are never told.
	Configs map[string]string
	Static  map[string]string
	// Err is why it could not be asked, nil if it was.
	Err error
}

// TransactionFacts is what the transaction coordinators say.
type TransactionFacts struct {
	Total, Ongoing int
	Err            error
}

// GroupFacts are the groups that use more than the classic protocol.
type GroupFacts struct {
	Consumer, Share, Streams []string // KIP-848, KIP-932, KIP-1071
	Err                      error    // why they could not be listed
}

// FormatFacts is what the partitions' first batches are written in.
type FormatFacts struct {
	Old     []string // partitions whose first batch has magic 0 or 1
	Unknown int      // partitions with records whose first batch was not seen
	Err     error    // why, nil if there are none
}

// ControllerFacts is what the controllers that shall take over say.
type ControllerFacts struct {
	ClusterID string
	Active    kafka.NodeID
	Voters    int
	Err       error
}

// config is a value of a broker's configuration, "" if it has none.
func (b *BrokerFacts) config(key string) string { return b.Configs[key] }

// logDirs are the broker's log directories.
func (b *BrokerFacts) logDirs() []string {
	dirs := b.config("log.dirs")
	if dirs == "" {
		dirs = b.config("log.dir")
	}
	var out []string
	for dir := range strings.SplitSeq(dirs, ",") {
		if dir = strings.TrimSpace(dir); dir != "" {
			out = append(out, dir)
		}
	}
	return out
}

// release is the inter-broker protocol without its suffix: "3.9" of "3.9-IV0".
func (b *BrokerFacts) protocol() string { return b.config("inter.broker.protocol.version") }
