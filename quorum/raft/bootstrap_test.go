package raft

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
)

// The first start waits for the last controller, and says for whom it waits.
func TestFirstStartWaits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	started := make(chan error, 3)
	for _, n := range c.nodes[:2] {
		go func() { started <- n.start() }()
	}
	waitForMissing(t, c.nodes[0], "node 3: ")
	select {
	case err := <-started:
		t.Fatalf("a controller started without the third one: %v", err)
	default:
	}
	go func() { started <- c.nodes[2].start() }()
	for range 3 {
		if err := <-started; err != nil {
			t.Fatal(err)
		}
	}
	_, claim := c.lead()
	c.caughtUp(claim.End)
	if m := c.nodes[0].host.Missing(); m != nil {
		t.Errorf("a running controller misses %v", m)
	}
}

// A directory that is formatted again before the quorum is formed is another
// replica, and takes part.
func TestFormattedAgainBeforeTheStart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	ctx, cancel := testContext(t)
	store, err := openStore(c.nodes[2])
	if err != nil {
		t.Fatal(err)
	}
	c.nodes[2].store = store
	first, err := New(c.nodes[2].cfg, store)
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 3)
	go func() { stopped <- first.Start(ctx) }()
	started := make(chan error, 3)
	go func() { started <- c.nodes[0].start() }()
	waitForMissing(t, c.nodes[0], "node 3: it has heard", "node 2: ")
	cancel()
	<-stopped
	c.nodes[2].cfg.Instance = 0xabc
	for _, n := range c.nodes[1:] {
		go func() { started <- n.start() }()
	}
	for range 3 {
		if err := <-started; err != nil {
			t.Fatal(err)
		}
	}
	c.lead()
	if m := c.nodes[0].host.Members(); m[2].Instance != 0xabc {
		t.Errorf("members %v", m)
	}
}

// world is a set of controllers that agree by asking each other, any of which
// may stop, start and be formatted again at any moment.
type world struct {
	peers   []Peer
	nodes   []*agreement // nil when stopped
	durable [][]Replica  // what each has settled, by formatting
	next    uint64
}

func (w *world) replica(i int) Replica {
	return Replica{NodeID: w.peers[i].NodeID, DirectoryID: w.peers[i].DirectoryID, Instance: w.next}
}

// TestAgreement lets controllers ask, stop and be wiped in any order: no two
// whose disks survive have ever settled different memberships.
func TestAgreement(t *testing.T) {
	for range 50 { // of 100 histories each
		rapid.Check(t, checkAgreement)
	}
}

func checkAgreement(t *rapid.T) {
	n := rapid.IntRange(1, 5).Draw(t, "controllers")
	w := &world{}
	for i := range n {
		w.peers = append(w.peers, Peer{NodeID: kafka.NodeID(i + 1), DirectoryID: testDirectory(i + 1)})
	}
	self := make([]Replica, n)
	for i := range n {
		w.next++
		self[i] = w.replica(i)
		w.nodes = append(w.nodes, newAgreement(self[i], w.peers, origin{}))
		w.durable = append(w.durable, nil)
	}
	answer := func(i int) exchange {
		if w.durable[i] != nil {
			return exchange{self: self[i], settled: true, members: w.durable[i]}
		}
		return w.nodes[i].mine()
	}
	t.Repeat(map[string]func(*rapid.T){
		"ask": func(t *rapid.T) {
			i, j := rapid.IntRange(0, n-1).Draw(t, "who"), rapid.IntRange(0, n-1).Draw(t, "whom")
			if i == j || w.nodes[i] == nil || w.durable[i] != nil {
				return
			}
			if w.nodes[j] == nil {
				w.nodes[i].hear(w.peers[j], exchange{}, errors.New("down"))
				return
			}
			// The answer may be lost on its way.
			if e := answer(j); rapid.Bool().Draw(t, "arrives") {
				w.nodes[i].hear(w.peers[j], e, nil)
			}
		},
		"ask all": func(t *rapid.T) {
			i := rapid.IntRange(0, n-1).Draw(t, "who")
			for j := range n {
				if i != j && w.nodes[i] != nil && w.durable[i] == nil && w.nodes[j] != nil {
					w.nodes[i].hear(w.peers[j], answer(j), nil)
				}
			}
		},
		"settle": func(t *rapid.T) {
			i := rapid.IntRange(0, n-1).Draw(t, "who")
			if w.nodes[i] == nil || w.durable[i] != nil {
				return
			}
			s, err := w.nodes[i].settle()
			if err != nil || s == nil || rapid.IntRange(0, 3).Draw(t, "crash before durable") == 0 {
				return
			}
			if !slices.Contains(s.members, self[i]) {
				t.Fatalf("%v settled %v without itself", self[i], s.members)
			}
			w.durable[i] = s.members
		},
		"stop": func(t *rapid.T) { w.nodes[rapid.IntRange(0, n-1).Draw(t, "who")] = nil },
		"start": func(t *rapid.T) {
			if i := rapid.IntRange(0, n-1).Draw(t, "who"); w.nodes[i] == nil {
				w.nodes[i] = newAgreement(self[i], w.peers, origin{})
			}
		},
		"wipe": func(t *rapid.T) {
			i := rapid.IntRange(0, n-1).Draw(t, "who")
			w.next++
			self[i], w.durable[i] = w.replica(i), nil
			w.nodes[i] = newAgreement(self[i], w.peers, origin{})
		},
		"": func(t *rapid.T) {
			var first []Replica
			for i := range n {
				if w.durable[i] == nil {
					continue
				}
				if first == nil {
					first = w.durable[i]
				}
				if !slices.Equal(first, w.durable[i]) {
					t.Fatalf("two memberships: %v and %v", first, w.durable[i])
				}
			}
		},
	})
}

// What a controller does with a quorum that runs already.
func TestSettledQuorum(t *testing.T) {
	peers := []Peer{{NodeID: 1, DirectoryID: testDirectory(1)}, {NodeID: 2, DirectoryID: testDirectory(2)}}
	one, two := Replica{1, testDirectory(1), 11}, Replica{2, testDirectory(2), 22}
	tests := []struct {
		name    string
		members []Replica
		origin  origin
		words   string
	}{
		{"as a member", []Replica{one, two}, origin{}, ""},
		{"under its old formatting", []Replica{{1, testDirectory(1), 10}, two}, origin{}, "replace-controller"},
		{"under another directory", []Replica{{1, testDirectory(9), 11}, two}, origin{}, "replace-controller"},
		{"not at all", []Replica{two}, origin{}, "runs without node 1"},
		{"with another log", []Replica{one, two}, origin{Base: 5}, "import the same directories"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newAgreement(one, peers, origin{})
			a.hear(peers[1], exchange{self: two, settled: true, members: test.members, origin: test.origin}, nil)
			s, err := a.settle()
			if test.words == "" {
				if err != nil || s == nil || !slices.Equal(s.members, test.members) {
					t.Errorf("settled %v, %v", s, err)
				}
				return
			}
			if s != nil || err == nil || !contains(err.Error(), test.words) {
				t.Errorf("settled %v, %v", s, err)
			}
		})
	}
	a := newAgreement(one, peers, origin{})
	a.hear(peers[1], exchange{self: Replica{2, testDirectory(3), 1}}, nil)
	if m := a.missing(); len(m) != 1 || !contains(m[0].Why, "is configured") {
		t.Errorf("missing %v", m)
	}
}
