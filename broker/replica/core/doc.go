// Package core holds the decisions of a replica as pure state machines: what a
// leader may call committed, whom it takes into the ISR and out of it, and what
// a follower cuts off before it appends.
//
// It stands below broker/replica, which feeds it events (an append, a follower's
// fetch, a new image, the controller's answer, a tick of the clock) and carries
// out the effects. It knows no log, no clock, no lock and no goroutine, so the
// simulator runs it as it is.
package core
