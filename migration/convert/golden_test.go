package convert

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration/znode"
)

// loadTree reads a recorded tree of migration/znode's testdata.
func loadTree(t testing.TB, name string) *znode.Tree {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "znode", "testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	tree := znode.NewTree()
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
		node := znode.Node{Version: n.Version, Ephemeral: n.Ephemeral}
		if n.Data != nil {
			node.Data = []byte(*n.Data)
		}
		tree.Add(n.Path, node)
	}
	return tree
}

// logged is a record of Apache's log, as its dump-log prints it.
type logged struct {
	Offset kafka.Offset
	Record json.RawMessage
}

// loadLog reads the log that Apache's controllers wrote in the recorded migration.
func loadLog(t testing.TB) []logged {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []logged
	for line := range bytes.Lines(text) {
		var l logged
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// The recorded brokers' password.encoder.secret is not kept anywhere, so the one
// password of the recorded trees is put there again under a secret of our own.
const (
	testSecret   = "golden-secret"
	passwordPath = "/config/brokers/2"
	passwordKey  = "listener.name.plaintext.scram-sha-256.sasl.jaas.config"
	passwordText = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
)

func encryptAgain(t testing.TB, tree *znode.Tree) *znode.Tree {
	t.Helper()
	n, _ := tree.Get(passwordPath)
	config, err := znode.DecodeConfig(n.Data)
	if err != nil || config[passwordKey] == "" {
		t.Fatalf("the recorded password is not there: %v, %v", config, err)
	}
	if config[passwordKey], err = EncodePassword(testSecret, passwordText, [saltBytes + 16]byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	n.Data = znode.EncodeConfig(config)
	tree.Add(passwordPath, n)
	return tree
}

func testOptions() Options {
	next := byte(100)
	return Options{MetadataVersion: image.MV39IV0, Secret: testSecret, NewID: func() kafka.UUID {
		next++
		return kafka.UUID{15: next}
	}}
}

// TestTheCopyIsApaches: the records of the recorded tree are those that Apache's
// controllers wrote when they read the same tree, one for one, kind after kind.
// Free are the order inside a kind and the random ids of ACLs.
func TestTheCopyIsApaches(t *testing.T) {
	s := znode.Decode(encryptAgain(t, loadTree(t, "at-copy")))
	if err := s.Blocking(); err != nil {
		t.Fatal(err)
	}
	messages, problems := Records(s, testOptions())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var ours, apaches []string
	for _, m := range messages {
		ours = append(ours, normal(t, m.AppendJSON(nil)))
	}
	for _, l := range loadLog(t) {
		if l.Offset >= 264 && l.Offset <= 323 { // between BeginTransaction and the state record
			apaches = append(apaches, normal(t, l.Record))
		}
	}
	if a, b := kinds(ours), kinds(apaches); a != b {
		t.Errorf("the kinds come as\n%s\nand in Apache's log as\n%s", a, b)
	}
	slices.Sort(ours)
	slices.Sort(apaches)
	for i := range max(len(ours), len(apaches)) {
		switch {
		case i >= len(ours):
			t.Errorf("missing: %s", apaches[i])
		case i >= len(apaches):
			t.Errorf("too many: %s", ours[i])
		case ours[i] != apaches[i]:
			t.Errorf("record %d is\n%s\nand in Apache's log\n%s", i, ours[i], apaches[i])
		}
	}
	if len(ours) != 60 {
		t.Errorf("%d records, Apache's log has 60", len(ours))
	}
}

// normal is a record's JSON in one spelling, without the random id of an ACL.
func normal(t testing.TB, text []byte) string {
	t.Helper()
	var v struct {
		Type    string         `json:"type"`
		Version int            `json:"version"`
		Data    map[string]any `json:"data"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if v.Type == "ACCESS_CONTROL_ENTRY_RECORD" {
		delete(v.Data, "id")
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// kinds are the resources that records are about, in their order, each once in a
// row. Topics, their configs and partitions are one kind, users and quotas another.
func kinds(records []string) string {
	var out []string
	for _, r := range records {
		kind := r
		switch {
		case strings.Contains(r, `"TOPIC_RECORD"`), strings.Contains(r, `"PARTITION_RECORD"`), strings.Contains(r, `"resourceType":2`) && strings.Contains(r, "CONFIG_RECORD"):
			kind = "topics"
		case strings.Contains(r, "CONFIG_RECORD"):
			kind = "broker configs"
		case strings.Contains(r, "CLIENT_QUOTA"), strings.Contains(r, "SCRAM"):
			kind = "quotas and users"
		case strings.Contains(r, "PRODUCER_IDS"):
			kind = "producer ids"
		case strings.Contains(r, "ACCESS_CONTROL"):
			kind = "ACLs"
		}
		if len(out) == 0 || out[len(out)-1] != kind {
			out = append(out, kind)
		}
	}
	return strings.Join(out, ", ")
}

// TestTheCopyIsAnImage: the records can be folded, and the image has what the
// znodes had.
func TestTheCopyIsAnImage(t *testing.T) {
	s := znode.Decode(encryptAgain(t, loadTree(t, "at-copy")))
	messages, problems := Records(s, testOptions())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	im, err := image.Fold(image.Empty(), 0, 1, 0, messages)
	if err != nil {
		t.Fatal(err)
	}
	if im.TopicCount() != 6 || im.PartitionCount() != 24 || im.ACLCount() != 7 {
		t.Errorf("%d topics, %d partitions, %d ACLs", im.TopicCount(), im.PartitionCount(), im.ACLCount())
	}
	if v, ok := im.ConfigValue(image.Resource{Type: image.ResourceBroker, Name: "2"}, passwordKey); !ok || v != passwordText {
		t.Errorf("the password is %q, %v", v, ok)
	}
	if im.ProducerIDs().Next != 2000 {
		t.Errorf("the next producer id is %d", im.ProducerIDs().Next)
	}
}
