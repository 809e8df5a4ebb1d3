package leaving

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	client "github.com/go-zookeeper/zk"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// TestBenchMigration migrates the same cluster of Kafka 3.9.2 under the same load twice, to
// Apache's own controllers (KIP-866) and to kvorum's, and prints both sides' figures, which
// docs/benchmarks.md keeps. All of them are taken from outside, in the same way for both: by
// clients of the brokers, and in ZooKeeper. `make bench-migration` runs it: a quarter of an hour.
func TestBenchMigration(t *testing.T) {
	if os.Getenv("KVORUM_BENCH") == "" {
		t.Skip("skipped: make bench-migration runs it")
	}
	kit := peer.Require(t, peer.V39)
	var apache, ours figures
	t.Run("apache", func(t *testing.T) {
		driver := kit.StartDriver(t)
		b := &benchmark{t: t, ctx: t.Context(), controllers: func(b *benchmark) *cluster.Quorum {
			return b.c.apacheControllers(b.ctx, b.t, kit, driver)
		}, back: (*benchmark).backByHand}
		apache = b.run()
	})
	t.Run("kvorum", func(t *testing.T) {
		b := &benchmark{t: t, ctx: t.Context(), controllers: func(b *benchmark) *cluster.Quorum {
			return b.c.Controllers(b.ctx, b.t, 3, standardAuthorizer())
		}, back: (*benchmark).backByCommand}
		ours = b.run()
	})
	t.Logf("load average %s\n%s", loadAverage(), table(ours, apache))
}

func standardAuthorizer() map[string]string {
	return map[string]string{"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:ANONYMOUS"}
}

// apacheControllers formats and starts three controllers of Apache's that take this cluster over.
func (c *Cluster) apacheControllers(ctx context.Context, t testing.TB, kit *peer.Kit, d *peer.Driver) *cluster.Quorum {
	t.Helper()
	meta, err := kadm.NewClient(c.Client(t)).BrokerMetadata(ctx)
	if err != nil {
		t.Fatal(err)
	}
	properties := standardAuthorizer()
	properties["zookeeper.metadata.migration.enable"] = "true"
	properties["zookeeper.connect"] = c.Connect
	properties["zookeeper.session.timeout.ms"] = "6000"
	properties["password.encoder.secret"] = Secret
	properties["inter.broker.listener.name"] = "PLAINTEXT"
	return cluster.StartApache(ctx, t, kit, d, cluster.Options{Size: 3, FirstID: firstController, ClusterID: meta.Cluster, Properties: properties, Static: true})
}

// figures are one side's, each with all of its samples, in the order in which they came.
type figures struct {
	names   []string
	samples map[string][]time.Duration
}

func (f *figures) add(name string, d time.Duration) {
	if f.samples == nil {
		f.samples = map[string][]time.Duration{}
	}
	if _, ok := f.samples[name]; !ok {
		f.names = append(f.names, name)
	}
	f.samples[name] = append(f.samples[name], d)
}

// median is the one in the middle, the higher of two; 0 without any.
func (f *figures) median(name string) time.Duration {
	sorted := slices.Sorted(slices.Values(f.samples[name]))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// table is both sides' figures: medians, how the one is to the other, and every sample.
func table(ours, apache figures) string {
	var out strings.Builder
	fmt.Fprintln(&out, "| | kvorum | Apache 3.9.2 | ratio | kvorum, each | Apache, each |\n|---|---|---|---|---|---|")
	seconds := func(ds []time.Duration) string {
		var all []string
		for _, d := range ds {
			all = append(all, fmt.Sprintf("%.2f", d.Seconds()))
		}
		return strings.Join(all, ", ")
	}
	names := apache.names
	for _, name := range ours.names {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		ratio := "-"
		if a, b := ours.median(name), apache.median(name); a > 0 && b > 0 {
			ratio = fmt.Sprintf("%.2f", a.Seconds()/b.Seconds())
		}
		fmt.Fprintf(&out, "| %s | %.2f s | %.2f s | %s | %s | %s |\n", name, ours.median(name).Seconds(), apache.median(name).Seconds(), ratio, seconds(ours.samples[name]), seconds(apache.samples[name]))
	}
	return out.String()
}

// loadAverage is the machine's, "unknown" where it cannot be read.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// benchmark is one side's run.
type benchmark struct {
	t           *testing.T
	ctx         context.Context // of the test
	controllers func(*benchmark) *cluster.Quorum
	back        func(*benchmark)

	c *Cluster
	q *cluster.Quorum
	z *zk.Client
	w *writer
	p *prober
	figures
}

func (b *benchmark) run() figures {
	b.c = StartWith(b.ctx, b.t, 3, map[string]string{"offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "5", "min.insync.replicas": "2"})
	b.c.Fill(b.ctx, b.t, 12)
	adm := kadm.NewClient(b.c.Client(b.t, kgo.MetadataMinAge(50*time.Millisecond)))
	if _, err := adm.CreateTopic(b.ctx, 3, 3, nil, "load"); err != nil {
		b.t.Fatal(err)
	}
	var err error
	if b.z, err = zk.Open(b.ctx, zk.Config{Connect: b.c.Connect}); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(b.z.Close)
	b.w, b.p = startWriter(b.t, b.c, "load"), startProber(b.t, b.c)

	for range 2 { // as many samples as the rolls to migration mode have
		b.roll(adm, "roll in ZooKeeper mode, no migration", func(i int) { b.c.inZooKeeperMode(b.ctx, b.t, i) })
	}
	b.migrate(adm)
	b.failovers()
	b.back(b)
	b.migrate(adm) // a second sample, and the way to the end
	b.roll(adm, "roll to KRaft mode", func(i int) { b.c.inKRaftMode(b.ctx, b.t, i) })
	b.end()
	b.roll(adm, "roll in KRaft mode, no migration", func(i int) {
		b.c.Brokers[i].Stop(b.t)
		b.c.Brokers[i].Start(b.t)
		b.c.Brokers[i].WaitReady(b.ctx, b.t)
	})
	b.p.end()
	b.w.check(b.ctx, b.t, b.c, "load")
	return b.figures
}

// measured notes the longest gaps of the producer and of CreateTopics since began.
func (b *benchmark) measured(name string, began time.Time) {
	b.p.answered(b.t, time.Now())
	gap, create := b.w.gap(), b.p.gap(began)
	b.add("producer's longest gap: "+name, gap)
	b.add("CreateTopics' longest gap: "+name, create)
	b.t.Logf("%s took %.1f s: longest gap of the producer %.2f s, of CreateTopics %.2f s", name, time.Since(began).Seconds(), gap.Seconds(), create.Seconds())
}

// roll restarts one broker after the other, each when all replicas are in sync.
func (b *benchmark) roll(adm *kadm.Client, name string, restart func(i int)) {
	for i := range b.c.Brokers {
		inSync(b.ctx, b.t, adm)
		b.w.gap()
		began := time.Now()
		restart(i)
		inSync(b.ctx, b.t, adm)
		b.measured(name, began)
	}
}

// migrate starts controllers, restarts the brokers for the migration, and waits for dual write.
func (b *benchmark) migrate(adm *kadm.Client) {
	b.q = b.controllers(b)
	const name = "roll to migration mode"
	for i := range b.c.Brokers {
		inSync(b.ctx, b.t, adm)
		b.w.gap()
		began := time.Now()
		b.c.beginMigrating(b.ctx, b.t, b.q, i)
		if i == len(b.c.Brokers)-1 {
			claimed := b.claimed()
			b.add("claim to dual write", b.written("claimed").Sub(claimed))
			b.p.answered(b.t, time.Now())
			b.add("CreateTopics' longest gap: from the claim to dual write", b.p.gap(claimed))
		}
		b.c.Brokers[i].WaitReady(b.ctx, b.t)
		inSync(b.ctx, b.t, adm)
		b.measured(name, began)
	}
}

// claimed waits until a KRaft controller has /controller.
func (b *benchmark) claimed() time.Time {
	waitUntil(b.t, "the claim", func() bool {
		n, ok, err := b.z.Get(b.ctx, znode.ControllerPath)
		var controller struct {
			KRaftEpoch *int `json:"kraftControllerEpoch"`
		}
		return err == nil && ok && json.Unmarshal(n.Data, &controller) == nil && controller.KRaftEpoch != nil && *controller.KRaftEpoch >= 0
	})
	return time.Now()
}

// written asks for a topic until it is in ZooKeeper, and returns when that was: since the one
// who has the claim writes ZooKeeper alone, dual write is at work then.
func (b *benchmark) written(name string) time.Time {
	b.t.Helper()
	name = fmt.Sprint(name, "-", len(b.samples["claim to dual write"]), "-", len(b.samples["active controller killed to dual write"]))
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		try(ctx, b.c, func(ctx context.Context, adm *kadm.Client) bool {
			_, err := adm.CreateTopic(ctx, 1, 2, nil, name)
			return err == nil || strings.Contains(err.Error(), "TOPIC_ALREADY_EXISTS")
		})
	}()
	defer func() { cancel(); <-done }()
	waitUntil(b.t, "topic "+name+" in ZooKeeper", func() bool {
		_, ok, err := b.z.Get(b.ctx, znode.TopicPath(name))
		return err == nil && ok
	})
	return time.Now()
}

// failovers kills active controllers in dual write: three, or KVORUM_ROUNDS.
func (b *benchmark) failovers() {
	n := 3
	if rounds, err := strconv.Atoi(os.Getenv("KVORUM_ROUNDS")); err == nil {
		n = rounds
	}
	for range n {
		b.w.gap()
		active := b.q.Controllers[b.q.Active(b.ctx, b.t)]
		began := time.Now()
		active.Kill()
		b.add("active controller killed to dual write", b.written("killed").Sub(began))
		b.measured("active controller killed", began)
		active.Start(b.t)
		active.WaitReady(b.ctx, b.t)
	}
}

// backByCommand is kvorum's way back.
func (b *benchmark) backByCommand() {
	b.w.gap()
	began := time.Now()
	commands{b.ctx, b.t, b.q}.must("rollback", "--execute")
	b.isBack(began)
	for _, n := range b.q.Controllers {
		n.Stop(b.t)
	}
}

// backByHand is what an operator of Apache's does, as quickly as a program can: end the
// controllers, raise /controller_epoch above their epoch (without which partitions may stay
// without a leader), and delete /controller and /migration.
func (b *benchmark) backByHand() {
	raw, _, err := client.Connect([]string{b.c.ZooKeeper.Address}, 10*time.Second, client.WithLogInfo(false))
	if err != nil {
		b.t.Fatal(err)
	}
	defer raw.Close()
	must := func(err error) {
		b.t.Helper()
		if err != nil {
			b.t.Fatal(err)
		}
	}
	_, _, err = raw.Get("/kafka" + znode.ControllerPath) // connects
	must(err)
	b.w.gap()
	began := time.Now()
	for _, n := range b.q.Controllers {
		n.Kill()
	}
	_, err = raw.Set("/kafka"+znode.ControllerEpochPath, []byte("1000"), -1)
	must(err)
	must(raw.Delete("/kafka"+znode.ControllerPath, -1))
	must(raw.Delete("/kafka"+znode.MigrationPath, -1))
	b.isBack(began)
}

// isBack waits until a broker is the controller and makes topics.
func (b *benchmark) isBack(began time.Time) {
	waitUntil(b.t, "a broker in /controller", func() bool {
		n, ok, err := b.z.Get(b.ctx, znode.ControllerPath)
		return err == nil && ok && strings.Contains(string(n.Data), `"kraftControllerEpoch":-1`)
	})
	b.written("rolled-back")
	b.measured("rollback", began)
}

// end restarts the controllers without the keys of the migration, the active one last.
func (b *benchmark) end() {
	b.w.gap()
	began := time.Now()
	last := b.q.Active(b.ctx, b.t)
	for _, i := range slices.Concat(slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == last }), []int{last}) {
		finalized(b.ctx, b.t, b.q, i)
	}
	b.measured("finalisation", began)
}
