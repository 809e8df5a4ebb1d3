package admin

import (
	"bytes"
	"testing"

	"kvorum/migration/znode"
)

// FuzzReadZooKeeperExport: any file gives an error or a tree, and what was written is read.
func FuzzReadZooKeeperExport(f *testing.F) {
	tree := znode.NewTree()
	tree.Add("/brokers", znode.Node{})
	tree.Add("/brokers/topics", znode.Node{Data: []byte("{}"), Version: 3})
	tree.Add("/brokers/ids/1", znode.Node{Data: []byte("\xff\x00"), Ephemeral: true})
	e := &ZooKeeperExport{ClusterID: "abc", Offset: 7, OffsetAfter: 9}
	var whole bytes.Buffer
	if err := e.write(&whole, tree); err != nil {
		f.Fatal(err)
	}
	if got, read, err := readExport(bytes.NewReader(whole.Bytes())); err != nil || got.OffsetAfter != 9 || got.ClusterID != "abc" || read.Len() != 3 {
		f.Fatalf("what was written is read as %+v, %v", got, err)
	}
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:whole.Len()-5])
	f.Add(bytes.Replace(whole.Bytes(), []byte("/brokers/topics"), []byte("/brokers"), 1))
	f.Add([]byte(`{"format":"kvorum-zookeeper-export-1"}` + "\n" + `{"path":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, read, err := readExport(bytes.NewReader(text))
		if err != nil {
			return
		}
		if got.Nodes != read.Len() {
			t.Errorf("%+v of %d nodes", got, read.Len())
		}
		var again bytes.Buffer
		if err := (&ZooKeeperExport{ClusterID: got.ClusterID, Offset: got.Offset, OffsetAfter: got.OffsetAfter}).write(&again, read); err != nil {
			t.Fatal(err)
		}
		if second, tree, err := readExport(&again); err != nil || second.OffsetAfter != got.OffsetAfter || tree.Len() != read.Len() {
			t.Errorf("written again: %+v, %v", second, err)
		}
	})
}
