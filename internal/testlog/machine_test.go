package testlog

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/quorum/raft"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Dragonboat and its pebble start these once for a process.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*loggingT).flushDaemon"))
}

// startHost is a quorum of one real controller, and it leads.
func startHost(t *testing.T, directory kafka.DirectoryID) *raft.Host {
	dir := t.TempDir()
	store, err := metadatalog.Open(filepath.Join(dir, "store"), metadatalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	host, err := raft.New(raft.Config{
		ClusterID: "AAAAAAAAAAAAAAAAAAAAAQ", NodeID: 1, DirectoryID: directory, Instance: 7, Dir: dir,
		ListenAddress: address, Peers: []raft.Peer{{NodeID: 1, DirectoryID: directory, RaftAddress: address}},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}, store)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	if err := host.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	for l := range host.Leadership() {
		if l.Self {
			break
		}
	}
	return host
}

func control(t *testing.T, controls ...record.Control) []byte {
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

// TestSameRulesAsRaft gives random commands, most of them nearly right, to the
// machine and to a real controller: outcomes and logs must be the same.
func TestSameRulesAsRaft(t *testing.T) {
	directory := kafka.DirectoryID{1, 15: 1}
	host := startHost(t, directory)
	m := NewMachine(0)
	rnd := rand.New(rand.NewPCG(1, 2))
	change := &record.LeaderChange{LeaderID: 1}
	claim, first := control(t, change), control(t, change, &record.KRaftVersion{KRaftVersion: 1})
	var log []byte
	accepted := 0
	for i := range 400 {
		near := func(x int64) int64 { return max(0, x+int64(rnd.IntN(5)/2)-1) }
		var c Command
		switch rnd.IntN(8) {
		case 0:
			c = Command{Kind: KindClaim, Node: 1, Directory: directory, Batches: claim, BatchIfEmpty: first,
				Term: uint64(near(int64(m.State.Epoch-m.State.Base) + 1))}
			if rnd.IntN(8) == 0 {
				c.Batches = batch.AppendData(nil, 0, 0, 1, [][]byte{{1}})
			}
		case 1:
			c = Command{Kind: KindRaiseBase, Epoch: m.State.Base + kafka.LeaderEpoch(rnd.IntN(4))}
		default:
			c = Command{Kind: KindAppend, Epoch: kafka.LeaderEpoch(near(int64(m.State.Epoch))), Base: kafka.Offset(near(int64(m.End())))}
			at := c.Base
			for range rnd.IntN(4) {
				values := make([][]byte, 1+rnd.IntN(3))
				for i := range values {
					values[i] = []byte{1, 20, 0, byte(rnd.Uint32())}
				}
				c.Batches = batch.AppendData(c.Batches, at, c.Epoch, 1, values)
				if at += kafka.Offset(len(values)); rnd.IntN(10) == 0 {
					at++
				}
			}
			if rnd.IntN(20) == 0 && len(c.Batches) > 70 {
				c.Batches[70]++
			}
		}
		want := propose(t, host, c)
		got, appended := m.Apply(c)
		log = append(log, appended...)
		if got != want {
			t.Fatalf("command %d %+v: %+v, a real controller says %+v", i, c, got, want)
		}
		if got.Accepted {
			accepted++
		}
	}
	stored, err := host.Store().Read(0, len(log)+1)
	if err != nil || !bytes.Equal(stored, log) {
		t.Errorf("the logs differ: %d and %d bytes, %v", len(log), len(stored), err)
	}
	if accepted < 50 {
		t.Errorf("only %d commands were accepted: the test tests nothing", accepted)
	}
}

// propose gives a command to the real controller and waits for its outcome.
func propose(t *testing.T, host *raft.Host, c Command) raft.Outcome {
	t.Helper()
	type result struct {
		o   raft.Outcome
		err error
	}
	results := make(chan result, 1)
	done := func(o raft.Outcome, err error) { results <- result{o, err} }
	switch c.Kind {
	case KindAppend:
		host.Append(c.Epoch, c.Base, c.Batches, done)
	case KindClaim:
		host.Claim(c.Term, c.Batches, c.BatchIfEmpty, done)
	default:
		host.RaiseBase(c.Epoch, done)
	}
	r := <-results
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.o
}
