// Package group is the coordinator of classic consumer groups as a pure core:
// decide(state, request, env) → (records, answers, timers), state = fold(records).
//
// One State holds the groups of one partition of __consumer_offsets. A request,
// a timer that fired or the end of a transaction is an Event; Step folds what it
// decides into the State at once and returns Effects: the records to append as
// one batch, the answers to give when those are committed, the timers to set.
// A JoinGroup waits for its rebalance and a SyncGroup for the leader: their
// Tokens stay in the State and come back in the Effects of a later Step.
// broker/coordinator is the shell: it appends, waits for the high watermark,
// answers, and keeps the timers. Nothing here knows a clock, a lock or a log.
//
// The behaviour is that of GroupMetadataManager (classic part), ClassicGroup and
// OffsetMetadataManager of Apache Kafka 4.3; KIP-345 (static members), KIP-394
// (member id required), KIP-211 (expiry of offsets), KIP-814 (skipped
// assignment). One difference: a group is Stable when the record of its
// assignment is appended, and not when it is committed; nobody sees that early,
// because every answer waits for what it has read.
//
// A State is copied in constant time (Clone), so the shell keeps the one that is
// committed for reads and the one before an append for the case that it fails.
// What other group protocols have written is known by its key, and kept: no
// record of another kind is ever written or deleted here.
package group
