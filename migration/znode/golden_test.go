package znode

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"kvorum/internal/kafka"
)

// dumps are the recorded trees in testdata.
var dumps = []string{"before", "at-copy", "dual-write", "dual-write-changed", "after-failover", "rolled-back", "epoch-above"}

// loadTree reads a recorded tree.
func loadTree(t testing.TB, name string) *Tree {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	tree := NewTree()
	for line := range bytes.Lines(text) {
		var n struct {
			Path      string
			Data      *string
			Version   int32
			Ephemeral bool
		}
		if err := json.Unmarshal(line, &n); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		node := Node{Version: n.Version, Ephemeral: n.Ephemeral}
		if n.Data != nil {
			node.Data = []byte(*n.Data)
		}
		tree.Add(n.Path, node)
	}
	return tree
}

func TestRecordedTreesAreRead(t *testing.T) {
	for _, name := range dumps {
		t.Run(name, func(t *testing.T) {
			s := Decode(loadTree(t, name))
			for _, p := range s.Problems {
				t.Error(p)
			}
			if s.ClusterID == "" || s.ControllerEpoch == nil || len(s.Topics) == 0 {
				t.Errorf("cluster %q, controller epoch %v, %d topics", s.ClusterID, s.ControllerEpoch, len(s.Topics))
			}
		})
	}
}

func TestWhatTheCopyRead(t *testing.T) {
	s := Decode(loadTree(t, "at-copy"))
	if s.ControllerEpoch.Value != 2 || s.Controller.Value.ID != 1 || s.Controller.Value.KRaftEpoch != -1 {
		t.Errorf("controller %+v at epoch %+v", s.Controller, s.ControllerEpoch)
	}
	if s.Migration.Value != NoMigration || s.Migration.Value.Copied() {
		t.Errorf("migration %+v", s.Migration)
	}
	if want := (ProducerIDBlock{1, 1000, 1999}); s.ProducerIDs.Value != want {
		t.Errorf("producer ids %+v", s.ProducerIDs)
	}
	got := map[string]int{
		"brokers": len(s.Brokers), "topics": len(s.Topics), "broker configs": len(s.BrokerConfigs), "users": len(s.Users),
		"user clients": len(s.UserClients), "clients": len(s.Clients), "ips": len(s.IPs), "acls": len(s.ACLs), "tokens": len(s.Tokens),
	}
	want := map[string]int{
		"brokers": 3, "topics": 6, "broker configs": 3, "users": 3, "user clients": 2, "clients": 1, "ips": 1, "acls": 6, "tokens": 0,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	if b := s.Brokers[2]; b.ID != 3 || !reflect.DeepEqual(b.Endpoints, []Endpoint{{"PLAINTEXT", "PLAINTEXT", "127.0.0.1", 41093}}) {
		t.Errorf("broker %+v", b)
	}
}

// TestEncodersWriteWhatWasRead takes every recorded node apart and writes it
// again: as JSON the result must be what Apache's brokers and controllers wrote.
func TestEncodersWriteWhatWasRead(t *testing.T) {
	for _, name := range dumps {
		t.Run(name, func(t *testing.T) {
			tree := loadTree(t, name)
			count := 0
			for _, path := range tree.Paths() {
				n, _ := tree.Get(path)
				again := encodeAgain(t, path, n.Data)
				if again == nil {
					continue
				}
				count++
				if !sameJSON(t, n.Data, again) {
					t.Errorf("%s\nread    %s\nwritten %s", path, n.Data, again)
				}
			}
			if count < 20 {
				t.Errorf("only %d nodes were compared", count)
			}
		})
	}
}

// encodeAgain decodes and encodes a node; nil for those that kvorum never writes.
func encodeAgain(t *testing.T, path string, data []byte) []byte {
	t.Helper()
	if len(data) == 0 {
		return nil
	}
	part := strings.Split(path, "/")[1:]
	switch {
	case path == ControllerPath:
		return must(t, path, data, DecodeController).Encode()
	case path == ControllerEpochPath:
		return EncodeControllerEpoch(must(t, path, data, DecodeControllerEpoch))
	case path == MigrationPath:
		return must(t, path, data, DecodeMigration).Encode()
	case path == ProducerIDBlockPath:
		return must(t, path, data, DecodeProducerIDBlock).Encode()
	case Parent(path) == TopicsPath:
		decode := func(data []byte) (Topic, error) { return DecodeTopic(Base(path), data) }
		return must(t, path, data, decode).Encode()
	case Base(path) == "state":
		return must(t, path, data, DecodePartitionState).Encode()
	case Parent(path) == ConfigChangesPath:
		var change struct {
			Entity string `json:"entity_path"`
		}
		if err := json.Unmarshal(data, &change); err != nil {
			t.Fatal(err)
		}
		return EncodeConfigChange(change.Entity)
	case part[0] == "config":
		return EncodeConfig(must(t, path, data, DecodeConfig))
	case strings.HasPrefix(path, LiteralACLsPath+"/"), strings.HasPrefix(path, PrefixedACLsPath+"/"):
		a := ACLs{Entries: must(t, path, data, DecodeACLs)}
		return a.Encode()
	}
	return nil
}

func must[T any](t *testing.T, path string, data []byte, decode func([]byte) (T, error)) T {
	t.Helper()
	v, err := decode(data)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func TestChangeNotifications(t *testing.T) {
	tree := loadTree(t, "dual-write-changed")
	find := func(prefix string, data []byte) bool {
		for _, name := range tree.Children(Parent(prefix)) {
			n, _ := tree.Get(Parent(prefix) + "/" + name)
			if bytes.Equal(n.Data, data) {
				return true
			}
		}
		return false
	}
	for _, a := range Decode(tree).ACLs {
		if prefix, data := a.Change(); !find(prefix, data) {
			t.Errorf("Apache wrote no notification %s of %s", data, a.Path())
		}
	}
}

// TestScramIsReadAndWritten uses the credentials of the recorded users.
func TestScramIsReadAndWritten(t *testing.T) {
	count := 0
	for _, u := range Decode(loadTree(t, "dual-write-changed")).Users {
		for _, name := range []string{ScramSHA256, ScramSHA512} {
			text, ok := u.Config[name]
			if !ok {
				continue
			}
			s, err := DecodeScram(text)
			if err != nil {
				t.Fatalf("%s: %v", u.Path, err)
			}
			if count++; s.Encode() != text {
				t.Errorf("%s of %s: written %s", name, u.Name, s.Encode())
			}
		}
	}
	if count < 3 {
		t.Errorf("only %d credentials", count)
	}
}

func TestSanitize(t *testing.T) {
	for name, node := range map[string]string{
		"alice": "alice", "team a@corp": "team%20a%40corp", "a*b+c": "a%2Ab%2Bc", "<default>": "%3Cdefault%3E",
		"User:x": "User%3Ax", "ü~": "%C3%BC%7E", "A.b-c_9": "A.b-c_9",
	} {
		if got := Sanitize(name); got != node {
			t.Errorf("Sanitize(%q) = %q, want %q", name, got, node)
		}
		if got, err := Desanitize(node); err != nil || got != name {
			t.Errorf("Desanitize(%q) = %q, %v", node, got, err)
		}
	}
	for _, bad := range []string{"%", "%4", "%zz", "a%"} {
		if got, err := Desanitize(bad); err == nil {
			t.Errorf("Desanitize(%q) = %q", bad, got)
		}
	}
	if EntityNode("") != DefaultEntity || EntityNode(DefaultEntity) == DefaultEntity {
		t.Error("a user of the name <default> is not the default user")
	}
}

func TestPaths(t *testing.T) {
	if got := StatePath("t", 3); got != "/brokers/topics/t/partitions/3/state" {
		t.Error(got)
	}
	if got := ACLPath(PatternPrefixed, ResourceTransactionalID, "x"); got != "/kafka-acl-extended/prefixed/TransactionalId/x" {
		t.Error(got)
	}
	if Parent("/a") != "/" || Parent("/a/b") != "/a" || Base("/a/b") != "b" || BrokerPath(kafka.BrokerID(7)) != "/brokers/ids/7" {
		t.Error("Parent, Base or BrokerPath")
	}
}
