// Package replica holds every replica of this broker: the partitions that it
// leads and follows, and the requests that wait for them.
//
// It stands between the handlers and coordinators above and storage's logs
// below. Partitions follows the metadata image (Publish) and answers Produce,
// Fetch, ListOffsets and their kin; what a leader or a follower decides is in
// the pure package core, whose effects the Partition here carries out.
//
// Locks, from the outside in: Partitions.mu guards the map of partitions and is
// never held while another is taken; Partition.role is held shared while
// something is appended or read and exclusively while the partition changes its
// role; Partition.mu guards the core and the lists of waiting requests and is
// held for a few hundred nanoseconds, never during I/O.
//
// Followers fetch by themselves: for each other broker that leads partitions of
// ours there is one fetcher, a loop with one connection and one fetch session,
// that Run starts and waits for. What it learns goes through Partition.take.
package replica
