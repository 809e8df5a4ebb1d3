package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Dragonboat and its pebble start these once for a process.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*loggingT).flushDaemon"))
}

// testCluster is a quorum of real hosts on loopback.
type testCluster struct {
	t     testing.TB
	nodes []*testNode
}

type testNode struct {
	t        testing.TB
	cfg      Config
	store    *metadatalog.Store
	host     *Host
	patience time.Duration // instead of helloTimeout
	// starting is host from before its Start.
	starting atomic.Pointer[Host]
}

const testClusterID = "AAAAAAAAAAAAAAAAAAAAAQ"

func testLogger(t testing.TB) *slog.Logger {
	level := slog.LevelError
	if os.Getenv("KVORUM_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// freeAddress finds a loopback port that nobody listens on.
func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func testDirectory(node int) (u kafka.UUID) {
	copy(u[:], fmt.Sprintf("directory %06d", node))
	return u
}

// newCluster prepares n formatted controllers without starting them.
func newCluster(t testing.TB, n int) *testCluster {
	c := &testCluster{t: t}
	var peers []Peer
	for i := range n {
		peers = append(peers, Peer{NodeID: kafka.NodeID(i + 1), DirectoryID: testDirectory(i + 1), RaftAddress: freeAddress(t)})
	}
	for i := range n {
		c.nodes = append(c.nodes, &testNode{t: t, cfg: Config{
			ClusterID: testClusterID, NodeID: peers[i].NodeID, DirectoryID: peers[i].DirectoryID, Instance: 0x1000 + uint64(i),
			Dir: t.TempDir(), ListenAddress: peers[i].RaftAddress, Peers: peers,
			// Slower than the default: tests run beside other tests.
			Timing: Timing{RTT: 10 * time.Millisecond, Election: 30, Heartbeat: 3},
			Logger: testLogger(t).With("node", i+1),
		}})
	}
	t.Cleanup(c.stop)
	return c
}

// startCluster starts all controllers of a new quorum.
func startCluster(t testing.TB, n int) *testCluster {
	c := newCluster(t, n)
	c.start()
	return c
}

func (c *testCluster) start() {
	c.t.Helper()
	errs := make(chan error, len(c.nodes))
	for _, n := range c.nodes {
		go func() { errs <- n.start() }()
	}
	var failed error
	for range c.nodes { // all: a store is not closed under a host that starts
		failed = errors.Join(failed, <-errs)
	}
	if failed != nil {
		c.t.Fatal(failed)
	}
}

func (c *testCluster) stop() {
	for _, n := range c.nodes {
		n.stop()
	}
}

func (n *testNode) start() (err error) {
	if n.store == nil {
		if n.store, err = openStore(n); err != nil {
			return err
		}
	}
	host, err := New(n.cfg, n.store)
	if err != nil {
		return err
	}
	n.starting.Store(host)
	if n.patience > 0 {
		host.net.patience = n.patience
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err = host.Start(ctx); err == nil {
		n.host = host
	}
	return err
}

func openStore(n *testNode) (*metadatalog.Store, error) {
	return metadatalog.Open(filepath.Join(n.cfg.Dir, "store"), metadatalog.Options{})
}

func testContext(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}

// waitForMissing waits until a starting controller says one of the words about
// another.
func waitForMissing(t *testing.T, n *testNode, words ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if h := n.starting.Load(); h != nil {
			said := describeMissing(h.Missing())
			for _, w := range words {
				if strings.Contains(said, w) {
					return
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("node %d says %q, nothing of %q", n.cfg.NodeID, said, words)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

func (n *testNode) stop() {
	if n.host != nil {
		n.host.Close()
		n.host = nil
	}
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.t.Error(err)
		}
		n.store = nil
	}
}

// refused starts a controller that must not start, and checks the reason.
func (n *testNode) refused(words ...string) {
	n.t.Helper()
	err := n.start()
	if err == nil {
		n.t.Fatalf("node %d started", n.cfg.NodeID)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			n.t.Errorf("error %q does not say %q", err, w)
		}
	}
	n.stop()
}

func controlOf(t testing.TB, controls ...record.Control) []byte {
	var records []batch.ControlRecord
	for _, c := range controls {
		value, err := record.AppendControl(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, batch.ControlRecord{Key: record.AppendControlKey(nil, c.ControlType()), Value: value})
	}
	return batch.AppendControl(nil, 0, 0, 1, records)
}

// claimBatches are what a loop claims with.
func (n *testNode) claimBatches() (ordinary, empty []byte) {
	change := &record.LeaderChange{LeaderID: n.cfg.NodeID}
	return controlOf(n.t, change), controlOf(n.t, change, &record.KRaftVersion{KRaftVersion: 1})
}

type answered struct {
	Outcome
	err error
}

func (n *testNode) claim(term uint64) answered {
	ordinary, empty := n.claimBatches()
	done := make(chan answered, 1)
	n.host.Claim(term, ordinary, empty, func(o Outcome, err error) { done <- answered{o, err} })
	return <-done
}

// data is a batch of one record.
func data(base kafka.Offset, epoch kafka.LeaderEpoch, size int) []byte {
	return batch.AppendData(nil, base, epoch, 1, [][]byte{bytes.Repeat([]byte{7}, size)})
}

func (n *testNode) append(epoch kafka.LeaderEpoch, base kafka.Offset, size int) answered {
	done := make(chan answered, 1)
	n.host.Append(epoch, base, data(base, epoch, size), func(o Outcome, err error) { done <- answered{o, err} })
	return <-done
}

// lead waits until one controller's claim is accepted, and returns it.
func (c *testCluster) lead() (*testNode, answered) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		for _, n := range c.nodes {
			if n.host == nil {
				continue
			}
			if l := n.host.leads.now.Load(); l.Self {
				if a := n.claim(l.Term); a.err == nil && a.Accepted && a.Leader == n.cfg.NodeID {
					return n, a
				}
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	c.t.Fatal("no controller leads after 20 s")
	return nil, answered{}
}

// write appends count batches through a leader, from the end that its claim
// gave. A machine that is too busy may change leaders in between: write then
// goes on with the next. It returns the leader, and its claim with the end of
// the log.
func (c *testCluster) write(n *testNode, claim answered, count, size int) (*testNode, answered) {
	c.t.Helper()
	for range count {
		a := n.append(claim.Epoch, claim.End, size)
		switch {
		case a.err == ErrIndeterminate:
			n, claim = c.lead()
		case a.err != nil || !a.Accepted:
			c.t.Fatalf("append at %d: %+v", claim.End, a)
		default:
			claim.End = a.End
		}
	}
	return n, claim
}

// caughtUp waits until every running controller has the same log, byte for byte.
func (c *testCluster) caughtUp(end kafka.Offset) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, n := range c.nodes {
		for n.host != nil && n.store.EndOffset() != end {
			if time.Now().After(deadline) {
				c.t.Fatalf("node %d is at offset %d instead of %d", n.cfg.NodeID, n.store.EndOffset(), end)
			}
			time.Sleep(time.Millisecond)
		}
	}
	var first []byte
	for _, n := range c.nodes {
		if n.host == nil {
			continue
		}
		log := n.log()
		if first == nil {
			first = log
		}
		if !bytes.Equal(first, log) {
			c.t.Fatalf("node %d has another log: %d bytes and %d bytes", n.cfg.NodeID, len(log), len(first))
		}
	}
}

// log is the whole log.
func (n *testNode) log() []byte {
	n.t.Helper()
	var log []byte
	for at := n.store.LogStart(); at < n.store.EndOffset(); {
		b, err := n.store.Read(at, 1<<20)
		if err != nil {
			n.t.Fatal(err)
		}
		log = append(log, b...)
		at = endOf(b)
	}
	return log
}
