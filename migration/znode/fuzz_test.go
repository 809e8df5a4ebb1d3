package znode

import (
	"bytes"
	"strings"
	"testing"
)

// seed adds the recorded nodes whose path is chosen, and a few that are bad.
func seed(f *testing.F, chosen func(path string) bool) {
	for _, name := range []string{"at-copy", "after-failover"} {
		tree := loadTree(f, name)
		for _, path := range tree.Paths() {
			if n, _ := tree.Get(path); chosen(path) && len(n.Data) > 0 {
				f.Add(n.Data)
			}
		}
	}
	for _, bad := range []string{"", "{}", "null", "\x00", `{"version":1}`, `{"version":3,"partitions":{"0":null}}`, `{"version":5,"endpoints":[":"]}`} {
		f.Add([]byte(bad))
	}
}

func below(root string) func(string) bool {
	return func(path string) bool { return path == root || strings.HasPrefix(path, root+"/") }
}

// again checks that what a decoder takes is written in one form: decoding the
// encoded value and encoding it again changes nothing.
func again[T any](f *testing.F, decode func([]byte) (T, error), encode func(T) []byte) {
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decode(data)
		if err != nil {
			return
		}
		once := encode(v)
		w, err := decode(once)
		if err != nil {
			t.Fatalf("%q was read, and written as %q: %v", data, once, err)
		}
		if twice := encode(w); !bytes.Equal(once, twice) {
			t.Fatalf("%q was written as %q, then as %q", data, once, twice)
		}
	})
}

func FuzzTopic(f *testing.F) {
	seed(f, func(path string) bool { return Parent(path) == TopicsPath })
	again(f, func(b []byte) (Topic, error) { return DecodeTopic("t", b) }, Topic.Encode)
}

func FuzzPartitionState(f *testing.F) {
	seed(f, func(path string) bool { return Base(path) == "state" })
	again(f, DecodePartitionState, PartitionState.Encode)
}

func FuzzConfig(f *testing.F) {
	seed(f, below("/config"))
	again(f, DecodeConfig, EncodeConfig)
}

func FuzzACLs(f *testing.F) {
	seed(f, below(LiteralACLsPath))
	again(f, DecodeACLs, func(e []ACLEntry) []byte { a := ACLs{Entries: e}; return a.Encode() })
}

func FuzzToken(f *testing.F) {
	f.Add([]byte(`{"version":3,"owner":"User%3Aalice","tokenRequester":"User%3Abob","renewers":["User%3Acarol"],"issueTimestamp":1,"maxTimestamp":3,"expiryTimestamp":2,"tokenId":"x"}`))
	f.Add([]byte(`{"version":1,"owner":"User%3Aalice","renewers":[],"issueTimestamp":1,"maxTimestamp":3,"expiryTimestamp":2,"tokenId":"x"}`))
	again(f, DecodeToken, Token.Encode)
}

func FuzzController(f *testing.F) {
	seed(f, below(ControllerPath))
	again(f, DecodeController, Controller.Encode)
}

func FuzzControllerEpoch(f *testing.F) {
	seed(f, below(ControllerEpochPath))
	again(f, DecodeControllerEpoch, EncodeControllerEpoch)
}

func FuzzMigration(f *testing.F) {
	seed(f, below(MigrationPath))
	again(f, DecodeMigration, Migration.Encode)
}

func FuzzProducerIDBlock(f *testing.F) {
	seed(f, below(ProducerIDBlockPath))
	again(f, DecodeProducerIDBlock, func(b *ProducerIDBlock) []byte {
		if b == nil {
			return nil
		}
		return b.Encode()
	})
}

func FuzzScram(f *testing.F) {
	f.Add([]byte("salt=YQ==,stored_key=YQ==,server_key=YQ==,iterations=4096"))
	again(f, func(b []byte) (Scram, error) { return DecodeScram(string(b)) }, func(s Scram) []byte { return []byte(s.Encode()) })
}

// FuzzReadOnly covers the nodes that kvorum reads and never writes.
func FuzzReadOnly(f *testing.F) {
	seed(f, func(path string) bool {
		return Parent(path) == BrokerIDsPath || path == FeaturePath || path == ClusterIDPath
	})
	f.Add([]byte(`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := DecodeBroker(1, data); err == nil && (b.Version < 1 || b.Version > 5) {
			t.Errorf("a broker of version %d", b.Version)
		}
		if id, err := DecodeClusterID(data); err == nil && len(id) > len(data) {
			t.Error("the id is longer than the node")
		}
		_, _ = DecodeFeature(data)
		_, _ = DecodeReassignments(data)
		if name, err := Desanitize(string(data)); err == nil {
			if back, err := Desanitize(Sanitize(name)); err != nil || back != name {
				t.Errorf("%q came back as %q, %v", name, back, err)
			}
		}
	})
}

// FuzzDecode puts any bytes at a place of a real tree: each gives a value or a
// problem, and the other nodes are read as before.
func FuzzDecode(f *testing.F) {
	for _, path := range loadTree(f, "before").Paths() {
		f.Add(path, []byte("{}"))
	}
	f.Add("/brokers/topics/x/partitions/0/state", []byte("x"))
	tree := loadTree(f, "before")
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		if !strings.HasPrefix(path, "/") || strings.Count(path, "/") > 8 {
			return
		}
		old, existed := tree.Get(path)
		tree.Add(path, Node{Data: data})
		s := Decode(tree)
		if len(s.Topics) < 4 && len(s.Deletions) == 0 {
			t.Errorf("%q with %q left %d topics: %v", path, data, len(s.Topics), s.Problems)
		}
		if existed {
			tree.Add(path, old)
		} else {
			tree.Remove(path)
		}
	})
}
