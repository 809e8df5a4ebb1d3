package raft

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dragonboatvfs "github.com/lni/vfs"

	"kvorum/internal/kafka"
)

// A lone controller leads by itself, appends under both conditions, and finds
// everything again after a restart.
func TestOneController(t *testing.T) {
	c := startCluster(t, 1)
	n, claim := c.lead()
	if claim.Epoch < 1 || claim.End != 2 { // LeaderChange and KRaftVersion on an empty log
		t.Fatalf("claim: %+v", claim)
	}
	_, claim = c.write(n, claim, 3, 100)
	end := claim.End
	if a := n.append(claim.Epoch, end-1, 10); a.err != nil || a.Accepted || a.End != end {
		t.Errorf("an append at an old offset: %+v", a)
	}
	if a := n.append(claim.Epoch+1, end, 10); a.err != nil || a.Accepted {
		t.Errorf("an append of another epoch: %+v", a)
	}
	if a := n.claim(n.host.leads.now.Load().Term); a.err != nil || !a.Accepted || a.End != end {
		t.Errorf("the same claim again: %+v", a)
	}
	log := n.log()
	n.stop()

	c.start()
	n, again := c.lead()
	if again.Epoch <= claim.Epoch || again.End != end+1 { // LeaderChange alone
		t.Fatalf("claim after a restart: %+v after %+v", again, claim)
	}
	if got := n.log(); string(got[:len(log)]) != string(log) {
		t.Error("the log changed over a restart")
	}
	if s := n.host.State(); s.Leader != 1 || s.Claim != end || s.Epoch != again.Epoch {
		t.Errorf("state %+v", s)
	}
}

// The leader stops; another claims a higher epoch and goes on where the log
// ends; the old one comes back and has the same log; all are restarted.
func TestFailover(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	first, claim := c.lead()
	first, claim = c.write(first, claim, 20, 100)
	end := claim.End
	c.caughtUp(end)
	first.stop()

	second, next := c.lead()
	if second == first || next.Epoch <= claim.Epoch || next.End <= end {
		t.Fatalf("claim %+v after %+v", next, claim)
	}
	second, next = c.write(second, next, 20, 100)
	end = next.End
	if err := first.start(); err != nil {
		t.Fatal(err)
	}
	c.caughtUp(end)

	// The old leader still believes: its append reaches the log through the new
	// leader and is rejected there.
	request, err := first.host.node.Propose(first.host.node.GetNoOPSession(ShardID),
		(&command{kind: kindAppend, epoch: claim.Epoch, base: end, batches: data(end, claim.Epoch, 10)}).append(nil), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if r := <-request.ResultC(); !r.Completed() || r.GetResult().Value != resultRejected {
		t.Errorf("a deposed leader's append: %+v", r)
	}
	if a := first.append(claim.Epoch, end, 10); a.err != ErrIndeterminate {
		t.Errorf("an append of a controller that does not lead: %+v", a)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, n := range c.nodes {
		if err := n.host.ReadBarrier(ctx); err != nil {
			t.Error(err)
		}
		if s := n.host.State(); s.Epoch < next.Epoch || s.Epoch == next.Epoch && s.Leader != second.cfg.NodeID {
			t.Errorf("node %d has state %+v", n.cfg.NodeID, s)
		}
		if m := n.host.Members(); len(m) != 3 || m[2].NodeID != 3 || m[2].RaftAddress == "" {
			t.Errorf("node %d has members %+v", n.cfg.NodeID, m)
		}
	}

	c.stop()
	c.start()
	_, last := c.lead()
	if last.Epoch <= next.Epoch || last.End <= end {
		t.Errorf("claim after a restart of all: %+v", last)
	}
	c.caughtUp(last.End)
}

// Leadership goes where it is asked to, and the reader of Leadership hears it.
func TestTransfer(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	from, claim := c.lead()
	c.caughtUp(claim.End)
	to := c.nodes[from.cfg.NodeID%3]
	deadline := time.After(20 * time.Second)
	for {
		if err := from.host.TransferLeadership(to.cfg.NodeID); err != nil {
			t.Log(err) // an earlier request is still open
		}
		select {
		case l := <-to.host.Leadership():
			if l.Self {
				if l.Leader != to.cfg.NodeID {
					t.Errorf("leadership %+v", l)
				}
				if a := to.claim(l.Term); !a.Accepted || a.Leader != to.cfg.NodeID {
					t.Errorf("claim %+v", a)
				}
				return
			}
		case <-deadline:
			t.Fatal("leadership was not transferred")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Many proposals at once keep their order, and a gap that a rejected one leaves
// rejects those after it.
func TestPipeline(t *testing.T) {
	c := startCluster(t, 1)
	n, claim := c.lead()
	const count = 200
	outcomes := make(chan answered, 2*count)
	for i := range count {
		base := claim.End + kafka.Offset(i)
		n.host.Append(claim.Epoch, base, data(base, claim.Epoch, 50), func(o Outcome, err error) { outcomes <- answered{o, err} })
	}
	for i := range count {
		if a := <-outcomes; a.err != nil || !a.Accepted || a.End != claim.End+kafka.Offset(i)+1 {
			t.Fatalf("proposal %d: %+v", i, a)
		}
	}
	gap := claim.End + count + 5
	for i := range 3 {
		base := gap + kafka.Offset(i)
		n.host.Append(claim.Epoch, base, data(base, claim.Epoch, 50), func(o Outcome, err error) { outcomes <- answered{o, err} })
	}
	for range 3 {
		if a := <-outcomes; a.err != nil || a.Accepted || a.End != claim.End+count {
			t.Errorf("a proposal behind a gap: %+v", a)
		}
	}
}

// A controller whose disk was wiped and formatted again is refused by name,
// whether it kept its directory id or not, and the others go on.
func TestWipedController(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	_, claim := c.lead()
	c.caughtUp(claim.End)
	var victim *testNode
	for _, n := range c.nodes {
		if n.cfg.NodeID != claim.Leader {
			victim = n
		}
	}
	victim.stop()
	victim.cfg.Dir = t.TempDir()
	victim.cfg.Instance++
	victim.refused("replace-controller", "known to the quorum", victim.cfg.replica().String())
	leader, next := c.lead()
	c.write(leader, next, 1, 10)
}

// What the start refuses about a directory.
func TestRefusals(t *testing.T) {
	t.Parallel()
	files := func(n *testNode, names ...string) {
		for _, name := range names {
			if err := os.RemoveAll(filepath.Join(n.cfg.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name  string
		spoil func(n *testNode)
		words []string
	}{
		{"raft log lost", func(n *testNode) { files(n, "raft") }, []string{"raft log", "missing", "replace-controller"}},
		{"raft log put back from an older copy", func(n *testNode) {
			files(n, "raft")
			other := startCluster(t, 1).nodes[0]
			other.stop()
			if err := os.CopyFS(filepath.Join(n.cfg.Dir, "raft"), os.DirFS(filepath.Join(other.cfg.Dir, "raft"))); err != nil {
				t.Fatal(err)
			}
		}, []string{"lost its end", "replace-controller"}},
		{"membership lost", func(n *testNode) { files(n, membershipFile) }, []string{membershipFile, "missing"}},
		{"raft log and membership lost", func(n *testNode) { files(n, membershipFile, "raft") }, []string{membershipFile, "missing"}},
		{"another node's directory", func(n *testNode) { n.cfg.NodeID, n.cfg.Peers[0].NodeID = 9, 9 }, []string{"node 9", "node 1", "another controller's"}},
		{"another formatting", func(n *testNode) { n.cfg.Instance = 77 }, []string{"formatted over"}},
		{"another cluster's directory", func(n *testNode) { n.cfg.ClusterID = "other" }, []string{"another cluster's", `"other"`}},
		{"newer membership file", func(n *testNode) {
			path := filepath.Join(n.cfg.Dir, membershipFile)
			if err := os.WriteFile(path, []byte(`{"version": 2}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"format version 2", "newer binary"}},
		{"damaged membership file", func(n *testNode) {
			if err := os.WriteFile(filepath.Join(n.cfg.Dir, membershipFile), []byte(`{"ver`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"damaged"}},
		{"damaged flag file", func(n *testNode) {
			if err := os.WriteFile(filepath.Join(n.cfg.Dir, "raft", flagFile), []byte("12345678901234"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{flagFile, "damaged"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := startCluster(t, 1)
			n, claim := c.lead()
			c.write(n, claim, 2, 10)
			n.stop()
			test.spoil(n)
			n.refused(test.words...)
		})
	}
}

// noFS is a file system that dragonboat takes none of: it gives up with a panic, which it
// keeps to itself while it opens its log.
type noFS struct{ dragonboatvfs.FS }

// TestDragonboatGivesUp: a raft log that dragonboat gives up on is an error that names
// it, not a nil host.
func TestDragonboatGivesUp(t *testing.T) {
	c := startCluster(t, 1)
	c.lead()
	c.nodes[0].stop()
	DragonboatFS = noFS{dragonboatvfs.Default}
	defer func() { DragonboatFS = nil }()
	err := c.nodes[0].start()
	if err == nil || !strings.Contains(err.Error(), "dragonboat gave up") {
		t.Errorf("it starts with %v", err)
	}
}
