package raft

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"kvorum/internal/kafka"
)

// MaxControllers bounds the members of a quorum. Each commit waits for a
// majority, so nobody gains from more than 7; it bounds every list of members
// that a peer can send.
const MaxControllers = 15

// maxClusterID bounds the cluster id, in bytes. Kafka's have 22.
const maxClusterID = 64

// Peer is a controller of the configured quorum, this one included.
type Peer struct {
	NodeID      kafka.NodeID
	DirectoryID kafka.DirectoryID
	// RaftAddress is the host:port that is dialed; it is looked up at each dial
	// and may change between starts.
	RaftAddress string
}

// Timing is raft's clock. It must be the same on all controllers of a quorum.
type Timing struct {
	// RTT is the length of one tick: an upper estimate of a round trip between
	// controllers, in whole milliseconds.
	RTT time.Duration
	// Election is the number of ticks without a leader after which a follower
	// campaigns; the real number is drawn between 1 and 2 times this.
	Election uint64
	// Heartbeat is the number of ticks between heartbeats.
	Heartbeat uint64
}

// DefaultTiming finds a dead leader in 200 to 400 ms. Faster timings elect
// spuriously when a disk or a CPU is busy.
func DefaultTiming() Timing { return Timing{RTT: 10 * time.Millisecond, Election: 20, Heartbeat: 2} }

// singleTiming is used whatever is configured when a quorum has one voter: it
// has nobody to wait for, but raft lets it wait one election timeout, 1 to 2
// times 9 ms, before it leads. Dragonboat wants Election above 2*Heartbeat.
func singleTiming() Timing { return Timing{RTT: 3 * time.Millisecond, Election: 3, Heartbeat: 1} }

// Config says who a controller is and whom it agrees with.
type Config struct {
	// ClusterID is the cluster's id from meta.properties, 1 to 64 bytes.
	ClusterID string
	// NodeID, DirectoryID and Instance identify this replica; all come from the
	// formatted directory.
	NodeID      kafka.NodeID
	DirectoryID kafka.DirectoryID
	Instance    uint64
	// Dir is the metadata log's directory (…/__cluster_metadata-0). The raft log
	// lives in its directory raft, the membership in its file
	// controllers.json; .checkpoint files are read from and received into it.
	Dir string
	// ListenAddress is the host:port to listen on.
	ListenAddress string
	// Peers are all controllers of the quorum, this one included.
	Peers []Peer
	// EpochBase is added to raft's term to make epochs, from the quorum's first
	// start on: 0, or above every epoch that an imported log's cluster has seen.
	// It must be the same on every controller.
	EpochBase kafka.LeaderEpoch
	// TLS is used in both directions: certificates, ClientCAs and RootCAs of a
	// CA that signs for controllers only, and ClientAuth
	// RequireAndVerifyClientCert. Without it only loopback is allowed, because
	// whoever reaches the port can vote and write the log.
	TLS *tls.Config
	// Timing is DefaultTiming when zero.
	Timing Timing
	// SnapshotEntries is the number of applied commands after which the raft
	// log is cut, and CompactionOverhead how many are kept for followers that
	// lag. Zero takes the defaults; tests set smaller ones.
	SnapshotEntries    uint64
	CompactionOverhead uint64
	// Logger is required. The first host's logger of a process also gets what
	// dragonboat says.
	Logger *slog.Logger
}

// Defaults of the raft log's length. An idle controller appends 2 records a
// second, so the log is cut about every 34 minutes. Cutting costs an fsync of the
// store; entries of 1 MiB, the largest usual ones, make the log 6 GB at most. A
// follower that missed less than the overhead gets entries, not a whole copy.
const (
	defaultSnapshotEntries    = 4096
	defaultCompactionOverhead = 2048
)

// Replica is this controller's identity.
func (c *Config) replica() Replica {
	return Replica{NodeID: c.NodeID, DirectoryID: c.DirectoryID, Instance: c.Instance}
}

// raftDir is where dragonboat keeps its files.
func (c *Config) raftDir() string { return filepath.Join(c.Dir, "raft") }

// validate checks the configuration and fills in the defaults.
func (c *Config) validate() error {
	if c.Timing == (Timing{}) {
		c.Timing = DefaultTiming()
	}
	if c.SnapshotEntries == 0 {
		c.SnapshotEntries = defaultSnapshotEntries
	}
	if c.CompactionOverhead == 0 {
		c.CompactionOverhead = defaultCompactionOverhead
	}
	switch {
	case c.Logger == nil:
		return errors.New("raft: no logger")
	case c.Dir == "":
		return errors.New("raft: no directory")
	case len(c.ClusterID) == 0 || len(c.ClusterID) > maxClusterID:
		return fmt.Errorf("raft: cluster id %q has not 1 to %d bytes", c.ClusterID, maxClusterID)
	case c.NodeID < 0:
		return fmt.Errorf("raft: node id %d is negative", c.NodeID)
	case c.DirectoryID.Reserved():
		return fmt.Errorf("raft: directory id %s is reserved: format the directory", c.DirectoryID)
	case c.Instance == 0:
		return errors.New("raft: the directory's formatting number is 0: format the directory")
	case c.EpochBase < 0:
		return fmt.Errorf("raft: epoch base %d is negative", c.EpochBase)
	case c.Timing.RTT < time.Millisecond || c.Timing.RTT%time.Millisecond != 0:
		return fmt.Errorf("raft: the tick %v is not a whole number of milliseconds", c.Timing.RTT)
	case c.Timing.Heartbeat == 0 || c.Timing.Election <= 2*c.Timing.Heartbeat:
		return fmt.Errorf("raft: an election timeout of %d ticks is not above twice the heartbeat of %d", c.Timing.Election, c.Timing.Heartbeat)
	}
	if err := c.validatePeers(); err != nil {
		return err
	}
	return c.validateSecurity()
}

func (c *Config) validatePeers() error {
	if len(c.Peers) == 0 || len(c.Peers) > MaxControllers {
		return fmt.Errorf("raft: %d controllers instead of 1 to %d", len(c.Peers), MaxControllers)
	}
	nodes, dirs := map[kafka.NodeID]bool{}, map[kafka.DirectoryID]bool{}
	for _, p := range c.Peers {
		if nodes[p.NodeID] || dirs[p.DirectoryID] {
			return fmt.Errorf("raft: node %d or its directory %s is named twice among the controllers", p.NodeID, p.DirectoryID)
		}
		if p.NodeID < 0 || p.DirectoryID.Reserved() {
			return fmt.Errorf("raft: controller %d with directory %s is not a valid identity", p.NodeID, p.DirectoryID)
		}
		nodes[p.NodeID], dirs[p.DirectoryID] = true, true
		if _, _, err := net.SplitHostPort(p.RaftAddress); err != nil {
			return fmt.Errorf("raft: address of node %d: %w", p.NodeID, err)
		}
		if p.NodeID == c.NodeID && p.DirectoryID != c.DirectoryID {
			return fmt.Errorf("raft: the configured controllers name directory %s for node %d, but its directory is %s: this directory belongs to another controller or was formatted anew", p.DirectoryID, c.NodeID, c.DirectoryID)
		}
	}
	if !nodes[c.NodeID] {
		return fmt.Errorf("raft: node %d is not among the configured controllers", c.NodeID)
	}
	return nil
}

func (c *Config) validateSecurity() error {
	if _, _, err := net.SplitHostPort(c.ListenAddress); err != nil {
		return fmt.Errorf("raft: listen address: %w", err)
	}
	if c.TLS != nil {
		return validateTLS(c.TLS)
	}
	if !loopback(c.ListenAddress) {
		return fmt.Errorf("raft: listen address %s is not loopback: whoever reaches this port can vote and write the metadata log, so set certificates for mutual TLS", c.ListenAddress)
	}
	for _, p := range c.Peers {
		if !loopback(p.RaftAddress) {
			return fmt.Errorf("raft: address %s of node %d is not loopback: set certificates for mutual TLS", p.RaftAddress, p.NodeID)
		}
	}
	return nil
}

func validateTLS(t *tls.Config) error {
	switch {
	case t.ClientAuth != tls.RequireAndVerifyClientCert:
		return errors.New("raft: TLS does not verify the certificates of other controllers (client authentication must be required)")
	case t.ClientCAs == nil || t.RootCAs == nil:
		return errors.New("raft: TLS has no CA of its own: any certificate of a public CA could vote")
	case t.InsecureSkipVerify:
		return errors.New("raft: TLS does not verify the certificates of other controllers")
	case len(t.Certificates) == 0 && t.GetCertificate == nil:
		return errors.New("raft: TLS has no certificate")
	}
	return nil
}

// loopback reports whether an address cannot leave this machine, judged without
// a look-up: a name that resolves to loopback now may resolve elsewhere later.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// peer finds a configured controller by its node id.
func (c *Config) peer(id kafka.NodeID) (Peer, bool) {
	for _, p := range c.Peers {
		if p.NodeID == id {
			return p, true
		}
	}
	return Peer{}, false
}
