package broker

import (
	"fmt"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// State is where a broker stands (BrokerState; the numbers are Kafka's metric).
//
//	NotRunning -> Starting        it asks to be registered
//	Starting -> Recovery          it is registered, and its image holds that
//	Recovery -> Running           the first image is acted upon and it is unfenced
//	Running -> PendingShutdown    it is told to stop and asks to
//	Running -> Starting           its registration was replaced
//	any -> ShuttingDown           it may stop, or must
type State int8

// The states.
const (
	NotRunning      State = 0
	Starting        State = 1
	Recovery        State = 2
	Running         State = 3
	PendingShutdown State = 6
	ShuttingDown    State = 7
)

// String is Kafka's name of the state.
func (s State) String() string {
	switch s {
	case NotRunning:
		return "NOT_RUNNING"
	case Starting:
		return "STARTING"
	case Recovery:
		return "RECOVERY"
	case Running:
		return "RUNNING"
	case PendingShutdown:
		return "PENDING_CONTROLLED_SHUTDOWN"
	case ShuttingDown:
		return "SHUTTING_DOWN"
	}
	return fmt.Sprintf("State(%d)", int8(s))
}

// lifecycleConfig is what the lifecycle goes by; times are in milliseconds.
type lifecycleConfig struct {
	intervalMs     int64 // broker.heartbeat.interval.ms
	registrationMs int64 // initial.broker.registration.timeout.ms
	// controlledShutdown asks the controllers for leave before stopping, for at most
	// shutdownMs.
	controlledShutdown bool
	shutdownMs         int64
	// directoryMs is how long a failed directory may stay unknown to the controllers
	// (log.dir.failure.timeout.ms); 0: for ever.
	directoryMs int64
	// patient says that the broker waits for a controller as long as it takes; else it
	// gives up after registrationMs.
	patient bool
}

// lifecycle is the core of a broker's life (BrokerLifecycleManager): it says when
// to register and what to tell in which heartbeat. There is never more than one
// request of it under way. It sends a heartbeat at once when something changed
// that the controllers decide by, and otherwise each interval: nothing waits for
// a tick that could go by an event.
type lifecycle struct {
	cfg   lifecycleConfig
	state State
	epoch kafka.BrokerEpoch

	startedMs int64
	// registeredBefore says that the broker has served: it does not end for want of a
	// registration any more.
	registeredBefore bool
	// published is the offset of the newest image that every publisher has seen.
	published kafka.Offset
	// ready says that the broker can do its work, as far as it is up to itself.
	ready bool
	// unfenced is what the last answer said.
	unfenced bool
	offline  []kafka.DirectoryID // all that failed, in order of failure
	// told is how many of them the controllers know, telling how many the heartbeat
	// under way names; untoldMs is since when one is unknown.
	told, telling int
	untoldMs      int64

	inFlight bool
	// dirty says that the next heartbeat must not wait: something happened since the
	// last one was made.
	dirty    bool
	failures int
	dueMs    int64 // of the next request
	stopMs   int64 // when controlled shutdown began; 0 before
	heard    bool  // a controller has answered since
}

// Lifecycle events.
type (
	lifecycleStarted struct{}
	// lifecycleResumed begins the life of a broker that goes on as who it was.
	lifecycleResumed struct{ epoch kafka.BrokerEpoch }
	// registered is the answer to a registration; err is nil where code says it.
	registered struct {
		epoch kafka.BrokerEpoch
		code  errors.Code
		err   error
	}
	// heartbeatAnswered is the answer to a heartbeat.
	heartbeatAnswered struct {
		caughtUp, fenced, shouldShutDown bool
		code                             errors.Code
		err                              error
	}
	// imagePublished says that every publisher has acted on the image of an offset.
	imagePublished struct{ offset kafka.Offset }
	// becameReady says that logs are open and listeners bound; alone, that no
	// controller is there to say that it may lead, and it needs none.
	becameReady     struct{ alone bool }
	directoryFailed struct{ id kafka.DirectoryID }
	stopWanted      struct{}
	lifecycleTick   struct{}
)

// heartbeat is what one BrokerHeartbeat says.
type heartbeat struct {
	epoch                   kafka.BrokerEpoch
	offset                  kafka.Offset
	wantFence, wantShutDown bool
	offline                 []kafka.DirectoryID
}

// lifecycleEffects is what the shell has to do after a step.
type lifecycleEffects struct {
	register  bool
	heartbeat *heartbeat
	// wakeAtMs is when a tick is wanted, 0 for never.
	wakeAtMs int64
	// failed ends the broker.
	failed error
	note   string
}

func newLifecycle(cfg lifecycleConfig) *lifecycle {
	return &lifecycle{cfg: cfg, epoch: kafka.NoBrokerEpoch, published: kafka.NoOffset}
}

// Pauses after failures, in milliseconds.
const (
	minFailurePause = 100
	maxFailurePause = 1000
)

// step takes one event.
func (l *lifecycle) step(nowMs int64, ev any) lifecycleEffects {
	var out lifecycleEffects
	switch ev := ev.(type) {
	case lifecycleStarted:
		l.state, l.startedMs = Starting, nowMs
	case lifecycleResumed:
		l.state, l.startedMs, l.registeredBefore = Recovery, nowMs, true
		l.epoch, l.dueMs = ev.epoch, nowMs+l.cfg.intervalMs
	case registered:
		l.stepRegistered(nowMs, ev, &out)
	case heartbeatAnswered:
		l.stepAnswered(nowMs, ev, &out)
	case imagePublished:
		l.stepPublished(ev)
	case becameReady:
		l.ready, l.dirty = true, l.dirty || l.state == Recovery
		if ev.alone && l.state == Recovery {
			l.state = Running
		}
	case directoryFailed:
		if !slices.Contains(l.offline, ev.id) {
			if l.told == len(l.offline) {
				l.untoldMs = nowMs
			}
			l.offline, l.dirty = append(l.offline, ev.id), true
		}
	case stopWanted:
		l.stepStop(nowMs)
	case lifecycleTick:
	default:
		panic(fmt.Sprintf("broker: unknown lifecycle event %T", ev))
	}
	l.act(nowMs, &out)
	return out
}

// stepRegistered takes the answer to a registration. Every error is tried again
// until the time is over: another run of this broker may still have its session.
func (l *lifecycle) stepRegistered(nowMs int64, ev registered, out *lifecycleEffects) {
	l.inFlight = false
	if ev.err == nil {
		ev.err = ev.code.Err()
	}
	if ev.err != nil {
		l.backOff(nowMs)
		silent := l.cfg.patient && ev.code == errors.None // nobody has refused it
		if !silent && !l.registeredBefore && nowMs-l.startedMs >= l.cfg.registrationMs {
			out.failed = fmt.Errorf("register this broker: no success within initial.broker.registration.timeout.ms=%d: %w", l.cfg.registrationMs, ev.err)
			return
		}
		if l.failures == 1 {
			out.note = fmt.Sprintf("registration failed and is tried again: %v", ev.err)
		}
		return
	}
	// The registration began a session. The next thing to tell is that the broker
	// is ready.
	l.epoch, l.failures, l.dueMs = ev.epoch, 0, nowMs+l.cfg.intervalMs
	l.caughtUp()
}

func (l *lifecycle) backOff(nowMs int64) {
	l.failures++
	l.dueMs = nowMs + min(maxFailurePause, int64(minFailurePause)<<min(l.failures-1, 4))
}

func (l *lifecycle) stepPublished(ev imagePublished) {
	l.published = max(l.published, ev.offset)
	l.caughtUp()
}

// caughtUp moves on when the broker's image holds its own registration, by which
// the controllers decide too (BrokerHeartbeatManager).
func (l *lifecycle) caughtUp() {
	if l.state == Starting && l.epoch != kafka.NoBrokerEpoch && l.published >= kafka.Offset(l.epoch) {
		l.state, l.dirty = Recovery, l.ready
	}
}

func (l *lifecycle) stepAnswered(nowMs int64, ev heartbeatAnswered, out *lifecycleEffects) {
	l.inFlight = false
	if ev.err == nil {
		ev.err = ev.code.Err()
	}
	if (ev.code == errors.StaleBrokerEpoch || ev.code == errors.BrokerIDNotRegistered) && l.state != PendingShutdown {
		l.registerAgain(nowMs, out, ev.err)
		return
	}
	l.heard = l.heard || ev.code != errors.None || ev.err == nil
	if ev.err != nil {
		if l.backOff(nowMs); l.failures == 1 {
			out.note = fmt.Sprintf("a heartbeat failed: %v", ev.err)
		}
		return
	}
	l.failures, l.dueMs = 0, nowMs+l.cfg.intervalMs
	if l.told = l.telling; l.told < len(l.offline) {
		l.untoldMs = nowMs // it failed meanwhile, and is told next
	}
	l.unfenced = !ev.fenced
	switch {
	case l.state == PendingShutdown && ev.shouldShutDown:
		l.state = ShuttingDown
	case l.state == PendingShutdown, l.state == Recovery && l.ready && ev.fenced:
		l.dueMs = nowMs + min(impatience, l.cfg.intervalMs)
	case l.state == Recovery && !ev.fenced:
		l.state = Running
		out.note = "unfenced"
	}
}

// registerAgain is for a broker whose registration is another's now, or gone: a
// request of an earlier run came late, or somebody unregistered it. Apache's broker
// goes on with heartbeats that nobody takes. If another process really has the id,
// the registration is refused as long as that one lives, and this one stays fenced.
func (l *lifecycle) registerAgain(nowMs int64, out *lifecycleEffects, why error) {
	l.epoch, l.state, l.unfenced, l.registeredBefore = kafka.NoBrokerEpoch, Starting, false, true
	l.backOff(nowMs)
	out.note = fmt.Sprintf("the controllers do not know this broker's registration any more, so that it registers again: %v", why)
}

// loneShutdown is how long in milliseconds a broker that is to stop waits for the
// first answer of a controller: longer than they take to elect another one.
const loneShutdown = 10_000

// impatience is the time in milliseconds between heartbeats while the broker
// waits for the controllers: to be unfenced, or to have its leaders moved.
const impatience = 50

func (l *lifecycle) stepStop(nowMs int64) {
	switch {
	case l.stopMs != 0:
	case l.cfg.controlledShutdown && (l.state == Running || l.state == Recovery):
		l.state, l.stopMs, l.dirty, l.heard = PendingShutdown, nowMs, true, false
	default:
		l.state, l.stopMs = ShuttingDown, nowMs
	}
}

// act says what is to be sent now, or when to look again.
func (l *lifecycle) act(nowMs int64, out *lifecycleEffects) {
	if l.state == PendingShutdown && nowMs-l.stopMs >= l.cfg.shutdownMs {
		l.state = ShuttingDown
		out.note = "the controllers gave no leave to stop in time: stopping without it"
	}
	if l.state == PendingShutdown && l.cfg.patient && !l.heard && nowMs-l.stopMs >= loneShutdown {
		l.state = ShuttingDown
		out.note = "no controller answers: stopping without leave"
	}
	if l.state == NotRunning || l.state == ShuttingDown || out.failed != nil {
		return
	}
	if l.cfg.directoryMs > 0 && l.told < len(l.offline) && nowMs-l.untoldMs >= l.cfg.directoryMs {
		out.failed = fmt.Errorf("a log directory has failed, and the controllers could not be told for log.dir.failure.timeout.ms=%d: "+
			"they cannot find other leaders for its partitions; look at the network between this broker and the controllers", l.cfg.directoryMs)
		return
	}
	urgent := l.dirty && l.failures == 0
	switch {
	case l.inFlight:
	case nowMs < l.dueMs && !urgent:
		out.wakeAtMs = l.dueMs
	case l.epoch == kafka.NoBrokerEpoch:
		l.inFlight, out.register = true, true
	default:
		l.inFlight, l.dirty, l.telling = true, false, len(l.offline)
		out.heartbeat = &heartbeat{
			epoch: l.epoch, offset: l.published, wantFence: l.state == Starting || l.state == Recovery && !l.ready,
			wantShutDown: l.state == PendingShutdown, offline: slices.Clone(l.offline),
		}
	}
	if l.state == PendingShutdown {
		end := l.stopMs + l.cfg.shutdownMs
		if l.cfg.patient && !l.heard {
			end = min(end, l.stopMs+loneShutdown)
		}
		if out.wakeAtMs == 0 || end < out.wakeAtMs {
			out.wakeAtMs = end
		}
	}
}
