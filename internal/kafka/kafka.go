// Package kafka holds the value types that every other package speaks in:
// offsets, epochs, node ids and Kafka's 128-bit ids. It is a leaf: it imports
// nothing of kvorum and anyone may import it.
package kafka

import "strconv"

// Offset is the position of one record in a log, counted from 0. As the end of
// a range it is exclusive (one past the last record); -1 means "none".
type Offset int64

// NoOffset is the offset that stands for "unknown" or "none" on the wire.
const NoOffset Offset = -1

// LeaderEpoch numbers the leaders of one log: of a partition, or of the
// metadata log, where it is the KRaft (controller) epoch. -1 means "none".
type LeaderEpoch int32

// NoEpoch is the epoch that stands for "unknown" or "none" on the wire.
const NoEpoch LeaderEpoch = -1

// PartitionEpoch counts the committed changes of one partition's state
// (Kafka's "partition epoch", formerly the zkVersion).
type PartitionEpoch int32

// BrokerEpoch identifies one registration of a broker: the metadata offset at
// which that registration was processed (kafka QuorumController.registerBroker).
// -1 means "not registered" or "do not check".
type BrokerEpoch int64

// NoBrokerEpoch stands for an unknown broker epoch.
const NoBrokerEpoch BrokerEpoch = -1

// BrokerID is the node.id of a broker. Where a leader is expected, -1 means
// "no leader".
type BrokerID int32

// Int32s are broker ids as Kafka's messages have them; never nil.
func Int32s(brokers []BrokerID) []int32 {
	out := make([]int32, len(brokers))
	for i, b := range brokers {
		out[i] = int32(b)
	}
	return out
}

// NoLeader is the leader of a partition that has none.
const NoLeader BrokerID = -1

// NodeID is the node.id of a controller; it shares one number space with
// BrokerID. -1 means "none known".
type NodeID int32

// NoNode is the id that stands for "no node known" on the wire.
const NoNode NodeID = -1

// PartitionID numbers the partitions of one topic from 0.
type PartitionID int32

// ProducerID identifies one producer session; blocks of them are handed out by
// the controllers.
type ProducerID int64

// EpochOffset is a point in a log: the epoch of the last record before Offset,
// and Offset itself (exclusive). It names snapshots and divergence points.
type EpochOffset struct {
	Offset Offset
	Epoch  LeaderEpoch
}

// TopicPartition names one partition of a topic, as clients and directories of
// a broker do ("orders-3").
type TopicPartition struct {
	Topic     string
	Partition PartitionID
}

// String is the partition's directory name, topic-partition.
func (p TopicPartition) String() string {
	return p.Topic + "-" + strconv.Itoa(int(p.Partition))
}
