package export

import (
	"bytes"
	"testing"

	"kvorum/migration/znode"
)

// FuzzRead: any file gives an error or a tree, and what was written is read.
func FuzzRead(f *testing.F) {
	tree := znode.NewTree()
	tree.Add("/brokers", znode.Node{})
	tree.Add("/brokers/topics", znode.Node{Data: []byte("{}"), Version: 3})
	tree.Add("/brokers/ids/1", znode.Node{Data: []byte("\xff\x00"), Ephemeral: true})
	e := &Export{ClusterID: "abc", Offset: 7, OffsetAfter: 9}
	var whole bytes.Buffer
	if err := e.Write(&whole, tree); err != nil {
		f.Fatal(err)
	}
	if got, read, err := Read(bytes.NewReader(whole.Bytes())); err != nil || got.OffsetAfter != 9 || got.ClusterID != "abc" || read.Len() != 3 {
		f.Fatalf("what was written is read as %+v, %v", got, err)
	}
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:whole.Len()-5])
	f.Add(bytes.Replace(whole.Bytes(), []byte("/brokers/topics"), []byte("/brokers"), 1))
	f.Add([]byte(`{"format":"kvorum-zookeeper-export-1"}` + "\n" + `{"path":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, read, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		if got.Nodes != read.Len() {
			t.Errorf("%+v of %d nodes", got, read.Len())
		}
		var again bytes.Buffer
		if err := (&Export{ClusterID: got.ClusterID, Offset: got.Offset, OffsetAfter: got.OffsetAfter}).Write(&again, read); err != nil {
			t.Fatal(err)
		}
		if second, tree, err := Read(&again); err != nil || second.OffsetAfter != got.OffsetAfter || tree.Len() != read.Len() {
			t.Errorf("written again: %+v, %v", second, err)
		}
	})
}
