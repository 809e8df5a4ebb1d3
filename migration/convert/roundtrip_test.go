package convert

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/znode"
)

// drawImage makes an image of everything that ZooKeeper can hold.
func drawImage(t *rapid.T) *image.Image {
	d := &drawer{t: t}
	for i := range rapid.IntRange(0, 4).Draw(t, "topics") {
		d.topic(i)
	}
	d.configs()
	d.entities()
	if rapid.Bool().Draw(t, "producer ids") {
		d.add(&record.ProducerIDsRecord{BrokerID: 1, BrokerEpoch: -1, NextProducerID: kafka.ProducerID(rapid.Int64Range(1, 1<<40).Draw(t, "next"))})
	}
	d.acls()
	for i := range rapid.IntRange(0, 3).Draw(t, "tokens") {
		d.add(&record.DelegationTokenRecord{
			TokenID: fmt.Sprint("token-", i), Owner: "User:" + d.name("owner"), Requester: "User:" + d.name("requester"), Renewers: []string{"User:" + d.name("renewer")},
			IssueTimestamp: 1, MaxTimestamp: rapid.Int64().Draw(t, "max"), ExpirationTimestamp: 3,
		})
	}
	im, err := image.Fold(image.Empty(), 0, 1, 0, d.out)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// drawer draws the records of an image.
type drawer struct {
	t   *rapid.T
	out []record.Message
}

func (d *drawer) add(r record.Record) { d.out = append(d.out, record.Message{Record: r}) }

// name is any text but the empty one, which would be the default entity.
func (d *drawer) name(label string) string {
	return rapid.StringN(1, 6, -1).Draw(d.t, label)
}

func (d *drawer) topic(i int) {
	id := kafka.UUID{15: byte(i + 1), 0: 9}
	name := fmt.Sprint("topic_", i)
	d.add(&record.TopicRecord{Name: name, TopicID: id})
	for p := range rapid.IntRange(1, 4).Draw(d.t, "partitions") {
		replicas := rapid.Permutation([]kafka.BrokerID{1, 2, 3, 4}).Draw(d.t, "replicas")[:rapid.IntRange(1, 4).Draw(d.t, "factor")]
		isr := replicas[:rapid.IntRange(0, len(replicas)).Draw(d.t, "isr")]
		r := &record.PartitionRecord{
			PartitionID: kafka.PartitionID(p), TopicID: id, Replicas: replicas, ISR: isr, Leader: kafka.NoLeader,
			LeaderEpoch: kafka.LeaderEpoch(rapid.Int32Range(0, 1<<30).Draw(d.t, "leader epoch")), PartitionEpoch: kafka.PartitionEpoch(rapid.Int32Range(0, 20).Draw(d.t, "partition epoch")),
			LeaderRecoveryState: rapid.Int8Range(0, 1).Draw(d.t, "recovery"),
		}
		if len(isr) > 0 {
			r.Leader = isr[0]
		}
		if rapid.Bool().Draw(d.t, "moving") {
			r.AddingReplicas, r.RemovingReplicas = replicas[:1], replicas[len(replicas)-1:]
		}
		d.add(r)
	}
	for k := range rapid.IntRange(0, 2).Draw(d.t, "configs") {
		value := rapid.String().Draw(d.t, "value")
		d.add(&record.ConfigRecord{ResourceType: 2, ResourceName: name, Name: fmt.Sprint("key.", k), Value: &value})
	}
}

func (d *drawer) configs() {
	for _, broker := range []string{"", "1", "77"} {
		if rapid.Bool().Draw(d.t, "broker config") {
			value := rapid.String().Draw(d.t, "value")
			d.add(&record.ConfigRecord{ResourceType: 4, ResourceName: broker, Name: "log.retention.ms", Value: &value})
		}
	}
	if rapid.IntRange(0, 15).Draw(d.t, "password") == 9 { // seldom: a key takes thousands of hashes
		value := rapid.String().Draw(d.t, "value")
		d.add(&record.ConfigRecord{ResourceType: 4, ResourceName: "1", Name: "listener.name.x.ssl.key.password", Value: &value})
	}
}

func (d *drawer) entities() {
	for range rapid.IntRange(0, 5).Draw(d.t, "quotas") {
		part := func(kind string) record.QuotaEntity {
			if rapid.Bool().Draw(d.t, "default") {
				return record.QuotaEntity{EntityType: kind}
			}
			name := d.name(kind)
			return record.QuotaEntity{EntityType: kind, EntityName: &name}
		}
		entity := [][]record.QuotaEntity{{part("user")}, {part("client-id")}, {part("user"), part("client-id")}, {part("ip")}}[rapid.IntRange(0, 3).Draw(d.t, "kind")]
		key := rapid.SampledFrom([]string{"producer_byte_rate", "request_percentage", "controller_mutation_rate"}).Draw(d.t, "key")
		value := float64(rapid.Int64Range(0, 1<<50).Draw(d.t, "value"))
		if fractional[key] {
			value = rapid.Float64Range(0, 1e12).Draw(d.t, "fraction")
		}
		d.add(&record.ClientQuotaRecord{Entity: entity, Key: key, Value: value})
	}
	for range rapid.IntRange(0, 2).Draw(d.t, "users") {
		d.add(&record.UserScramCredentialRecord{
			Name: d.name("user"), Mechanism: rapid.Int8Range(1, 2).Draw(d.t, "mechanism"), Salt: []byte{1, 2}, StoredKey: []byte{3}, ServerKey: []byte{4}, Iterations: 4096,
		})
	}
}

func (d *drawer) acls() {
	seen := map[znode.ACLEntry]bool{}
	for i := range rapid.IntRange(0, 5).Draw(d.t, "acls") {
		r := &record.AccessControlEntryRecord{
			ID: kafka.UUID{14: byte(i + 1), 15: 200}, ResourceType: rapid.Int8Range(2, 7).Draw(d.t, "resource"), ResourceName: fmt.Sprint("r", rapid.IntRange(0, 2).Draw(d.t, "name")),
			PatternType: rapid.Int8Range(3, 4).Draw(d.t, "pattern"), Principal: "User:" + d.name("principal"), Host: "*",
			Operation: rapid.Int8Range(2, 14).Draw(d.t, "operation"), PermissionType: rapid.Int8Range(2, 3).Draw(d.t, "permission"),
		}
		if e := (znode.ACLEntry{Principal: r.Principal, Host: r.Host, Operation: r.Operation, Permission: r.PermissionType}); !seen[e] {
			seen[e] = true
			d.add(r)
		}
	}
}

// describe is what ZooKeeper can hold of an image, as sorted lines: without the ids
// of ACLs, which it does not keep, and with partition epochs only if they matter:
// they may be higher in ZooKeeper when the old image's were.
func describe(t *rapid.T, im *image.Image, epochs bool) []string {
	var out []string
	for m := range im.Records(image.MV36IV2) {
		switch r := m.Record.(type) {
		case *record.FeatureLevelRecord, *record.ZkMigrationStateRecord:
			continue
		case *record.AccessControlEntryRecord:
			clone := *r
			clone.ID = kafka.UUID{}
			m.Record = &clone
		case *record.PartitionRecord:
			clone := *r
			if !epochs {
				clone.PartitionEpoch = 0
			}
			m.Record = &clone
		case *record.ProducerIDsRecord:
			clone := *r
			clone.BrokerID, clone.BrokerEpoch = 0, 0
			m.Record = &clone
		}
		out = append(out, string(m.AppendJSON(nil)))
	}
	slices.Sort(out)
	return out
}

// build applies writes to a tree as ZooKeeper would.
func build(t *rapid.T, tree *znode.Tree, writes []znode.Write) {
	for _, w := range writes {
		if !tree.Apply(w) {
			t.Fatalf("ZooKeeper would refuse %v %s at version %d", w.Op, w.Path, w.Version)
		}
	}
}

func decodeAll(t *rapid.T, tree *znode.Tree) *image.Image {
	s := znode.Decode(tree)
	if len(s.Problems) > 0 {
		t.Fatal(s.Problems)
	}
	messages, problems := Records(s, testOptions())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	im, err := image.Fold(image.Empty(), 0, 1, 0, messages)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestImagesComeBack: an image, written to an empty ZooKeeper and read again, is
// the same image; and writing it once more writes nothing.
func TestImagesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := drawImage(t)
		w := All(im, writeOptions(5))
		if len(w.Problems) > 0 {
			t.Fatal(w.Problems)
		}
		tree := znode.NewTree()
		build(t, tree, Writes(tree, w.Nodes))
		if a, b := describe(t, im, true), describe(t, decodeAll(t, tree), true); !slices.Equal(a, b) {
			t.Fatalf("written\n%q\nread\n%q", a, b)
		}
		if again := Writes(tree, append(w.Nodes, Extra(tree, im, w.Nodes)...)); len(again) > 0 {
			t.Fatalf("written twice: %+v", again)
		}
	})
}

// TestChangesAreEnough: from one image to another, the nodes of the changes alone
// lead to the same tree as everything of the new image; so does reconciliation.
func TestChangesAreEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, next := drawImage(t), drawImage(t)
		start := func() *znode.Tree {
			tree := znode.NewTree()
			build(t, tree, Writes(tree, All(old, writeOptions(5)).Nodes))
			return tree
		}
		changed := start()
		build(t, changed, Writes(changed, Changed(image.Diff(old, next), writeOptions(6)).Nodes))
		want := describe(t, next, false)
		if old.ProducerIDs().Next > 0 && next.ProducerIDs().Next == 0 {
			return // a log never takes a block back
		}
		if got := describe(t, decodeAll(t, changed), false); !slices.Equal(got, want) {
			t.Fatalf("after the changes\n%q\ninstead of\n%q", got, want)
		}
		reconciled := start()
		all := All(next, writeOptions(6)).Nodes
		build(t, reconciled, Writes(reconciled, append(all, Extra(reconciled, next, all)...)))
		if got := describe(t, decodeAll(t, reconciled), false); !slices.Equal(got, want) {
			t.Fatalf("after reconciliation\n%q\ninstead of\n%q", got, want)
		}
	})
}

// TestVersionsReachTheEpoch: the version of a state never stays below the partition
// epoch, by how much so ever it has moved.
func TestVersionsReachTheEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, next := drawImage(t), drawImage(t)
		tree := znode.NewTree()
		build(t, tree, Writes(tree, All(old, writeOptions(5)).Nodes))
		build(t, tree, Writes(tree, Changed(image.Diff(old, next), writeOptions(6)).Nodes))
		for topic := range next.Topics() {
			for id, p := range topic.Partitions() {
				if n, ok := tree.Get(znode.StatePath(topic.Name, id)); !ok || n.Version < int32(p.PartitionEpoch) {
					t.Fatalf("%s-%d: version %d, partition epoch %d", topic.Name, id, n.Version, p.PartitionEpoch)
				}
			}
		}
	})
}

func TestQuotaText(t *testing.T) {
	for _, c := range []struct {
		key  string
		v    float64
		want string
	}{
		{"producer_byte_rate", 10485760, "10485760"}, {"producer_byte_rate", 0, "0"}, {"connection_creation_rate", 10, "10"},
		{"request_percentage", 55.5, "55.5"}, {"controller_mutation_rate", 100, "100.0"}, {"request_percentage", 12345678, "1.2345678E7"},
		{"request_percentage", 1e7, "1.0E7"}, {"request_percentage", 0.0005, "5.0E-4"}, {"request_percentage", 0, "0.0"},
	} {
		if got := quotaText(c.key, c.v); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.key, c.v, got, c.want)
		}
	}
}

// TestNotices: who is told of what.
func TestNotices(t *testing.T) {
	empty := znode.EncodeConfig(nil)
	set := znode.EncodeConfig(map[string]string{"a": "b"})
	const unheard = znode.TokenChangesPath
	got := WithNotices([]znode.Write{
		{Op: znode.Create, Path: "/brokers/topics/t", Data: []byte("{}")},
		{Op: znode.Create, Path: "/config/topics/t", Data: empty},
		{Op: znode.Set, Path: "/config/topics/u", Data: empty},
		{Op: znode.Delete, Path: "/config/topics/gone"},
		{Op: znode.Create, Path: "/config/users/x/clients"},
		{Op: znode.Create, Path: "/config/users/x/clients/c", Data: set},
		{Op: znode.Delete, Path: "/config/brokers/1"},
		{Op: znode.Set, Path: "/kafka-acl/TransactionalId/x", Data: set},
		{Op: znode.Delete, Path: "/kafka-acl-extended/prefixed/Group/p"},
		{Op: znode.Create, Path: "/delegation_token/tokens/id", Data: set}, // no broker has tokens
		{Op: znode.Set, Path: znode.ProducerIDBlockPath, Data: set},
	}, func(path string) bool { return path != unheard })
	var b bytes.Buffer
	for i, w := range got {
		if w.Op == znode.CreateSequential {
			fmt.Fprintf(&b, "after %s: %s %s\n", got[i-1].Path, w.Path, w.Data)
		}
	}
	want := `after /config/topics/u: /config/changes/config_change_ {"version":2,"entity_path":"topics/u"}
after /config/users/x/clients/c: /config/changes/config_change_ {"version":2,"entity_path":"users/x/clients/c"}
after /config/brokers/1: /config/changes/config_change_ {"version":2,"entity_path":"brokers/1"}
after /kafka-acl/TransactionalId/x: /kafka-acl-changes/acl_changes_ TRANSACTIONAL_ID:x
after /kafka-acl-extended/prefixed/Group/p: /kafka-acl-extended-changes/acl_changes_ {"version":1,"resourceType":"GROUP","name":"p","patternType":"PREFIXED"}
`
	if b.String() != want {
		t.Errorf("notices\n%s", &b)
	}
}
