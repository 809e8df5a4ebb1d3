package quorum

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/internal/testlog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/metadatalog/replay"
	"kvorum/protocol/batch"
	"kvorum/quorum/controller"
	"kvorum/quorum/raft"
	"kvorum/snapshot"
)

// The simulation runs several cores on a testlog.Group without any goroutine: a
// seed decides what happens next. What is checked is in simcheck_test.go.

const (
	simNodes    = 3
	simBrokers  = 3
	simSteps    = 3600
	simSessions = 3000              // ms
	simWait     = 400               // ms: PropagationWaitMs
	simLevel    = image.MV40IV1 + 2 // 4.0-IV3
)

// sim is one run.
type sim struct {
	rnd     *rand.Rand
	fault   *simFault // nil: the code as it is
	now     int64
	group   *testlog.Group
	nodes   []*simNode
	open    []*testlog.Proposal // not placed yet, or placed and to be placed again
	brokers [simBrokers]simBroker
	files   *snapshot.Dir
	nextID  uint64
	trace   []string
	healing bool
	told    bool // the events come from a script, not from rnd
	calm    bool // leadership stays where it is, and so there is more to see of brokers

	simKnowledge
}

// simNode is one controller: what quorum.Controller is around its core.
type simNode struct {
	id   kafka.NodeID
	core *Core
	raft *testlog.Node
	// inbox is Controller.events: requests and outcomes in order.
	inbox []Event
	news  *Leadership // not yet read from Log.Leadership
	read  kafka.Offset
	wake  int64
	state *State
	lives int // restarts

	// follow is a second, naive replay of what the core was given.
	follow *replay.Replayer
	// seen is how far each broker has fetched from this active controller.
	seen   map[kafka.BrokerID]kafka.Offset
	probes simProbes
	checks nodeChecks
}

func simDirectory(id kafka.NodeID) kafka.DirectoryID { return kafka.DirectoryID{0: 9, 15: byte(id)} }

func simConfig(id kafka.NodeID, life int) Config {
	voters := record.KRaftVoters{}
	for i := range simNodes {
		id := kafka.NodeID(100 + i)
		voters.Voters = append(voters.Voters, record.QuorumVoter{VoterID: id, VoterDirectoryID: simDirectory(id),
			Endpoints: []record.VoterEndpoint{{Name: "CONTROLLER", Host: "localhost", Port: uint16(9000 + i)}}})
	}
	return Config{
		Self: id, DirectoryID: simDirectory(id), Incarnation: kafka.UUID{0: 7, 14: byte(life), 15: byte(id)},
		Endpoints: []image.Endpoint{{Name: "CONTROLLER", Host: "localhost", Port: uint16(9000 + id - 100)}},
		Voters:    voters,
		Bootstrap: controller.BootstrapRecords(simLevel, controller.DefaultFeatures(simLevel), nil),
		Settings: controller.Settings{
			ClusterID: "AAAAAAAAAAAAAAAAAAAAAQ", NodeID: id, SessionTimeoutMs: simSessions, NumPartitions: 1, DefaultReplicationFactor: 1,
			DeleteTopicEnable: true, ControllerFeatures: image.SupportedFeatures(), VoterIDs: []kafka.NodeID{100, 101, 102},
		},
		MaxIdleMs: 500, PropagationWaitMs: simWait, BalanceIntervalMs: 2000, UncleanIntervalMs: 3000, MaxParked: 30,
		Seed: [2]uint64{uint64(id), uint64(life)},
	}
}

func newSim(seed uint64, fault *simFault) *sim {
	files, err := snapshot.OpenDir(vfs.NewMem(), "")
	if err != nil {
		panic(err)
	}
	s := &sim{
		rnd: rand.New(rand.NewPCG(seed, 0)), fault: fault, now: 1_700_000_000_000, files: files, calm: seed%4 == 3,
		group: testlog.NewGroup(kafka.LeaderEpoch(seed%3), 100, 101, 102), simKnowledge: newSimKnowledge(),
	}
	if fault != nil {
		s.group.SetFaults(fault.log)
	}
	for i := range simNodes {
		n := &simNode{id: kafka.NodeID(100 + i)}
		n.raft = s.group.Node(n.id)
		s.nodes = append(s.nodes, n)
		s.boot(n)
	}
	return s
}

// boot gives a node a new core, as a start of the process does.
func (s *sim) boot(n *simNode) {
	n.lives++
	n.core = NewCore(simConfig(n.id, n.lives))
	n.core.limits = limits{pendingBytes: 4 << 10, proposalBytes: 1 << 10, batchRecords: 10, batchBytes: 1 << 10, atomicBytes: 2 << 10}
	n.inbox, n.news, n.read, n.wake = nil, nil, 0, 0
	n.probes = newSimProbes()
	n.follow, n.seen, n.checks = replay.New(nil), map[kafka.BrokerID]kafka.Offset{}, nodeChecks{}
	n.state = n.core.state()
}

// run is one seed; the error holds the story of what went wrong.
func runSim(seed uint64, fault *simFault) (_ simTotals, err error) {
	s := newSim(seed, fault)
	defer func() {
		if r := recover(); r != nil {
			stack := ""
			if _, ours := r.(simViolation); !ours {
				stack = "\n" + string(debug.Stack())
			}
			story := s.trace[max(0, len(s.trace)-80):]
			err = fmt.Errorf("seed %d: %v\n%s%s", seed, r, strings.Join(story, "\n"), stack)
		}
	}()
	for range simSteps {
		s.something()
	}
	s.heal()
	return s.totals, nil
}

func (s *sim) tell(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%6d ", s.now-1_700_000_000_000)+fmt.Sprintf(format, args...))
}

// something happens: mostly the ordinary, now and then the rare.
func (s *sim) something() {
	n := s.nodes[s.rnd.IntN(len(s.nodes))]
	switch p := s.rnd.IntN(12_000); {
	case p >= 11_700:
		s.brokerApplies()
	case p >= 10_500:
		s.answerProbe(n)
	case p >= 10_000:
		s.fetch()
	case p < 45 && s.calm && s.active() != nil:
		s.fetch()
	case p < 12:
		s.elect()
	case p < 20:
		s.restart(n)
	case p < 35:
		s.replaceStore(n)
	case p < 45:
		s.pass(5000)
	case p < 100:
		s.save(n)
	case p < 130:
		s.cancel(n)
	case p < 500:
		s.hear(n)
	case p < 900:
		s.takeNews(n)
	case p < 2500:
		s.place()
	case p < 4000:
		s.apply(n)
	case p < 5500:
		s.follow(n)
	case p < 6500:
		s.settle(n, s.rnd.IntN(2) == 0)
	case p < 8500:
		for range 1 + s.rnd.IntN(5) {
			s.takeInbox(n)
		}
	case p < 9000:
		s.request()
	case p < 9500:
		s.fetch()
	default:
		s.pass(30)
	}
}

func (s *sim) active() *simNode {
	for _, n := range s.nodes {
		if n.core.role == active {
			return n
		}
	}
	return nil
}

func (s *sim) elect() {
	id := s.nodes[s.rnd.IntN(len(s.nodes))].id
	s.tell("raft: %d leads term %d", id, s.group.Elect(id))
}

func (s *sim) hear(n *simNode) {
	if n.raft.Hear() {
		l := n.raft.Leadership
		n.news = &Leadership{Term: l.Term, Self: l.Self}
	}
}

func (s *sim) takeNews(n *simNode) {
	if l := n.news; l != nil {
		n.news = nil
		s.step(n, *l)
	}
}

// place puts a proposal into the log; sometimes one is lost, sometimes it comes
// again.
func (s *sim) place() {
	if len(s.open) == 0 {
		return
	}
	i := 0
	if s.rnd.IntN(3) == 0 {
		i = s.rnd.IntN(len(s.open))
	}
	p := s.open[i]
	lost := s.rnd.IntN(12) == 0 && !s.healing
	if lost {
		// Raft proposes again while the node leads; what is lost for ever is of a
		// node that does not.
		if leader, term := s.group.Leader(); leader == p.Node && term == p.Term {
			return
		}
	}
	if lost || s.healing || s.rnd.IntN(10) > 0 {
		s.open = append(s.open[:i:i], s.open[i+1:]...)
	}
	if lost {
		s.tell("raft: a proposal of %d is lost", p.Node)
		return
	}
	o := s.group.Place(p)
	s.tell("raft: %s of %d placed: %+v", [...]string{"append", "claim", "base"}[p.Command.Kind], p.Node, o)
	s.placed(p, o)
}

func (s *sim) apply(n *simNode) {
	for k := 1 + s.rnd.IntN(3); k > 0 && n.raft.Behind() > 0; k-- {
		n.raft.Apply()
	}
}

// follow feeds a node's core a piece of what its store has.
func (s *sim) follow(n *simNode) {
	data := n.raft.Batches(n.read)
	if len(data) == 0 {
		return
	}
	var piece []byte
	for v, err := range batch.All(data) {
		if err != nil {
			panic(err)
		}
		piece = append(piece, v...)
		if !s.told && s.rnd.IntN(4) == 0 {
			break
		}
	}
	s.step(n, Committed{Batches: piece})
	n.read = n.core.end()
}

// settle brings an outcome into the inbox.
func (s *sim) settle(n *simNode, unsure bool) {
	p, o, err, ok := n.raft.Settle(unsure)
	if !ok && !s.healing && s.rnd.IntN(80) == 0 {
		// The log gave up although its node still leads.
		p, ok = n.raft.Abandon()
		err = raft.ErrBusy
	}
	if !ok {
		return
	}
	accepted := err == nil && o.Accepted
	if p.Command.Kind == testlog.KindClaim {
		n.inbox = append(n.inbox, Claimed{Term: p.Command.Term, Accepted: accepted, Epoch: o.Epoch, End: o.End})
	} else {
		n.inbox = append(n.inbox, Appended{Accepted: accepted})
	}
}

func (s *sim) takeInbox(n *simNode) {
	if len(n.inbox) > 0 {
		ev := n.inbox[0]
		n.inbox = n.inbox[1:]
		s.step(n, ev)
	}
}

func (s *sim) cancel(n *simNode) {
	for _, q := range s.order {
		if q.node == n && q.open && s.rnd.IntN(3) == 0 {
			q.open = false
			s.tell("%d: client of %d is gone", n.id, q.id)
			n.inbox = append(n.inbox, Cancelled{ID: q.id})
			return
		}
	}
}

// fetch lets a broker fetch from whichever controller is active, or thinks so.
func (s *sim) fetch() {
	for _, n := range s.nodes {
		if n.core.role == active {
			b := kafka.BrokerID(s.rnd.IntN(simBrokers))
			at := max(0, n.core.end()-kafka.Offset(s.rnd.IntN(3)))
			s.brokers[b].fetched = max(s.brokers[b].fetched, at)
			n.inbox = append(n.inbox, Fetched{Replica: kafka.NodeID(b), Directory: kafka.DirectoryID{15: byte(b)}, Offset: at})
		}
	}
}

// pass lets up to so many milliseconds pass.
func (s *sim) pass(ms int64) {
	s.now += 1 + s.rnd.Int64N(ms)
	for _, n := range s.nodes {
		if n.wake > 0 && n.wake <= s.now {
			s.step(n, Tick{})
		}
	}
}

func (s *sim) save(n *simNode) {
	if !n.state.snapshotable() {
		return
	}
	header := snapshot.Header{KRaftVersion: &record.KRaftVersion{KRaftVersion: n.state.KRaftVersion}, Voters: n.state.Voters}
	id, err := s.files.Save(n.state.Image, header, s.now)
	if err != nil {
		panic(err)
	}
	s.tell("%d: made snapshot %v", n.id, id)
}

// restart is a crash and a start, from the newest snapshot that the node's store
// reaches, or from the beginning of the log.
func (s *sim) restart(n *simNode) {
	if leader, _ := s.group.Leader(); leader == n.id {
		s.elect()
	}
	n.raft.Restart(max(0, n.raft.Applied()-s.rnd.IntN(5)))
	for _, q := range s.order {
		if q.node == n {
			q.open = false
		}
	}
	s.boot(n)
	s.totals.Restarts++
	s.tell("%d: restarts", n.id)
	s.load(n)
}

// replaceStore is a node that was so far behind that it got another one's store:
// its core has to go on from a snapshot.
func (s *sim) replaceStore(n *simNode) {
	if n.core.role == active || n.raft.Behind() == 0 {
		return
	}
	for n.raft.Behind() > 0 {
		n.raft.Apply()
	}
	s.load(n)
}

// load gives the core the newest snapshot that its store reaches, if that is
// further than it is.
func (s *sim) load(n *simNode) {
	end := kafka.Offset(0)
	for v := range batch.All(n.raft.Batches(0)) {
		end = v.EndOffset()
	}
	for _, info := range s.files.List() {
		if info.ID.Offset > end || info.ID.Offset <= n.read {
			continue
		}
		r, err := s.files.Open(info.ID)
		if err != nil {
			panic(err)
		}
		s.totals.Loads++
		s.step(n, Loaded{ID: info.ID, Snapshot: r})
		n.read = info.ID.Offset
		return
	}
}

// step runs an event and its effects, and checks everything.
func (s *sim) step(n *simNode, ev Event) {
	if _, quiet := ev.(Fetched); !quiet {
		s.tell("%d: %s", n.id, describeEvent(ev))
	}
	before := n.core.role
	ev = s.fault.beforeStep(n, ev)
	if ev == nil {
		return
	}
	out, err := n.core.Step(s.now, ev)
	if err != nil {
		panic(simViolation(fmt.Sprintf("node %d cannot understand the log: %v", n.id, err)))
	}
	s.noteStep(n, ev, before)
	s.fault.afterStep(n, ev, before, &out)
	for _, note := range out.Notes {
		s.tell("%d:   %s", n.id, note.Text)
	}
	if out.Claim != nil {
		s.tell("%d:   claims term %d", n.id, out.Claim.Term)
		s.open = append(s.open, n.raft.Propose(testlog.Command{Kind: testlog.KindClaim, Node: n.id, Directory: simDirectory(n.id),
			Term: out.Claim.Term, Batches: out.Claim.Batch, BatchIfEmpty: out.Claim.BatchIfEmpty}))
	}
	if a := out.Append; a != nil {
		s.tell("%d:   appends %s", n.id, describeBatches(a.Batches))
		s.proposed(n, a)
		s.open = append(s.open, n.raft.Propose(testlog.Command{Kind: testlog.KindAppend, Epoch: a.Epoch, Base: a.Base, Batches: a.Batches}))
	}
	for _, p := range out.Probes {
		s.tell("%d:   probes broker %d at %s:%d", n.id, p.Broker, p.Endpoint.Host, p.Endpoint.Port)
	}
	for _, d := range out.Dials {
		s.tell("%d:   dials broker %d at %s", n.id, d.Broker, strings.Join(d.Addresses, ", "))
	}
	for _, r := range out.Replies {
		s.tell("%d:   answers %s", n.id, describeReply(r))
	}
	if out.State != nil {
		n.state = out.State
	}
	n.wake = out.WakeAtMs
	s.check(n, ev, before, out)
}

func describeEvent(ev Event) string {
	switch ev := ev.(type) {
	case Committed:
		return "committed " + describeBatches(ev.Batches)
	case Loaded:
		return fmt.Sprintf("loaded %v", ev.ID)
	case MigrationBatch:
		return fmt.Sprintf("batch %d of a migration: %d records", ev.ID, len(ev.Records))
	case Request:
		return fmt.Sprintf("request %d: %s", ev.ID, kmsg.NameForKey(ev.Body.Key()))
	}
	return fmt.Sprintf("%T%+v", ev, ev)
}

// describeBatches lists batches as first-last@epoch.
func describeBatches(data []byte) string {
	var story []string
	for v := range batch.All(data) {
		story = append(story, fmt.Sprintf("%d-%d@%d", v.BaseOffset(), v.LastOffset(), v.Epoch()))
	}
	return strings.Join(story, " ")
}

func describeReply(r Reply) string {
	if r.Err != nil {
		return fmt.Sprintf("%d: %s", r.ID, r.Err.Error())
	}
	if r.Response == nil {
		return fmt.Sprintf("%d: the log's end is %d", r.ID, r.End)
	}
	return fmt.Sprintf("%d: %s", r.ID, strings.TrimPrefix(fmt.Sprintf("%T", r.Response), "*kmsg."))
}

// heal ends all faults: from here on everything must come to rest.
func (s *sim) heal() {
	s.healing = true
	if leader, _ := s.group.Leader(); leader == kafka.NoNode || s.rnd.IntN(2) == 0 {
		s.elect()
	}
	s.tell("all faults end")
	for range 40 {
		s.settleDown()
		s.pass(300)
	}
	s.settleDown()
	s.checkHealed()
}

// settleDown delivers everything until nothing is left.
func (s *sim) settleDown() {
	for range 1000 {
		busy := len(s.open) > 0
		s.place()
		for _, n := range s.nodes {
			s.hear(n)
			busy = busy || n.news != nil || len(n.inbox) > 0 || n.raft.Behind() > 0
			s.takeNews(n)
			s.takeInbox(n)
			s.apply(n)
			for len(n.raft.Batches(n.read)) > 0 {
				s.follow(n)
			}
			s.settle(n, false)
			s.answerProbe(n)
			s.brokerApplies()
		}
		if !busy {
			return
		}
	}
	panic(simViolation("the controllers do not come to rest"))
}

// simSeeds is how many seeds a test runs: KVORUM_SEEDS, or a few. KVORUM_SEED
// is the first one.
func simSeeds(t *testing.T, few int) (first, n uint64) {
	n = uint64(few)
	for name, to := range map[string]*uint64{"KVORUM_SEEDS": &n, "KVORUM_SEED": &first} {
		if text := os.Getenv(name); text != "" {
			v, err := strconv.ParseUint(text, 10, 63)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			*to = v
		}
	}
	return first, n
}

// TestSimulation runs cores through elections, crashes, delayed, lost, repeated
// and late commits.
func TestSimulation(t *testing.T) {
	first, n := simSeeds(t, 120)
	var total simTotals
	for seed := first; seed < first+n; seed++ {
		totals, err := runSim(seed, nil)
		if err != nil {
			t.Fatal(err)
		}
		total.add(totals)
	}
	t.Logf("%d seeds: %+v", n, total)
	total.mustHaveSeenEverything(t, n)
}
