package protocol

import "github.com/twmb/franz-go/pkg/kmsg"

// The rules that many rows share, all on the CLUSTER resource.
var (
	clusterAction = rule(kmsg.ACLOperationClusterAction)
	alter         = rule(kmsg.ACLOperationAlter)
	alterConfigs  = rule(kmsg.ACLOperationAlterConfigs)
	describe      = rule(kmsg.ACLOperationDescribe)
	anyone        = in("open to all: it comes before authentication")
)

func rule(op kmsg.ACLOperation) Rule {
	return Rule{Resource: kmsg.ACLResourceTypeCluster, Operation: op}
}

// in leaves the decision to the handler; the text says what it checks.
func in(reason string) Rule { return Rule{Reason: reason} }

// everywhere, brokers and controllers are where Apache serves an API.
const (
	brokers     = Broker | InterBroker
	controllers = Controller
	everywhere  = brokers | controllers
	nowhere     = ListenerSet(0)
)

// table is THE API table: the versions, listeners and forwardable flags of
// Apache Kafka 4.3.1 (a test compares it with a print of Apache's ApiKeys), our
// frame limits, and the authorization of ControllerApis and KafkaApis. A broker
// of 3.9 speaks these ranges too: it takes the highest version both sides know.
// Keys 4 to 7 went with ZooKeeper: rows without versions keep the index dense.
var table = [...]API{
	{Key: 0, Name: "Produce", Min: 3, Max: 13, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameRecords, OnBroker: in("WRITE on each TOPIC and on the TRANSACTIONAL_ID")},
	{Key: 1, Name: "Fetch", Min: 4, Max: 18, AnnouncedMin: 4, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: in("READ on each TOPIC; CLUSTER_ACTION for a replica"), OnController: clusterAction},
	{Key: 2, Name: "ListOffsets", Min: 1, Max: 11, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DESCRIBE on each TOPIC")},
	{Key: 3, Name: "Metadata", Min: 0, Max: 13, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DESCRIBE on each TOPIC, CREATE to auto-create")},
	{Key: 4, Name: "LeaderAndIsr", Min: 0, Max: -1, AnnouncedMin: 0, Listeners: nowhere, FrameLimit: FrameCluster},
	{Key: 5, Name: "StopReplica", Min: 0, Max: -1, AnnouncedMin: 0, Listeners: nowhere, FrameLimit: FrameCluster},
	{Key: 6, Name: "UpdateMetadata", Min: 0, Max: -1, AnnouncedMin: 0, Listeners: nowhere, FrameLimit: FrameCluster},
	{Key: 7, Name: "ControlledShutdown", Min: 0, Max: -1, AnnouncedMin: 0, Listeners: nowhere, FrameLimit: FrameCluster},
	{Key: 8, Name: "OffsetCommit", Min: 2, Max: 10, AnnouncedMin: 2, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("READ on GROUP and on each TOPIC")},
	{Key: 9, Name: "OffsetFetch", Min: 1, Max: 10, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DESCRIBE on each GROUP and TOPIC")},
	{Key: 10, Name: "FindCoordinator", Min: 0, Max: 6, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: in("DESCRIBE on GROUP or TRANSACTIONAL_ID")},
	{Key: 11, Name: "JoinGroup", Min: 0, Max: 9, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("READ on GROUP")},
	{Key: 12, Name: "Heartbeat", Min: 0, Max: 4, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: in("READ on GROUP")},
	{Key: 13, Name: "LeaveGroup", Min: 0, Max: 5, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("READ on GROUP")},
	{Key: 14, Name: "SyncGroup", Min: 0, Max: 5, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("READ on GROUP")},
	{Key: 15, Name: "DescribeGroups", Min: 0, Max: 6, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("DESCRIBE on each GROUP")},
	{Key: 16, Name: "ListGroups", Min: 0, Max: 5, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: in("DESCRIBE on CLUSTER, else only the groups that may be described")},
	{Key: 17, Name: "SaslHandshake", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: anyone, OnController: anyone},
	{Key: 18, Name: "ApiVersions", Min: 0, Max: 4, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: anyone, OnController: anyone},
	{Key: 19, Name: "CreateTopics", Min: 2, Max: 7, AnnouncedMin: 2, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: in("CREATE on CLUSTER or on each TOPIC"), OnController: in("CREATE on CLUSTER or on each TOPIC"), Forwardable: true},
	{Key: 20, Name: "DeleteTopics", Min: 1, Max: 6, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: in("DELETE on each TOPIC, and names are hidden without DESCRIBE"), OnController: in("DELETE on each TOPIC, and names are hidden without DESCRIBE"), Forwardable: true},
	{Key: 21, Name: "DeleteRecords", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DELETE on each TOPIC")},
	{Key: 22, Name: "InitProducerId", Min: 0, Max: 5, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: in("WRITE on TRANSACTIONAL_ID, or IDEMPOTENT_WRITE on CLUSTER")},
	{Key: 23, Name: "OffsetForLeaderEpoch", Min: 2, Max: 4, AnnouncedMin: 2, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DESCRIBE on each TOPIC; CLUSTER_ACTION for a replica")},
	{Key: 24, Name: "AddPartitionsToTxn", Min: 0, Max: 5, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("WRITE on TRANSACTIONAL_ID and each TOPIC; CLUSTER_ACTION for a broker's batch")},
	{Key: 25, Name: "AddOffsetsToTxn", Min: 0, Max: 4, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: in("WRITE on TRANSACTIONAL_ID, READ on GROUP")},
	{Key: 26, Name: "EndTxn", Min: 0, Max: 5, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: in("WRITE on TRANSACTIONAL_ID")},
	{Key: 27, Name: "WriteTxnMarkers", Min: 1, Max: 2, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("CLUSTER_ACTION or ALTER on CLUSTER")},
	{Key: 28, Name: "TxnOffsetCommit", Min: 0, Max: 5, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("WRITE on TRANSACTIONAL_ID, READ on GROUP and each TOPIC")},
	{Key: 29, Name: "DescribeAcls", Min: 1, Max: 3, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: describe, OnController: describe},
	{Key: 30, Name: "CreateAcls", Min: 1, Max: 3, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 31, Name: "DeleteAcls", Min: 1, Max: 3, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 32, Name: "DescribeConfigs", Min: 1, Max: 4, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: in("DESCRIBE_CONFIGS on each resource"), OnController: in("DESCRIBE_CONFIGS on each resource")},
	{Key: 33, Name: "AlterConfigs", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: in("ALTER_CONFIGS on each resource"), OnController: in("ALTER_CONFIGS on each resource"), Forwardable: true},
	{Key: 34, Name: "AlterReplicaLogDirs", Min: 1, Max: 2, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameNode, OnBroker: alter},
	{Key: 35, Name: "DescribeLogDirs", Min: 1, Max: 5, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameNode, OnBroker: describe},
	{Key: 36, Name: "SaslAuthenticate", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: anyone, OnController: anyone},
	{Key: 37, Name: "CreatePartitions", Min: 0, Max: 3, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: in("ALTER on each TOPIC"), OnController: in("ALTER on each TOPIC"), Forwardable: true},
	{Key: 38, Name: "CreateDelegationToken", Min: 1, Max: 3, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: in("CREATE_TOKENS on USER when the owner is somebody else"), OnController: in("CREATE_TOKENS on USER when the owner is somebody else"), Forwardable: true},
	{Key: 39, Name: "RenewDelegationToken", Min: 1, Max: 2, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: in("the token's owner or a renewer"), OnController: in("the token's owner or a renewer"), Forwardable: true},
	{Key: 40, Name: "ExpireDelegationToken", Min: 1, Max: 2, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: in("the token's owner or a renewer"), OnController: in("the token's owner or a renewer"), Forwardable: true},
	{Key: 41, Name: "DescribeDelegationToken", Min: 1, Max: 3, AnnouncedMin: 1, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: in("the owner's tokens, others with DESCRIBE on DELEGATION_TOKEN"), OnController: in("the owner's tokens, others with DESCRIBE on DELEGATION_TOKEN")},
	{Key: 42, Name: "DeleteGroups", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("DELETE on each GROUP")},
	{Key: 43, Name: "ElectLeaders", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 44, Name: "IncrementalAlterConfigs", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: in("ALTER_CONFIGS on each resource"), OnController: in("ALTER_CONFIGS on each resource"), Forwardable: true},
	{Key: 45, Name: "AlterPartitionReassignments", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameCluster, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 46, Name: "ListPartitionReassignments", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameNode, OnBroker: describe, OnController: describe, Forwardable: true},
	{Key: 47, Name: "OffsetDelete", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DELETE on GROUP, READ on each TOPIC")},
	{Key: 48, Name: "DescribeClientQuotas", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: rule(kmsg.ACLOperationDescribeConfigs)},
	{Key: 49, Name: "AlterClientQuotas", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameNode, OnBroker: alterConfigs, OnController: alterConfigs, Forwardable: true},
	{Key: 50, Name: "DescribeUserScramCredentials", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameNode, OnBroker: describe, OnController: describe},
	{Key: 51, Name: "AlterUserScramCredentials", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameNode, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 52, Name: "Vote", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FramePreAuth, OnController: clusterAction},
	{Key: 53, Name: "BeginQuorumEpoch", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FramePreAuth, OnController: clusterAction},
	{Key: 54, Name: "EndQuorumEpoch", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FramePreAuth, OnController: clusterAction},
	{Key: 55, Name: "DescribeQuorum", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: describe, OnController: describe, Forwardable: true},
	{Key: 56, Name: "AlterPartition", Min: 2, Max: 3, AnnouncedMin: 2, Listeners: controllers, FrameLimit: FrameCluster, OnController: clusterAction},
	{Key: 57, Name: "UpdateFeatures", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FrameNode, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 58, Name: "Envelope", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FrameCluster + FramePreAuth, OnController: clusterAction},
	{Key: 59, Name: "FetchSnapshot", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FramePreAuth, OnController: clusterAction},
	{Key: 60, Name: "DescribeCluster", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: in("open to all; DESCRIBE on CLUSTER for the authorized operations"), OnController: alter},
	{Key: 61, Name: "DescribeProducers", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: in("READ on each TOPIC")},
	{Key: 62, Name: "BrokerRegistration", Min: 0, Max: 4, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FrameNode, OnController: clusterAction},
	{Key: 63, Name: "BrokerHeartbeat", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FramePreAuth, OnController: clusterAction},
	{Key: 64, Name: "UnregisterBroker", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 65, Name: "DescribeTransactions", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("DESCRIBE on each TRANSACTIONAL_ID")},
	{Key: 66, Name: "ListTransactions", Min: 0, Max: 2, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("DESCRIBE on each TRANSACTIONAL_ID")},
	{Key: 67, Name: "AllocateProducerIds", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FramePreAuth, OnController: clusterAction, Forwardable: true},
	{Key: 68, Name: "ConsumerGroupHeartbeat", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("READ on GROUP, DESCRIBE on each TOPIC")},
	{Key: 69, Name: "ConsumerGroupDescribe", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("DESCRIBE on each GROUP")},
	{Key: 70, Name: "ControllerRegistration", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FrameNode, OnController: clusterAction},
	{Key: 71, Name: "GetTelemetrySubscriptions", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FramePreAuth, OnBroker: in("open to all, as in KIP-714")},
	{Key: 72, Name: "PushTelemetry", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("open to all, as in KIP-714")},
	{Key: 73, Name: "AssignReplicasToDirs", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FrameNode, OnController: clusterAction},
	{Key: 74, Name: "ListConfigResources", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: rule(kmsg.ACLOperationDescribeConfigs)},
	{Key: 75, Name: "DescribeTopicPartitions", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DESCRIBE on each TOPIC")},
	{Key: 76, Name: "ShareGroupHeartbeat", Min: 1, Max: 1, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("READ on GROUP, DESCRIBE on each TOPIC")},
	{Key: 77, Name: "ShareGroupDescribe", Min: 1, Max: 1, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("DESCRIBE on each GROUP")},
	{Key: 78, Name: "ShareFetch", Min: 1, Max: 2, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("READ on GROUP and each TOPIC")},
	{Key: 79, Name: "ShareAcknowledge", Min: 1, Max: 2, AnnouncedMin: 1, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("READ on GROUP and each TOPIC")},
	{Key: 80, Name: "AddRaftVoter", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 81, Name: "RemoveRaftVoter", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: everywhere, FrameLimit: FramePreAuth, OnBroker: alter, OnController: alter, Forwardable: true},
	{Key: 82, Name: "UpdateRaftVoter", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: controllers, FrameLimit: FramePreAuth, OnController: clusterAction},
	{Key: 83, Name: "InitializeShareGroupState", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: clusterAction},
	{Key: 84, Name: "ReadShareGroupState", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: clusterAction},
	{Key: 85, Name: "WriteShareGroupState", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: clusterAction},
	{Key: 86, Name: "DeleteShareGroupState", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: clusterAction},
	{Key: 87, Name: "ReadShareGroupStateSummary", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: clusterAction},
	{Key: 88, Name: "StreamsGroupHeartbeat", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("READ on GROUP, DESCRIBE and CREATE on topics")},
	{Key: 89, Name: "StreamsGroupDescribe", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameNode, OnBroker: in("DESCRIBE on each GROUP")},
	{Key: 90, Name: "DescribeShareGroupOffsets", Min: 0, Max: 1, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DESCRIBE on each GROUP and TOPIC")},
	{Key: 91, Name: "AlterShareGroupOffsets", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("READ on GROUP and each TOPIC")},
	{Key: 92, Name: "DeleteShareGroupOffsets", Min: 0, Max: 0, AnnouncedMin: 0, Listeners: brokers, FrameLimit: FrameCluster, OnBroker: in("DELETE on GROUP, READ on each TOPIC")},
}

func init() {
	shapes := parseShapes(shapesText)
	for i := range table {
		if int(table[i].Key) != i {
			panic("protocol: the API table is out of order")
		}
		table[i].bind(shapes[Key(i)])
	}
	shapes = parseShapes(ownShapes)
	for i := range own {
		own[i].bind(shapes[FirstOwnKey+Key(i)])
	}
}
