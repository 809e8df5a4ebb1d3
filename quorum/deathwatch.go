package quorum

import (
	"maps"
	"math/bits"
	"net"
	"slices"
	"strconv"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/metadatalog/image"
)

// When a process dies its kernel closes its sockets at once, and answers whoever
// connects to its ports with a reset. deathWatch takes that for proof:
//
//	heard ──(its connection was closed by the peer)──▶ suspected
//	suspected ──(every listener refused)──▶ 50 ms ──(every listener refused)──▶ dead
//	suspected ──(a listener answers or is silent, five times, or the broker is heard)──▶ heard
//	unheard   ──(every listener took a connection, and later refuses)──▶ suspected
//
// A controller that has just become active has heard nobody. It dials every broker
// until it does, so that it does not lose sight of those that die meanwhile.
//
// An answer is asked for again, since a process that dies closes one socket after the
// other: the listener may still be there when the connection is not.
//
// docs/design/0004-fencing-on-proof-of-death.md argues each rule.

const (
	// refusalsNeeded is how often every listener has to refuse, and refusalPauseMs
	// how long after the one time the next is: longer than a process takes that
	// rebinds a listener.
	refusalsNeeded = 2
	refusalPauseMs = 50
	// maxDials bounds the dials of one suspicion.
	maxDials = 5
	// unheardPauseMs is the time between the dials of a broker that was not heard
	// yet. It is within a heartbeat interval, by default 2 s, or it would be dead
	// for longer before it is dialled than before it would have been heard.
	unheardPauseMs = 250
	// firstPauseMs is how long after a dial that did not reach all listeners of a
	// broker the next one is: it is starting. Each pause is twice as long, and
	// after maxFirst of them only heartbeats have it dialled.
	firstPauseMs = 100
	maxFirst     = 5
	// maxDialled bounds the listeners that are dialled. A broker with more, of
	// which there is none, is left to its session.
	maxDialled = 16
)

// deathWatch is a value without clock or I/O; the core owns it. The zero value
// watches nobody. It has at most one entry for each registered broker.
type deathWatch struct {
	brokers map[kafka.BrokerID]*watchedBroker
	number  uint64 // of the newest dial
}

// watchedBroker is what is known of one incarnation.
type watchedBroker struct {
	epoch kafka.BrokerEpoch
	// conn is the connection of its last heartbeat, 0 if that is not in sight: it
	// was in process, or we closed it.
	conn uint64
	// reached has for each listener the address at which it took a connection from
	// here, empty before. An address that never did proves nothing by refusing: it
	// may be one that only clients can reach.
	listeners, reached []string
	heartbeats         uint // heard while some listener was not reached
	first              int  // dials in vain before all of them were reached

	unheard bool // there was no sign of life since this controller became active

	dial      uint64 // the one in flight, 0 if there is none
	suspected bool   // its connection was closed by it, and it was not heard since
	dials     int    // since it is suspected
	refusals  int    // of all listeners, one right after the other
	dueMs     int64  // the next dial, 0 if none is due
	// fencedMs is when it was fenced on proof, 0 if it was not.
	fencedMs int64
}

// begin watches every broker that is not fenced, from nowMs on, but the local one,
// which is in this process. Their first dials are due.
func (w *deathWatch) begin(img *image.Image, nowMs int64, local kafka.BrokerID) {
	w.brokers = map[kafka.BrokerID]*watchedBroker{}
	for b := range img.Brokers() {
		if b.Fenced || b.ID == local {
			continue
		}
		known := newWatched(b)
		known.unheard = len(known.listeners) > 0
		if known.unheard {
			known.dueMs = nowMs
		}
		w.brokers[b.ID] = known
	}
}

func newWatched(b *image.Broker) *watchedBroker {
	listeners := listenersOf(b)
	return &watchedBroker{epoch: b.Epoch, listeners: listeners, reached: make([]string, len(listeners))}
}

// heard notes a heartbeat or registration over conn of a broker as it is
// registered, and returns the dial that is due. Listeners that were not reached
// yet, since the broker was just starting or since only clients can reach them,
// are dialled again at its first, second, fourth, eighth … heartbeat.
func (w *deathWatch) heard(b *image.Broker, conn uint64) []Dial {
	known := w.brokers[b.ID]
	if known == nil || known.epoch != b.Epoch || !slices.Equal(known.listeners, listenersOf(b)) {
		known = newWatched(b)
		if w.brokers == nil {
			w.brokers = map[kafka.BrokerID]*watchedBroker{}
		}
		w.brokers[b.ID] = known
	}
	if known.suspected { // what is in flight was begun to prove its death
		known.dial = 0
	}
	if known.suspected || known.unheard {
		known.dueMs = 0
	}
	known.conn, known.suspected, known.unheard, known.refusals, known.fencedMs = conn, false, false, 0, 0
	if b.Fenced || conn == 0 || known.dial != 0 || known.dueMs > 0 || known.allReached() {
		return nil
	}
	if known.heartbeats++; bits.OnesCount(known.heartbeats) > 1 {
		return nil
	}
	return []Dial{w.newDial(b.ID, known, known.listeners)}
}

// listenersOf are the addresses of a broker's listeners; none where it has more
// than is dialled.
func listenersOf(b *image.Broker) []string {
	if len(b.Endpoints) > maxDialled {
		return nil
	}
	out := make([]string, len(b.Endpoints))
	for i, e := range b.Endpoints {
		out[i] = net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
	}
	return out
}

func (w *deathWatch) newDial(id kafka.BrokerID, b *watchedBroker, addresses []string) Dial {
	w.number++
	b.dial = w.number
	return Dial{Broker: id, Epoch: b.epoch, Number: w.number, Addresses: slices.Clone(addresses)}
}

// ended notes that a connection is no more. It names the broker whose last
// heartbeat came over it, if the broker itself closed it and is not fenced: an
// orderly one closes it when it is.
func (w *deathWatch) ended(img *image.Image, nowMs int64, conn uint64, byPeer bool) (kafka.BrokerID, bool) {
	for id, b := range w.brokers {
		if b.conn != conn || conn == 0 {
			continue
		}
		b.conn = 0
		reg := img.Broker(id)
		if !byPeer || reg == nil || reg.Epoch != b.epoch || reg.Fenced {
			return kafka.NoLeader, false
		}
		if len(b.listeners) > 0 && b.allReached() {
			b.suspect(nowMs)
		}
		return id, true
	}
	return kafka.NoLeader, false
}

// dialed notes what became of a dial, and returns the broker that is proven dead
// by it, kafka.NoLeader if none is.
func (w *deathWatch) dialed(nowMs int64, ev Dialed) kafka.BrokerID {
	b := w.brokers[ev.Broker]
	if b == nil || b.epoch != ev.Epoch || b.dial != ev.Number || len(ev.Answers) != len(b.listeners) {
		return kafka.NoLeader
	}
	b.dial = 0
	refused := !slices.ContainsFunc(ev.Answers, func(a DialAnswer) bool {
		return !a.Refused && !(planted.Is(planted.ProofFromSilence) && a.Reached == "")
	})
	if !b.suspected && b.unheard && refused && b.allReached() {
		b.suspect(0)
	}
	if !b.suspected {
		b.learn(nowMs, ev.Answers)
		return kafka.NoLeader
	}
	b.dials++
	b.refusals++
	if !refused {
		b.refusals = 0
	}
	switch {
	case b.refusals >= refusalsNeeded, planted.Is(planted.OneRefusal) && refused:
	case b.dials < maxDials:
		b.dueMs = nowMs + refusalPauseMs
		return kafka.NoLeader
	default: // it lives, or is silent: the session decides
		b.suspected, b.dueMs = false, 0
		if b.unheard {
			b.dueMs = nowMs + unheardPauseMs
		}
		return kafka.NoLeader
	}
	b.dueMs = 0 // it stays suspected until it is heard
	return ev.Broker
}

// suspect begins a suspicion, whose first dial is due at dueMs.
func (b *watchedBroker) suspect(dueMs int64) {
	b.suspected, b.dials, b.refusals, b.dueMs, b.dial = true, 0, 0, dueMs, 0
}

// learn notes which listeners took a connection, and when to dial next.
func (b *watchedBroker) learn(nowMs int64, answers []DialAnswer) {
	for i, a := range answers {
		if a.Reached != "" {
			b.reached[i] = a.Reached
		}
	}
	switch {
	case b.unheard:
		b.dueMs = nowMs + unheardPauseMs
	case !b.allReached() && b.first < maxFirst:
		b.dueMs = nowMs + firstPauseMs<<b.first
		b.first++
	}
}

// addresses are where it is dialled: where it answered before, or where it says to
// be.
func (b *watchedBroker) addresses() []string {
	out := slices.Clone(b.reached)
	for i := range out {
		if out[i] == "" {
			out[i] = b.listeners[i]
		}
	}
	return out
}

// allReached reports whether every listener took a connection from here.
func (b *watchedBroker) allReached() bool { return !slices.Contains(b.reached, "") }

// tick makes the dials that are due, and forgets who is no longer registered.
func (w *deathWatch) tick(img *image.Image, nowMs int64) (dials []Dial) {
	for _, id := range slices.Sorted(maps.Keys(w.brokers)) { // the same events, the same effects
		b, reg := w.brokers[id], img.Broker(id)
		switch {
		case reg == nil || reg.Epoch != b.epoch:
			delete(w.brokers, id)
		case reg.Fenced:
			b.suspected, b.dueMs = false, 0 // there is nothing left to prove
		case b.dueMs > 0 && nowMs >= b.dueMs && b.dial == 0:
			b.dueMs = 0
			dials = append(dials, w.newDial(id, b, b.addresses()))
		}
	}
	return dials
}

// nextMs is when tick has something to do, 0 if it has not.
func (w *deathWatch) nextMs() (next int64) {
	for _, b := range w.brokers {
		if b.dueMs > 0 && (next == 0 || b.dueMs < next) {
			next = b.dueMs
		}
	}
	return next
}

// inSight reports whether a broker's death would be noticed at once: its connection
// is there or it is dialled until it is, and all its listeners were reached.
func (b *watchedBroker) inSight() bool {
	return b != nil && (b.conn != 0 || b.unheard) && len(b.listeners) > 0 && b.allReached()
}

// inSight counts the brokers that are.
func (w *deathWatch) inSight() (n int) {
	for _, b := range w.brokers {
		if b.inSight() {
			n++
		}
	}
	return n
}

// mostLookDead reports whether more than half of the brokers that were there
// withinMs ago look dead: then it is rather this controller that is cut off.
func (w *deathWatch) mostLookDead(img *image.Image, nowMs, withinMs int64) bool {
	all, dead := 0, 0
	for reg := range img.Brokers() {
		b := w.brokers[reg.ID]
		here := b != nil && b.epoch == reg.Epoch
		switch {
		case !reg.Fenced:
			all++
			if here && b.suspected {
				dead++
			}
		case here && b.fencedMs > 0 && nowMs-b.fencedMs <= withinMs:
			all, dead = all+1, dead+1
		}
	}
	return 2*dead > all && !planted.Is(planted.NeverSuspectItself)
}
