package nodedir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvorum/internal/kafka"
)

func TestMetaRoundTrip(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadMeta(dir); err == nil || !strings.Contains(err.Error(), "storage format") {
		t.Fatalf("ReadMeta of an empty directory = %v, want an error that names storage format", err)
	}
	want := MetaProperties{Version: 1, ClusterID: "AAAAAAAAAAAAAAAAAAAAAg", NodeID: 3, DirectoryID: kafka.UUID{1, 2, 3}}
	if err := WriteMeta(dir, &want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadMeta(dir)
	if err != nil || *got != want {
		t.Fatalf("ReadMeta = %+v, %v, want %+v", got, err, want)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestMetaOfApache(t *testing.T) {
	// The shapes that Apache 3.9.2 and 4.3.1 write, and a ZooKeeper-mode broker's.
	for text, want := range map[string]MetaProperties{
		"#\n#Mon Nov 02 10:00:00 UTC 2026\ncluster.id=AAAAAAAAAAAAAAAAAAAAAg\ndirectory.id=3u7K0ZQ2S1qxk0m1v8aJWw\nnode.id=1\nversion=1\n": {Version: 1, ClusterID: "AAAAAAAAAAAAAAAAAAAAAg", NodeID: 1, DirectoryID: mustParse(t, "3u7K0ZQ2S1qxk0m1v8aJWw")},
		"broker.id=7\nversion=0\ncluster.id=x\n": {Version: 0, ClusterID: "x", NodeID: 7},
		"broker.id=7":                            {Version: 0, NodeID: 7},
	} {
		got, err := parseMeta(text)
		if err != nil || *got != want {
			t.Errorf("parseMeta(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestMetaErrors(t *testing.T) {
	for text, want := range map[string]string{
		"version=2\nnode.id=1\ncluster.id=x":                                      "newer",
		"version=x":                                                               "not a number",
		"version=1\nnode.id=1":                                                    "cluster.id",
		"version=1\ncluster.id=x":                                                 "node.id",
		"version=1\ncluster.id=x\nnode.id=-4":                                     "from 0 on",
		"version=1\ncluster.id=x\nnode.id=99999999999":                            "from 0 on",
		"version=1\ncluster.id=x\nnode.id=1\ndirectory.id=zz":                     "directory.id",
		"version=1\ncluster.id=x\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ": "reserved",
		"junk": "line 1",
	} {
		if _, err := parseMeta(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseMeta(%q) = %v, want an error with %q", text, err, want)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, metaFile), make([]byte, maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadMeta(dir); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("ReadMeta of a huge file = %v, want an error about its size", err)
	}
}

func TestParseVoters(t *testing.T) {
	const dir = "3u7K0ZQ2S1qxk0m1v8aJWw"
	got, err := ParseVoters("1@127.0.0.1:9093:"+dir+", 2@[::1]:9094:"+dir, "CONTROLLER")
	if err != nil || len(got) != 2 || got[0].Port != 9093 || got[1].Host != "::1" || got[1].Listener != "CONTROLLER" || got[0].DirectoryID.String() != dir {
		t.Fatalf("ParseVoters = %+v, %v", got, err)
	}
	for _, bad := range []string{"", "1", "x@h:1:" + dir, "1@h:" + dir, "1@h:0:" + dir, "1@h:70000:" + dir, "1@h:1:zz", "-1@h:1:" + dir, "1@h:1:AAAAAAAAAAAAAAAAAAAAAA", "1@h:1:" + dir + ",1@h:2:" + dir} {
		if _, err := ParseVoters(bad, "C"); err == nil {
			t.Errorf("ParseVoters(%q) succeeded", bad)
		}
	}
}

func TestIdentityRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), MetadataDir)
	if _, err := ReadIdentity(dir); err == nil || !strings.Contains(err.Error(), "storage format") {
		t.Fatalf("ReadIdentity of nothing = %v", err)
	}
	id := &Identity{Instance: 1<<63 + 5, Voters: []Voter{{ID: 1, Host: "h", Port: 2, Listener: "C", DirectoryID: kafka.UUID{9}}}, Bootstrap: [][]byte{{1, 20, 0, 0}}, EpochBase: 7}
	if err := WriteIdentity(dir, id); err != nil {
		t.Fatal(err)
	}
	got, err := ReadIdentity(dir)
	if err != nil || got.Instance != id.Instance || got.EpochBase != 7 || got.Voters[0] != id.Voters[0] {
		t.Fatalf("ReadIdentity = %+v, %v", got, err)
	}
	records, err := got.BootstrapRecords()
	if err != nil || len(records) != 1 || records[0].Record.RecordName() != "NoOpRecord" {
		t.Fatalf("BootstrapRecords = %v, %v", records, err)
	}
	for content, want := range map[string]string{`{"version":2}`: "newer", `{`: "damaged", `{"version":1}`: "damaged"} {
		if err := os.WriteFile(filepath.Join(dir, identityFile), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadIdentity(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadIdentity of %q = %v, want %q", content, err, want)
		}
	}
}

func mustParse(t *testing.T, s string) kafka.UUID {
	t.Helper()
	u, err := kafka.ParseUUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
