package raft

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvorum/internal/kafka"
)

// rename gives a stopped controller's raft files the shape that they have on a
// host with another name.
func (n *testNode) rename(t *testing.T, to string) {
	t.Helper()
	from, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(n.cfg.raftDir(), from), filepath.Join(n.cfg.raftDir(), to)); err != nil {
		t.Fatal(err)
	}
}

// A controller may change its host's name, its address and its directory's
// path, before and after its raft log was cut.
func TestMovedController(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for _, n := range c.nodes {
		n.cfg.SnapshotEntries, n.cfg.CompactionOverhead = 20, 5
	}
	c.start()
	for round := range 2 {
		leader, claim := c.lead()
		_, claim = c.write(leader, claim, 100, 100)
		end := claim.End
		c.caughtUp(end)
		c.stop()
		address := freeAddress(t)
		for _, n := range c.nodes {
			n.cfg.Peers[0].RaftAddress = address // one array for all
			n.rename(t, fmt.Sprintf("container-%d", round))
		}
		c.nodes[0].cfg.ListenAddress = address
		dir := filepath.Join(t.TempDir(), "moved")
		if err := os.Rename(c.nodes[1].cfg.Dir, dir); err != nil {
			t.Fatal(err)
		}
		c.nodes[1].cfg.Dir = dir
		c.start()
		_, next := c.lead()
		if next.End <= end {
			t.Fatalf("claim %+v, the log ended at %d", next, end)
		}
		c.caughtUp(next.End)
	}
}

// Two host names in one directory mean that somebody copied files into it.
func TestTwoHostNames(t *testing.T) {
	c := startCluster(t, 1)
	n := c.nodes[0]
	c.lead()
	n.stop()
	host, _ := os.Hostname()
	if err := os.CopyFS(filepath.Join(n.cfg.raftDir(), "other-name"), os.DirFS(filepath.Join(n.cfg.raftDir(), host))); err != nil {
		t.Fatal(err)
	}
	n.refused("other-name", "instead of one")
}

// A controller that was away for longer than the raft log is kept gets a copy of
// the store and of the newest checkpoint.
func TestLaggingController(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for _, n := range c.nodes {
		n.cfg.SnapshotEntries, n.cfg.CompactionOverhead = 20, 5
	}
	c.start()
	_, claim := c.lead()
	c.caughtUp(claim.End)
	laggard := c.nodes[claim.Leader%3]
	laggard.stop()

	leader, claim := c.lead()
	leader, claim = c.write(leader, claim, 200, 1000)
	end := claim.End
	c.caughtUp(end)
	// The others have a snapshot and have cut the log before it.
	at := end - 50
	name := fmt.Sprintf("%020d-%010d.checkpoint", at, claim.Epoch)
	for _, n := range c.nodes {
		if n == laggard {
			continue
		}
		writeCheckpoint(t, n, at, claim.Epoch)
		if err := n.store.TrimTo(at); err != nil {
			t.Fatal(err)
		}
	}
	if err := laggard.start(); err != nil {
		t.Fatal(err)
	}
	c.caughtUp(end)
	if got := laggard.store.LogStart(); got != at {
		t.Errorf("the log starts at %d instead of %d: it was not copied", got, at)
	}
	if got, err := os.ReadFile(filepath.Join(laggard.cfg.Dir, name)); err != nil || string(got) != "a snapshot" {
		t.Errorf("the checkpoint: %q, %v", got, err)
	}
	// The copy's state is published a moment after its log.
	for deadline := time.Now().Add(20 * time.Second); laggard.host.State().Epoch < claim.Epoch; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("state %+v, the log has a claim of epoch %d", laggard.host.State(), claim.Epoch)
		}
	}
	// It is a replica like the others, also after a restart.
	_, claim = c.write(leader, claim, 30, 100)
	laggard.stop()
	if err := laggard.start(); err != nil {
		t.Fatal(err)
	}
	c.caughtUp(claim.End)
}

// writeCheckpoint puts a file where the snapshot that ends at an offset lies.
func writeCheckpoint(t *testing.T, n *testNode, at kafka.Offset, epoch kafka.LeaderEpoch) {
	name := fmt.Sprintf("%020d-%010d.checkpoint", at, epoch)
	if err := os.WriteFile(filepath.Join(n.cfg.Dir, name), []byte("a snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// diskUse is the size of all files below a directory, in bytes.
func diskUse(t testing.TB, dir string) (total int64) {
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // files come and go
		}
		if info, err := e.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

// The raft log is cut: its files do not grow with what was written.
func TestRaftLogIsCut(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	n := c.nodes[0]
	n.cfg.SnapshotEntries, n.cfg.CompactionOverhead = 50, 10
	c.start()
	_, claim := c.lead()
	const written, size = 2000, 32 << 10 // 63 MiB
	c.write(n, claim, written, size)
	const bound = 30 << 20 // four memtables, their logs and what they flush to
	deadline := time.Now().Add(20 * time.Second)
	for use := diskUse(t, n.cfg.raftDir()); use > bound; use = diskUse(t, n.cfg.raftDir()) {
		if time.Now().After(deadline) {
			t.Fatalf("raft's files have %d MiB after %d MiB were written", use>>20, written*size>>20)
		}
		time.Sleep(50 * time.Millisecond)
	}
	log, err := n.host.node.GetLogReader(ShardID)
	if err != nil {
		t.Fatal(err)
	}
	if first, last := log.GetRange(); last-first > 500 {
		t.Errorf("the raft log has entries %d to %d", first, last)
	}
	// The store cannot be put back to what it was before the log was cut.
	n.stop()
	if err := os.RemoveAll(filepath.Join(n.cfg.Dir, "store")); err != nil {
		t.Fatal(err)
	}
	n.refused("was cut", "replace-controller")
}

// A lost store comes back from a raft log that was never cut.
func TestStoreComesBack(t *testing.T) {
	c := startCluster(t, 1)
	n, claim := c.lead()
	c.write(n, claim, 20, 100)
	log := n.log()
	n.stop()
	if err := os.RemoveAll(filepath.Join(n.cfg.Dir, "store")); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.lead()
	if got := n.log(); !bytes.HasPrefix(got, log) {
		t.Error("the log changed")
	}
}

// A log that was imported is the same on all controllers, and its epochs are
// below those to come; a controller that imported another is kept out.
func TestImportedLog(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	for i, n := range c.nodes {
		var err error
		if n.cfg.EpochBase = 1007; i == 2 {
			n.cfg.EpochBase = 0
		}
		if n.store, err = openStore(n); err != nil {
			t.Fatal(err)
		}
		if err := n.store.Reset(kafka.EpochOffset{Offset: 40, Epoch: 7}, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	last := c.nodes[2]
	started := make(chan error, 3)
	for _, n := range c.nodes[:2] {
		go func() { started <- n.start() }()
	}
	waitForMissing(t, c.nodes[0], "not heard", "refused")
	host, err := New(last.cfg, last.store)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := testContext(t)
	go func() { started <- host.Start(ctx) }()
	waitForMissing(t, c.nodes[0], "import the same directories")
	cancel()
	if err := <-started; err == nil {
		t.Fatal("a controller with another epoch base started")
	}
	last.cfg.EpochBase = 1007
	go func() { started <- last.start() }()
	for range 3 {
		if err := <-started; err != nil {
			t.Fatal(err)
		}
	}
	_, claim := c.lead()
	if claim.Epoch <= 1007 || claim.End <= 40 {
		t.Errorf("claim %+v", claim)
	}
	c.caughtUp(claim.End)
}
