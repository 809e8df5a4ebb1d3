package run

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/driver"
	"kvorum/migration/zk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waiting is a log in state PRE_MIGRATION.
func waiting(t *testing.T) Committed {
	t.Helper()
	im, err := image.Fold(image.Empty(), 0, 1, 0, []record.Message{
		{Record: &record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV39IV0)}},
		{Record: &record.ZkMigrationStateRecord{ZkMigrationState: int8(driver.PreMigration)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return Committed{Image: im, Offset: im.At().Offset}
}

func start(t *testing.T, connect string) *Runner {
	t.Helper()
	r, err := New(Config{
		Node: 3001, ClusterID: "c", ZooKeeper: zk.Config{Connect: connect}, Listener: "PLAINTEXT",
		Append: func(context.Context, kafka.LeaderEpoch, []record.Message) (kafka.Offset, error) {
			return 0, errors.New("nothing is to be appended")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestConfig(t *testing.T) {
	good := Config{ClusterID: "c", ZooKeeper: zk.Config{Connect: "a:1"}, Listener: "PLAINTEXT", Append: func(context.Context, kafka.LeaderEpoch, []record.Message) (kafka.Offset, error) { return 0, nil }}
	for want, change := range map[string]func(*Config){
		"zookeeper.connect":          func(c *Config) { c.ZooKeeper.Connect = "a" },
		"inter.broker.listener.name": func(c *Config) { c.Listener = "" },
		"cluster id":                 func(c *Config) { c.ClusterID = "" },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestSilentZooKeeper: a ZooKeeper that takes connections and says nothing. Nobody
// who tells the runner something waits for it; a leadership that ends breaks the
// action off, and so does Close.
func TestSilentZooKeeper(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := start(t, silent.Addr().String())
	defer r.Close()
	r.Committed(waiting(t))
	for epoch := range kafka.LeaderEpoch(3) {
		r.Elected(epoch)
		wait(t, r, func(s Status) bool { return s.Epoch == epoch && s.Action == "look" && s.State == driver.WaitForBrokers })
		r.Deposed()
		wait(t, r, func(s Status) bool { return !s.Leads && s.Action == "" && s.State == driver.Inactive })
	}
	r.Elected(9)
	wait(t, r, func(s Status) bool { return s.Action == "look" })
}

func wait(t *testing.T, r *Runner, done func(Status) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(r.Status()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %+v", r.Status())
		}
	}
}

// TestQuorumNotReady: nothing is looked at before every controller is ready, nor in
// a cluster that is not to leave ZooKeeper; events that come before anybody leads
// change nothing.
func TestQuorumNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, "127.0.0.1:1")
		defer r.Close()
		r.Resume()
		r.Deposed()
		r.Elected(1)
		synctest.Wait()
		if s := r.Status(); s.State != driver.WaitForQuorum || !s.Leads {
			t.Errorf("%+v", s)
		}
		c := waiting(t)
		c.Unready = []kafka.NodeID{3002}
		r.Committed(c)
		r.Committed(Committed{Image: image.Empty(), Offset: -1}) // older
		synctest.Wait()
		if s := r.Status(); s.State != driver.WaitForQuorum || len(s.Controllers) != 1 || s.Offset != 1 || s.LogState != driver.PreMigration {
			t.Errorf("%+v", s)
		}
	})
}

func TestBatchLength(t *testing.T) {
	message := func(bytes int) record.Message {
		text := strings.Repeat("a", bytes)
		return record.Message{Record: &record.ConfigRecord{ResourceType: 2, ResourceName: "t", Name: "k", Value: &text}}
	}
	for _, c := range []struct{ count, bytes, want int }{
		{1, 1, 1}, {maxBatchRecords, 1, maxBatchRecords}, {maxBatchRecords + 1, 1, maxBatchRecords}, {10, 30 << 10, maxBatchBytes / (30 << 10)},
	} {
		var all []record.Message
		for range c.count {
			all = append(all, message(c.bytes))
		}
		if n, err := batchLength(all); n != c.want || err != nil {
			t.Errorf("%d records of %d bytes: %d, %v, want %d", c.count, c.bytes, n, err, c.want)
		}
	}
	if _, err := batchLength([]record.Message{{Record: &record.NoOpRecord{}, Version: 99}}); err == nil {
		t.Error("a record of an unknown version")
	}
}
