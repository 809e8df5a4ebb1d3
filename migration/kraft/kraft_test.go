package kraft

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration"
)

var topic = kafka.TopicID{15: 1}

func text(s string) *string { return &s }

func broker(id kafka.BrokerID, epoch kafka.BrokerEpoch) *record.RegisterBrokerRecord {
	return &record.RegisterBrokerRecord{
		BrokerID: id, BrokerEpoch: epoch, IncarnationID: kafka.UUID{1}, EndPoints: []record.Endpoint{{Name: "PLAINTEXT", Host: "b", Port: 9092}},
		Features: []record.FeatureRange{{Name: image.FeatureMetadataVersion, MinSupportedVersion: 7, MaxSupportedVersion: int16(image.MV43IV0)}},
	}
}

// sample has an item of every kind.
func sample() []record.Record {
	return []record.Record{
		&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV43IV0)},
		broker(11, 40), &record.UnfenceBrokerRecord{ID: 11, Epoch: 40},
		&record.TopicRecord{Name: "orders", TopicID: topic},
		&record.PartitionRecord{TopicID: topic, Replicas: []kafka.BrokerID{11, 12}, ISR: []kafka.BrokerID{11, 12}, Leader: 11, LeaderEpoch: 7, PartitionEpoch: 9},
		&record.ConfigRecord{ResourceType: int8(image.ResourceTopic), ResourceName: "orders", Name: "retention.ms", Value: text("1")},
		&record.ConfigRecord{ResourceType: int8(image.ResourceBroker), Name: "listener.name.x.ssl.key.password", Value: text("hunter2")},
		&record.ClientQuotaRecord{Entity: []record.QuotaEntity{{EntityType: "user", EntityName: text("a/b")}}, Key: "request_percentage", Value: 10},
		&record.UserScramCredentialRecord{Name: "a user", Mechanism: 1, Salt: []byte("salt"), StoredKey: []byte("stored"), ServerKey: []byte("server"), Iterations: 4096},
		&record.AccessControlEntryRecord{ID: kafka.UUID{15: 3}, ResourceType: 2, ResourceName: "orders", PatternType: 3, Principal: "User:a", Host: "*", Operation: 3, PermissionType: 3},
		&record.DelegationTokenRecord{TokenID: "tok-secret", Owner: "User:a", Requester: "User:a", IssueTimestamp: 1, MaxTimestamp: 900, ExpirationTimestamp: 500},
		&record.ProducerIDsRecord{BrokerID: 11, BrokerEpoch: 40, NextProducerID: 2000},
	}
}

func imageOf(t *testing.T, at image.Position, records ...record.Record) *image.Image {
	t.Helper()
	d := image.NewDelta(image.Empty())
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	return d.Apply(at)
}

func shown(_ image.ResourceType, key string) bool { return strings.Contains(key, "password") }

// TestCompare: each thing that is missing, different or lower is told by its path, and
// no secret with it; what changes by itself is not told.
func TestCompare(t *testing.T) {
	at := image.Position{Offset: 70, Epoch: 4, TimestampMs: 400}
	later := image.Position{Offset: 90, Epoch: 1005, TimestampMs: 450}
	for _, c := range []struct {
		name string
		now  []record.Record // after the sample
		at   image.Position
		want []string // KIND PATH
		news []string
	}{
		{"nothing", nil, later, nil, nil},
		{"what changes by itself", []record.Record{
			broker(11, 80),
			&record.PartitionChangeRecord{TopicID: topic, Leader: 12, ISR: []kafka.BrokerID{12}, LeaderRecoveryState: -1},
		}, later, nil, nil},
		{"a new topic", []record.Record{&record.TopicRecord{Name: "new", TopicID: kafka.TopicID{15: 9}}}, later, nil, []string{"/topics/new"}},
		{"no topic", []record.Record{&record.RemoveTopicRecord{TopicID: topic}}, later, []string{"missing /topics/orders", "missing /topics/orders/0", "missing /configs/topic/orders/retention.ms"}, nil},
		{"the same name again", []record.Record{&record.RemoveTopicRecord{TopicID: topic}, &record.TopicRecord{Name: "orders", TopicID: kafka.TopicID{15: 9}}}, later,
			[]string{"changed /topics/orders", "missing /topics/orders/0", "missing /configs/topic/orders/retention.ms"}, nil},
		{"other replicas", []record.Record{&record.PartitionChangeRecord{TopicID: topic, Leader: -2, Replicas: []kafka.BrokerID{12, 11}, LeaderRecoveryState: -1}}, later, []string{"changed /topics/orders/0"}, nil},
		{"a config", []record.Record{&record.ConfigRecord{ResourceType: int8(image.ResourceTopic), ResourceName: "orders", Name: "retention.ms", Value: text("2")}}, later, []string{"changed /configs/topic/orders/retention.ms"}, nil},
		{"a password", []record.Record{&record.ConfigRecord{ResourceType: int8(image.ResourceBroker), Name: "listener.name.x.ssl.key.password", Value: text("hunter3")}}, later,
			[]string{"changed /configs/broker/<default>/listener.name.x.ssl.key.password"}, nil},
		{"a quota", []record.Record{&record.ClientQuotaRecord{Entity: []record.QuotaEntity{{EntityType: "user", EntityName: text("a/b")}}, Key: "request_percentage", Remove: true}}, later, []string{"missing /quotas/user=a%2Fb/request_percentage"}, nil},
		{"a credential", []record.Record{&record.UserScramCredentialRecord{Name: "a user", Mechanism: 1, Salt: []byte("salt"), StoredKey: []byte("other"), ServerKey: []byte("server"), Iterations: 4096}}, later, []string{"changed /scram/1:a user"}, nil},
		{"an entry", []record.Record{&record.RemoveAccessControlEntryRecord{ID: kafka.UUID{15: 3}}}, later, []string{"missing /acls/" + kafka.UUID{15: 3}.String()}, nil},
		{"a token", []record.Record{&record.RemoveDelegationTokenRecord{TokenID: "tok-secret"}}, later, []string{"missing /delegation-tokens/User:a-b45db8111186"}, nil},
		{"a token that has expired", []record.Record{&record.RemoveDelegationTokenRecord{TokenID: "tok-secret"}}, image.Position{Offset: 90, Epoch: 5, TimestampMs: 500}, nil, nil},
		{"a feature", []record.Record{&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV39IV0)}}, later, []string{"changed /features/metadata.version"}, nil},
		{"no broker", []record.Record{&record.UnregisterBrokerRecord{BrokerID: 11, BrokerEpoch: 40}}, later, []string{"missing /brokers/11"}, nil},
		{"an older log", nil, image.Position{Offset: 69, Epoch: 4, TimestampMs: 400}, []string{"went back /position/offset"}, nil},
		{"an older epoch", nil, image.Position{Offset: 90, Epoch: 3, TimestampMs: 400}, []string{"went back /position/epoch"}, nil},
		{"a broker epoch", []record.Record{broker(11, 39)}, later, []string{"went back /brokers/11"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Compare(imageOf(t, at, sample()...), imageOf(t, c.at, append(sample(), c.now...)...), shown)
			var told []string
			for _, d := range got.Differences {
				told = append(told, d.Kind+" "+d.Path)
			}
			if !slices.Equal(told, c.want) || !slices.Equal(got.New, append([]string{}, c.news...)) || got.Equal() != (len(c.want) == 0) {
				t.Errorf("differences %q, want %q; new %q, want %q", told, c.want, got.New, c.news)
			}
			all, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"hunter", "stored", "tok-secret"} {
				if strings.Contains(string(all), secret) {
					t.Errorf("%q is shown: %s", secret, all)
				}
			}
		})
	}
}

// TestPartitionEpochs: neither epoch of a partition goes back.
func TestPartitionEpochs(t *testing.T) {
	at := image.Position{Offset: 70, Epoch: 4}
	with := func(leader kafka.LeaderEpoch, partition kafka.PartitionEpoch) *image.Image {
		return imageOf(t, at, &record.TopicRecord{Name: "orders", TopicID: topic},
			&record.PartitionRecord{TopicID: topic, Replicas: []kafka.BrokerID{1}, ISR: []kafka.BrokerID{1}, Leader: 1, LeaderEpoch: leader, PartitionEpoch: partition})
	}
	before := with(7, 9)
	for _, c := range []struct {
		leader    kafka.LeaderEpoch
		partition kafka.PartitionEpoch
		equal     bool
	}{{7, 9, true}, {8, 10, true}, {6, 10, false}, {8, 8, false}} {
		if got := Compare(before, with(c.leader, c.partition), shown); got.Equal() != c.equal {
			t.Errorf("leader epoch %d, partition epoch %d: %+v", c.leader, c.partition, got.Differences)
		}
	}
}

// TestProducerIDs: an id that was given out is not given out again.
func TestProducerIDs(t *testing.T) {
	at := image.Position{Offset: 70, Epoch: 4}
	upTo := func(next kafka.ProducerID) *image.Image {
		return imageOf(t, at, &record.ProducerIDsRecord{BrokerID: 1, BrokerEpoch: 1, NextProducerID: next})
	}
	if got := Compare(upTo(2000), upTo(1000), shown); len(got.Differences) != 1 || got.Differences[0] != (Difference{WentBack, "/producer-ids/nextProducerId", "2000", "1000"}) {
		t.Errorf("%+v", got.Differences)
	}
	if got := Compare(upTo(1000), upTo(2000), shown); !got.Equal() {
		t.Errorf("%+v", got.Differences)
	}
}

// TestMoveIsNoDifference: a partition that was being moved may be where the move ends.
func TestMoveIsNoDifference(t *testing.T) {
	moving := &record.PartitionRecord{TopicID: topic, Replicas: []kafka.BrokerID{1, 2, 3}, ISR: []kafka.BrokerID{1, 2}, Leader: 1, AddingReplicas: []kafka.BrokerID{3}, RemovingReplicas: []kafka.BrokerID{2}}
	moved := &record.PartitionRecord{TopicID: topic, Replicas: []kafka.BrokerID{1, 3}, ISR: []kafka.BrokerID{1, 3}, Leader: 1, PartitionEpoch: 2}
	named := &record.TopicRecord{Name: "orders", TopicID: topic}
	at := image.Position{Offset: 70, Epoch: 4}
	if got := Compare(imageOf(t, at, named, moving), imageOf(t, at, named, moved), shown); !got.Equal() {
		t.Errorf("%+v", got.Differences)
	}
}

func facts(t *testing.T, more ...record.Record) *Facts {
	t.Helper()
	f := &Facts{
		ClusterID: "id", KRaftVersion: 1, Image: imageOf(t, image.Position{Offset: 70, Epoch: 4}, append(sample(), more...)...),
		Controllers: []Controller{{ID: 1, Address: "c1:9093"}, {ID: 2, Address: "c2:9093"}, {ID: 3, Address: "c3:9093"}},
	}
	f.Asked.Brokers = []migration.BrokerFacts{{ID: 11, Version: "v4.3", Configs: map[string]string{}, Static: map[string]string{"node.id": "11", "process.roles": "broker", "listeners": "PLAINTEXT://:9092", "controller.quorum.bootstrap.servers": "c1:9093"}}}
	return f
}

// TestFindings: each thing that stands in the way has a check and a severity, and a
// cluster that has none of them has no blocker.
func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*Facts)
		more     []record.Record
		check    string // "": nothing stops
		severity migration.Severity
		says     string
	}{
		{"nothing", nil, nil, "", "", ""},
		{"ACLs", nil, nil, "authorizer", migration.Note, "1 ACLs"},
		{"passwords", nil, nil, "passwords", migration.Note, "broker <default> listener.name.x.ssl.key.password"},
		{"a metadata.version that is too old", nil, []record.Record{&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: 6}}, "metadata-version", migration.Blocker, "metadata.version"},
		{"a migration from ZooKeeper", nil, []record.Record{&record.ZkMigrationStateRecord{ZkMigrationState: image.ZkMigration}}, "metadata-version", migration.Blocker, "ZooKeeper"},
		{"kraft.version 0", func(f *Facts) { f.KRaftVersion = 0 }, nil, "kraft-version", migration.Note, "controller.quorum.voters"},
		{"one controller", func(f *Facts) { f.Controllers = f.Controllers[:1] }, nil, "controllers", migration.Note, "1 controllers"},
		{"a node of both roles", func(f *Facts) { f.Controllers[1].ID = 11 }, nil, "combined", migration.Blocker, "node 11"},
		{"an old broker", nil, []record.Record{&record.RegisterBrokerRecord{BrokerID: 12, BrokerEpoch: 50, IncarnationID: kafka.UUID{2}, Features: []record.FeatureRange{{Name: image.FeatureMetadataVersion, MaxSupportedVersion: int16(image.MV39IV0) - 1}}}}, "release", migration.Blocker, "broker 12"},
		{"a fenced broker", nil, []record.Record{&record.FenceBrokerRecord{ID: 11, Epoch: 40}}, "fenced", migration.Note, "broker 11"},
		{"a broker that does not answer", func(f *Facts) { f.Asked.Brokers[0].Err = errors.New("refused") }, nil, "broker-unreachable", migration.Later, "refused"},
		{"a move", nil, []record.Record{&record.PartitionChangeRecord{TopicID: topic, Leader: -2, LeaderRecoveryState: -1, Replicas: []kafka.BrokerID{11, 12, 13}, AddingReplicas: []kafka.BrokerID{13}}}, "reassignment", migration.Note, "orders-0"},
		{"a replica behind", nil, []record.Record{&record.PartitionChangeRecord{TopicID: topic, Leader: -2, LeaderRecoveryState: -1, ISR: []kafka.BrokerID{11}}}, "under-replicated", migration.Note, "orders-0"},
		{"no leader", nil, []record.Record{&record.PartitionChangeRecord{TopicID: topic, Leader: -1, LeaderRecoveryState: -1}}, "offline", migration.Note, "orders-0"},
		{"remote storage", nil, []record.Record{&record.ConfigRecord{ResourceType: int8(image.ResourceTopic), ResourceName: "orders", Name: "remote.storage.enable", Value: text("true")}}, "remote-storage", migration.Later, "orders"},
		{"transactions", func(f *Facts) { f.Transactions.Total = 2 }, nil, "transactions", migration.Later, "2 transactional"},
		{"a group of the new protocol", func(f *Facts) { f.Groups.Consumer = []string{"g"} }, nil, "group-protocol", migration.Later, "g"},
		{"TLS", func(f *Facts) {
			f.Asked.Brokers[0].Configs = map[string]string{"listeners": "PLAINTEXT://:9092,TLS://:9094", "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,TLS:SSL"}
		}, nil, "kvorum-listener", migration.Later, "TLS"},
		{"an authorizer", func(f *Facts) {
			f.Asked.Brokers[0].Static["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
		}, nil, "kvorum-authorizer", migration.Later, "authorizer.class.name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := facts(t, c.more...)
			if c.change != nil {
				c.change(f)
			}
			p := NewPlan(f)
			i := slices.IndexFunc(p.Findings, func(f migration.Finding) bool { return f.Check == c.check })
			if c.check != "" && (i < 0 || p.Findings[i].Severity != c.severity || !strings.Contains(p.Findings[i].Text, c.says)) {
				t.Errorf("%+v", p.Findings)
			}
			if stops := p.Stops(false, nil); (len(stops) > 0) != (c.severity == migration.Blocker) {
				t.Errorf("without kvorum's brokers it stops at %+v", stops)
			}
			if stops := p.Stops(true, []string{c.check}); len(stops) > 0 {
				t.Errorf("with kvorum's brokers, and %s allowed, it stops at %+v", c.check, stops)
			}
		})
	}
}

// TestSteps: every controller has its lines, and the brokers those of broker-config.
func TestSteps(t *testing.T) {
	p := NewPlan(facts(t))
	if len(p.Steps) != 7 || len(p.Steps[0].Nodes) != 3 {
		t.Fatalf("%+v", p.Steps)
	}
	second := strings.Join(p.Steps[0].Nodes[1].Add, "\n")
	for _, want := range []string{"node.id=2", "listeners=CONTROLLER://c2:9093", "kvorum.raft.listener=c2:RAFT-PORT", "kvorum.raft.voters=1@c1:RAFT-PORT,2@c2:RAFT-PORT,3@c3:RAFT-PORT",
		"controller.quorum.bootstrap.servers=c1:9093,c2:9093,c3:9093", "authorizer.class.name="} {
		if !strings.Contains(second, want) {
			t.Errorf("no %q among\n%s", want, second)
		}
	}
	if got := fmt.Sprint(p.Steps[4].Commands, p.Steps[6].Commands); !strings.Contains(got, "verify OLD/1 --bootstrap-controller c1:9093,c2:9093,c3:9093") || !strings.Contains(got, "--node-id 1") {
		t.Error(got)
	}
	static := facts(t)
	static.KRaftVersion, static.Controllers[0].Address = 0, ""
	first := strings.Join(NewPlan(static).Steps[0].Nodes[0].Add, "\n")
	if !strings.Contains(first, "controller.quorum.voters=") || !strings.Contains(first, "listeners=CONTROLLER://HOST:PORT") || strings.Contains(first, "bootstrap.servers") {
		t.Errorf("kraft.version 0, no address:\n%s", first)
	}
	want := Counts{Topics: 1, Partitions: 1, Configs: 2, Passwords: 1, Users: 1, Quotas: 1, ACLs: 1, Tokens: 1}
	if p.Counts != want || len(p.Brokers) != 1 || p.Brokers[0].Replicas != 1 || p.Brokers[0].Version != "v4.3" || p.Brokers[0].Address != "b:9092" {
		t.Errorf("%+v %+v", p.Counts, p.Brokers)
	}
}
