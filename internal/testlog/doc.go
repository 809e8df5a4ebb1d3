// Package testlog is the replicated metadata log without Raft: what quorum/raft
// promises to the controllers' loop, for several nodes in one process, with
// everything in the hands of the test.
//
// It stands in the place of quorum/raft. Machine has the rules of the replicated
// state machine. Group is a quorum without goroutines, for a simulator: the test
// says who leads, which proposal commits when, in which order, how often or
// never, who has applied how much, and which outcome a proposer learns. Cluster
// puts real stores under a Group and gives each node a raft.Log, for tests of the
// whole controller.
package testlog
