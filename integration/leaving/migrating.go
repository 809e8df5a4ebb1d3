package leaving

import (
	"context"
	"maps"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"kvorum/integration/cluster"
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
	b := c.Brokers[i]
	b.Stop(t)
	b.Bootstrap = q.Addresses
	for key, value := range map[string]string{
		"zookeeper.metadata.migration.enable": "true",
		"controller.quorum.voters":            q.Voters(),
		"controller.listener.names":           "CONTROLLER",
		"listener.security.protocol.map":      "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
	} {
		b.Properties[key] = value
	}
	b.Configure(t)
	b.Start(t)
	b.WaitReady(ctx, t)
}
