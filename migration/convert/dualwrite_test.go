package convert

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/znode"
)

// logTypes are the record types in the recorded log.
var logTypes = map[string]func() record.Record{
	"TOPIC_RECORD":                      func() record.Record { return &record.TopicRecord{} },
	"REMOVE_TOPIC_RECORD":               func() record.Record { return &record.RemoveTopicRecord{} },
	"PARTITION_RECORD":                  func() record.Record { return &record.PartitionRecord{} },
	"PARTITION_CHANGE_RECORD":           func() record.Record { return &record.PartitionChangeRecord{Leader: -2, LeaderRecoveryState: -1} },
	"CONFIG_RECORD":                     func() record.Record { return &record.ConfigRecord{} },
	"CLIENT_QUOTA_RECORD":               func() record.Record { return &record.ClientQuotaRecord{} },
	"USER_SCRAM_CREDENTIAL_RECORD":      func() record.Record { return &record.UserScramCredentialRecord{} },
	"ACCESS_CONTROL_ENTRY_RECORD":       func() record.Record { return &record.AccessControlEntryRecord{} },
	"PRODUCER_IDS_RECORD":               func() record.Record { return &record.ProducerIDsRecord{} },
	"REGISTER_BROKER_RECORD":            func() record.Record { return &record.RegisterBrokerRecord{} },
	"BROKER_REGISTRATION_CHANGE_RECORD": func() record.Record { return &record.BrokerRegistrationChangeRecord{} },
	"REGISTER_CONTROLLER_RECORD":        func() record.Record { return &record.RegisterControllerRecord{} },
	"FEATURE_LEVEL_RECORD":              func() record.Record { return &record.FeatureLevelRecord{} },
	"ZK_MIGRATION_STATE_RECORD":         func() record.Record { return &record.ZkMigrationStateRecord{} },
	"BEGIN_TRANSACTION_RECORD":          func() record.Record { return &record.BeginTransactionRecord{} },
	"END_TRANSACTION_RECORD":            func() record.Record { return &record.EndTransactionRecord{} },
	"NO_OP_RECORD":                      func() record.Record { return &record.NoOpRecord{} },
}

// parseRecord reads what Apache's dump-log printed.
func parseRecord(t testing.TB, text []byte) record.Record {
	t.Helper()
	var v struct {
		Type string
		Data map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	make, ok := logTypes[v.Type]
	if !ok {
		t.Fatalf("the log has a record of type %s", v.Type)
	}
	r := make()
	parseStruct(t, reflect.ValueOf(r).Elem(), v.Data)
	return r
}

// parseStruct fills the fields by their names in Kafka's schemas.
func parseStruct(t testing.TB, into reflect.Value, data map[string]json.RawMessage) {
	t.Helper()
	for i := range into.NumField() {
		name, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("kafka"), ",")
		raw, ok := data[name]
		if name == "" || !ok {
			continue
		}
		parseValue(t, into.Field(i), raw)
	}
}

func parseValue(t testing.TB, into reflect.Value, raw json.RawMessage) {
	t.Helper()
	elem := into.Type()
	if elem.Kind() == reflect.Slice && elem.Elem().Kind() == reflect.Struct {
		var list []map[string]json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			t.Fatal(err)
		}
		out := reflect.MakeSlice(elem, len(list), len(list))
		for i, m := range list {
			parseStruct(t, out.Index(i), m)
		}
		into.Set(out)
		return
	}
	if err := json.Unmarshal(raw, into.Addr().Interface()); err != nil {
		t.Fatalf("%s into %v: %v", raw, elem, err)
	}
}

// replayLog folds the log record by record and calls each with the changes.
func replayLog(t testing.TB, each func(l logged, c *image.Changes)) {
	t.Helper()
	im := image.Empty()
	for _, l := range loadLog(t) {
		d := image.NewDelta(im)
		switch r := parseRecord(t, l.Record).(type) {
		case *record.BeginTransactionRecord, *record.EndTransactionRecord: // no state
		default:
			if err := d.ReplayAt(l.Offset, r); err != nil {
				t.Fatalf("offset %d: %v", l.Offset, err)
			}
		}
		next := d.Apply(image.Position{Offset: l.Offset})
		each(l, d.Changes(next))
		im = next
	}
}

func writeOptions(epoch kafka.LeaderEpoch) WriteOptions {
	return WriteOptions{ControllerEpoch: epoch, Secret: testSecret, Random: func() [saltBytes + 16]byte { return [saltBytes + 16]byte{7} }}
}

// recordedMoments are the recorded trees of dual write, and the offset of the log
// that each of them shows (its /migration).
func recordedMoments(t *testing.T) map[kafka.Offset]string {
	t.Helper()
	out := map[kafka.Offset]string{}
	for _, name := range []string{"dual-write", "dual-write-changed", "after-failover"} {
		out[znode.Decode(loadTree(t, name)).Migration.Value.Offset] = name
	}
	return out
}

// lastMoment is the newest recorded moment that the log has reached, as the log's
// idle records were left out of the test data.
func lastMoment(moments map[kafka.Offset]string, before, at kafka.Offset) []string {
	var out []string
	for offset, name := range moments {
		if offset >= before && offset < at {
			out = append(out, name)
		}
	}
	return out
}

// TestDualWriteIsApaches replays Apache's log over the tree as it was at the copy,
// writes what our dual write would write, and compares the result with the trees
// that Apache's dual write left at three moments: equal as JSON, and every version
// of a state equal to the partition epoch. What is different has its reason in
// differences.
func TestDualWriteIsApaches(t *testing.T) {
	moments := recordedMoments(t)
	tree := encryptAgain(t, loadTree(t, "at-copy"))
	compared, before := 0, kafka.Offset(0)
	var im *image.Image
	replayLog(t, func(l logged, c *image.Changes) {
		for _, name := range lastMoment(moments, before, l.Offset) {
			compared++
			compareTrees(t, name, tree, encryptAgain(t, loadTree(t, name)), im)
		}
		before, im = l.Offset, c.New
		if l.Offset <= 325 {
			return // the copy itself: ZooKeeper has it
		}
		w := Changed(c, writeOptions(6))
		for _, p := range w.Problems {
			t.Errorf("offset %d: %v", l.Offset, p)
		}
		writes := Writes(tree, w.Nodes)
		for _, write := range writes {
			if !tree.Apply(write) {
				t.Fatalf("offset %d: ZooKeeper would refuse %v %s at version %d", l.Offset, write.Op, write.Path, write.Version)
			}
		}
	})
	if compared != len(moments) {
		t.Errorf("%d of %d moments were compared", compared, len(moments))
	}
}

// managed are the roots of what dual write writes.
var managed = []string{znode.TopicsPath, "/config/topics", "/config/brokers", "/config/users", "/config/clients", "/config/ips", "/kafka-acl/", "/kafka-acl-extended/", znode.ProducerIDBlockPath}

// compareTrees compares our tree with Apache's.
func compareTrees(t *testing.T, name string, ours, apaches *znode.Tree, im *image.Image) {
	t.Helper()
	for _, path := range append(ours.Paths(), apaches.Paths()...) {
		under := false
		for _, root := range managed {
			under = under || strings.HasPrefix(path, root)
		}
		if !under {
			continue
		}
		a, inOurs := ours.Get(path)
		b, inApaches := apaches.Get(path)
		if inOurs != inApaches {
			t.Errorf("%s: %s exists in ours %v, in Apache's %v", name, path, inOurs, inApaches)
			continue
		}
		if same, why := sameNode(path, a.Data, b.Data); !same {
			t.Errorf("%s: %s %s\nours    %s\nApache's %s", name, path, why, a.Data, b.Data)
		}
		if znode.Base(path) == "state" {
			checkVersion(t, name, path, a, im)
		}
	}
}

// differences between our tree and Apache's:
//
//   - the controller_epoch in the state of a partition: after a failover Apache's
//     controllers write every state again under their own epoch, ours only what has
//     changed (here one epoch plays both controllers);
//   - passwords: each encryption has its own salt;
//   - {"version":1,"config":{}} of an entity is the same as no data.
func sameNode(path string, ours, apaches []byte) (bool, string) {
	if len(ours) == 0 || len(apaches) == 0 {
		return len(ours) == len(apaches), "has data in one of them only"
	}
	var a, b map[string]any
	if err := json.Unmarshal(ours, &a); err != nil {
		return false, err.Error()
	}
	if err := json.Unmarshal(apaches, &b); err != nil {
		return false, err.Error()
	}
	if znode.Base(path) == "state" {
		delete(a, "controller_epoch")
		delete(b, "controller_epoch")
	}
	for _, m := range []map[string]any{a, b} {
		if config, ok := m["config"].(map[string]any); ok {
			if _, ok := config[passwordKey]; ok {
				config[passwordKey] = "a password"
			}
		}
		if rules, ok := m["acls"].([]any); ok { // a set
			set := map[string]bool{}
			for _, r := range rules {
				set[fmt.Sprint(r)] = true
			}
			m["acls"] = set
		}
	}
	return reflect.DeepEqual(a, b), "is different"
}

// checkVersion: the version of a state is the partition epoch, whatever happened.
func checkVersion(t *testing.T, name, path string, n znode.Node, im *image.Image) {
	t.Helper()
	part := strings.Split(path, "/")
	id, err := znode.ParsePartition(part[5])
	if err != nil {
		t.Fatal(err)
	}
	if p := im.TopicByName(part[3]).Partition(id); int32(p.PartitionEpoch) != n.Version {
		t.Errorf("%s: %s has version %d, the partition epoch is %d", name, path, n.Version, p.PartitionEpoch)
	}
}

// TestNothingIsWrittenTwice: over the tree that Apache's dual write left, our
// reconciliation of the same image writes nothing. Apache's own writes seven
// quotas after the copy, and every topic and partition after a failover.
func TestNothingIsWrittenTwice(t *testing.T) {
	moments := recordedMoments(t)
	before := kafka.Offset(0)
	var im *image.Image
	compared := 0
	replayLog(t, func(l logged, c *image.Changes) {
		for _, name := range lastMoment(moments, before, l.Offset) {
			compared++
			tree := encryptAgain(t, loadTree(t, name))
			w := All(im, writeOptions(7))
			for _, p := range w.Problems {
				t.Errorf("%s: %v", name, p)
			}
			for _, write := range Writes(tree, append(w.Nodes, Extra(tree, im, w.Nodes)...)) {
				t.Errorf("%s: %v %s %s", name, write.Op, write.Path, write.Data)
			}
		}
		before, im = l.Offset, c.New
	})
	if compared != len(moments) {
		t.Errorf("%d of %d moments were compared", compared, len(moments))
	}
}
