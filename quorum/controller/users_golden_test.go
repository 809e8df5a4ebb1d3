package controller

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// goldenUserDecisions are what users asked for in the runs that the golden logs
// are of (the Java calls are known), at the offsets of Apache's answers.
var goldenUserDecisions = []struct {
	run         string
	first, last kafka.Offset
	decide      goldenDecision
}{
	{"4.3.1-main", 36, 41, created("cleanup.policy", "compact", "min.insync.replicas", "1", "retention.ms", "86400000")},
	{"4.3.1-main", 95, 103, created("compression.type", "uncompressed", "cleanup.policy", "compact", "min.insync.replicas", "1",
		"segment.bytes", "104857600", "unclean.leader.election.enable", "false")},
	{"4.3.1-old", 100, 102, created()},
	{"4.3.1-main", 45, 46, partitionsAdded("t-plain")},
	{"4.3.1-main", 48, 48, topicDeleted},

	{"4.3.1-main", 61, 61, altered(image.ResourceTopic, "t-conf", "append cleanup.policy=delete")},
	{"4.3.1-main", 62, 62, altered(image.ResourceTopic, "t-conf", "subtract cleanup.policy=compact")},
	{"4.3.1-main", 63, 63, altered(image.ResourceTopic, "t-conf", "set max.message.bytes=2000000")},
	{"4.3.1-main", 64, 64, altered(image.ResourceTopic, "t-conf", "delete retention.ms=")},
	{"4.3.1-main", 65, 65, altered(image.ResourceTopic, "t-conf", "append leader.replication.throttled.replicas=0:11,0:12")},
	{"4.3.1-main", 66, 66, altered(image.ResourceBroker, "11", "set log.retention.ms=7200000")},
	{"4.3.1-main", 73, 73, altered(image.ResourceClientMetrics, "cm1", "delete match=")},
	{"4.3.1-main", 74, 74, altered(image.ResourceGroup, "g1", "set consumer.session.timeout.ms=50000")},
	{"4.3.1-main", 305, 306, altered(image.ResourceTopic, "t-elr", "set min.insync.replicas=1")},
	{"4.3.1-main", 308, 309, altered(image.ResourceBroker, "", "set min.insync.replicas=1")},

	{"4.3.1-old", 39, 39, quota("producer_byte_rate", ptr(1048576.0), "user", "alice")},
	{"4.3.1-old", 42, 42, quota("request_percentage", ptr(75.25), "user", "alice", "client-id", "app")},
	{"4.3.1-old", 43, 43, quota("connection_creation_rate", ptr(100.0), "ip", "127.0.0.9")},
	{"4.3.1-old", 44, 44, quota("controller_mutation_rate", ptr(1000.0), "user", "")},
	{"4.3.1-old", 47, 47, quota("consumer_byte_rate", ptr(3e6), "user", "alice", "client-id", "")},
	{"4.3.1-old", 48, 48, quota("consumer_byte_rate", nil, "client-id", "app")},

	{"4.3.1-main", 85, 85, carol},
	{"4.3.1-main", 87, 87, aliceDeleted},
	{"4.3.1-main", 78, 82, aclsCreated},
	{"4.3.1-main", 83, 83, aclsDeleted(kmsg.DeleteACLsRequestFilter{ResourceType: 4, ResourcePatternType: 1, Operation: 1, PermissionType: 1})},
	{"4.3.1-main", 84, 84, aclsDeleted(kmsg.DeleteACLsRequestFilter{ResourceType: 1, ResourcePatternType: 1, Principal: ptr("User:bob"), Operation: 1, PermissionType: 1})},

	{"4.3.1-old", 99, 99, feature(image.FeatureMetadataVersion, 8, upgradeOnly)},
	{"4.3.1-old", 236, 236, feature(image.FeatureMetadataVersion, 25, upgradeOnly)},
	{"4.3.1-old", 366, 367, feature(image.FeatureELRVersion, 1, upgradeOnly)},
	{"4.3.1-main", 332, 332, feature(image.FeatureShareVersion, 0, safeDowngrade)},
	{"4.3.1-main", 333, 333, feature(image.FeatureELRVersion, 0, safeDowngrade)},
	{"4.3.1-main", 334, 334, feature(image.FeatureELRVersion, 1, upgradeOnly)},

	{"4.3.1-old", 405, 405, tokenCreated("bob")},
	{"4.3.1-old", 406, 406, tokenCreated()},
	{"4.3.1-old", 408, 408, tokenRenewed(1795351068550)},
	{"4.3.1-old", 409, 409, tokenEnded},
}

func TestUserRequestsWriteWhatApacheWrote(t *testing.T) {
	logs := map[string]*goldenLog{}
	for _, test := range goldenUserDecisions {
		t.Run(fmt.Sprintf("%s/%d-%d", test.run, test.first, test.last), func(t *testing.T) {
			if logs[test.run] == nil {
				logs[test.run] = readGoldenLog(t, test.run)
			}
			g := logs[test.run]
			wrote := g.between(test.first, test.last)
			in := g.input(t, test.first)
			other := newCluster(t, image.MV43IV0).in // settings that allow everything
			in.Rand, in.Settings, in.Caller = other.Rand, other.Settings, other.Caller
			got := test.decide(t, in, wrote)
			compareRecords(t, in.Image, asWritten(got.Records, wrote), sortConfigs(wrote))
		})
	}
}

// asWritten gives our records the random ids of Apache's, and both the order of
// config keys that we use; Apache's follows hash maps.
func asWritten(ours, theirs []record.Message) []record.Message {
	ours = sortConfigs(ours)
	ids := make(map[kafka.UUID]kafka.UUID)
	for i, m := range sortConfigs(theirs) {
		if i >= len(ours) {
			break
		}
		switch r := ours[i].Record.(type) {
		case *record.TopicRecord:
			ids[r.TopicID] = m.Record.(*record.TopicRecord).TopicID
			r.TopicID = ids[r.TopicID]
		case *record.PartitionRecord:
			if id, ok := ids[r.TopicID]; ok {
				r.TopicID = id
			}
		case *record.AccessControlEntryRecord:
			r.ID = m.Record.(*record.AccessControlEntryRecord).ID
		case *record.DelegationTokenRecord:
			r.TokenID = m.Record.(*record.DelegationTokenRecord).TokenID
		}
	}
	return ours
}

func sortConfigs(records []record.Message) []record.Message {
	isConfig := func(m record.Message) bool { _, ok := m.Record.(*record.ConfigRecord); return ok }
	out := slices.Clone(records)
	for i := 0; i < len(out); i++ {
		j := i
		for j < len(out) && isConfig(out[j]) {
			j++
		}
		slices.SortFunc(out[i:j], func(a, b record.Message) int {
			if a.Record.(*record.ConfigRecord).Name < b.Record.(*record.ConfigRecord).Name {
				return -1
			}
			return 1
		})
		i = max(i, j-1)
	}
	return out
}

// created creates the topic that was written, with the replicas that were
// written as a manual assignment.
func created(configs ...string) goldenDecision {
	return func(t testing.TB, in Input, wrote []record.Message) Decision {
		topic := newTopic(recordsOf[*record.TopicRecord](wrote)[0].Name, -1, -1, configs...)
		for _, p := range recordsOf[*record.PartitionRecord](wrote) {
			topic.ReplicaAssignment = append(topic.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{
				Partition: int32(p.PartitionID), Replicas: kafka.Int32s(p.Replicas),
			})
		}
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{topic}
		d, res := CreateTopics(in, req)
		noError(t, res.Topics[0].ErrorCode)
		return d
	}
}

func partitionsAdded(name string) goldenDecision {
	return func(t testing.TB, in Input, wrote []record.Message) Decision {
		topic := morePartitions(name, int32(in.Image.TopicByName(name).PartitionCount()+len(wrote)))
		for _, p := range recordsOf[*record.PartitionRecord](wrote) {
			topic.Assignment = append(topic.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: kafka.Int32s(p.Replicas)})
		}
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Topics = []kmsg.CreatePartitionsRequestTopic{topic}
		d, res := CreatePartitions(in, req)
		noError(t, res.Topics[0].ErrorCode)
		return d
	}
}

func topicDeleted(t testing.TB, in Input, wrote []record.Message) Decision {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version = 6
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: recordsOf[*record.RemoveTopicRecord](wrote)[0].TopicID}}
	d, res := DeleteTopics(in, req)
	noError(t, res.Topics[0].ErrorCode)
	return d
}

// altered applies one operation, "verb key=value", to a resource.
func altered(kind image.ResourceType, name, op string) goldenDecision {
	return func(t testing.TB, in Input, _ []record.Message) Decision {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{changeOf(kind, name, op)}
		d, res := IncrementalAlterConfigs(in, req)
		noError(t, res.Resources[0].ErrorCode)
		return d
	}
}

// quota sets or removes (nil) a quota of an entity of pairs; "" is the default.
func quota(key string, value *float64, entity ...string) goldenDecision {
	return func(t testing.TB, in Input, _ []record.Message) Decision {
		e := quotaEntry(entity...)
		op := kmsg.AlterClientQuotasRequestEntryOp{Key: key, Remove: value == nil}
		if value != nil {
			op.Value = *value
		}
		e.Ops = append(e.Ops, op)
		req := kmsg.NewPtrAlterClientQuotasRequest()
		req.Entries = []kmsg.AlterClientQuotasRequestEntry{e}
		d, res := AlterClientQuotas(in, req)
		noError(t, res.Entries[0].ErrorCode)
		return d
	}
}

// carol's credential: the client sends the salted password, the controller
// stores the two keys.
func carol(t testing.TB, in Input, _ []record.Message) Decision {
	salt := []byte("fixed-salt-fixed-salt")
	salted, err := pbkdf2.Key(sha512.New, "carol-pw", salt, 5000, sha512.Size)
	if err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	req.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{{Name: "carol", Mechanism: 2, Iterations: 5000, Salt: salt, SaltedPassword: salted}}
	d, res := AlterUserScramCredentials(in, req)
	noError(t, res.Results[0].ErrorCode)
	return d
}

func aliceDeleted(t testing.TB, in Input, _ []record.Message) Decision {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	req.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "alice", Mechanism: 1}}
	d, res := AlterUserScramCredentials(in, req)
	noError(t, res.Results[0].ErrorCode)
	return d
}

func aclsCreated(t testing.TB, in Input, wrote []record.Message) Decision {
	req := kmsg.NewPtrCreateACLsRequest()
	for _, a := range recordsOf[*record.AccessControlEntryRecord](wrote) {
		req.Creations = append(req.Creations, kmsg.CreateACLsRequestCreation{
			ResourceType: kmsg.ACLResourceType(a.ResourceType), ResourceName: a.ResourceName, ResourcePatternType: kmsg.ACLResourcePatternType(a.PatternType),
			Principal: a.Principal, Host: a.Host, Operation: kmsg.ACLOperation(a.Operation), PermissionType: kmsg.ACLPermissionType(a.PermissionType),
		})
	}
	d, res := CreateAcls(in, req)
	for _, r := range res.Results {
		noError(t, r.ErrorCode)
	}
	return d
}

func aclsDeleted(filter kmsg.DeleteACLsRequestFilter) goldenDecision {
	return func(t testing.TB, in Input, _ []record.Message) Decision {
		req := kmsg.NewPtrDeleteACLsRequest()
		req.Filters = []kmsg.DeleteACLsRequestFilter{filter}
		d, res := DeleteAcls(in, req)
		noError(t, res.Results[0].ErrorCode)
		return d
	}
}

func feature(name string, level int16, kind upgradeType) goldenDecision {
	return func(t testing.TB, in Input, _ []record.Message) Decision {
		d, res := UpdateFeatures(in, featureRequest(name, level, kind))
		wantError(t, name, res.ErrorCode, res.ErrorMessage, errors.None, "")
		return d
	}
}

func tokenCreated(renewers ...string) goldenDecision {
	return func(t testing.TB, in Input, wrote []record.Message) Decision {
		in.NowMs = wrote[0].Record.(*record.DelegationTokenRecord).IssueTimestamp
		req := kmsg.NewPtrCreateDelegationTokenRequest()
		req.Version, req.MaxLifetimeMillis = 3, -1
		for _, r := range renewers {
			req.Renewers = append(req.Renewers, kmsg.CreateDelegationTokenRequestRenewer{PrincipalType: "User", PrincipalName: r})
		}
		d, res := CreateDelegationToken(in, req)
		noError(t, res.ErrorCode)
		return d
	}
}

func tokenRenewed(nowMs int64) goldenDecision {
	return func(t testing.TB, in Input, wrote []record.Message) Decision {
		in.NowMs = nowMs
		req := kmsg.NewPtrRenewDelegationTokenRequest()
		req.RenewTimeMillis = 3600_000
		req.HMAC = tokenHMAC(in.Settings.DelegationTokenSecret, wrote[0].Record.(*record.DelegationTokenRecord).TokenID)
		d, res := RenewDelegationToken(in, req)
		noError(t, res.ErrorCode)
		return d
	}
}

func tokenEnded(t testing.TB, in Input, wrote []record.Message) Decision {
	req := kmsg.NewPtrExpireDelegationTokenRequest()
	req.ExpiryPeriodMillis = -1
	req.HMAC = tokenHMAC(in.Settings.DelegationTokenSecret, wrote[0].Record.(*record.RemoveDelegationTokenRecord).TokenID)
	d, res := ExpireDelegationToken(in, req)
	noError(t, res.ErrorCode)
	return d
}
