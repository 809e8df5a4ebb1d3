package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/internal/testlog"
)

// node names one of the world's processes: brokers from 0, controllers from 100.
// The producers are outsiders, and the network never cuts them off from anybody.
type node int

const (
	brokerCount     = 3
	controllerCount = 3
	firstController = 100
	outside         = node(-1)
)

// epochMs is when a world begins, in milliseconds since 1970.
const epochMs = 1_700_000_000_000

// World is one run. It is made by New and has one user.
type World struct {
	seed uint64
	rnd  *rand.Rand
	odd  *rand.Rand // of the peers that are not what they should be
	read *rand.Rand // of the consumers
	// groups is that of coordinators and their clients.
	groups *rand.Rand
	now    int64 // in ms, never back; brokers' wall clocks may be off by their skew
	step   int
	plan   Plan
	next   int // of plan.Faults, not begun
	open   []undo

	group        *testlog.Group
	proposals    []*testlog.Proposal // not placed yet, or placed and to be placed again
	controllers  []*controllerNode
	brokers      []*broker
	producers    []*client
	consumers    []*consumer
	committers   []*committer
	members      []*member
	generations  generations
	transactions *transactions
	network      network
	ambush       *ambush // nil: there is none
	requests     map[uint64]*controllerRequest
	lastRequest  uint64

	truth    truth
	power    powerBound
	coverage Coverage
	trace    []string
	healing  bool
}

// undo ends a fault.
type undo struct {
	at  int // step
	end func()
}

// violation is what a run ends with when something is not as it must be.
type violation struct {
	// Invariant is the name of what was broken: shrinking keeps it.
	Invariant string
	text      string
}

func (v violation) Error() string { return v.Invariant + ": " + v.text }

// fail ends the run.
func (w *World) fail(invariant, format string, args ...any) {
	panic(violation{invariant, fmt.Sprintf(format, args...)})
}

// maxTrace is how many lines of its story a world keeps: what led to a violation
// is mostly near it, and a whole run would be a hundred thousand lines.
const maxTrace = 400

func (w *World) tell(format string, args ...any) {
	if len(w.trace) == 2*maxTrace {
		w.trace = append(w.trace[:0], w.trace[maxTrace:]...)
	}
	w.trace = append(w.trace, fmt.Sprintf("%6d %7d  ", w.step, w.now-epochMs)+fmt.Sprintf(format, args...))
}

// New makes the world of a seed and a plan: formatted disks, nothing started.
func New(seed uint64, plan Plan) *World {
	w := &World{seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), odd: rand.New(rand.NewPCG(seed, 4)), read: rand.New(rand.NewPCG(seed, 5)), groups: rand.New(rand.NewPCG(seed, 6)), now: epochMs, plan: plan,
		group:    testlog.NewGroup(kafka.LeaderEpoch(seed%3), 100, 101, 102),
		requests: map[uint64]*controllerRequest{}, truth: newTruth(), coverage: Coverage{}}
	w.group.SetFaults(testlog.Faults{AnyBase: planted.Is(planted.StaleControllerCommits)})
	for i := range controllerCount {
		w.controllers = append(w.controllers, w.newController(kafka.NodeID(firstController+i)))
	}
	for i := range brokerCount {
		w.brokers = append(w.brokers, w.newBroker(kafka.BrokerID(i)))
	}
	for i := range producerCount {
		w.producers = append(w.producers, newClient(i))
	}
	for range consumerCount {
		w.consumers = append(w.consumers, newConsumer())
	}
	for i := range committerCount {
		w.committers = append(w.committers, newCommitter(i))
	}
	for range memberCount {
		w.members = append(w.members, &member{})
	}
	w.generations.told = map[int32]uint64{}
	w.transactions = newTransactions(seed)
	return w
}

// chance is true once in n.
func (w *World) chance(n int) bool { return w.rnd.IntN(n) == 0 }

func (w *World) event(name string) { w.coverage[name]++ }

// enough is how many acknowledgements a run wants to have between faults.
const enough = 1000

// run plays the plan and then heals.
func (w *World) run() {
	w.begin()
	for w.step < w.plan.Limit && (w.step < w.plan.Steps || w.coverage["acknowledged"] < enough) {
		w.step++
		w.faults()
		w.something()
	}
	w.heal()
}

// something happens: mostly a message arrives, or one of the nodes does the next
// of its chores, or time passes.
func (w *World) something() {
	if w.plan.Transactions {
		w.transactions.chore(w)
	}
	if w.plan.Groups && w.groups.IntN(4) == 0 {
		w.groupChore()
		return
	}
	switch p := w.rnd.IntN(1000); {
	case p < 440:
		w.deliver()
	case p < 610:
		w.controllers[w.rnd.IntN(controllerCount)].chore()
	case p < 840:
		w.brokers[w.rnd.IntN(brokerCount)].chore()
	case p < 955:
		w.producers[w.rnd.IntN(producerCount)].chore(w)
	default:
		w.pass(1 + w.rnd.Int64N(20))
	}
	if w.read.IntN(8) == 0 {
		w.consumers[w.read.IntN(consumerCount)].chore(w)
	}
}

// pass lets time go by.
func (w *World) pass(ms int64) {
	w.now += ms
	for _, c := range w.controllers {
		c.wakeUp()
	}
}

// begin starts everything and makes the topics.
func (w *World) begin() {
	for _, c := range w.controllers {
		c.start()
	}
	for _, b := range w.brokers {
		b.start()
	}
	w.calm("the first start", func() bool { return w.allUnfenced() })
	w.createTopics()
	w.calm("the creation of topics", func() bool { return w.allInSync() })
	w.step = 0
}

// patience is how many steps a calm world may take to come where it has to.
const patience = 60_000

// calm lets things happen without faults until a condition holds.
func (w *World) calm(what string, done func() bool) {
	for range patience {
		if w.step%16 == 0 && done() {
			return
		}
		w.step++
		w.something()
	}
	w.fail("Liveness", "%s did not come about within %d steps without faults; %s", what, patience, w.describe())
}

// describe says where everything stands.
func (w *World) describe() string {
	var out strings.Builder
	c := w.activeController()
	if c == nil {
		return "there is no active controller"
	}
	for _, b := range w.brokers {
		fmt.Fprintf(&out, "\nbroker %d: up %t, epoch %d, metadata to %d of %d, confirmed %t", b.id, b.up, b.epoch, b.published, c.state.End, b.confirmed)
		if r := c.state.Image.Broker(b.id); r != nil {
			fmt.Fprintf(&out, ", registered with epoch %d at %d, fenced %t", r.Epoch, r.RegisteredAt, r.Fenced)
		}
	}
	for _, name := range w.names() {
		t := c.state.Image.TopicByName(name.Topic)
		if t == nil {
			continue
		}
		fmt.Fprintf(&out, "\n%s: %+v, %d committed", name, *t.Partition(name.Partition), w.truth.logs[name].end)
		for _, b := range w.brokers {
			if p := b.partition(name); p != nil {
				fmt.Fprintf(&out, "\n    on broker %d: %+v in epoch %d under %d, leads %t", b.id, p.position(), p.epoch, p.leaderID, p.leader != nil)
			}
		}
	}
	return out.String()
}
