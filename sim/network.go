package sim

// network is what is between the nodes: messages on their way, which may arrive
// in any order, late, or never.
type network struct {
	messages []message
	cut      map[[2]node]int // directed links and how many faults cut them
	slow     map[node]int    // senders whose messages take up to so many steps
}

// message is one request or answer.
type message struct {
	from, to node
	life     int // of the receiver when it was sent: a restarted process has new connections
	after    int // step before which it does not arrive
	arrive   func()
}

// maxMessages bounds the messages on their way. All senders wait for an answer or
// a timeout before they send again, so that a healthy world has a few dozen.
const maxMessages = 400

// send puts a message on its way. What crosses a cut link is lost; so is what a
// process that is gone would have got.
func (w *World) send(from, to node, arrive func()) {
	if w.network.cut[[2]node{from, to}] > 0 {
		w.event("message lost on a cut link")
		return
	}
	if len(w.network.messages) >= maxMessages {
		w.fail("Bounded", "more than %d messages are on their way", maxMessages)
	}
	m := message{from, to, w.life(to), 0, arrive}
	if steps := w.network.slow[from]; steps > 0 {
		m.after = w.step + w.rnd.IntN(steps)
		w.event("message delayed")
	}
	w.network.messages = append(w.network.messages, m)
}

// life counts the starts of a process.
func (w *World) life(n node) int {
	switch {
	case n == outside:
		return 0
	case n >= firstController:
		return w.controllers[n-firstController].lives
	default:
		return w.brokers[n].lives
	}
}

// receives reports whether a process takes messages now.
func (w *World) receives(n node) bool {
	switch {
	case n == outside:
		return true
	case n >= firstController:
		return !w.controllers[n-firstController].paused
	default:
		return !w.brokers[n].paused
	}
}

// alive reports whether there is a process at all.
func (w *World) alive(n node) bool {
	switch {
	case n == outside:
		return true
	case n >= firstController:
		return w.controllers[n-firstController].up
	default:
		return w.brokers[n].up
	}
}

// deliver brings one message, mostly an old one, to its receiver.
func (w *World) deliver() {
	n := len(w.network.messages)
	if n == 0 {
		return
	}
	i := w.rnd.IntN(n)
	if !w.chance(4) {
		i = w.rnd.IntN(1 + i)
	}
	m := w.network.messages[i]
	if m.after > w.step && !w.healing {
		return
	}
	if w.alive(m.to) && m.life == w.life(m.to) && !w.receives(m.to) {
		return // it is paused: its kernel holds the message
	}
	w.network.messages = append(w.network.messages[:i], w.network.messages[i+1:]...)
	if w.network.cut[[2]node{m.from, m.to}] > 0 || !w.alive(m.to) || m.life != w.life(m.to) {
		return
	}
	m.arrive()
}

// slowDown lets what a node sends from here on take up to some steps, until the
// returned function is called.
func (w *World) slowDown(n node, steps int) (end func()) {
	if w.network.slow == nil {
		w.network.slow = map[node]int{}
	}
	w.network.slow[n] = steps
	w.tell("messages of node %d are slow", n)
	return func() { delete(w.network.slow, n) }
}

// holdBack lets what a process that has just died had sent arrive after so many
// steps, long after its successor has begun.
func (w *World) holdBack(from node, steps int) {
	for i := range w.network.messages {
		if m := &w.network.messages[i]; m.from == from {
			m.after = max(m.after, w.step+w.rnd.IntN(steps))
			w.event("message outlived its sender")
		}
	}
}

// cutLink loses what one node sends to another, until the returned function is
// called.
func (w *World) cutLink(from, to node) (heal func()) {
	if w.network.cut == nil {
		w.network.cut = map[[2]node]int{}
	}
	w.network.cut[[2]node{from, to}]++
	return func() { w.network.cut[[2]node{from, to}]-- }
}
