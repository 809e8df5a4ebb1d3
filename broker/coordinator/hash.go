package coordinator

import (
	"kvorum/internal/kafka"
)

// Topic is the name of the topic that groups and offsets are kept in
// (Topic.GROUP_METADATA_TOPIC_NAME).
const Topic = "__consumer_offsets"

// PartitionOf is the partition of a coordinator's topic that a group (or a
// transactional id) belongs to: the absolute value of Java's String.hashCode
// (Utils.abs, by which the smallest int is 0), modulo the number of partitions. It
// panics without partitions.
func PartitionOf(id string, partitions int32) kafka.PartitionID {
	h := javaHash(id)
	if h < 0 {
		h = max(0, -h) // the smallest int is its own negative
	}
	return kafka.PartitionID(h % partitions)
}

// javaHash is String.hashCode, which is over UTF-16 units. A byte that is no
// UTF-8 counts as U+FFFD, as Java decodes it.
func javaHash(s string) int32 {
	var h int32
	for _, r := range s {
		if r > 0xffff {
			r -= 0x10000
			h = 31*h + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + r
	}
	return h
}
