package admin

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
)

// TestExportOfAnImport: what was imported and exported again is the old log, byte
// for byte, and the directory of the old controller.
func TestExportOfAnImport(t *testing.T) {
	dirs := threeControllers(t)
	i := importer(t, 1, dirs...)
	if _, err := i.Run(); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dirs[2], nodedir.MetadataDir, "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	for node := 1; node <= 3; node++ {
		e := &Export{Source: i.MetadataLogDir, To: filepath.Join(t.TempDir(), "out"), NodeID: kafka.NodeID(node)}
		r, err := e.Run()
		if err != nil || r.DirectoryID != directoryID(node) || r.ClusterID != oldCluster || r.LastEpoch != 4 {
			t.Fatalf("%+v, %v", r, err)
		}
		s, err := readSource(e.To)
		if err != nil || s.meta.NodeID != kafka.NodeID(node) || s.meta.DirectoryID != directoryID(node) || s.end != (kafka.EpochOffset{Offset: 7, Epoch: 4}) || s.highest != 4 {
			t.Fatalf("%+v, %v", s, err)
		}
		if got, err := os.ReadFile(s.segments[0].path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the log is\n%x\nand was\n%x (%v)", got, want, err)
		}
	}
}

func TestExportRefusals(t *testing.T) {
	dirs := threeControllers(t)
	i := importer(t, 1, dirs...)
	if _, err := i.Run(); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	write(t, filepath.Join(full, "file"), nil)
	for _, c := range []struct {
		e    Export
		want string
	}{
		{Export{Source: dirs[0], To: t.TempDir(), NodeID: 1}, "is not a kvorum controller's"},
		{Export{Source: i.MetadataLogDir, To: t.TempDir(), NodeID: 9}, "node 9 is not among the controllers [1 2 3]"},
		{Export{Source: i.MetadataLogDir, To: full, NodeID: 1}, "must be an empty directory"},
	} {
		if _, err := c.e.Run(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.e, err, c.want)
		}
		if _, err := os.Stat(filepath.Join(c.e.To, nodedir.MetadataDir)); err == nil {
			t.Errorf("%+v: something was written", c.e)
		}
	}
}
