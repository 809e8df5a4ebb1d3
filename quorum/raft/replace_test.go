package raft

import (
	"context"
	"testing"
	"time"

	"kvorum/internal/kafka"
)

// reformat makes a stopped controller's directory a new, empty one.
func (n *testNode) reformat(t *testing.T) {
	n.cfg.Dir = t.TempDir()
	n.cfg.Instance += 0x100
	var err error
	if n.store, err = openStore(n); err != nil {
		t.Fatal(err)
	}
}

// A controller whose disk was lost is replaced while the others run, with and
// without an imported log, and the quorum survives the loss of another one then.
func TestReplace(t *testing.T) {
	t.Parallel()
	for name, imported := range map[string]bool{"new quorum": false, "imported log": true} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3)
			for _, n := range c.nodes {
				if !imported {
					continue
				}
				var err error
				if n.store, err = openStore(n); err != nil {
					t.Fatal(err)
				}
				if err := n.store.Reset(kafka.EpochOffset{Offset: 40, Epoch: 7}, 0, nil); err != nil {
					t.Fatal(err)
				}
				// A log that starts at 40 has a checkpoint before it.
				writeCheckpoint(t, n, 40, 7)
			}
			c.start()
			leader, claim := c.lead()
			leader, claim = c.write(leader, claim, 30, 100)
			c.caughtUp(claim.End)
			lost := c.nodes[leader.cfg.NodeID%3]
			old := lost.cfg.replica()
			lost.stop()
			lost.reformat(t)

			ctx, cancel := testContext(t)
			defer cancel()
			if err := Replace(ctx, lost.cfg, lost.store); err != nil {
				t.Fatal(err)
			}
			if err := Replace(ctx, lost.cfg, lost.store); err == nil || !contains(err.Error(), "already") {
				t.Errorf("a second replacement: %v", err)
			}
			if err := lost.start(); err != nil {
				t.Fatal(err)
			}
			leader, claim = c.lead()
			_, claim = c.write(leader, claim, 5, 100)
			c.caughtUp(claim.End)

			// The three are a quorum of three: any two of them go on, also after all
			// were restarted.
			c.stop()
			c.start()
			leader, claim = c.lead()
			c.caughtUp(claim.End)
			for _, n := range c.nodes {
				if n != lost && n != leader {
					n.stop()
					break
				}
			}
			leader, claim = c.lead()
			_, claim = c.write(leader, claim, 5, 100)
			c.caughtUp(claim.End)
			for _, n := range c.nodes {
				if n.host == nil {
					continue
				}
				for _, m := range n.host.Members() {
					if m.Replica == old {
						t.Errorf("node %d still has %v", n.cfg.NodeID, old)
					}
				}
			}
		})
	}
}

// What is not replaced: a controller that runs, and one of a quorum without a
// majority.
func TestReplaceRefused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	leader, claim := c.lead()
	c.caughtUp(claim.End)
	victim := c.nodes[leader.cfg.NodeID%3]
	double := &testNode{t: t, cfg: victim.cfg}
	double.reformat(t)
	defer double.stop()
	try := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
		defer cancel()
		return Replace(ctx, double.cfg, double.store)
	}
	err := try()
	if err == nil || !contains(err.Error(), "is running and cannot be replaced") {
		t.Errorf("the replacement of a running controller: %v", err)
	}
	c.write(leader, claim, 1, 10)
	if m := leader.host.Members(); len(m) != 3 || m[victim.cfg.NodeID-1].Replica != victim.cfg.replica() {
		t.Errorf("members %v", m)
	}
	for _, n := range c.nodes {
		if n != leader {
			n.stop()
		}
	}
	if err := try(); err == nil {
		t.Error("a controller was replaced without a majority")
	}
}

// A list of controllers may be older than a replacement: who has settled is taken
// at its word about its own directory.
func TestSettledIsNewerThanTheList(t *testing.T) {
	t.Parallel()
	peers := []Peer{{NodeID: 1, DirectoryID: testDirectory(1)}, {NodeID: 2, DirectoryID: testDirectory(2)}}
	one, replaced := Replica{1, testDirectory(1), 11}, Replica{2, testDirectory(9), 22}
	a := newAgreement(one, peers, origin{})
	a.hear(peers[1], exchange{self: replaced, settled: true, members: []Replica{one, replaced}}, nil)
	if s, err := a.settle(); s == nil || err != nil || len(s.members) != 2 {
		t.Errorf("a member settled %v, %v", s, err)
	}
	a = newAgreement(one, peers, origin{})
	a.hear(peers[1], exchange{self: replaced, settled: true, members: []Replica{{1, testDirectory(1), 10}, replaced}}, nil)
	if s, err := a.settle(); s != nil || err == nil || !contains(err.Error(), "replace-controller") {
		t.Errorf("one that is no member settled %v, %v", s, err)
	}
}
