package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
)

// Plan is what is done to a world. A run ends after Steps, or later when it has not
// acknowledged enough by then, and at Limit. A plan is made from a seed of its own,
// so that taking a fault out leaves the others what they are.
type Plan struct {
	Steps, Limit int
	// Resume lets a broker come back from a kill as who it was, and serve at once;
	// otherwise it is another incarnation with the same data.
	Resume bool
	// Deaths lets controllers fence on proof of death.
	Deaths bool
	// Flush is flush.messages=1 on every broker: then all may lose their power at once.
	Flush bool
	// Unbalanced is auto.leader.rebalance.enable=false: what is to elect leaders for
	// other reasons is not helped by it.
	Unbalanced bool
	// Groups is a world with group coordinators and their clients.
	Groups bool
	// Transactions is a world with transactional producers, and readers of committed
	// records.
	Transactions bool
	// BatchRecords splits what controllers decide into small batches; 0 does not.
	BatchRecords int
	Faults       []Fault
}

// Fault happens at a step and is ended some steps later.
type Fault struct {
	At, Lasts int
	Kind      FaultKind
	// A and B choose whom it happens to.
	A, B int
}

// FaultKind is what happens.
type FaultKind int

// The kinds of faults.
const (
	KillBroker FaultKind = iota
	LosePower
	PauseBroker
	StopBroker
	KillController
	PauseController
	KillControllers
	KillEverything
	CutOneWay
	Isolate
	ElectController
	JumpClock
	ChangeMinISR
	ElectPreferred
	SlowDown
	Slander
	LoseAllPower
	ReturnAlone
	LoseProposed
	SecondProcess
	HideLog
	FailDisk
)

// kinds are the faults that a plan is drawn from; what is there twice happens
// twice as often.
var kinds = []FaultKind{KillBroker, LosePower, LosePower, PauseBroker, StopBroker, KillController, PauseController, KillControllers, KillEverything,
	CutOneWay, Isolate, ElectController, JumpClock, ChangeMinISR, ChangeMinISR, ElectPreferred, SlowDown, SlowDown}

var faultNames = [...]string{"kill a broker", "cut a broker's power", "pause a broker", "stop a broker in order", "kill a controller", "pause a controller",
	"kill all controllers", "kill everything", "cut a link one way", "isolate a node", "elect another controller", "jump a clock", "change min ISR",
	"elect preferred leaders", "slow a node's messages down", "make a broker look dead", "cut all power",
	"kill a broker that comes back cut off", "cut the power of a broker that is proposed for an ISR", "start a second process of a broker", "hide a log from a broker that finds no controllers", "let a broker's disk fail"}

// String says what happens and when.
func (f Fault) String() string {
	return fmt.Sprintf("at step %d for %d: %s (%d, %d)", f.At, f.Lasts, faultNames[f.Kind], f.A, f.B)
}

// NewPlan draws a plan with a fault every 2,500 steps or so. Each seed leaves out
// some kinds: what one fault would hide, another seed shows without it.
func NewPlan(seed uint64) Plan {
	rnd := rand.New(rand.NewPCG(seed, 2))
	var some []FaultKind
	for _, k := range kinds {
		if rnd.IntN(2) == 0 {
			some = append(some, k)
		}
	}
	if len(some) < 3 {
		some = kinds
	}
	deaths := seed%2 == 0
	if deaths {
		some = append(some[:len(some):len(some)], Slander)
	}
	flush := seed%4 == 2
	if flush {
		some = append(some[:len(some):len(some)], LoseAllPower)
	}
	groups := seed%3 == 1
	if groups {
		some = append(some[:len(some):len(some)], ReturnAlone)
	}
	p := draw(rnd, some)
	p.Deaths, p.Flush, p.Unbalanced, p.Groups = deaths, flush, flush, groups
	p.Transactions = seed%5 < 2
	p.BatchRecords = [...]int{0, 0, 0, 0, 0, 2}[seed%6]
	if seed%7 == 3 {
		p.addScenes(rand.New(rand.NewPCG(seed, 8)))
	}
	return p
}

// addScenes adds faults that wait for their moment; the others stay what they are.
func (p *Plan) addScenes(rnd *rand.Rand) {
	more := draw(rnd, []FaultKind{LoseProposed, SecondProcess, HideLog, FailDisk})
	for i, f := range more.Faults {
		if i%2 == 0 {
			p.Faults = append(p.Faults, f)
		}
	}
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return a.At - b.At })
}

// NewPlanOf draws a plan of some kinds only.
func NewPlanOf(seed uint64, some ...FaultKind) Plan {
	return draw(rand.New(rand.NewPCG(seed, 3)), some)
}

func draw(rnd *rand.Rand, some []FaultKind) Plan {
	// Behind three times the steps there are no faults, so that a seed whose kinds
	// leave no time to acknowledge anything gets there as well.
	p := Plan{Steps: 40_000, Limit: 400_000, Resume: rnd.IntN(2) == 0}
	for at := rnd.IntN(2000); at < 3*p.Steps; at += 200 + rnd.IntN(4600) {
		p.Faults = append(p.Faults, Fault{At: at, Lasts: 200 + rnd.IntN(4000), Kind: some[rnd.IntN(len(some))], A: rnd.IntN(1 << 16), B: rnd.IntN(1 << 16)})
	}
	return p
}

// faults begins and ends what is due.
func (w *World) faults() {
	for i := 0; i < len(w.open); i++ {
		if u := w.open[i]; u.at <= w.step {
			w.open = append(w.open[:i], w.open[i+1:]...)
			i--
			u.end()
		}
	}
	w.endAmbush()
	for w.next < len(w.plan.Faults) && w.plan.Faults[w.next].At <= w.step {
		f := w.plan.Faults[w.next]
		w.next++
		if end := w.inject(f); end != nil {
			w.open = append(w.open, undo{w.step + f.Lasts, end})
		}
	}
}

// inject lets a fault happen and returns what ends it, nil for nothing.
func (w *World) inject(f Fault) (end func()) {
	b, c := w.brokers[f.A%brokerCount], w.controllers[f.A%controllerCount]
	switch f.Kind {
	case KillBroker:
		return w.down(b, b.kill)
	case LosePower:
		if !w.power.allows(b, w.step) {
			return nil
		}
		return w.down(b, func() {
			b.losePower()
			w.power.lost(b)
			w.holdBack(b.node(), 2*f.Lasts)
		})
	case FailDisk:
		if !w.power.allows(b, w.step) {
			return nil
		}
		return w.down(b, func() {
			b.failDisk()
			w.power.lost(b)
		})
	case PauseBroker:
		return w.pause(&b.paused, b.up, "broker", b.node())
	case PauseController:
		return w.pause(&c.paused, c.up, "controller", c.node())
	case StopBroker:
		if b.up {
			b.stopping = true
			return func() { w.stopAnyway(b) }
		}
	case KillController:
		return w.downController(c)
	case KillControllers:
		w.event("controllers all gone")
		return together(w.downController(w.controllers[0]), w.downController(w.controllers[1]), w.downController(w.controllers[2]))
	case KillEverything:
		w.event("everything killed")
		return together(w.downController(w.controllers[0]), w.downController(w.controllers[1]), w.downController(w.controllers[2]),
			w.down(w.brokers[0], w.brokers[0].kill), w.down(w.brokers[1], w.brokers[1].kill), w.down(w.brokers[2], w.brokers[2].kill))
	case LoseAllPower:
		if !w.plan.Flush {
			return nil
		}
		w.event("all lost power")
		var ends []func()
		for _, c := range w.controllers {
			ends = append(ends, w.downController(c))
		}
		for _, b := range w.brokers {
			ends = append(ends, w.down(b, b.losePower))
		}
		return together(ends...)
	case CutOneWay:
		w.event("partitioned")
		return w.cutLink(w.someNode(f.A), w.someNode(f.B))
	case Isolate:
		w.event("partitioned")
		return w.isolate(w.someNode(f.A))
	case ElectController:
		w.elect()
	case JumpClock:
		w.jump(b, int64(f.B%20_000-10_000))
	case ChangeMinISR:
		w.changeMinISR(1 + f.B%2)
		if f.B%3 == 0 { // while an ISR is about to shrink
			return w.isolate(b.node())
		}
	case ElectPreferred:
		w.electPreferred()
	case ReturnAlone:
		w.returnAlone(b, f.Lasts)
	case LoseProposed:
		w.layAmbush(b, f.Lasts)
	case SecondProcess:
		w.secondProcess(b, impostor(f.B)%impostors)
	case HideLog:
		return w.hideLog(b, f.B)
	case Slander:
		return w.slander(b)
	case SlowDown:
		return w.slowDown(w.someNode(f.A), f.Lasts)
	}
	return nil
}

func together(ends ...func()) func() {
	return func() {
		for _, end := range ends {
			if end != nil {
				end()
			}
		}
	}
}

// down takes a broker that is up down, and starts it at the end.
func (w *World) down(b *broker, how func()) (end func()) {
	if !b.up {
		return nil
	}
	how()
	return func() {
		if !b.up {
			b.start()
		}
	}
}

func (w *World) downController(c *controllerNode) (end func()) {
	if !c.up {
		return nil
	}
	c.kill()
	return func() {
		if !c.up {
			c.start()
		}
	}
}

// stopAnyway ends a controlled shutdown that nobody answered, as a process does
// after its time, and starts the broker again.
func (w *World) stopAnyway(b *broker) {
	if b.up {
		b.kill()
	}
	b.start()
}

func (w *World) pause(paused *bool, up bool, what string, n node) (end func()) {
	if !up || *paused {
		return nil
	}
	w.tell("%s %d is paused", what, n)
	w.event(what + " paused")
	*paused = true
	return func() {
		*paused = false
		w.tell("%s %d goes on", what, n)
	}
}

func (w *World) someNode(n int) node {
	if n %= brokerCount + controllerCount; n >= brokerCount {
		return node(firstController + n - brokerCount)
	}
	return node(n)
}

// isolate cuts a node off from all others, both ways.
func (w *World) isolate(n node) (end func()) {
	w.tell("node %d is cut off", n)
	var ends []func()
	for i := range brokerCount + controllerCount {
		if other := w.someNode(i); other != n {
			ends = append(ends, w.cutLink(n, other), w.cutLink(other, n))
		}
	}
	return together(ends...)
}

// jump moves a broker's wall clock by up to 10 s.
func (w *World) jump(b *broker, by int64) {
	b.skew += by
	w.event("clock jumped")
	w.tell("the clock of broker %d jumps by %d ms", b.id, by)
}

// changeMinISR asks for another min.insync.replicas, but not while a loss of power
// is not made good: that would lower the bound that the loss was within.
func (w *World) changeMinISR(to int) {
	if c := w.activeController(); c != nil && w.power.spent == nil {
		w.power.asked = w.step
		w.tell("min.insync.replicas of %s becomes %d", topics[1], to)
		w.event("min ISR changed")
		w.ask(outside, c, alterMinISR(topics[1], to), func(kmsg.Response) {})
	}
}

func (w *World) electPreferred() {
	if c := w.activeController(); c != nil {
		w.event("preferred leaders asked for")
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version, req.TimeoutMillis = 2, 1000
		w.ask(outside, c, req, func(kmsg.Response) {})
	}
}

// powerBound keeps the faults within the bound in which nothing acknowledged may
// be lost: page caches are lost on fewer than min.insync.replicas brokers between
// two states in which every ISR is full, and min.insync.replicas is 2 everywhere.
type powerBound struct {
	// spent is whoever has lost its page cache since every ISR was full.
	spent *broker
	// lostAt is the life in which it did: its own return has to be seen in the image.
	lostLife int
	full     bool
	minISR   bool
	asked    int // the step at which another min.insync.replicas was asked for
}

// askedLong is how many steps a request is decided in, or not at all.
const askedLong = 10_000

// look takes the newest committed image.
func (p *powerBound) look(im *image.Image) {
	p.full, p.minISR = true, true
	for t := range im.Topics() {
		p.minISR = p.minISR && minISROf(im, t.Name) == 2
		for _, part := range t.Partitions() {
			p.full = p.full && len(part.ISR) == brokerCount
		}
	}
	if p.spent != nil && p.full && p.spent.up && p.spent.lives > p.lostLife {
		if me := im.Broker(p.spent.id); me != nil && me.Epoch == p.spent.epoch && !me.Fenced {
			p.spent = nil
		}
	}
}

func (p *powerBound) allows(b *broker, step int) bool {
	return b.up && (p.spent == nil && p.full || p.spent == b) && p.minISR && (p.asked == 0 || step > p.asked+askedLong)
}

// allowsNow is allows where the ISRs need not be full now, but were since the last loss.
func (p *powerBound) allowsNow(b *broker, step int) bool {
	return b.up && (p.spent == nil || p.spent == b) && p.minISR && (p.asked == 0 || step > p.asked+askedLong)
}

func (p *powerBound) lost(b *broker) { p.spent, p.lostLife = b, b.lives }
