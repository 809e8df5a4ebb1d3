package leaving

import (
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// TestFromApacheKRaft: a cluster of Apache Kafka 4.3 with controllers of its own comes
// to kvorum under load. The controllers are stopped, kvorum's import what a majority
// of them kept and go on at the same endpoints; then kvorum's brokers take over one
// directory after the other. No client and, for the controllers, no broker is
// restarted.
func TestFromApacheKRaft(t *testing.T) {
	ctx := t.Context()
	kit := peer.Require(t, peer.V43)
	d := kit.StartDriver(t)
	q := cluster.StartApache(ctx, t, kit, d, cluster.Options{Size: 3})
	c := &Cluster{Brokers: q.Brokers(ctx, t, d, map[string]string{"min.insync.replicas": "2", "offsets.topic.num.partitions": "5"}, kit, kit, kit)}
	adm := kadm.NewClient(c.Client(t, kgo.MetadataMinAge(50*time.Millisecond)))
	if _, err := adm.CreateTopic(ctx, 3, 3, nil, "load"); err != nil {
		t.Fatal(err)
	}
	w, follower := startWriter(t, c, "load"), startFollower(t, c, "load")
	phase := func(name string, began time.Time) {
		t.Logf("%-40s %8v, longest gap of the producer %v", name, time.Since(began).Round(time.Millisecond), w.gap().Round(time.Millisecond))
	}
	filler := &filler{ctx: ctx, t: t, adm: adm}
	filler.topics(6, 3)
	filler.users()
	filler.quotas()
	filler.group(c)
	before := describe(ctx, t, adm)
	phase("filled", time.Now())

	began := time.Now()
	var imports []string
	for _, controller := range q.Controllers {
		controller.Stop(t)
	}
	for _, controller := range q.Controllers[:2] { // the third has lost its disk: the others are a majority
		imports = append(imports, "--import", controller.(*peer.Node).DataDir())
	}
	successors := q.Successors(t)
	for _, n := range successors {
		args := append([]string{"storage", "format", "-t", q.ClusterID, "-c", n.PropertiesFile()}, imports...)
		if out, err := exec.CommandContext(ctx, n.Binary, args...).CombinedOutput(); err != nil {
			t.Fatalf("import: %v\n%s", err, out)
		}
		n.Start(t)
	}
	for _, n := range successors {
		n.WaitReady(ctx, t)
	}
	createTopic(ctx, t, adm, "by-kvorum")
	phase("kvorum's controllers go on", began)

	began = time.Now()
	for i := range c.Brokers {
		c.takeOver(ctx, t, adm, i)
	}
	phase("three brokers taken over", began)
	createTopic(ctx, t, adm, "without-java")
	same(t, before, describe(ctx, t, adm))
	w.check(ctx, t, c, "load")
	follower.check(ctx, t, w.written)
}
