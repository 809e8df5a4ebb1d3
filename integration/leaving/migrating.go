package leaving

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/migration/brokerconfig"
)

// firstController is the id of the first controller: brokers have those from 1.
const firstController = 3001

// Controllers formats and starts a quorum of n kvorum controllers that take this
// cluster over.
func (c *Cluster) Controllers(ctx context.Context, t testing.TB, n int, properties map[string]string) *cluster.Quorum {
	t.Helper()
	meta, err := kadm.NewClient(c.Client(t)).BrokerMetadata(ctx)
	if err != nil {
		t.Fatal(err)
	}
	o := cluster.Options{
		Size: n, FirstID: firstController, ClusterID: meta.Cluster,
		Properties: map[string]string{
			"zookeeper.metadata.migration.enable": "true",
			"zookeeper.connect":                   c.Connect,
			"zookeeper.session.timeout.ms":        "6000",
			"password.encoder.secret":             Secret,
			"inter.broker.listener.name":          "PLAINTEXT",
		},
	}
	maps.Copy(o.Properties, properties)
	return cluster.StartKvorum(ctx, t, o)
}

// Migrate restarts broker i (its id is one more) in ZooKeeper mode with the keys of a
// migration to q's controllers, and waits until it serves.
func (c *Cluster) Migrate(ctx context.Context, t testing.TB, q *cluster.Quorum, i int) {
	t.Helper()
	c.beginMigrating(ctx, t, q, i)
	c.Brokers[i].WaitReady(ctx, t)
}

// beginMigrating is Migrate without the wait.
func (c *Cluster) beginMigrating(ctx context.Context, t testing.TB, q *cluster.Quorum, i int) {
	t.Helper()
	b := c.Brokers[i]
	b.Stop(t)
	b.Configure(t) // ZooKeeper mode's, whatever it ran with
	nextStep(ctx, t, b, brokerconfig.Migration, "--controllers", q.Voters())
	b.Start(t)
}

// nextStep makes a broker's properties those of the next step, by the command that
// operators use.
func nextStep(ctx context.Context, t testing.TB, b *peer.Node, to brokerconfig.Target, args ...string) {
	t.Helper()
	file := b.PropertiesFile()
	args = append([]string{"migrate", "broker-config", file, "--to", string(to), "--out", file + ".next", "--overwrite"}, args...)
	if out, err := exec.CommandContext(ctx, cluster.Binary(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("kvorum %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

// TakeOver stops broker i and starts kvorum's on its directories, with its id and
// listener, and waits until it serves.
func (c *Cluster) TakeOver(ctx context.Context, t testing.TB, i int) *cluster.Node {
	t.Helper()
	b := c.Brokers[i]
	b.Stop(t)
	nextStep(ctx, t, b, brokerconfig.Kvorum, "--allow", "authorizer.class.name")
	n := &cluster.Node{ID: b.ID, Binary: cluster.Binary(t), Dir: b.Dir, Client: b.Listener}
	n.Start(t)
	n.WaitReady(ctx, t)
	c.Taken = append(c.Taken, n)
	return n
}
