// Package storage keeps partitions on disk in Apache Kafka's own format, so
// that Kafka's tools read our files and a broker can be started on a directory
// that Apache's broker wrote, and the other way round.
//
// Place in the flow: handler → replica → Log. A Log is one partition: a row of
// segments, each a file of record batches with a sparse index by offset, one by
// time and one of aborted transactions, beside the leader epochs and the states
// of idempotent producers. Dirs holds the logs of a broker.
//
//	00000000000000000000.log        record batches, one after the other
//	00000000000000000000.index      i32 offset - base, i32 position (8 bytes)
//	00000000000000000000.timeindex  i64 timestamp ms, i32 offset - base (12)
//	00000000000000000000.txnindex   aborted transactions (34), where there are any
//	00000000000000000042.snapshot   producer states at offset 42
//	leader-epoch-checkpoint, partition.metadata
//
// A partition's directory may have nothing in it but partition.metadata: the files
// of a segment come with its first record, those of its indexes when entries are
// written or the segment is full or closed.
//
// What is durable when: an append is one write(2) of a run of batches to the end
// of the active segment's file. It is in the page cache when AppendLeader
// returns: it survives the process, not a power loss. Flush fsyncs it and moves
// the recovery point; the first one also fsyncs the directory's name and whose it
// is. Indexes are derived from the segment: they may lag behind
// it on disk, and what lies past the recovery point after an unclean stop is
// read again, checked and indexed anew.
package storage
