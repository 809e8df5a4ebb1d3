// Package raft is the controllers' agreement: the one place that knows
// dragonboat.
//
// It stands between the quorum's loop and the metadata store. The loop proposes
// through Log: conditional appends, and claims of leadership. Raft orders the
// commands on a majority of disks; machine.go applies each one to the
// metadatalog store of every controller, which gives equal offsets, batch
// boundaries and epochs everywhere; the store then serves the brokers.
//
// The parts, in the order in which a start uses them:
//
//   - config.go, identity.go: who this replica is. A raft replica is one
//     formatting of one directory, never "node 3".
//   - network.go, hello.go, frame.go: connections between controllers, with both
//     ends known before a byte of raft is read.
//   - bootstrap.go, membership.go: how the first controllers agree on who they
//     are before raft runs, and how a wiped one is kept out.
//   - host.go, hostname.go: dragonboat itself, and what is checked before it runs;
//     members.go, replace.go: who belongs to the quorum while it does.
//   - machine.go, command.go, state.go, stream.go: the replicated state machine.
//   - log.go, proposer.go, leadership.go: what the quorum's loop sees.
package raft
