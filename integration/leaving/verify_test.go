package leaving

import (
	"os"
	"path/filepath"
	"testing"

	"kvorum/internal/vfs"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/mirror"
	"kvorum/migration/znode"
	"kvorum/snapshot"
)

// TestVerify: the command finds nothing in what a Mirror has written, and what
// somebody else has done since.
func TestVerify(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	m := claimed(ctx, t, z.open(ctx, t), 3001, 5)
	md := &metadata{t: t, im: image.Empty()}
	md.add(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV39IV0)})
	for i := range 24 {
		md.step(i)
	}
	apply(ctx, t, m, md.im)

	dir := t.TempDir()
	snapshots, err := snapshot.OpenDir(vfs.Default, dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := snapshots.Save(md.im, snapshot.Header{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	verify := []string{"migrate", "verify", "--zookeeper", z.connect, "--metadata", filepath.Join(dir, snapshot.Name(id)), "--password-encoder-secret-file", secret, "-o", "json"}
	var got mirror.Comparison
	kvorum(ctx, t, 0, &got, verify...)
	if !got.Equal() || got.Items < 15 || got.ZooKeeperHash != got.ImageHash || got.Offset != md.im.At().Offset {
		t.Errorf("%+v", got)
	}
	z.set(t, znode.TopicConfigPath("topic-0"), `{"version":1,"config":{"retention.ms":"behind our back"}}`)
	z.create(t, znode.TopicPath("stray"), `{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAAEQ","partitions":{"0":[1]},"adding_replicas":{},"removing_replicas":{}}`)
	kvorum(ctx, t, 2, &got, verify...)
	if len(got.Differences) != 2 || got.Differences[0].Kind != mirror.Extra || got.Differences[1].Kind != mirror.Different || got.ZooKeeperHash == got.ImageHash {
		t.Errorf("%+v", got)
	}
}
