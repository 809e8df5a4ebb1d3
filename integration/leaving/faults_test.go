package leaving

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	client "github.com/go-zookeeper/zk"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/migration/driver"
	"kvorum/migration/progress"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// TestFaultsInDualWrite: what happens to ZooKeeper beside a migration of real brokers,
// under an idempotent producer. After each fault the status has said what happened, and the
// migration goes on and verifies; after the last one, which it cannot go on from, it goes
// back. KVORUM_FAULTS=all keeps ZooKeeper away for 30 s and migrates once more at the end.
func TestFaultsInDualWrite(t *testing.T) {
	ctx := t.Context()
	c := StartWith(ctx, t, 2, map[string]string{"offsets.topic.replication.factor": "2", "offsets.topic.num.partitions": "5", "min.insync.replicas": "1"})
	c.Fill(ctx, t, 20) // verify compares 60 items at least
	z, err := zk.Open(ctx, zk.Config{Connect: c.Connect})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	between := startRelay(t, c.ZooKeeper.Address) // the controllers' way to ZooKeeper
	f := &faults{wayBack: wayBack{commands: commands{ctx: ctx, t: t}, c: c, z: z}, between: between, adm: kadm.NewClient(c.Client(t))}
	f.topic("load")
	w := startWriter(t, c, "load")
	f.q = c.Controllers(ctx, t, 3, map[string]string{"zookeeper.connect": between.address + "/kafka", "kvorum.migration.start": "command"})
	f.dualWrite()
	for _, fault := range []struct {
		name string
		does func()
	}{
		{"a foreign write", f.foreignWrite},
		{"the session expires", f.sessionExpires},
		{"ZooKeeper is slow", f.zooKeeperSlow},
		{"ZooKeeper is gone", f.zooKeeperGone},
		{"a second migration", f.secondMigration},
		{"a broker takes the claim", f.brokerTakesTheClaim},
	} {
		began := time.Now()
		fault.does()
		t.Logf("%s: %v, longest gap of the producer %v", fault.name, time.Since(began).Round(time.Millisecond), w.gap().Round(time.Millisecond))
	}
	w.check(ctx, t, c, "load")
}

// faults is a cluster in dual write.
type faults struct {
	wayBack
	between *relay
	adm     *kadm.Client
}

// allFaults says whether the faults take their time.
func allFaults() bool { return os.Getenv("KVORUM_FAULTS") == "all" }

// topic makes a topic, with as many replicas as there are brokers.
func (f *faults) topic(name string) {
	f.t.Helper()
	waitUntil(f.t, "topic "+name+" to be made", func() bool {
		_, err := f.adm.CreateTopic(f.ctx, 2, 2, nil, name)
		return err == nil || strings.Contains(err.Error(), "TOPIC_ALREADY_EXISTS")
	})
}

// goesOn checks that dual write is at work and that nothing is missing.
func (f *faults) goesOn(topic string) {
	f.t.Helper()
	inZooKeeper(f.ctx, f.t, f.z, topic)
	f.status("dual write without an error", func(p *progress.Progress) bool {
		return in(driver.DualWrite)(p) && p.Error == "" && p.Lag == 0
	})
	f.verify()
}

// foreignWrite lets somebody change a node behind our back: verify finds it, and the next
// change of the same thing replaces it.
func (f *faults) foreignWrite() {
	path := znode.TopicConfigPath(topicName(0))
	raw := f.raw()
	if _, err := raw.Set("/kafka"+path, []byte(`{"version":1,"config":{"retention.ms":"1"}}`), -1); err != nil {
		f.t.Fatal(err)
	}
	secret := filepath.Join(f.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(Secret), 0o600); err != nil {
		f.t.Fatal(err)
	}
	out, err := exec.CommandContext(f.ctx, cluster.Binary(f.t), "migrate", "verify", "--zookeeper", f.c.Connect, "--password-encoder-secret-file", secret, "--bootstrap-controller", strings.Join(f.q.Addresses, ",")).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), path) {
		f.t.Errorf("verify beside a foreign write: %v: %s", err, out)
	}
	value := "7200000"
	results, err := f.adm.AlterTopicConfigs(f.ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, topicName(0))
	if err != nil || results[0].Err != nil {
		f.t.Fatalf("%v, %v", results, err)
	}
	waitUntil(f.t, "the node to be the metadata's again", func() bool {
		n, ok, err := f.z.Get(f.ctx, path)
		return err == nil && ok && strings.Contains(string(n.Data), value) && strings.Contains(string(n.Data), "compact")
	})
	f.topic("after-a-foreign-write")
	f.goesOn("after-a-foreign-write")
}

// raw is a connection to ZooKeeper that knows no fence.
func (f *faults) raw() *client.Conn {
	f.t.Helper()
	raw, _, err := client.Connect([]string{f.c.ZooKeeper.Address}, 10*time.Second, client.WithLogInfo(false))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(raw.Close)
	return raw
}

// sessionExpires cuts the controllers off from ZooKeeper until their session is gone there.
func (f *faults) sessionExpires() {
	before := sessions(f.ctx, f.t, f.c.ZooKeeper.Address)
	f.between.set(0, true)
	f.topic("while-cut-off") // the quorum decides
	p := f.status("the loss to be told", func(p *progress.Progress) bool { return p.Lag > 0 && strings.Contains(p.Error, "ZooKeeper") })
	f.t.Logf("cut off: %s, %s", p.State, p.Error)
	waitUntil(f.t, "a session to expire", func() bool {
		now := sessions(f.ctx, f.t, f.c.ZooKeeper.Address)
		return slices.ContainsFunc(before, func(id string) bool { return !slices.Contains(now, id) })
	})
	f.between.set(0, false)
	f.goesOn("while-cut-off")
}

// slowAnswer is short of the session's pings, and longer than everything that dual write
// does for a topic takes otherwise.
const slowAnswer = time.Second

// zooKeeperSlow holds each of ZooKeeper's answers to the controllers up: the quorum decides
// as ever, the status says how far ZooKeeper is behind, and it gets there.
func (f *faults) zooKeeperSlow() {
	f.between.slow(slowAnswer)
	f.topic("while-slow")
	p := f.status("a lag", func(p *progress.Progress) bool { return in(driver.DualWrite)(p) && p.Lag > 0 })
	f.t.Logf("slow: %s, %d records behind", p.State, p.Lag)
	inZooKeeper(f.ctx, f.t, f.z, "while-slow")
	f.between.slow(0)
	f.goesOn("while-slow")
}

// zooKeeperGone stops ZooKeeper itself, for the brokers too.
func (f *faults) zooKeeperGone() {
	f.c.ZooKeeper.Stop(f.t)
	f.topic("without-zookeeper")
	f.status("the loss to be told", func(p *progress.Progress) bool { return p.Lag > 0 && strings.Contains(p.Error, "ZooKeeper") })
	if allFaults() {
		time.Sleep(30 * time.Second) // the fault itself
	}
	f.c.ZooKeeper.Start(f.ctx, f.t)
	f.goesOn("without-zookeeper")
}

// secondMigration starts other controllers for the same cluster: they stop, and say who is
// there already.
func (f *faults) secondMigration() {
	second := commands{f.ctx, f.t, f.c.Controllers(f.ctx, f.t, 1, map[string]string{})}
	p := second.status("the second migration to stop", in(driver.Stopped))
	if !strings.Contains(p.Reason, "another quorum migrates this cluster") {
		f.t.Errorf("the second migration stopped since %s", p.Reason)
	}
	if out, err := second.migrate("status"); err == nil || !strings.Contains(out, "another quorum migrates this cluster") {
		f.t.Errorf("the second one's status: %v: %s", err, out)
	}
	for _, n := range second.q.Controllers {
		n.Stop(f.t)
	}
	f.topic("after-a-second")
	f.goesOn("after-a-second")
}

// brokerTakesTheClaim lets one of the brokers, whose controller is Apache's, take
// /controller: somebody has deleted it. The migration stops at its next write, and is rolled
// back.
func (f *faults) brokerTakesTheClaim() {
	if err := f.raw().Delete("/kafka"+znode.ControllerPath, -1); err != nil {
		f.t.Fatal(err)
	}
	waitUntil(f.t, "a broker in /controller", func() bool {
		n, ok, err := f.z.Get(f.ctx, znode.ControllerPath)
		return err == nil && ok && strings.Contains(string(n.Data), `"kraftControllerEpoch":-1`)
	})
	f.write()
	p := f.status("a stop", in(driver.Stopped))
	f.t.Logf("beside a broker's claim: %s", p.Reason)
	if out, err := f.migrate("status"); err == nil || !strings.Contains(out, "another controller has claimed ZooKeeper") {
		f.t.Errorf("the status beside a broker's claim: %v: %s", err, out)
	}
	f.must("rollback", "--execute")
	checkGivenBack(f.ctx, f.t, f.z)
	for _, n := range f.q.Controllers {
		n.Stop(f.t)
	}
	f.topic("by-the-brokers")
	inZooKeeper(f.ctx, f.t, f.z, "by-the-brokers")
	if allFaults() {
		f.q = f.c.Controllers(f.ctx, f.t, 3, map[string]string{"kvorum.migration.start": "command"})
		f.dualWrite()
		f.topic("migrated-again")
		f.goesOn("migrated-again")
	}
}

// write lets the quorum change something that ZooKeeper is to hold, by asking the active
// controller itself: the brokers ask the one that has claimed.
func (f *faults) write() {
	f.t.Helper()
	err := peer.Ask(f.ctx, f.q.Addresses[f.q.Active(f.ctx, f.t)], func(ctx context.Context, b *kgo.Broker) error {
		req := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "unwritten", 1, 2
		req.Topics = append(req.Topics, topic)
		answer, err := b.Request(ctx, req)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
	})
	if err != nil {
		f.t.Fatalf("a change by the quorum: %v", err)
	}
}
