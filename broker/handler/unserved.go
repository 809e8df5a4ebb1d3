package handler

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	noTransactions = "the transaction coordinator is not built yet"
	noNewGroups    = "the KIP-848 group protocol is not built yet"
	noShareGroups  = "share groups are not built yet"
	noStreams      = "streams groups are not built yet"
	noReceiver     = "Apache serves telemetry only with a metrics receiver plug-in, which there is none of"
)

// Unserved are the APIs of an Apache broker that are neither bound nor announced
// here, and why. A test holds it against what is bound.
var Unserved = map[kmsg.Key]string{
	kmsg.AddPartitionsToTxn:   noTransactions,
	kmsg.AddOffsetsToTxn:      noTransactions,
	kmsg.EndTxn:               noTransactions,
	kmsg.TxnOffsetCommit:      noTransactions,
	kmsg.DescribeTransactions: noTransactions,
	kmsg.ListTransactions:     noTransactions,

	kmsg.ConsumerGroupHeartbeat: noNewGroups,
	kmsg.ConsumerGroupDescribe:  noNewGroups,

	kmsg.GetTelemetrySubscriptions: noReceiver,
	kmsg.PushTelemetry:             noReceiver,

	kmsg.ShareGroupHeartbeat:        noShareGroups,
	kmsg.ShareGroupDescribe:         noShareGroups,
	kmsg.ShareFetch:                 noShareGroups,
	kmsg.ShareAcknowledge:           noShareGroups,
	kmsg.InitializeShareGroupState:  noShareGroups,
	kmsg.ReadShareGroupState:        noShareGroups,
	kmsg.WriteShareGroupState:       noShareGroups,
	kmsg.DeleteShareGroupState:      noShareGroups,
	kmsg.ReadShareGroupStateSummary: noShareGroups,
	kmsg.DescribeShareGroupOffsets:  noShareGroups,
	kmsg.AlterShareGroupOffsets:     noShareGroups,
	kmsg.DeleteShareGroupOffsets:    noShareGroups,

	kmsg.StreamsGroupHeartbeat: noStreams,
	kmsg.StreamsGroupDescribe:  noStreams,
}
