package core

import (
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/errors"
)

// What follows is what a replica tells who reads it. None of it may take a consumer
// back: an offset that was told, or read up to, is never out of range later, and the end
// of a partition that was told never comes before one that was told earlier.

// CheckEpoch compares the leader epoch that a reader knows, kafka.NoEpoch if it did not
// say, with the replica's own (Partition.checkCurrentLeaderEpoch, KIP-320). A leader that
// is deposed and does not know it must not answer who knows its successor: it may lack
// what the reader has seen there.
func CheckEpoch(current, asked kafka.LeaderEpoch) errors.Code {
	switch {
	case asked == kafka.NoEpoch || asked == current || planted.Is(planted.AnswerAnyEpoch):
		return errors.None
	case asked < current:
		return errors.FencedLeaderEpoch
	default:
		return errors.UnknownLeaderEpoch
	}
}

// InLog reports whether a reader's offset is one of a log from start to end; otherwise it
// is told OFFSET_OUT_OF_RANGE, and a consumer begins anew somewhere else. It may lie
// above the high watermark: that is not known yet to a leader that has just begun, or
// begun again in the same epoch.
func InLog(offset, start, end, highWatermark kafka.Offset) bool {
	if planted.Is(planted.RangeByHighWatermark) {
		end = highWatermark
	}
	return start <= offset && offset <= end
}

// EndKnown reports whether end, the high watermark or the last stable offset of a leader,
// may be told as the end of the partition. Before it has reached the log end at which the
// leader began, what was told before may lie above it (KIP-207): OFFSET_NOT_AVAILABLE.
func EndKnown(epochStart, end kafka.Offset) bool {
	return end >= epochStart || planted.Is(planted.TellEndAtOnce)
}

// ReadableTo is how far a consumer may read: what is above the high watermark may yet be
// cut off (ConsistentRead).
func ReadableTo(highWatermark, end kafka.Offset) kafka.Offset {
	if planted.Is(planted.ReadUncommittedTail) {
		return end
	}
	return highWatermark
}
