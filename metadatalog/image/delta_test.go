package image

import (
	"slices"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

func mustFold(t testing.TB, base *Image, records ...record.Record) *Image {
	t.Helper()
	var messages []record.Message
	for _, r := range records {
		messages = append(messages, record.Message{Record: r})
	}
	im, err := Fold(base, base.At().Offset+1, 3, 1000, messages)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

var (
	idA = kafka.TopicID{10}
	idB = kafka.TopicID{11}
)

func partitionRecord(id kafka.TopicID, n kafka.PartitionID, replicas ...kafka.BrokerID) *record.PartitionRecord {
	return &record.PartitionRecord{TopicID: id, PartitionID: n, Replicas: replicas, ISR: slices.Clone(replicas), Leader: replicas[0]}
}

// changeOf is a change that changes nothing but the partition epoch.
func changeOf(id kafka.TopicID, n kafka.PartitionID) *record.PartitionChangeRecord {
	r := record.NewPartitionChangeRecord()
	r.TopicID, r.PartitionID = id, n
	return r
}

// base is two topics, a broker and one of everything else.
func base(t testing.TB) *Image {
	value := "1"
	return mustFold(t, Empty(),
		&record.FeatureLevelRecord{Name: FeatureMetadataVersion, FeatureLevel: 21},
		&record.TopicRecord{Name: "a", TopicID: idA}, partitionRecord(idA, 0, 1, 2), partitionRecord(idA, 1, 2, 1),
		&record.TopicRecord{Name: "b", TopicID: idB}, partitionRecord(idB, 0, 1),
		&record.RegisterBrokerRecord{BrokerID: 1, BrokerEpoch: 6, Fenced: true},
		&record.ConfigRecord{ResourceType: 2, ResourceName: "a", Name: "retention.ms", Value: &value},
		&record.AccessControlEntryRecord{ID: kafka.UUID{1}},
		&record.UserScramCredentialRecord{Name: "alice", Mechanism: 1},
		&record.ProducerIDsRecord{NextProducerID: 1000},
	)
}

// TestReplayRefuses has the records that cannot follow base, by Apache's rules,
// and what the error must say.
func TestReplayRefuses(t *testing.T) {
	tooMany := partitionRecord(idA, 0, 1, 2)
	tooMany.Directories = make([]kafka.DirectoryID, 3)
	tooMany.Directories[0] = kafka.DirectoryLost
	unknownState := changeOf(idA, 0)
	unknownState.LeaderRecoveryState = 2
	shorter := changeOf(idA, 0)
	shorter.Directories = []kafka.DirectoryID{kafka.DirectoryLost}
	for _, c := range []struct {
		rec  record.Record
		want string
	}{
		{&record.TopicRecord{Name: "a", TopicID: kafka.TopicID{99}}, "topic a (YwAAAAAAAAAAAAAAAAAAAA) exists already, with id " + idA.String()},
		{&record.TopicRecord{Name: "c", TopicID: idA}, "is that of topic a"},
		{&record.RemoveTopicRecord{TopicID: kafka.TopicID{99}}, "no topic with id YwAAAAAAAAAAAAAAAAAAAA"},
		{partitionRecord(kafka.TopicID{99}, 4, 1), "partition 4: there is no topic with id"},
		{partitionRecord(idA, -1, 1), "the number is negative"},
		{tooMany, "3 directories for 2 replicas"},
		{changeOf(idA, 2), "topic a (" + idA.String() + ") has no partition 2"},
		{changeOf(kafka.TopicID{99}, 0), "no topic with id"},
		{unknownState, "partition 0 of topic a: leader recovery state 2 is unknown"},
		{shorter, "1 directories for 2 replicas"},
		{&record.ClearElrRecord{TopicName: "zzz"}, "no topic zzz"},
		{&record.UnregisterBrokerRecord{BrokerID: 2}, "broker 2 is not registered"},
		{&record.UnregisterBrokerRecord{BrokerID: 1, BrokerEpoch: 5}, "broker epoch 6, not 5"},
		{&record.FenceBrokerRecord{ID: 1, Epoch: 7}, "broker epoch 6, not 7"},
		{&record.UnfenceBrokerRecord{ID: 3}, "broker 3 is not registered"},
		{&record.BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 6, Fenced: 2}, "fenced is 2"},
		{&record.BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 6, InControlledShutdown: -1}, "controlled shutdown is -1"},
		{&record.FeatureLevelRecord{Name: FeatureMetadataVersion, FeatureLevel: 31}, "metadata.version 31 is unknown"},
		{&record.FeatureLevelRecord{Name: FeatureMetadataVersion, FeatureLevel: 0}, "metadata.version 0 is unknown"},
		{&record.FeatureLevelRecord{Name: "x", FeatureLevel: -1}, "negative"},
		{&record.ZkMigrationStateRecord{ZkMigrationState: 5}, "state 5 is unknown"},
		{&record.ProducerIDsRecord{NextProducerID: 1000}, "next producer id 1000 is not above 1000"},
		{&record.ClientQuotaRecord{Key: "k"}, "no entity"},
		{&record.ClientQuotaRecord{Entity: []record.QuotaEntity{{EntityType: "group"}}, Key: "k"}, `entity type "group"`},
		{&record.AccessControlEntryRecord{ID: kafka.UUID{1}}, "exists already"},
		{&record.RemoveAccessControlEntryRecord{ID: kafka.UUID{2}}, "no access control entry"},
		{&record.UserScramCredentialRecord{Name: "u", Mechanism: 3}, "mechanism 3"},
		{&record.RemoveUserScramCredentialRecord{Name: "alice", Mechanism: 2}, "user alice has no credential"},
		{&record.BeginTransactionRecord{}, "transaction marker"},
		{&record.EndTransactionRecord{}, "transaction marker"},
		{&record.AbortTransactionRecord{}, "transaction marker"},
	} {
		im := base(t)
		hash := im.Hash()
		err := NewDelta(im).ReplayAt(77, c.rec)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "replay "+c.rec.RecordName()+" at offset 77: ") {
			t.Errorf("%s: %v, want %q", c.rec.RecordName(), err, c.want)
		}
		if im.Hash() != hash {
			t.Errorf("%s: the refused record has changed the base", c.rec.RecordName())
		}
	}
}

func TestPartitionChangeMerges(t *testing.T) {
	dirs := []kafka.DirectoryID{{1}, {2}}
	for _, c := range []struct {
		name   string
		change func(r *record.PartitionChangeRecord)
		want   Partition
	}{
		{"nothing", func(*record.PartitionChangeRecord) {}, Partition{Leader: 1, PartitionEpoch: 1}},
		{"the same leader", func(r *record.PartitionChangeRecord) { r.Leader = 1 }, Partition{Leader: 1, LeaderEpoch: 1, PartitionEpoch: 1}},
		{"no leader", func(r *record.PartitionChangeRecord) { r.Leader = -1 }, Partition{Leader: -1, LeaderEpoch: 1, PartitionEpoch: 1}},
		{"ISR", func(r *record.PartitionChangeRecord) { r.ISR = []kafka.BrokerID{2} }, Partition{Leader: 1, PartitionEpoch: 1, ISR: []kafka.BrokerID{2}}},
		{"recovering", func(r *record.PartitionChangeRecord) { r.LeaderRecoveryState = 1 }, Partition{Leader: 1, PartitionEpoch: 1, Recovery: Recovering}},
		{"directories", func(r *record.PartitionChangeRecord) { r.Directories = dirs }, Partition{Leader: 1, PartitionEpoch: 1, Directories: dirs}},
		{"reassignment", func(r *record.PartitionChangeRecord) {
			r.AddingReplicas, r.RemovingReplicas = []kafka.BrokerID{3}, []kafka.BrokerID{1}
		},
			Partition{Leader: 1, PartitionEpoch: 1, Adding: []kafka.BrokerID{3}, Removing: []kafka.BrokerID{1}}},
	} {
		r := changeOf(idA, 0)
		c.change(r)
		im := mustFold(t, base(t), r)
		want := c.want
		want.Replicas = []kafka.BrokerID{1, 2}
		if want.ISR == nil {
			want.ISR = want.Replicas
		}
		if got := im.Partition(idA, 0); !samePartition(got, &want) {
			t.Errorf("%s: %+v, want %+v", c.name, *got, want)
		}
		empty := changeOf(idA, 0)
		empty.AddingReplicas, empty.RemovingReplicas, empty.ISR = []kafka.BrokerID{}, []kafka.BrokerID{}, []kafka.BrokerID{}
		if p := mustFold(t, im, empty).Partition(idA, 0); p.Adding != nil || p.Removing != nil || p.ISR != nil || p.PartitionEpoch != 2 {
			t.Errorf("%s, then emptied: %+v", c.name, *p)
		}
	}
}

func TestRemoveTopicTakesItsConfiguration(t *testing.T) {
	old := base(t)
	im := mustFold(t, old, &record.RemoveTopicRecord{TopicID: idA}, &record.TopicRecord{Name: "a", TopicID: kafka.TopicID{12}})
	if im.Config(Resource{ResourceTopic, "a"}) != nil || im.Topic(idA) != nil || im.TopicByName("a").ID != (kafka.TopicID{12}) || im.PartitionCount() != 1 {
		t.Errorf("after the removal: %d partitions, %+v", im.PartitionCount(), im.TopicByName("a"))
	}
	if old.Config(Resource{ResourceTopic, "a"}) == nil || old.PartitionCount() != 3 {
		t.Error("the old image has changed")
	}
}

func TestRegisteredAt(t *testing.T) {
	im := base(t)
	if b := im.Broker(1); b.RegisteredAt != 6 || b.Epoch != 6 {
		t.Errorf("registered at %d, epoch %d", b.RegisteredAt, b.Epoch)
	}
	d := NewDelta(im)
	if err := d.ReplayAt(40, &record.RegisterBrokerRecord{BrokerID: 1, BrokerEpoch: 38}); err != nil {
		t.Fatal(err)
	}
	if b := d.Apply(Position{Offset: 40}).Broker(1); b.RegisteredAt != 40 || b.Epoch != 38 {
		t.Errorf("by the log: registered at %d, epoch %d", b.RegisteredAt, b.Epoch)
	}
	d = NewSnapshotDelta()
	if err := d.Replay(&record.RegisterBrokerRecord{BrokerID: 1, BrokerEpoch: 38}); err != nil {
		t.Fatal(err)
	}
	if b := d.Apply(Position{Offset: 40}).Broker(1); b.RegisteredAt != 38 {
		t.Errorf("by a snapshot: registered at %d", b.RegisteredAt)
	}
}

// TestUntouchedIsShared: a change costs nothing of what it leaves alone.
func TestUntouchedIsShared(t *testing.T) {
	old := base(t)
	im := mustFold(t, old, changeOf(idA, 1))
	if im.brokers != old.brokers || im.configs != old.configs || im.acls != old.acls || im.scram != old.scram {
		t.Error("tables that did not change are copied")
	}
	if im.Topic(idB) != old.Topic(idB) || im.Partition(idA, 0) != old.Partition(idA, 0) {
		t.Error("topics or partitions that did not change are copied")
	}
	if im.Partition(idA, 1) == old.Partition(idA, 1) || old.Partition(idA, 1).PartitionEpoch != 0 {
		t.Error("the partition that changed is shared")
	}
	var changes []kafka.PartitionID
	for tc := range Diff(old, im).Topics() {
		for p := range tc.Partitions() {
			changes = append(changes, p.ID)
		}
	}
	if !slices.Equal(changes, []kafka.PartitionID{1}) {
		t.Errorf("changed partitions %v", changes)
	}
	if same, err := Fold(old, 100, 1, 1, nil); err != nil || same != old {
		t.Error("the fold of nothing is another image")
	}
}

// TestEqualSlicesAreShared is about memory: a million partitions must fit.
func TestEqualSlicesAreShared(t *testing.T) {
	records := []record.Record{&record.TopicRecord{Name: "big", TopicID: idA}}
	for n := range 3 * sharedAfter {
		r := partitionRecord(idA, kafka.PartitionID(n), 1, 2, 3)
		r.Directories = []kafka.DirectoryID{{1}, {2}, {3}}
		r.AddingReplicas = []kafka.BrokerID{}
		records = append(records, r)
	}
	im := mustFold(t, Empty(), records...)
	a, b := im.Partition(idA, sharedAfter+1), im.Partition(idA, 3*sharedAfter-1)
	if &a.Replicas[0] != &b.Replicas[0] || &a.Directories[0] != &b.Directories[0] || &b.ISR[0] != &b.Replicas[0] || b.Adding != nil {
		t.Error("equal slices are not shared")
	}
	if !slices.Equal(b.Replicas, []kafka.BrokerID{1, 2, 3}) || !slices.Equal(b.Directories, []kafka.DirectoryID{{1}, {2}, {3}}) {
		t.Errorf("%+v", *b)
	}
}

func TestDeltaIsUsedOnce(t *testing.T) {
	d := NewDelta(Empty())
	d.Apply(Position{})
	for name, f := range map[string]func(){
		"replay": func() { _ = d.Replay(&record.NoOpRecord{}) },
		"apply":  func() { d.Apply(Position{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s after Apply did not panic", name)
				}
			}()
			f()
		}()
	}
}

// TestLookUpsDoNotAllocate: decisions and brokers look up on their hot paths.
func TestLookUpsDoNotAllocate(t *testing.T) {
	im := base(t)
	r := Resource{ResourceTopic, "a"}
	if n := testing.AllocsPerRun(100, func() {
		if im.Partition(idA, 1) == nil || im.TopicByName("a") == nil || im.Broker(1) == nil || im.Config(r) == nil {
			t.Fatal("missing")
		}
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestMetadataVersionDecidesTheRecords(t *testing.T) {
	im := mustFold(t, base(t), &record.RegisterControllerRecord{ControllerID: 1}, &record.DelegationTokenRecord{TokenID: "t"},
		&record.ZkMigrationStateRecord{}, &record.FeatureLevelRecord{Name: "x", FeatureLevel: 1})
	cordoned := &record.RegisterBrokerRecord{BrokerID: 2, LogDirs: []kafka.UUID{{5}}, CordonedLogDirs: []kafka.UUID{},
		InControlledShutdown: true, IsMigratingZkBroker: true}
	im = mustFold(t, im, cordoned)
	elr := changeOf(idA, 0)
	elr.EligibleLeaderReplicas, elr.Directories = []kafka.BrokerID{2}, []kafka.DirectoryID{{1}, {2}}
	im = mustFold(t, im, elr)
	for mv := MV30IV1; mv <= MaxMetadataVersion; mv++ {
		kinds := map[record.APIKey]int{}
		for m := range im.Records(mv) {
			kinds[m.Record.APIKey()]++
			if _, err := m.Append(nil); err != nil {
				t.Errorf("%s: %v", mv, err)
			}
			switch m.Record.(type) {
			case *record.RegisterBrokerRecord:
				if m.Version != mv.RegisterBrokerVersion() {
					t.Errorf("%s: RegisterBrokerRecord version %d", mv, m.Version)
				}
			case *record.PartitionRecord:
				if m.Version != mv.PartitionVersion() {
					t.Errorf("%s: PartitionRecord version %d", mv, m.Version)
				}
			}
		}
		for key, since := range map[record.APIKey]MetadataVersion{record.KeyRegisterController: MV37IV0, record.KeyDelegationToken: MV36IV2,
			record.KeyUserScramCredential: MV35IV2, record.KeyZkMigrationState: MV34IV0, record.KeyTopic: MV30IV1} {
			if (kinds[key] > 0) != (mv >= since) {
				t.Errorf("%s: %d records of key %d", mv, kinds[key], key)
			}
		}
	}
}

func TestRecordsStopEarly(t *testing.T) {
	im := base(t)
	total := 0
	for range im.Records(0) {
		total++
	}
	for n := range total {
		seen := 0
		for range im.Records(0) {
			if seen++; seen > n {
				break
			}
		}
	}
}
