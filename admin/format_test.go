package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
)

const testCluster = "3u7K0ZQ2S1qxk0m1v8aJWw"

func testFormat(t *testing.T) *Format {
	dir := t.TempDir()
	return &Format{
		ClusterID: testCluster, NodeID: 1, Controller: true,
		LogDirs: []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}, MetadataLogDir: filepath.Join(dir, "a"),
		Voters:    []nodedir.Voter{{ID: 1, Host: "127.0.0.1", Port: 9093, Listener: "CONTROLLER", DirectoryID: kafka.UUID{1, 2}}},
		Bootstrap: []record.Message{{Record: &record.FeatureLevelRecord{Name: "metadata.version", FeatureLevel: 30}}, {Record: &record.NoOpRecord{}}},
	}
}

func TestFormatWritesIdentity(t *testing.T) {
	f := testFormat(t)
	plan, err := f.Plan()
	if err != nil || len(plan) != 2 {
		t.Fatalf("Plan() = %v, %v", plan, err)
	}
	if _, err := os.Stat(f.MetadataLogDir); err == nil {
		t.Fatal("Plan wrote something")
	}
	if _, err := f.Run(); err != nil {
		t.Fatal(err)
	}
	meta, err := nodedir.ReadMeta(f.MetadataLogDir)
	if err != nil || meta.DirectoryID != f.Voters[0].DirectoryID || meta.NodeID != 1 {
		t.Fatalf("meta.properties = %+v, %v", meta, err)
	}
	other, err := nodedir.ReadMeta(f.LogDirs[1])
	if err != nil || other.DirectoryID == meta.DirectoryID {
		t.Fatalf("meta.properties of the second directory = %+v, %v", other, err)
	}
	id, err := nodedir.ReadIdentity(filepath.Join(f.MetadataLogDir, nodedir.MetadataDir))
	if err != nil {
		t.Fatal(err)
	}
	records, err := id.BootstrapRecords()
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 2 || records[0].Record.(*record.FeatureLevelRecord).FeatureLevel != 30 || records[1].Record.RecordName() != "NoOpRecord" {
		t.Errorf("bootstrap records read back as %v", records)
	}
	if _, err := f.Run(); err == nil || !strings.Contains(err.Error(), "--ignore-formatted") {
		t.Errorf("second Run = %v, want a refusal", err)
	}
	f.IgnoreFormatted = true
	if results, err := f.Run(); err != nil || results[0].Formatted {
		t.Errorf("Run with IgnoreFormatted = %v, %v", results, err)
	}
}

func TestFormatRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Format)
		want   string
	}{
		"bad cluster id":     {func(f *Format) { f.ClusterID = "x" }, "random-uuid"},
		"two controllers":    {func(f *Format) { f.Voters = append(f.Voters, f.Voters[0]) }, "1, 3 or 5"},
		"not in the quorum":  {func(f *Format) { f.NodeID = 9 }, "node.id 9"},
		"no log dirs":        {func(f *Format) { f.MetadataLogDir = "" }, "log.dirs"},
		"leftovers of a log": {func(f *Format) { mustMkdir(filepath.Join(f.MetadataLogDir, nodedir.MetadataDir, "kvorum-store")) }, "earlier metadata log"},
		"another cluster": {func(f *Format) {
			mustMkdir(f.MetadataLogDir)
			if err := nodedir.WriteMeta(f.MetadataLogDir, &nodedir.MetaProperties{Version: 1, ClusterID: "other", NodeID: 1}); err != nil {
				panic(err)
			}
		}, "cluster other"},
	} {
		t.Run(name, func(t *testing.T) {
			f := testFormat(t)
			test.change(f)
			if _, err := f.Run(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Run() = %v, want an error with %q", err, test.want)
			}
			if name != "another cluster" {
				if _, err := nodedir.ReadMeta(f.MetadataLogDir); err == nil {
					t.Error("a refused formatting left a formatted directory")
				}
			}
		})
	}
}

func mustMkdir(dir string) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		panic(err)
	}
}
