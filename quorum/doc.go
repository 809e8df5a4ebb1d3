// Package quorum is the controller: the loop that owns the cluster's metadata
// while this node is the active controller, and the wire side that brokers,
// tools and clients talk to.
//
// Core is the loop as a value: Step(event) returns effects, and it has no
// goroutine, clock or I/O of its own, so that a simulator runs it unchanged.
// Controller is the shell around it: it follows the committed log, runs the
// effects on a Log (quorum/raft), and serves the controller listener.
//
// The way of a change: request → decision on the pending image (quorum/controller)
// → batch appended under (epoch, expected offset) → committed by Raft → folded
// into the committed image → reply. Nothing else changes state.
package quorum
