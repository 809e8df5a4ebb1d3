package tools

// differences are the commands in which kvorum's node leads to other lines than
// Apache's: those not printed (-) and those printed instead (+), and why.
var differences = map[string]difference{
	"configs 19": {why: "kvorum's registry has the authorizer's keys, which in Kafka are the authorizer's own business", lines: `
+   allow.everyone.if.no.acl.found=false sensitive=false synonyms={DEFAULT_CONFIG:allow.everyone.if.no.acl.found=false}
+   super.users= sensitive=false synonyms={DEFAULT_CONFIG:super.users=}`},
	"reassign 8": {why: "moving a replica between directories of a broker (AlterReplicaLogDirs) is not served yet", lines: `
- Caused by: java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.LogDirNotFoundException: The user-specified log directory is not found in the broker config.
- Caused by: org.apache.kafka.common.errors.LogDirNotFoundException: The user-specified log directory is not found in the broker config.
+ Caused by: java.util.concurrent.ExecutionException: org.apache.kafka.common.errors.UnsupportedVersionException: The node does not support <id>
+ Caused by: org.apache.kafka.common.errors.UnsupportedVersionException: The node does not support <id>`},
	"node 1": {why: "SASL, transactions, KIP-848, KIP-932 and Streams groups and moves between directories are not served yet", lines: `
- 	SaslHandshake(17): 0 to 1 [usable: 1],
- 	AddPartitionsToTxn(24): 0 to 5 [usable: 5],
- 	AddOffsetsToTxn(25): 0 to 4 [usable: 4],
- 	EndTxn(26): 0 to 5 [usable: 5],
- 	TxnOffsetCommit(28): 0 to 5 [usable: 5],
- 	AlterReplicaLogDirs(34): 1 to 2 [usable: 2],
- 	SaslAuthenticate(36): 0 to 2 [usable: 2],
- 	DescribeTransactions(65): 0 [usable: 0],
- 	ListTransactions(66): 0 to 2 [usable: 2],
- 	<id>(68): 0 to 1 [usable: 1],
- 	ConsumerGroupDescribe(69): 0 to 1 [usable: 1],
- 	ShareGroupHeartbeat(76): 1 [usable: 1],
- 	ShareGroupDescribe(77): 1 [usable: 1],
- 	ShareFetch(78): 1 to 2 [usable: 2],
- 	ShareAcknowledge(79): 1 to 2 [usable: 2],
- 	InitializeShareGroupState(83): 0 [usable: 0],
- 	ReadShareGroupState(84): 0 [usable: 0],
- 	WriteShareGroupState(85): 0 to 1 [usable: 1],
- 	DeleteShareGroupState(86): 0 [usable: 0],
- 	ReadShareGroupStateSummary(87): 0 to 1 [usable: 1],
- 	StreamsGroupHeartbeat(88): 0 [usable: 0],
- 	StreamsGroupDescribe(89): 0 [usable: 0],
- 	DescribeShareGroupOffsets(90): 0 to 1 [usable: 1],
- 	<id>(91): 0 [usable: 0],
- 	DeleteShareGroupOffsets(92): 0 [usable: 0]
+ 	SaslHandshake(17): UNSUPPORTED,
+ 	AddPartitionsToTxn(24): UNSUPPORTED,
+ 	AddOffsetsToTxn(25): UNSUPPORTED,
+ 	EndTxn(26): UNSUPPORTED,
+ 	TxnOffsetCommit(28): UNSUPPORTED,
+ 	AlterReplicaLogDirs(34): UNSUPPORTED,
+ 	SaslAuthenticate(36): UNSUPPORTED,
+ 	DescribeTransactions(65): UNSUPPORTED,
+ 	ListTransactions(66): UNSUPPORTED,
+ 	<id>(68): UNSUPPORTED,
+ 	ConsumerGroupDescribe(69): UNSUPPORTED,
+ 	ShareGroupHeartbeat(76): UNSUPPORTED,
+ 	ShareGroupDescribe(77): UNSUPPORTED,
+ 	ShareFetch(78): UNSUPPORTED,
+ 	ShareAcknowledge(79): UNSUPPORTED,
+ 	InitializeShareGroupState(83): UNSUPPORTED,
+ 	ReadShareGroupState(84): UNSUPPORTED,
+ 	WriteShareGroupState(85): UNSUPPORTED,
+ 	DeleteShareGroupState(86): UNSUPPORTED,
+ 	ReadShareGroupStateSummary(87): UNSUPPORTED,
+ 	StreamsGroupHeartbeat(88): UNSUPPORTED,
+ 	StreamsGroupDescribe(89): UNSUPPORTED,
+ 	DescribeShareGroupOffsets(90): UNSUPPORTED,
+ 	<id>(91): UNSUPPORTED,
+ 	DeleteShareGroupOffsets(92): UNSUPPORTED`},
}
