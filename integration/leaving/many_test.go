package leaving

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/migration/driver"
)

// TestMigrateMany migrates three real brokers with as many partitions as
// KVORUM_MIGRATION_PARTITIONS says (20000 for the figures), of one replica each, and
// says how long each part took. It is no part of a usual run.
func TestMigrateMany(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("KVORUM_MIGRATION_PARTITIONS"))
	if err != nil {
		t.Skip("skipped: KVORUM_MIGRATION_PARTITIONS=20000 says how many")
	}
	const each = 500
	if count < each || count%each != 0 {
		t.Fatalf("KVORUM_MIGRATION_PARTITIONS=%d is no multiple of %d", count, each)
	}
	ctx := t.Context()
	c := StartWith(ctx, t, 3, map[string]string{"zookeeper.session.timeout.ms": "18000", "offsets.topic.num.partitions": "5"})
	adm := kadm.NewClient(c.Client(t, kgo.RetryTimeout(3*time.Minute)))
	adm.SetTimeoutMillis(180_000)
	began := time.Now()
	for i := range count / each {
		if _, err := adm.CreateTopic(ctx, each, 1, nil, topicName(i)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d partitions made on ZooKeeper in %v", count, time.Since(began))
	q := c.Controllers(ctx, t, 3, map[string]string{"zookeeper.session.timeout.ms": "18000"})
	com := commands{ctx, t, q}
	began = time.Now()
	for i := range c.Brokers {
		c.Migrate(ctx, t, q, i)
	}
	t.Logf("three brokers restarted in %v", time.Since(began))
	com.status("dual write", in(driver.DualWrite))
	active := q.Controllers[q.Active(ctx, t)].(*cluster.Node)
	steps(t, active)
	t.Logf("CreateTopics took %v", createTopic(ctx, t, adm, "in-dual-write"))
	partitions(ctx, t, adm, count+2) // and those of in-dual-write
	for _, n := range q.Controllers {
		t.Logf("%v has %d MiB resident", n, n.(*cluster.Node).Process().ResidentBytes()>>20)
	}
	began = time.Now()
	active.Kill()
	com.status("dual write", in(driver.DualWrite))
	t.Logf("failover to dual write took %v", time.Since(began))
	t.Logf("CreateTopics took %v", createTopic(ctx, t, adm, "after-failover"))
	began = time.Now()
	t.Logf("rollback: %s in %v", com.must("rollback", "--execute"), time.Since(began))
}

// partitions waits until a broker tells so many: each in ZooKeeper mode is told of new ones
// after they are made.
func partitions(ctx context.Context, t *testing.T, adm *kadm.Client, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		topics, err := adm.ListTopics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		topics.EachPartition(func(kadm.PartitionDetail) { n++ })
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d partitions are there, want %d", n, want)
		}
	}
}

// steps logs what a controller wrote of the steps of a migration, with their times.
func steps(t *testing.T, n *cluster.Node) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.Dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("migration from ZooKeeper")) || bytes.Contains(line, []byte("ZooKeeper holds")) {
			t.Logf("%s", bytes.TrimSpace(line))
		}
	}
}
