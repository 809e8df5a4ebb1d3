package quorum

import (
	"maps"
	"slices"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/internal/testlog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/metadatalog/replay"
	"kvorum/protocol/batch"
	"kvorum/quorum/controller"
)

// lone is one core on a log of its own, with every voter set that it writes.
type lone struct {
	t       *testing.T
	machine *testlog.Machine
	log     []byte
	core    *Core
	now     int64
	written []*record.KRaftVoters // by the log's order
	follow  *replay.Replayer
}

func newLone(t *testing.T) *lone {
	l := &lone{t: t, machine: testlog.NewMachine(0), now: 1_700_000_000_000}
	l.follow = replay.New(func(_ kafka.Offset, _ kafka.LeaderEpoch, control record.Control) {
		if v, ok := control.(*record.KRaftVoters); ok {
			l.written = append(l.written, v)
		}
	})
	return l
}

func loneDirectory(id kafka.NodeID, generation byte) kafka.DirectoryID {
	return kafka.DirectoryID{0: 9, 14: generation, 15: byte(id)}
}

// start makes a new core, as a start of controller self does, and lets it become
// active.
func (l *lone) start(self kafka.NodeID, term uint64) {
	cfg := Config{
		Self: self, DirectoryID: loneDirectory(self, 0), Incarnation: kafka.UUID{0: 7, 14: byte(term), 15: byte(self)},
		Bootstrap: controller.BootstrapRecords(image.MaxMetadataVersion, controller.DefaultFeatures(image.MaxMetadataVersion), nil),
		Settings: controller.Settings{ClusterID: "AAAAAAAAAAAAAAAAAAAAAQ", NodeID: self, SessionTimeoutMs: 9000,
			ControllerFeatures: image.SupportedFeatures(), VoterIDs: []kafka.NodeID{1, 2, 3}},
		MaxParked: 10,
	}
	for id := kafka.NodeID(1); id <= 3; id++ {
		endpoint := record.VoterEndpoint{Name: "CONTROLLER", Host: "localhost", Port: uint16(9000 + id)}
		cfg.Voters.Voters = append(cfg.Voters.Voters, record.QuorumVoter{VoterID: id, VoterDirectoryID: loneDirectory(id, 0), Endpoints: []record.VoterEndpoint{endpoint}})
		if id == self {
			cfg.Endpoints = []image.Endpoint{{Name: endpoint.Name, Host: endpoint.Host, Port: endpoint.Port}}
		}
	}
	l.core = NewCore(cfg)
	if len(l.log) > 0 {
		l.step(Committed{Batches: l.log})
	}
	l.step(Leadership{Term: term, Self: true})
	if l.core.role != active {
		l.t.Fatal("the core is not active")
	}
}

// step runs an event and all that follows from it.
func (l *lone) step(ev Event) {
	l.t.Helper()
	out, err := l.core.Step(l.now, ev)
	if err != nil {
		l.t.Fatal(err)
	}
	if out.Claim != nil {
		l.commit(testlog.Command{Kind: testlog.KindClaim, Node: l.core.cfg.Self, Term: out.Claim.Term, Batches: out.Claim.Batch, BatchIfEmpty: out.Claim.BatchIfEmpty})
	}
	if out.Append != nil {
		l.commit(testlog.Command{Kind: testlog.KindAppend, Epoch: out.Append.Epoch, Base: out.Append.Base, Batches: out.Append.Batches})
	}
}

// commit puts a proposal into the log and feeds the core what became of it.
func (l *lone) commit(c testlog.Command) {
	l.t.Helper()
	o, data := l.machine.Apply(c)
	if !o.Accepted {
		l.t.Fatalf("a proposal was refused: %+v", c)
	}
	l.log = append(l.log, data...)
	if _, err := l.follow.Feed(data); err != nil {
		l.t.Fatal(err)
	}
	l.step(Committed{Batches: data})
	if c.Kind == testlog.KindClaim {
		l.step(Claimed{Term: c.Term, Accepted: true, Epoch: o.Epoch, End: o.End})
	} else {
		l.step(Appended{Accepted: true})
	}
}

// members tells the core of generations of directories and lets time pass.
func (l *lone) members(generations map[kafka.NodeID]byte) {
	directories := map[kafka.NodeID]kafka.DirectoryID{}
	for id, g := range generations {
		directories[id] = loneDirectory(id, g)
	}
	l.step(Membership{Directories: directories})
	for range 3 {
		l.now += voterCheckMs
		l.step(Tick{})
	}
}

func directories(v *record.KRaftVoters) map[kafka.NodeID]kafka.DirectoryID {
	out := map[kafka.NodeID]kafka.DirectoryID{}
	for _, v := range v.Voters {
		out[v.VoterID] = v.VoterDirectoryID
	}
	return out
}

// checkHistory is Kafka's rule (VoterSet.hasOverlappingMajority): from one voter
// set to the next at most one (id, directory id) goes and at most one comes.
func (l *lone) checkHistory() {
	l.t.Helper()
	gone := func(a, b *record.KRaftVoters) (n int) {
		have := directories(b)
		for id, d := range directories(a) {
			if have[id] != d {
				n++
			}
		}
		return n
	}
	for i := 1; i < len(l.written); i++ {
		a, b := l.written[i-1], l.written[i]
		if gone(a, b) > 1 || gone(b, a) > 1 {
			l.t.Errorf("voter set %d changes more than one voter: %v, then %v", i, a, b)
		}
	}
}

func (l *lone) check(sets int, generations map[kafka.NodeID]byte) {
	l.t.Helper()
	want := map[kafka.NodeID]kafka.DirectoryID{}
	for id, g := range generations {
		want[id] = loneDirectory(id, g)
	}
	last := l.written[len(l.written)-1]
	if len(l.written) != sets || !maps.Equal(directories(last), want) {
		l.t.Errorf("%d voter sets, the last %v; want %d and %v", len(l.written), directories(last), sets, want)
	}
	for _, v := range last.Voters {
		if len(v.Endpoints) != 1 || v.Endpoints[0].Port != uint16(9000+v.VoterID) {
			l.t.Errorf("voter %d has the endpoints %v", v.VoterID, v.Endpoints)
		}
	}
	if state := l.core.state(); state.Voters == nil || !maps.Equal(directories(state.Voters), want) {
		l.t.Errorf("the state has the voters %v, want %v", state.Voters, want)
	}
	l.checkHistory()
}

// The voter set follows the membership, one voter in each record.
func TestVotersFollowMembership(t *testing.T) {
	l := newLone(t)
	l.start(1, 1)
	original := map[kafka.NodeID]byte{1: 0, 2: 0, 3: 0}
	l.check(1, original)

	l.members(original)
	l.check(1, original)
	// While a controller is being replaced it is no member: its voter stays.
	l.members(map[kafka.NodeID]byte{1: 0, 3: 0})
	l.check(1, original)
	l.members(map[kafka.NodeID]byte{1: 0, 2: 1, 3: 0})
	l.check(2, map[kafka.NodeID]byte{1: 0, 2: 1, 3: 0})
	// One that nobody formatted the quorum with is not made a voter.
	l.members(map[kafka.NodeID]byte{1: 0, 2: 1, 3: 0, 4: 0})
	l.check(2, map[kafka.NodeID]byte{1: 0, 2: 1, 3: 0})
	// Two at once: the first active controller after both was away.
	l.members(map[kafka.NodeID]byte{1: 0, 2: 2, 3: 1})
	l.check(4, map[kafka.NodeID]byte{1: 0, 2: 2, 3: 1})

	// The next active controller reads it from the log, though it was formatted with
	// the lost directories, and waits until it knows the membership.
	l.start(3, 2)
	l.now += 10 * voterCheckMs
	l.step(Tick{})
	l.check(4, map[kafka.NodeID]byte{1: 0, 2: 2, 3: 1})
	l.members(map[kafka.NodeID]byte{1: 0, 2: 2, 3: 2})
	l.check(5, map[kafka.NodeID]byte{1: 0, 2: 2, 3: 2})
}

// Voter sets go through the pipeline like everything else: with a slow quorum two
// changes are queued, the second on top of the first.
func TestVotersQueued(t *testing.T) {
	l := newLone(t)
	l.start(1, 1)
	l.core.members = map[kafka.NodeID]kafka.DirectoryID{2: loneDirectory(2, 1), 3: loneDirectory(3, 1)}
	l.now += voterCheckMs // the first look
	out, err := l.core.Step(l.now, Tick{})
	if err != nil || out.Append == nil {
		t.Fatalf("the step gave %+v, %v", out, err)
	}
	l.now += voterCheckMs
	again, err := l.core.Step(l.now, Tick{})
	if err != nil || again.Append != nil {
		t.Fatalf("with an append in flight the step gave %+v, %v", again, err)
	}
	l.commit(testlog.Command{Kind: testlog.KindAppend, Epoch: out.Append.Epoch, Base: out.Append.Base, Batches: out.Append.Batches})
	l.check(3, map[kafka.NodeID]byte{1: 0, 2: 1, 3: 1})
	var ends []kafka.Offset
	for v := range batch.All(l.log) {
		ends = append(ends, v.EndOffset())
	}
	if !slices.IsSorted(ends) || l.core.next != l.machine.End() || len(l.core.queue) != 0 {
		t.Errorf("the log ends at %d, the core at %d with %d batches queued", l.machine.End(), l.core.next, len(l.core.queue))
	}
}
