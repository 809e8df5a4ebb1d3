package leaving

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"kvorum/integration/cluster"
	"kvorum/internal/kafka"
	"kvorum/migration/progress"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// TestBrokersRegister: brokers of Kafka 3.9.2 on ZooKeeper, restarted one at a time
// with the keys of a migration, register with kvorum's controllers in ZooKeeper mode
// and go on serving; with the last of them ZooKeeper is copied. A topic that is made
// then through one of them is the controllers'.
func TestBrokersRegister(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	c := Start(ctx, t, 3)
	adm := kadm.NewClient(c.Client(t))
	if _, err := adm.CreateTopic(ctx, 4, 3, nil, "before"); err != nil {
		t.Fatal(err)
	}
	q := c.Controllers(ctx, t, 3, nil)
	for i := range c.Brokers {
		if c.copied(ctx, t) {
			t.Fatalf("ZooKeeper was copied before broker %d has registered", i+1)
		}
		c.Migrate(ctx, t, q, i)
	}
	for !c.copied(ctx, t) {
		time.Sleep(20 * time.Millisecond) // between two looks
	}
	if _, err := adm.CreateTopic(ctx, 4, 3, nil, "after"); err != nil {
		t.Fatal(err)
	}
	shown(ctx, t, q)
	active := q.Controllers[q.Active(ctx, t)].(*cluster.Node) // it has all of it
	for _, controller := range q.Controllers {
		controller.Stop(t)
	}
	got := story(ctx, t, active)
	want := []string{
		"state 2", "controllers ready", "broker 1", "broker 2", "broker 3", "begin ZK Migration", "topic before", "state 1", "end", "topic after",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the metadata log says\n%q\nand not\n%q", got, want)
	}
}

// shown checks what the command line says of the migration, and that it does not end
// one whose brokers would be left behind.
func shown(ctx context.Context, t testing.TB, q *cluster.Quorum) {
	t.Helper()
	migrate := func(args ...string) (string, error) {
		args = append([]string{"migrate"}, append(args, "--bootstrap-controller", strings.Join(q.Addresses, ","))...)
		out, err := exec.CommandContext(ctx, q.Controllers[0].(*cluster.Node).Binary, args...).CombinedOutput()
		return string(out), err
	}
	var p progress.Progress
	for p.State != "DUAL_WRITE" || p.Lag > 0 || len(p.Told) < 3 {
		out, err := migrate("status", "-o", "json")
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		p = progress.Progress{}
		if err := json.Unmarshal([]byte(out), &p); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if ctx.Err() != nil {
			t.Fatalf("no dual write: %s", out)
		}
	}
	if !p.Active || p.Log != "migration" || !slices.Equal(p.ZooKeeperMode, []kafka.BrokerID{1, 2, 3}) || len(p.KRaftMode) > 0 || p.Written != p.Offset || p.ControllerEpoch == 0 {
		t.Errorf("in dual write the status is %+v", p)
	}
	if out, err := migrate("status"); err != nil || !strings.Contains(out, "yours: restart the brokers 1,2,3 in KRaft mode") || !strings.Contains(out, "TOLD UP TO") {
		t.Errorf("the status says %v: %s", err, out)
	}
	if out, err := migrate("finalize"); err != nil || !strings.Contains(out, "Nothing was changed") {
		t.Errorf("finalize that is not to do anything: %v: %s", err, out)
	}
	if out, err := migrate("finalize", "--execute"); err == nil || !strings.Contains(out, "the brokers [1 2 3] are still in ZooKeeper mode") {
		t.Errorf("finalize with brokers in ZooKeeper mode: %v: %s", err, out)
	}
}

// copied says whether /migration has the offset of a copy.
func (c *Cluster) copied(ctx context.Context, t testing.TB) bool {
	t.Helper()
	client, err := zk.Open(ctx, zk.Config{Connect: c.Connect})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	tree, err := client.Look(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s := znode.Decode(tree)
	return s.Migration != nil && s.Migration.Value.Copied()
}

// story is what the metadata log of a stopped controller tells of a migration.
func story(ctx context.Context, t testing.TB, n *cluster.Node) (out []string) {
	t.Helper()
	text, err := exec.CommandContext(ctx, n.Binary, "metadata", "dump", n.DataDir(), "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	ready := 0
	for line := range bytes.Lines(text) {
		var r struct {
			Type string
			Data struct {
				Name                                  string
				BrokerID                              int
				IsMigratingZkBroker, ZkMigrationReady bool
				ZkMigrationState                      int
			}
		}
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch d := r.Data; r.Type {
		case "ZK_MIGRATION_STATE_RECORD":
			out = append(out, "state "+string(rune('0'+d.ZkMigrationState)))
		case "REGISTER_CONTROLLER_RECORD":
			if ready++; !d.ZkMigrationReady {
				out = append(out, "a controller is not ready")
			} else if ready == 3 {
				out = append(out, "controllers ready")
			}
		case "REGISTER_BROKER_RECORD":
			name := "broker " + string(rune('0'+d.BrokerID))
			if !d.IsMigratingZkBroker {
				name += " in KRaft mode"
			}
			out = append(out, name)
		case "BEGIN_TRANSACTION_RECORD":
			if d.Name != "Bootstrap records" {
				out = append(out, "begin "+d.Name)
			}
		case "END_TRANSACTION_RECORD":
			if ready > 0 {
				out = append(out, "end")
			}
		case "TOPIC_RECORD":
			out = append(out, "topic "+d.Name)
		}
	}
	return out
}
