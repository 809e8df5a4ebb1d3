// Package metadatalog stores the metadata log: Kafka record batches by offset,
// the epochs in which they were written, the log's start, and beside them the
// few small values that must change in the same atomic write (the applied raft
// index and the state machine's own state).
//
// Controllers and brokers use the same code. On a controller raft's apply is
// the writer; on a broker it is the fetcher. Both serve their readers from
// here: a controller the brokers' fetches, either of them the replay of the log
// into an image. What is stored is committed; what a broker fetched before it
// knows the high watermark is the fetcher's business.
//
// # Durability
//
// A write is atomic, and after a crash the store holds a prefix of the writes:
// a later one never survives an earlier one. Append writes without fsync
// unless it is asked to; Sync returns when everything written before is on
// disk. TruncateTo, Reset and Restore are on disk when they return; TrimTo need
// not be, because what it removed may come back without harm.
//
// The format is drawn in docs/formats/metadata-store.md.
package metadatalog
