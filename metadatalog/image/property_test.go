package image

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// TestFoldIsTheModel draws logs, some records of which do not fit, and compares
// the fold with the model after each delta. Old images must stay what they
// were, a snapshot must give the image again, and what a delta says that it
// changed must be what is different.
func TestFoldIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type kept struct {
			im   *Image
			text string
		}
		m, im := newModel(), Empty()
		history := []kept{{im, imageText(im)}}
		for range rapid.IntRange(1, 6).Draw(t, "deltas") {
			records := drawFitting(t, m, im)
			d := NewDelta(im)
			for _, rec := range records {
				if err := d.Replay(rec); err != nil {
					t.Fatalf("%+v: %v", rec, err)
				}
			}
			next := d.Apply(Position{Offset: im.At().Offset + 1})
			if got, want := imageText(next), m.text(); got != want {
				t.Fatalf("image:\n%s\n\nmodel:\n%s", got, want)
			}
			if a, b := changesText(d.Changes(next)), changesText(Diff(im, next)); a != b {
				t.Fatalf("touched:\n%s\n\ndifferent:\n%s", a, b)
			}
			checkSnapshot(t, next)
			im = next
			history = append(history, kept{im, imageText(im)})
		}
		for i, h := range history {
			if imageText(h.im) != h.text {
				t.Fatalf("image %d has changed after it was applied", i)
			}
		}
	})
}

// drawFitting draws records for a delta and gives those that fit to the model;
// the image must refuse the others, too.
func drawFitting(t *rapid.T, m *model, im *Image) (records []record.Record) {
	for range rapid.IntRange(0, 25).Draw(t, "records") {
		rec := drawRecord(t)
		if m.replay(rec) {
			records = append(records, rec)
			continue
		}
		d := NewDelta(im)
		for _, r := range records {
			if err := d.Replay(r); err != nil {
				t.Fatalf("%+v: %v", r, err)
			}
		}
		if err := d.Replay(rec); err == nil || !strings.Contains(err.Error(), "replay "+rec.RecordName()) {
			t.Fatalf("%s %+v does not fit, but: %v", rec.RecordName(), rec, err)
		}
	}
	return records
}

func checkSnapshot(t *rapid.T, im *Image) {
	d := NewSnapshotDelta()
	for m := range im.Records(MaxMetadataVersion) {
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := record.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Replay(again.Record); err != nil {
			t.Fatal(err)
		}
	}
	loaded := d.Apply(im.At())
	if !loaded.Equal(im) || loaded.Hash() != im.Hash() || imageText(loaded) != imageText(im) {
		t.Fatalf("the image:\n%s\n\nfrom its snapshot:\n%s", imageText(im), imageText(loaded))
	}
}

// changesText says what has changed, without what was only touched.
func changesText(c *Changes) string {
	var b strings.Builder
	for ch := range c.Brokers() {
		if ch.Old == nil || ch.New == nil || !sameBroker(ch.Old, ch.New) {
			fmt.Fprintf(&b, "broker %d\n", pick(ch).ID)
		}
	}
	for ch := range c.Controllers() {
		if ch.Old == nil || ch.New == nil || !sameController(ch.Old, ch.New) {
			fmt.Fprintf(&b, "controller %d\n", pick(ch).ID)
		}
	}
	for tc := range c.Topics() {
		line := fmt.Sprintf("topic %s %t %t", pick(tc.Change).Name, tc.Old == nil, tc.New == nil)
		n := 0
		for p := range tc.Partitions() {
			n++
			line += fmt.Sprintf(" %d:%t,%t", p.ID, p.Old == nil, p.New == nil)
		}
		if n > 0 || tc.Old == nil || tc.New == nil {
			fmt.Fprintln(&b, line)
		}
	}
	for ch := range c.Configs() {
		if ch.Old == nil || ch.New == nil || !sameConfig(ch.Old, ch.New) {
			fmt.Fprintf(&b, "config %v\n", pick(ch).Resource)
		}
	}
	for ch := range c.ClientQuotas() {
		if ch.Old == nil || ch.New == nil || !sameQuota(ch.Old, ch.New) {
			fmt.Fprintf(&b, "quota %v\n", pick(ch).Entity)
		}
	}
	for ch := range c.ACLs() {
		if ch.Old == nil || ch.New == nil || *ch.Old != *ch.New {
			fmt.Fprintf(&b, "acl %s %t\n", pick(ch).ID, ch.New == nil)
		}
	}
	for ch := range c.ScramCredentials() {
		if ch.Old == nil || ch.New == nil || !sameScram(ch.Old, ch.New) {
			fmt.Fprintf(&b, "scram %s\n", pick(ch).User)
		}
	}
	for ch := range c.DelegationTokens() {
		if ch.Old == nil || ch.New == nil || !sameToken(ch.Old, ch.New) {
			fmt.Fprintf(&b, "token %s\n", pick(ch).TokenID)
		}
	}
	for f := range c.Features() {
		fmt.Fprintf(&b, "feature %+v\n", f)
	}
	fmt.Fprintf(&b, "producer ids %t, zk %t", c.ProducerIDs(), c.ZkMigrationState())
	return b.String()
}

func pick[V any](c Change[V]) *V {
	if c.New != nil {
		return c.New
	}
	return c.Old
}

func ids(t *rapid.T, label string) []kafka.BrokerID {
	return rapid.SliceOfNDistinct(rapid.Map(rapid.Int32Range(0, 3), func(i int32) kafka.BrokerID { return kafka.BrokerID(i) }), 0, 3,
		func(b kafka.BrokerID) kafka.BrokerID { return b }).Draw(t, label)
}

func maybe(t *rapid.T, label string, f func(*rapid.T, string) []kafka.BrokerID) []kafka.BrokerID {
	if rapid.Bool().Draw(t, label+"?") {
		return f(t, label)
	}
	return nil
}

func dirs(t *rapid.T, n int) []kafka.DirectoryID {
	return rapid.SliceOfN(rapid.Map(rapid.Byte(), func(b byte) kafka.DirectoryID { return kafka.DirectoryID{15: b % 3} }), n, n).Draw(t, "dirs")
}

func small(t *rapid.T, label string, max int) int { return rapid.IntRange(0, max).Draw(t, label) }

func uuid(t *rapid.T) kafka.UUID { return kafka.UUID{1, 15: byte(small(t, "uuid", 4))} }

func word(t *rapid.T) string { return rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "word") }

// partitionNumber is small, or in another chunk.
func partitionNumber(t *rapid.T) kafka.PartitionID {
	return rapid.SampledFrom([]kafka.PartitionID{0, 0, 0, 1, 1, 2, 63, 64, 130, -1}).Draw(t, "partition")
}

// drawRecord draws from few names and numbers, so that records meet.
func drawRecord(t *rapid.T) record.Record {
	switch small(t, "kind", 27) {
	case 0, 1, 2:
		return &record.TopicRecord{Name: word(t) + "t", TopicID: uuid(t)}
	case 3:
		return &record.RemoveTopicRecord{TopicID: uuid(t)}
	case 4, 5, 6, 7, 8:
		r := &record.PartitionRecord{PartitionID: partitionNumber(t), TopicID: uuid(t), Replicas: ids(t, "replicas"), ISR: ids(t, "isr"),
			AddingReplicas: maybe(t, "adding", ids), RemovingReplicas: maybe(t, "removing", ids), EligibleLeaderReplicas: maybe(t, "elr", ids),
			LastKnownELR: maybe(t, "last", ids), Leader: kafka.BrokerID(small(t, "leader", 3) - 1), LeaderRecoveryState: int8(small(t, "recovery", 1))}
		if rapid.Bool().Draw(t, "directories") {
			r.Directories = dirs(t, max(0, len(r.Replicas)-small(t, "fewer", 8)/8))
		}
		return r
	case 9, 10, 11, 12, 13:
		r := &record.PartitionChangeRecord{PartitionID: partitionNumber(t), TopicID: uuid(t), ISR: maybe(t, "isr", ids),
			Replicas: maybe(t, "replicas", ids), AddingReplicas: maybe(t, "adding", ids), RemovingReplicas: maybe(t, "removing", ids),
			EligibleLeaderReplicas: maybe(t, "elr", ids), LastKnownELR: maybe(t, "last", ids),
			Leader: kafka.BrokerID(small(t, "leader", 4) - 2), LeaderRecoveryState: int8(small(t, "recovery", 2) - 1)}
		if r.Replicas != nil || rapid.Bool().Draw(t, "directories") {
			r.Directories = dirs(t, len(r.Replicas))
		}
		return r
	case 14:
		return &record.ClearElrRecord{TopicName: rapid.SampledFrom([]string{"", "t", "at", "bt"}).Draw(t, "topic")}
	}
	return drawOther(t)
}

func drawOther(t *rapid.T) record.Record {
	broker, epoch := kafka.BrokerID(small(t, "broker", 2)), kafka.BrokerEpoch(small(t, "epoch", 1))
	value := word(t)
	switch small(t, "other", 20) {
	case 0, 1:
		return &record.RegisterBrokerRecord{BrokerID: broker, BrokerEpoch: epoch, Fenced: small(t, "fenced", 1) == 0, Rack: &value,
			LogDirs: dirs(t, small(t, "dirs", 2)), Features: []FeatureRange{{Name: "z"}, {Name: value}}, EndPoints: []Endpoint{{Name: "z"}, {Name: value}}}
	case 2:
		return &record.UnregisterBrokerRecord{BrokerID: broker, BrokerEpoch: epoch}
	case 3, 4:
		r := &record.BrokerRegistrationChangeRecord{BrokerID: broker, BrokerEpoch: epoch, Fenced: int8(small(t, "fenced", 2) - 1),
			InControlledShutdown: int8(small(t, "shutdown", 1)), LogDirs: dirs(t, small(t, "dirs", 2))}
		if rapid.Bool().Draw(t, "cordoned") {
			r.CordonedLogDirs = dirs(t, small(t, "cordoned", 2))
		}
		return r
	case 5:
		return &record.FenceBrokerRecord{ID: broker, Epoch: epoch}
	case 6:
		return &record.UnfenceBrokerRecord{ID: broker, Epoch: epoch}
	case 7:
		return &record.RegisterControllerRecord{ControllerID: kafka.NodeID(broker), IncarnationID: uuid(t)}
	case 8:
		return &record.FeatureLevelRecord{Name: rapid.SampledFrom([]string{FeatureMetadataVersion, FeatureKRaftVersion, "x", "y"}).Draw(t, "feature"),
			FeatureLevel: int16(rapid.SampledFrom([]int{-1, 0, 1, 21, 30, 31}).Draw(t, "level"))}
	case 9:
		return &record.ZkMigrationStateRecord{ZkMigrationState: int8(small(t, "zk", 4))}
	case 10:
		return &record.ProducerIDsRecord{BrokerID: broker, NextProducerID: kafka.ProducerID(small(t, "producer", 5))}
	case 11, 12, 14, 15:
		r := &record.ConfigRecord{ResourceType: 2, ResourceName: rapid.SampledFrom([]string{"t", "at"}).Draw(t, "topic"), Name: word(t)}
		if small(t, "set", 3) > 0 {
			r.Value = &value
		}
		return r
	case 13:
		parts := []record.QuotaEntity{{EntityType: "user", EntityName: &value}}
		if rapid.Bool().Draw(t, "default") {
			parts = []record.QuotaEntity{{EntityType: "client-id"}, {EntityType: "user", EntityName: &value}}
		}
		return &record.ClientQuotaRecord{Entity: parts, Key: word(t), Value: float64(small(t, "quota", 3)), Remove: rapid.Bool().Draw(t, "remove")}
	}
	return drawAccess(t, value)
}

func drawAccess(t *rapid.T, value string) record.Record {
	switch small(t, "access", 6) {
	case 0:
		return &record.AccessControlEntryRecord{ID: uuid(t), ResourceName: value}
	case 1:
		return &record.RemoveAccessControlEntryRecord{ID: uuid(t)}
	case 2:
		return &record.UserScramCredentialRecord{Name: value, Mechanism: int8(1 + small(t, "mechanism", 1)), Iterations: int32(small(t, "iterations", 9))}
	case 3:
		return &record.RemoveUserScramCredentialRecord{Name: value, Mechanism: int8(1 + small(t, "mechanism", 1))}
	case 4:
		return &record.DelegationTokenRecord{TokenID: value, ExpirationTimestamp: int64(small(t, "at", 9))}
	case 5:
		return &record.RemoveDelegationTokenRecord{TokenID: value}
	}
	return &record.NoOpRecord{}
}
