// Package sim is the deterministic world: three controllers and three brokers,
// their network, disks and clocks, the producers that write to them, with and
// without transactions, and the clients that commit offsets, in one goroutine. A seed decides everything that happens; the
// same seed gives the same run, step by step.
//
// What runs are the production cores: quorum.Core with its decisions over a Raft
// log that the world orders (internal/testlog), replica/core's leaders and
// followers, coordinator.Core, the replay of the metadata log, and storage.Log on a
// file system in memory that can lose what was not synced. What the world writes
// itself are the shells: who sends which request when. An oracle (truth.go) holds what was ever
// committed and checks the invariants after each step; at the end all faults stop
// and everything has to come to rest (heal.go).
//
// Nothing imports this package. A run that fails is made smaller by taking faults
// out of its plan until each that is left is needed (shrink.go).
package sim
