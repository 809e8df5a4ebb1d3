package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
)

const testCluster = "AAAAAAAAAAAAAAAAAAAAAg"

// formatted makes a directory with a meta.properties of this text.
func formatted(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "meta.properties"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestIdentify(t *testing.T) {
	v1 := formatted(t, "version=1\nnode.id=7\ncluster.id="+testCluster+"\ndirectory.id=3u7K0ZQ2S1qxk0m1v8aJWw\n")
	v0 := formatted(t, "version=0\nbroker.id=7\ncluster.id="+testCluster+"\n")
	old := formatted(t, "broker.id=7\nversion=0\n") // of a time before cluster ids
	damaged := formatted(t, "version=1\nnode.id=7\n")
	all, err := Identify([]string{v1, v0, old, damaged}, 7, testCluster, seeded(1))
	if err != nil || len(all) != 4 {
		t.Fatal(all, err)
	}
	if all[0].ID.String() != "3u7K0ZQ2S1qxk0m1v8aJWw" || all[0].Err != nil {
		t.Errorf("version 1: %+v", all[0])
	}
	if all[1].ID.IsZero() || all[2].ID.IsZero() || all[1].ID == all[2].ID {
		t.Errorf("directories of version 0 have no ids of their own: %v %v", all[1].ID, all[2].ID)
	}
	if all[3].Err == nil {
		t.Error("a damaged meta.properties is no error")
	}
	again, err := Identify([]string{v1, v0, old}, 7, testCluster, seeded(2))
	if err != nil || again[1] != all[1] || again[2] != all[2] {
		t.Errorf("the ids did not stay: %+v, %v; were %+v", again, err, all)
	}
	for _, dir := range []string{v0, old} {
		if m, err := nodedir.ReadMeta(dir); err != nil || m.Version != 0 || m.NodeID != 7 || m.ClusterID != testCluster {
			t.Errorf("%s says %+v, %v: the version must stay, so that the way back is open", dir, m, err)
		}
	}
}

func TestIdentifyRefuses(t *testing.T) {
	text := "version=1\nnode.id=7\ncluster.id=" + testCluster + "\ndirectory.id=3u7K0ZQ2S1qxk0m1v8aJWw\n"
	one := formatted(t, text)
	for name, c := range map[string]struct {
		paths []string
		node  kafka.NodeID
		id    string
		want  string
	}{
		"another node":    {[]string{one}, 8, testCluster, "belongs to node 7"},
		"another cluster": {[]string{one}, 7, "BAAAAAAAAAAAAAAAAAAAAg", "belongs to node 7 of cluster " + testCluster},
		"a copy":          {[]string{one, formatted(t, text)}, 7, testCluster, "one is a copy of the other"},
	} {
		if _, err := Identify(c.paths, c.node, c.id, seeded(1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Identify([]string{one, t.TempDir()}, 7, testCluster, seeded(1)); !errors.Is(err, nodedir.ErrNotFormatted) {
		t.Errorf("a directory that was never formatted: %v", err)
	}
}
