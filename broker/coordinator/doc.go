// Package coordinator is the group coordinator: it runs one State (broker/group)
// for each partition of __consumer_offsets that this broker leads.
//
//	handler → Groups → shard (one loop per partition) → Core → Log (a led partition)
//
// The Core is deterministic: what has to be waited for is the shard's. It loads its
// state from the log when the broker becomes the leader, and drops it when it is no
// longer. Requests that come in while it is busy are decided together and appended
// as one batch (group commit); each answer waits until everything that it has read is
// committed. When an append fails, the state before it comes back and the requests
// fail; nothing that was not appended is ever answered.
//
// Reads of offsets and of descriptions see what is committed.
package coordinator
