// Package snapshot writes, reads, keeps and hands out the .checkpoint files of
// the metadata log, byte-compatible with Apache Kafka's.
//
// A snapshot stands for the log up to an offset. A node writes one of its image
// from time to time, so that the log before it can be cut; a node that starts
// loads the newest and replays the log after it; a node that is too far behind
// fetches one. This package knows the files: their format, the directory, what
// to keep, and what to do with a damaged one. When to write one is decided by
// whoever replays the log.
//
// A file is a string of record batches whose offsets begin at 0 inside of the
// file and whose leader epoch is that of the snapshot's id:
//
//	control batch   SnapshotHeader, and with kraft.version 1 also KRaftVersion
//	                and the KRaftVoters that are known
//	data batches    the records that make up the image
//	control batch   SnapshotFooter
//
// A snapshot is durable before it has its name: it is written as NAME.part,
// fsynced, renamed, and the directory fsynced.
package snapshot
