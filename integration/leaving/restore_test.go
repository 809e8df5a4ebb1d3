package leaving

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	client "github.com/go-zookeeper/zk"

	"kvorum/admin"
	"kvorum/internal/vfs"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/export"
	"kvorum/migration/mirror"
	"kvorum/migration/znode"
	"kvorum/snapshot"
)

// checkpointed is a checkpoint file of an image.
func checkpointed(t *testing.T, im *image.Image) string {
	t.Helper()
	dir := t.TempDir()
	snapshots, err := snapshot.OpenDir(vfs.Default, dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := snapshots.Save(im, snapshot.Header{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, snapshot.Name(id))
}

// TestRestore: after the end of a migration ZooKeeper is brought to what the metadata log
// has become, from what it still holds and from the export that was kept, by the command.
func TestRestore(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	z.create(t, "/cluster", "")
	z.create(t, znode.ClusterIDPath, `{"version":"1","id":"`+recordedCluster+`"}`)
	z.create(t, znode.BrokerIDsPath, "")
	direct := z.open(ctx, t)
	m := claimed(ctx, t, direct, 3001, 5)
	md := &metadata{t: t, im: image.Empty()}
	md.add(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV39IV0)}, &record.ZkMigrationStateRecord{ZkMigrationState: image.ZkMigration})
	for i := range 24 {
		md.step(i)
	}
	apply(ctx, t, m, md.im)
	mirrored := checkpointed(t, md.im)

	dir := t.TempDir()
	kept, secret := filepath.Join(dir, "kept.jsonl"), filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	var exported export.Export
	kvorum(ctx, t, 0, &exported, "migrate", "export", "--zookeeper", z.connect, "--out", kept, "-o", "json")

	md.add(&record.ZkMigrationStateRecord{ZkMigrationState: image.ZkPostMigration})
	for i := 24; i < 37; i++ {
		md.step(i)
	}
	restore := func(metadata string, more ...string) []string {
		return append([]string{"migrate", "restore", "--zookeeper", z.connect, "--password-encoder-secret-file", secret, "--metadata", metadata, "-o", "json"}, more...)
	}
	kvorumFails(ctx, t, "not of a migration that was finalized", restore(mirrored)...)
	end := checkpointed(t, md.im)
	if _, err := z.raw.Create("/kafka"+znode.BrokerPath(7), []byte("{}"), client.FlagEphemeral, client.WorldACL(client.PermAll)); err != nil {
		t.Fatal(err)
	}
	kvorumFails(ctx, t, "broker 7 runs in ZooKeeper mode", restore(end, "--execute")...)
	if err := z.raw.Delete("/kafka"+znode.BrokerPath(7), -1); err != nil {
		t.Fatal(err)
	}

	before := readTree(ctx, t, z)
	var got admin.ZooKeeperRestore
	kvorum(ctx, t, 0, &got, restore(end)...)
	if len(got.Changed) == 0 || got.FromExport || got.Written > 0 || len(got.Lost) < 2 || got.Offset != md.im.At().Offset {
		t.Errorf("%+v", got)
	}
	if ok, what := sameTree(before, readTree(ctx, t, z)); !ok {
		t.Errorf("without --execute %s was changed", what)
	}
	restored := func() {
		t.Helper()
		c := mirror.Compare(readTree(ctx, t, z), md.im, Secret)
		if !c.Equal() || c.Items < 20 {
			t.Errorf("%d items were compared: %+v", c.Items, c.Differences)
		}
		checkGivenBack(ctx, t, direct)
	}
	kvorum(ctx, t, 0, &got, restore(end, "--execute")...)
	if got.Written == 0 || got.Created > 0 {
		t.Errorf("%+v", got)
	}
	restored()

	// ZooKeeper has lost everything, or is another one.
	z.wipe(t, "/kafka")
	if err := z.raw.Delete("/kafka", -1); err != nil {
		t.Fatal(err)
	}
	kvorumFails(ctx, t, "name the file that finalize has kept", restore(end)...)
	text, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.jsonl")
	if err := os.WriteFile(cut, text[:len(text)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	kvorumFails(ctx, t, "line ", restore(end, "--export", cut)...)
	if err := os.WriteFile(cut, []byte(strings.Replace(string(text), "retention.ms", "retention.sm", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	kvorumFails(ctx, t, "it was changed", restore(end, "--export", cut)...)
	kvorum(ctx, t, 0, &got, restore(end, "--export", kept, "--execute")...)
	if !got.FromExport || got.Created < exported.Nodes/2 || got.Written == 0 {
		t.Errorf("%+v of an export of %d nodes", got, exported.Nodes)
	}
	restored()
	if n, ok, err := direct.Get(ctx, znode.ClusterIDPath); err != nil || !ok || !strings.Contains(string(n.Data), recordedCluster) {
		t.Errorf("/cluster/id is %s, %v", n.Data, err)
	}
}

func readTree(ctx context.Context, t *testing.T, z *bareZooKeeper) *znode.Tree {
	t.Helper()
	tree, err := z.open(ctx, t).Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
