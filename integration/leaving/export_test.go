package leaving

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/export"
	"kvorum/migration/znode"
)

// TestExport: the file of an export has every node as it is, binary ones too, says of which
// offset it is, and is never written over.
func TestExport(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	direct := z.open(ctx, t)
	m := claimed(ctx, t, direct, 3001, 5)
	md := &metadata{t: t, im: image.Empty()}
	md.add(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV39IV0)})
	for i := range 24 {
		md.step(i)
	}
	apply(ctx, t, m, md.im)
	z.set(t, znode.TopicConfigPath("topic-0"), "\xff\x00")

	file := filepath.Join(t.TempDir(), "export.jsonl")
	command := []string{"migrate", "export", "--zookeeper", z.connect, "--out", file, "-o", "json"}
	var got export.Export
	kvorum(ctx, t, 0, &got, command...)
	tree, err := direct.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Nodes != tree.Len() || got.Nodes < 30 || got.Offset != md.im.At().Offset || got.OffsetAfter != got.Offset {
		t.Errorf("%+v of %d nodes at offset %d", got, tree.Len(), md.im.At().Offset)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	digest, found := sha256.New(), 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line struct {
			Path, Data string
			Base64     []byte
			Version    int32
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Path == "" {
			continue // the first and the last
		}
		found++
		digest.Write(append(lines.Bytes(), '\n'))
		n, ok := tree.Get(line.Path)
		if !ok || n.Version != line.Version || string(n.Data) != line.Data+string(line.Base64) {
			t.Errorf("%+v is %+v in ZooKeeper", line, n)
		}
	}
	if found != got.Nodes || hex.EncodeToString(digest.Sum(nil)) != got.SHA256 {
		t.Errorf("%d nodes are in the file of %+v", found, got)
	}
	kvorumFails(ctx, t, "is there already", command...)
}
