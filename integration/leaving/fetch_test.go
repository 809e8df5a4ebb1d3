package leaving

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/admin"
	"kvorum/integration/cluster"
)

// TestFetchMetadata: what is copied of a running controller, with a snapshot and without,
// is what its directory has when it is stopped.
func TestFetchMetadata(t *testing.T) {
	ctx := t.Context()
	for _, bytes := range []string{"20971520", "4096"} { // between two snapshots
		n := cluster.FormatSingleKvorum(ctx, t, map[string]string{"metadata.log.max.record.bytes.between.snapshots": bytes})
		n.StartReady(ctx, t)
		client, err := kgo.NewClient(kgo.SeedBrokers(n.Bootstrap))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40 {
			if _, err := kadm.NewClient(client).CreateTopic(ctx, 3, 1, nil, fmt.Sprint("topic-", i)); err != nil {
				t.Fatal(err)
			}
		}
		client.Close()
		dir := t.TempDir()
		if err := admin.FetchMetadata(ctx, "127.0.0.1:1,"+n.Server.(*cluster.Node).Address, 20*time.Second, dir); err != nil {
			t.Fatal(err)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, "*.checkpoint")); (len(found) > 0) != (bytes == "4096") {
			t.Errorf("with snapshots after %s bytes %q was fetched", bytes, found)
		}
		n.Stop(t)
		got, want := open(t, dir), open(t, n.DataDir())
		fetched, err := got.StateAt(admin.EndOfLog)
		if err != nil {
			t.Fatal(err)
		}
		at := fetched.Image.At().Offset
		stopped, err := want.StateAt(at)
		if err != nil {
			t.Fatal(err)
		}
		if !fetched.Image.Equal(stopped.Image) || fetched.Image.TopicCount() != 40 {
			t.Errorf("%s bytes: at offset %d %d topics were fetched, and %d are on the disk", bytes, at, fetched.Image.TopicCount(), stopped.Image.TopicCount())
		}
	}
}

func open(t *testing.T, dir string) *admin.Metadata {
	t.Helper()
	m, err := admin.OpenMetadata(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
