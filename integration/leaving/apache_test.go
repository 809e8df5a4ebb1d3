package leaving

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/migration/kraft"
)

// TestFromApacheKRaft: a cluster of Apache Kafka 4.3 with controllers of its own comes
// to kvorum under load, back, and once more. The controllers are stopped, kvorum's
// import what a majority of them kept and go on at the same endpoints, and an export
// gives it back; each time verify says that nothing is missing. At the end kvorum's
// brokers take over one directory after the other. No client and, for the controllers, no
// broker is restarted.
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
	filler := &filler{ctx: ctx, t: t, adm: adm}
	filler.topics(6, 3)
	filler.users()
	filler.quotas()
	filler.group(c)
	m := &kraftMove{t: t, q: q, w: w, binary: cluster.Binary(t)}
	m.phase("filled", time.Now())
	m.plan()
	before := describe(ctx, t, c)

	m.toKvorum()
	m.verify(m.apache(0).DataDir())
	createTopic(ctx, t, adm, "by-kvorum")
	m.toApache()
	createTopic(ctx, t, adm, "by-apache")
	if _, err := adm.DeleteTopics(ctx, "by-kvorum"); err != nil {
		t.Fatal(err)
	}
	m.toKvorum()
	m.verify(m.apache(0).DataDir())
	createTopic(ctx, t, adm, "by-kvorum")
	if _, err := adm.DeleteTopics(ctx, "by-apache"); err != nil {
		t.Fatal(err)
	}
	if out, err := m.run("migrate", "kraft", "verify", m.apache(0).DataDir(), "--bootstrap-controller", m.addresses()); err == nil || !strings.Contains(out, "missing   /topics/by-apache\n") {
		t.Errorf("verify of a cluster that has lost a topic: %v\n%s", err, out)
	}

	began := time.Now()
	for i := range c.Brokers {
		c.takeOver(ctx, t, adm, i)
	}
	m.phase("three brokers taken over", began)
	createTopic(ctx, t, adm, "without-java")
	same(t, before, describe(ctx, t, c))
	w.check(ctx, t, c, "load")
	follower.check(ctx, t, w.written)
}

// kraftMove moves a cluster between the controllers of both makes.
type kraftMove struct {
	t       *testing.T
	q       *cluster.Quorum // of Apache's
	w       *writer
	binary  string
	kvorums []*cluster.Node // that run, or ran last
}

func (m *kraftMove) phase(name string, began time.Time) {
	m.t.Helper()
	m.t.Logf("%-40s %8v, longest gap of the producer %v", name, time.Since(began).Round(time.Millisecond), m.w.gap().Round(time.Millisecond))
}

func (m *kraftMove) apache(i int) *peer.Node { return m.q.Controllers[i].(*peer.Node) }

func (m *kraftMove) addresses() string { return strings.Join(m.q.Addresses, ",") }

func (m *kraftMove) run(args ...string) (string, error) {
	out, err := exec.CommandContext(m.t.Context(), m.binary, args...).CombinedOutput()
	return string(out), err
}

func (m *kraftMove) must(args ...string) string {
	m.t.Helper()
	out, err := m.run(args...)
	if err != nil {
		m.t.Fatalf("kvorum %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// plan: nothing stands in the way, and every controller has its lines.
func (m *kraftMove) plan() {
	m.t.Helper()
	var p kraft.Plan
	text := m.must("migrate", "kraft", "plan", "--bootstrap-controller", m.addresses(), "--check", "--to-kvorum-brokers", "-o", "json")
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		m.t.Fatalf("%v\n%s", err, text)
	}
	if p.ClusterID != m.q.ClusterID || p.KRaftVersion != 1 || len(p.Controllers) != 3 || len(p.Brokers) != 3 || p.Counts.Topics < 7 || p.Counts.Users == 0 || p.Counts.Quotas == 0 || len(p.Steps[0].Nodes) != 3 {
		m.t.Errorf("the plan is %s", text)
	}
	for i, n := range p.Steps[0].Nodes {
		if want := "listeners=CONTROLLER://" + m.q.Addresses[i]; !strings.Contains(strings.Join(n.Add, "\n"), want) {
			m.t.Errorf("the plan's lines for %s do not have %s: %q", n.Node, want, n.Add)
		}
	}
}

// verify: the running controllers have everything that a stopped one had.
func (m *kraftMove) verify(stopped string) {
	m.t.Helper()
	m.must("migrate", "kraft", "verify", stopped, "--bootstrap-controller", m.addresses())
}

// toKvorum puts kvorum's controllers in the place of Apache's.
func (m *kraftMove) toKvorum() {
	m.t.Helper()
	began := time.Now()
	for _, n := range m.q.Controllers {
		n.Stop(m.t)
	}
	var imports []string
	for i := range 2 { // the third has lost its disk: the others are a majority
		imports = append(imports, "--import", m.apache(i).DataDir())
	}
	m.kvorums = m.q.Successors(m.t)
	for _, n := range m.kvorums {
		m.must(append([]string{"storage", "format", "-t", m.q.ClusterID, "-c", n.PropertiesFile()}, imports...)...)
		n.Start(m.t)
	}
	for _, n := range m.kvorums {
		n.WaitReady(m.t.Context(), m.t)
	}
	m.phase("kvorum's controllers go on", began)
}

// toApache gives Apache's controllers what kvorum's have, and starts them.
func (m *kraftMove) toApache() {
	m.t.Helper()
	began := time.Now()
	for _, n := range m.kvorums {
		n.Stop(m.t)
	}
	from := m.longest()
	for i := range m.q.Controllers {
		dir := m.apache(i).DataDir()
		if err := os.RemoveAll(dir); err != nil {
			m.t.Fatal(err)
		}
		m.must("metadata", "export", from, "--to", dir, "--node-id", fmt.Sprint(m.apache(i).ID))
	}
	for _, n := range m.q.Controllers {
		n.Start(m.t)
	}
	for _, n := range m.q.Controllers {
		n.WaitReady(m.t.Context(), m.t)
	}
	m.phase("Apache's controllers go on", began)
	m.verify(from)
}

// longest is the directory of the kvorum controller whose log ends last.
func (m *kraftMove) longest() (dir string) {
	m.t.Helper()
	best := -1
	for _, n := range m.kvorums {
		fields := strings.Fields(m.must("metadata", "cat", n.DataDir(), "/position/offset"))
		end, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil {
			m.t.Fatal(err)
		}
		if end > best {
			best, dir = end, n.DataDir()
		}
	}
	return dir
}
