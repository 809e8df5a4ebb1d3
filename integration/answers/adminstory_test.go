package answers

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (a *asker) groups() {
	find := func(kind int8, key string) func() kmsg.Request {
		return func() kmsg.Request {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = kind, key, []string{key}
			return req
		}
	}
	a.until("the coordinator", 3, find(0, "g"), func(r kmsg.Response) bool { return r.(*kmsg.FindCoordinatorResponse).ErrorCode == 0 })
	list := func() kmsg.Request { return kmsg.NewPtrListGroupsRequest() }
	a.until("the groups", 4, list, func(r kmsg.Response) bool { return r.(*kmsg.ListGroupsResponse).ErrorCode == 0 })
	a.step("FindCoordinator", since(0, 6), find(0, "g"))
	a.step("FindCoordinator of an unknown kind", only(3, 6), find(9, "g"))

	heartbeat := func() kmsg.Request { return &kmsg.HeartbeatRequest{Group: "g", Generation: 1, MemberID: "m"} }
	a.until("the groups of the coordinator", 4, heartbeat, func(r kmsg.Response) bool { return r.(*kmsg.HeartbeatResponse).ErrorCode == 25 })
	a.step("Heartbeat of nobody", since(0, 4), heartbeat)
	a.step("SyncGroup of nobody", since(0, 5), func() kmsg.Request {
		kind, name := "consumer", "range"
		return &kmsg.SyncGroupRequest{Group: "g", Generation: 1, MemberID: "m", ProtocolType: &kind, Protocol: &name}
	})
	a.step("SyncGroup without a protocol", only(5), func() kmsg.Request { return &kmsg.SyncGroupRequest{Group: "g", Generation: 1, MemberID: "m"} })
	a.step("LeaveGroup of nobody", since(0, 5), func() kmsg.Request {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = "m"
		return &kmsg.LeaveGroupRequest{Group: "g", MemberID: "m", Members: []kmsg.LeaveGroupRequestMember{m}}
	})
	join := func(group, member, kind string, session int32) func() kmsg.Request {
		return func() kmsg.Request {
			req := kmsg.NewPtrJoinGroupRequest()
			req.Group, req.MemberID, req.ProtocolType = group, member, kind
			req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = session, 10_000
			req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0}}}
			return req
		}
	}
	a.step("JoinGroup of nobody", since(0, 9), join("g", "m", "consumer", 10_000))
	a.step("JoinGroup without a group", only(0, 9), join("", "", "consumer", 10_000))
	a.step("JoinGroup with a short session", only(0, 9), join("g", "", "consumer", 1))

	commit := func(generation int32, member string) func() kmsg.Request {
		return func() kmsg.Request {
			req := kmsg.NewPtrOffsetCommitRequest()
			req.Group, req.Generation, req.MemberID, req.RetentionTimeMillis = "g", generation, member, -1
			text := "m"
			for _, name := range []string{"a", "unknown"} {
				t := kmsg.NewOffsetCommitRequestTopic()
				t.Topic, t.TopicID = name, a.ids()[name]
				for _, id := range []int32{0, 9} {
					p := kmsg.NewOffsetCommitRequestTopicPartition()
					p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = id, 7, -1, &text
					t.Partitions = append(t.Partitions, p)
				}
				req.Topics = append(req.Topics, t)
			}
			return req
		}
	}
	a.step("OffsetCommit", since(2, 10), commit(-1, ""))
	a.step("OffsetCommit of nobody", only(2, 8, 9, 10), commit(1, "m"))
	fetch := func(all bool) func() kmsg.Request {
		return func() kmsg.Request {
			req := kmsg.NewPtrOffsetFetchRequest()
			req.Group = "g"
			group := kmsg.OffsetFetchRequestGroup{Group: "g", MemberEpoch: -1}
			if !all {
				req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "a", Partitions: []int32{0, 1, 9}}, {Topic: "unknown", Partitions: []int32{0}}}
				group.Topics = []kmsg.OffsetFetchRequestGroupTopic{
					{Topic: "a", TopicID: a.ids()["a"], Partitions: []int32{0, 1, 9}}, {Topic: "unknown", TopicID: [16]byte{1, 2}, Partitions: []int32{0}},
				}
			}
			other := group
			other.Group = "nobody"
			req.Groups = []kmsg.OffsetFetchRequestGroup{group, other}
			return req
		}
	}
	a.step("OffsetFetch", since(1, 10), fetch(false))
	a.step("OffsetFetch of all", since(2, 10), fetch(true))
	a.step("DescribeGroups", since(0, 6), func() kmsg.Request {
		return &kmsg.DescribeGroupsRequest{Groups: []string{"g", "nobody"}, IncludeAuthorizedOperations: true}
	})
	a.step("ListGroups", since(0, 5), list)
	a.step("ListGroups by state", only(4, 5), func() kmsg.Request { return &kmsg.ListGroupsRequest{StatesFilter: []string{"Stable"}} })
	a.step("OffsetDelete", only(0), func() kmsg.Request {
		return &kmsg.OffsetDeleteRequest{Group: "g", Topics: []kmsg.OffsetDeleteRequestTopic{
			{Topic: "a", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 9}}},
			{Topic: "unknown", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
		}}
	})
	a.step("OffsetDelete of no group", only(0), func() kmsg.Request {
		return &kmsg.OffsetDeleteRequest{Group: "nobody", Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: "a", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}}
	})
	a.step("DeleteGroups", since(0, 2), func() kmsg.Request { return &kmsg.DeleteGroupsRequest{Groups: []string{"g", "nobody", ""}} })
}

func (a *asker) configs() {
	describe := func(resources ...kmsg.DescribeConfigsRequestResource) func() kmsg.Request {
		return func() kmsg.Request {
			return &kmsg.DescribeConfigsRequest{Resources: resources, IncludeSynonyms: true}
		}
	}
	a.step("DescribeConfigs of a topic", since(1, 4), describe(kmsg.DescribeConfigsRequestResource{ResourceType: 2, ResourceName: "compact"}))
	a.step("DescribeConfigs of some keys", only(4), describe(
		kmsg.DescribeConfigsRequestResource{ResourceType: 4, ResourceName: "1", ConfigNames: []string{"num.partitions", "log.retention.hours", "unknown.key"}},
		kmsg.DescribeConfigsRequestResource{ResourceType: 4, ResourceName: ""},
	))
	a.step("DescribeConfigs of what is not there", only(1, 4), describe(
		kmsg.DescribeConfigsRequestResource{ResourceType: 2, ResourceName: "unknown"}, kmsg.DescribeConfigsRequestResource{ResourceType: 2, ResourceName: "bad/name"},
		kmsg.DescribeConfigsRequestResource{ResourceType: 4, ResourceName: "9"}, kmsg.DescribeConfigsRequestResource{ResourceType: 4, ResourceName: "x"},
	))
	a.step("DescribeConfigs of an unknown type", only(1, 4), describe(
		kmsg.DescribeConfigsRequestResource{ResourceType: 2, ResourceName: "unknown"}, kmsg.DescribeConfigsRequestResource{ResourceType: 77, ResourceName: "x"},
	))
	change := func(kind kmsg.ConfigResourceType, name, key, value string) kmsg.IncrementalAlterConfigsRequestResource {
		return kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: key, Value: &value}}}
	}
	a.step("IncrementalAlterConfigs", only(0, 1), func() kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{
			change(2, "a", "retention.ms", "86400000"), change(2, "unknown", "retention.ms", "1"), change(2, "compact", "retention.ms", "x"),
			change(4, "1", "log.cleaner.threads", "2"), change(4, "9", "log.cleaner.threads", "2"), change(4, "x", "log.cleaner.threads", "2"),
			change(4, "", "log.cleaner.threads", "none"), change(77, "x", "y", "z"), change(2, "small", "x", "1"), change(2, "small", "x", "1"),
		}}
	})
	a.step("IncrementalAlterConfigs of brokers", only(1), func() kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{ValidateOnly: true, Resources: []kmsg.IncrementalAlterConfigsRequestResource{
			change(4, "1", "num.io.threads", "99"), change(4, "", "background.threads", "1"),
		}}
	})
	a.step("IncrementalAlterConfigs of a key of the start", only(1), func() kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{ValidateOnly: true, Resources: []kmsg.IncrementalAlterConfigsRequestResource{
			change(4, "1", "log.dirs", "/x"), change(4, "", "broker.session.timeout.ms", "1"),
		}}
	})
	a.step("IncrementalAlterConfigs of what is one broker's", only(1), func() kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{ValidateOnly: true, Resources: []kmsg.IncrementalAlterConfigsRequestResource{
			change(4, "1", "num.replica.fetchers", "3"), change(4, "", "advertised.listeners", "PLAINTEXT://x:1"),
		}}
	})
	a.step("IncrementalAlterConfigs of compaction", only(1), func() kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{ValidateOnly: true, Resources: []kmsg.IncrementalAlterConfigsRequestResource{
			change(4, "1", "log.cleaner.threads", "9"), change(4, "", "max.connections", "-1"),
		}}
	})
	a.synonyms(describe)
	a.step("AlterConfigs", since(0, 2), func() kmsg.Request {
		value := "86400000"
		return &kmsg.AlterConfigsRequest{ValidateOnly: true, Resources: []kmsg.AlterConfigsRequestResource{
			{ResourceType: 2, ResourceName: "a", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &value}}},
			{ResourceType: 2, ResourceName: "unknown"}, {ResourceType: 4, ResourceName: "9"}, {ResourceType: 8, ResourceName: "1"},
			{ResourceType: 2, ResourceName: "compact", Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms"}}},
		}}
	})
	a.step("ListConfigResources", only(0, 1), func() kmsg.Request { return kmsg.NewPtrListConfigResourcesRequest() })
	a.step("ListConfigResources of an unknown type", only(1), func() kmsg.Request { return &kmsg.ListConfigResourcesRequest{ResourceTypes: []int8{99}} })
}

func (a *asker) admin() {
	a.step("CreatePartitions", since(0, 3), func() kmsg.Request {
		return &kmsg.CreatePartitionsRequest{TimeoutMillis: 30_000, ValidateOnly: true, Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: "a", Count: 4}, {Topic: "compact", Count: 1}, {Topic: "unknown", Count: 2}}}
	})
	a.step("ElectLeaders", since(0, 2), func() kmsg.Request {
		return &kmsg.ElectLeadersRequest{TimeoutMillis: 30_000, Topics: []kmsg.ElectLeadersRequestTopic{{Topic: "a", Partitions: []int32{0, 9}}}}
	})
	a.step("ListPartitionReassignments", only(0), func() kmsg.Request { return &kmsg.ListPartitionReassignmentsRequest{TimeoutMillis: 30_000} })
	a.step("AlterPartitionReassignments", only(0, 1), func() kmsg.Request {
		return &kmsg.AlterPartitionAssignmentsRequest{TimeoutMillis: 30_000, Topics: []kmsg.AlterPartitionAssignmentsRequestTopic{
			{Topic: "a", Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 0, Replicas: []int32{9}}, {Partition: 1}}},
		}}
	})
	a.step("DescribeQuorum", since(0, 2), func() kmsg.Request {
		return &kmsg.DescribeQuorumRequest{Topics: []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{Partition: 0}}}}}
	})
	a.step("DescribeProducers", only(0), func() kmsg.Request {
		return &kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: "a", Partitions: []int32{0, 9}}, {Topic: "unknown", Partitions: []int32{0}}}}
	})
	a.step("DescribeLogDirs", since(1, 5), func() kmsg.Request {
		return &kmsg.DescribeLogDirsRequest{Topics: []kmsg.DescribeLogDirsRequestTopic{{Topic: "a", Partitions: []int32{1, 9}}, {Topic: "compact", Partitions: []int32{0}}}}
	})
	a.step("AlterClientQuotas", only(0, 1), func() kmsg.Request {
		user := "u"
		return &kmsg.AlterClientQuotasRequest{Entries: []kmsg.AlterClientQuotasRequestEntry{{
			Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user", Name: &user}}, Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Value: 5}},
		}}}
	})
	quotas := func() kmsg.Request { return &kmsg.DescribeClientQuotasRequest{} }
	a.until("the quota", 1, quotas, func(r kmsg.Response) bool { return len(r.(*kmsg.DescribeClientQuotasResponse).Entries) > 0 })
	a.step("DescribeClientQuotas", only(0, 1), quotas)
	a.step("DescribeClientQuotas of an unknown type", only(0, 1), func() kmsg.Request {
		return &kmsg.DescribeClientQuotasRequest{Components: []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "x", MatchType: 1}}}
	})
	a.step("DescribeUserScramCredentials", only(0), func() kmsg.Request {
		return &kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "u"}, {Name: "u"}, {Name: "v"}}}
	})
	a.step("DescribeAcls", since(1, 3), func() kmsg.Request {
		return &kmsg.DescribeACLsRequest{ResourceType: 1, ResourcePatternType: 1, Operation: 1, PermissionType: 1}
	})
	a.step("CreateDelegationToken", since(1, 3), func() kmsg.Request { return &kmsg.CreateDelegationTokenRequest{} })
	a.step("RenewDelegationToken", only(1, 2), func() kmsg.Request { return &kmsg.RenewDelegationTokenRequest{} })
	a.step("ExpireDelegationToken", only(1, 2), func() kmsg.Request { return &kmsg.ExpireDelegationTokenRequest{} })
	a.step("DescribeDelegationToken", since(1, 3), func() kmsg.Request { return &kmsg.DescribeDelegationTokenRequest{} })
	a.step("UpdateFeatures", only(0, 2), func() kmsg.Request {
		return &kmsg.UpdateFeaturesRequest{TimeoutMillis: 30_000, FeatureUpdates: []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "x", MaxVersionLevel: 1, UpgradeType: 1}}}
	})
	a.step("UnregisterBroker", only(0), func() kmsg.Request { return &kmsg.UnregisterBrokerRequest{BrokerID: 9} })
}

func (a *asker) ends() {
	a.step("DeleteTopics", since(1, 5), func() kmsg.Request {
		return &kmsg.DeleteTopicsRequest{TimeoutMillis: 30_000, TopicNames: []string{"unknown", "bad/name"}}
	})
	a.step("DeleteTopics by id", only(6), func() kmsg.Request {
		return &kmsg.DeleteTopicsRequest{TimeoutMillis: 30_000, Topics: []kmsg.DeleteTopicsRequestTopic{{TopicID: [16]byte{1, 2}}, {TopicID: a.ids()["small"]}}}
	})
}

// synonyms sets one thing at every level, and sees which level says what.
func (a *asker) synonyms(describe func(...kmsg.DescribeConfigsRequestResource) func() kmsg.Request) {
	set := func(kind kmsg.ConfigResourceType, name string, pairs ...string) (r kmsg.IncrementalAlterConfigsRequestResource) {
		r.ResourceType, r.ResourceName = kind, name
		for pair := range slices.Chunk(pairs, 2) {
			r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: pair[0], Value: &pair[1]})
		}
		return r
	}
	a.step("IncrementalAlterConfigs at every level", only(1), func() kmsg.Request {
		return &kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{
			set(4, "1", "log.retention.ms", "111111111", "log.cleaner.backoff.ms", "4444"), set(2, "small", "retention.ms", "555555555"),
			set(4, "", "log.retention.ms", "222222222", "log.segment.bytes", "33333333", "num.replica.fetchers", "2", "log.cleanup.policy", "compact"),
		}}
	})
	topic := func(name string) kmsg.DescribeConfigsRequestResource {
		return kmsg.DescribeConfigsRequestResource{ResourceType: 2, ResourceName: name, ConfigNames: []string{"retention.ms", "segment.bytes", "cleanup.policy", "max.message.bytes", "min.insync.replicas"}}
	}
	broker := func(name string) kmsg.DescribeConfigsRequestResource {
		return kmsg.DescribeConfigsRequestResource{ResourceType: 4, ResourceName: name, ConfigNames: []string{
			"log.retention.ms", "log.retention.minutes", "log.retention.hours", "log.segment.bytes", "log.cleaner.backoff.ms", "num.replica.fetchers", "log.cleanup.policy",
			"num.partitions", "auto.create.topics.enable", "log.roll.ms", "log.roll.hours", "min.insync.replicas", "node.id", "listeners",
		}}
	}
	levels := describe(topic("small"), topic("appendtime"), broker("1"))
	a.until("every level", 4, levels, func(r kmsg.Response) bool { // what the broker follows
		all := r.(*kmsg.DescribeConfigsResponse).Resources
		return slices.ContainsFunc(all[1].Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool { return *c.Value == "111111111" }) &&
			slices.ContainsFunc(all[0].Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool { return *c.Value == "555555555" })
	})
	a.step("DescribeConfigs at every level", since(1, 4), levels)
	every := a.ask(4, describe(kmsg.DescribeConfigsRequestResource{ResourceType: 4, ResourceName: "1"})).(*kmsg.DescribeConfigsResponse)
	for _, c := range every.Resources[0].Configs {
		// Our own, and two that Apache's authorizer reads and its broker does not know.
		if !strings.HasPrefix(c.Name, "kvorum.") && c.Name != "super.users" && c.Name != "allow.everyone.if.no.acl.found" {
			a.note("DescribeConfigs, key "+c.Name, strings.Split(strings.TrimSpace(dump(&c, a.hidden)), "\n"))
		}
	}
	a.step("DescribeConfigs of all brokers", since(1, 4), describe(kmsg.DescribeConfigsRequestResource{ResourceType: 4, ResourceName: ""}))
}
