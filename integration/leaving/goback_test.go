package leaving

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/admin"
	"kvorum/integration/cluster"
	"kvorum/migration/driver"
	"kvorum/migration/progress"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// commands are kvorum's, for the controllers of one migration.
type commands struct {
	ctx context.Context
	t   *testing.T
	q   *cluster.Quorum
}

// migrate runs `kvorum migrate` and returns what it says.
func (c commands) migrate(args ...string) (string, error) {
	args = slices.Concat([]string{"migrate"}, args, []string{"--bootstrap-controller", strings.Join(c.q.Addresses, ",")})
	out, err := exec.CommandContext(c.ctx, c.q.Controllers[0].(*cluster.Node).Binary, args...).CombinedOutput()
	return string(out), err
}

// must is a command that has to succeed.
func (c commands) must(args ...string) string {
	c.t.Helper()
	out, err := c.migrate(args...)
	if err != nil {
		c.t.Fatalf("kvorum migrate %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// status waits until the active controller's progress is as wanted.
func (c commands) status(what string, done func(*progress.Progress) bool) *progress.Progress {
	c.t.Helper()
	var p *progress.Progress
	var err error
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if p, _, err = admin.MigrationProgress(c.ctx, strings.Join(c.q.Addresses, ","), 5*time.Second); err == nil && done(p) {
			return p
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain for %s: %+v, %v", what, p, err)
		}
	}
}

// in is done for status: a state.
func in(s driver.State) func(*progress.Progress) bool {
	return func(p *progress.Progress) bool { return p.Active && p.State == s.String() }
}

// maker makes one topic after the other, so that the longest time in which none
// could be made is known: that is the time without a controller.
type maker struct {
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	made    []string
	longest time.Duration
	since   time.Time
}

func startMaker(t *testing.T, c *Cluster, prefix string) *maker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	m := &maker{stop: cancel, done: make(chan struct{}), since: time.Now()}
	adm := kadm.NewClient(c.Client(t, kgo.MetadataMinAge(50*time.Millisecond), kgo.RetryTimeout(time.Second)))
	go func() {
		defer close(m.done)
		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprint(prefix, i)
			if _, err := adm.CreateTopic(ctx, 1, 3, nil, name); err == nil {
				m.note(name)
			}
			time.Sleep(20 * time.Millisecond) // the pace
		}
	}()
	t.Cleanup(func() { cancel(); <-m.done })
	return m
}

func (m *maker) note(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.made = append(m.made, name)
	m.longest, m.since = max(m.longest, now.Sub(m.since)), now
}

// count waits until more topics than n have been made, and returns how many.
func (m *maker) count(t *testing.T, n int) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		m.mu.Lock()
		made := len(m.made)
		m.mu.Unlock()
		if made > n {
			return made
		}
		if time.Now().After(deadline) {
			t.Fatalf("no topic can be made any more after %d", made)
		}
	}
}

// end stops it, and returns the longest time between two topics.
func (m *maker) end() time.Duration {
	m.stop()
	<-m.done
	return m.longest
}

// there waits until every topic is there whose maker was told so; the broker that is
// asked may hear of them a little later.
func there(ctx context.Context, t *testing.T, adm *kadm.Client, made []string) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("the %d topics that were made", len(made)), func() bool {
		topics, err := adm.ListTopics(ctx)
		return err == nil && !slices.ContainsFunc(made, func(name string) bool { return !topics.Has(name) })
	})
}

// wayBack is one rollback of a real cluster.
type wayBack struct {
	commands
	c    *Cluster
	z    *zk.Client
	made []string // topics that were made around the rollback
}

// wayBacks are the phases to go back from. Each brings the cluster there.
var wayBacks = []struct {
	name string
	to   func(b *wayBack)
}{
	{"in dual write", func(b *wayBack) {
		b.age()
		b.dualWrite()
		if p := b.status("dual write", in(driver.DualWrite)); p.ControllerEpoch < 5 { // it was 1
			b.t.Errorf("the epoch of controllers of which four died is %d", p.ControllerEpoch)
		}
	}},
	{"before a broker was restarted", func(b *wayBack) { b.status("no broker", in(driver.WaitForBrokers)) }},
	{"while a broker is awaited", func(b *wayBack) {
		b.c.Migrate(b.ctx, b.t, b.q, 0)
		b.c.Migrate(b.ctx, b.t, b.q, 1)
		b.status("two brokers", func(p *progress.Progress) bool { return len(p.ZooKeeperMode) == 2 && len(p.AwaitedBrokers) == 1 })
	}},
	{"with a broker in KRaft mode", func(b *wayBack) {
		b.dualWrite()
		b.c.inKRaftMode(b.ctx, b.t, 2)
		if out, err := b.migrate("rollback", "--execute"); err == nil || !strings.Contains(out, "the brokers [3] are in KRaft mode") {
			b.t.Errorf("a rollback with a broker in KRaft mode: %v: %s", err, out)
		}
		b.c.Migrate(b.ctx, b.t, b.q, 2)
		b.status("no broker in KRaft mode", func(p *progress.Progress) bool { return len(p.ZooKeeperMode) == 3 && in(driver.DualWrite)(p) })
	}},
	{"after it has stopped", func(b *wayBack) {
		b.dualWrite()
		if _, err := b.z.Claim(b.ctx, zk.Claim{ID: 3009, Epoch: 1000}); err != nil {
			b.t.Fatal(err)
		}
		if _, err := kadm.NewClient(b.c.Client(b.t)).CreateTopic(b.ctx, 1, 3, nil, "unwritten"); err != nil {
			b.t.Fatal(err)
		}
		b.status("a stop", in(driver.Stopped))
		if out, err := b.migrate("status"); err == nil || !strings.Contains(out, "another controller has claimed ZooKeeper") {
			b.t.Errorf("the status beside another controller: %v: %s", err, out)
		}
	}},
}

// dualWrite restarts all brokers with the keys of the migration, and starts it by
// command.
func (b *wayBack) dualWrite() {
	b.t.Helper()
	secret := filepath.Join(b.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(Secret), 0o600); err != nil {
		b.t.Fatal(err)
	}
	start := []string{"start", "--execute", "--password-encoder-secret-file", secret}
	for i := range b.c.Brokers {
		if i == 2 {
			if out, err := b.migrate(start...); err == nil || !strings.Contains(out, "the brokers [3] have not registered") {
				b.t.Errorf("a start before the last broker has registered: %v: %s", err, out)
			}
		}
		b.c.Migrate(b.ctx, b.t, b.q, i)
	}
	b.status("every broker", in(driver.WaitForStart))
	active := b.q.Controllers[b.q.Active(b.ctx, b.t)]
	active.Kill()
	b.status("every broker, with another controller", in(driver.WaitForStart))
	if s, err := b.z.Look(b.ctx); err != nil || znode.Decode(s).Controller.Value.KRaftEpoch >= 0 {
		b.t.Errorf("ZooKeeper is claimed before anybody has said so: %v", err)
	}
	active.Start(b.t)
	active.WaitReady(b.ctx, b.t)
	b.t.Logf("start says: %s", b.must(start...))
	b.status("dual write", in(driver.DualWrite))
}

// TestGoBack: a migration of three brokers of Kafka 3.9.2 is rolled back by command
// under load, a topic is made and one deleted by the brokers' own controller, and a
// second migration by controllers that were formatted anew is verified. From dual
// write; KVORUM_WAYS_BACK=all goes back from every phase, goes on to the end, and back from there.
func TestGoBack(t *testing.T) {
	for _, phase := range wayBacks {
		t.Run(strings.ReplaceAll(phase.name, " ", "-"), func(t *testing.T) {
			ctx := t.Context()
			c := StartWith(ctx, t, 3, map[string]string{"offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "5", "min.insync.replicas": "2"})
			c.Fill(ctx, t, 6)
			adm := kadm.NewClient(c.Client(t))
			for _, topic := range []string{"load", "doomed"} {
				createTopic(ctx, t, adm, topic)
			}
			z, err := zk.Open(ctx, zk.Config{Connect: c.Connect})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(z.Close)
			w := startWriter(t, c, "load")
			q := c.Controllers(ctx, t, 3, map[string]string{"kvorum.migration.start": "command"})
			b := &wayBack{commands: commands{ctx, t, q}, c: c, z: z}
			phase.to(b)
			t.Logf("%s: longest gap of the producer so far %v", phase.name, w.gap())
			b.rollBack()
			t.Logf("rolled back: longest gap of the producer %v", w.gap())
			b.again(adm)
			t.Logf("migrated again: longest gap of the producer %v", w.gap())
			if whole() {
				b.finish()
				t.Logf("finalized: longest gap of the producer %v", w.gap())
			}
			w.check(ctx, t, c, "load")
		})
		if !whole() {
			return
		}
	}
}

// whole says whether every way back is gone, and the second migration to its end.
func whole() bool { return os.Getenv("KVORUM_WAYS_BACK") == "all" }

// dualWriteDespite is dualWrite, while the controller is killed that enters these states.
func (b *wayBack) dualWriteDespite(states ...driver.State) {
	b.t.Helper()
	b.c.Migrate(b.ctx, b.t, b.q, 0)
	b.c.Migrate(b.ctx, b.t, b.q, 1)
	b.c.beginMigrating(b.ctx, b.t, b.q, 2)
	k := newKiller(b.t, b.q)
	for _, s := range states {
		k.kill(s, 0)
	}
	b.c.Brokers[2].WaitReady(b.ctx, b.t)
	b.status("dual write", in(driver.DualWrite))
}

// rollBack rolls back while topics are made one after the other.
func (b *wayBack) rollBack() {
	b.t.Helper()
	if out := b.must("rollback"); !strings.Contains(out, "Nothing was changed") {
		b.t.Errorf("a rollback that is not to do anything: %s", out)
	}
	m := startMaker(b.t, b.c, "made-")
	m.count(b.t, 3)
	b.t.Logf("rollback: %s", b.must("rollback", "--execute"))
	checkGivenBack(b.ctx, b.t, b.z)
	m.count(b.t, m.count(b.t, 0)+3)
	b.t.Logf("longest time without a controller %v, %d topics were made around it", m.end(), len(m.made))
	for _, n := range b.q.Controllers {
		n.Stop(b.t)
	}
	if b.made = m.made; !whole() {
		return
	}
	for i := range b.c.Brokers {
		b.c.inZooKeeperMode(b.ctx, b.t, i)
	}
}

// again lets the brokers' own controller make and delete a topic, and migrates once
// more, while active controllers are killed.
func (b *wayBack) again(adm *kadm.Client) {
	b.t.Helper()
	createTopic(b.ctx, b.t, adm, "between")
	if _, err := adm.DeleteTopic(b.ctx, "doomed"); err != nil {
		b.t.Fatalf("delete a topic after the rollback: %v", err)
	}
	gone := func() bool {
		_, ok, err := b.z.Get(b.ctx, znode.TopicPath("doomed"))
		return err == nil && !ok
	}
	waitUntil(b.t, "the topic to be deleted", gone)
	b.elects(adm)
	b.q = b.c.Controllers(b.ctx, b.t, 3, nil)
	b.dualWriteDespite(driver.Copying, driver.Syncing, driver.DualWrite)
	topics, err := adm.ListTopics(b.ctx)
	if err != nil || !topics.Has("between") || topics.Has("doomed") {
		b.t.Errorf("topics after the second migration: %v, %v", topics.Names(), err)
	}
	there(b.ctx, b.t, adm, b.made)
	b.verify()
}

// verify compares ZooKeeper with the running controllers' log, by the command.
func (b *wayBack) verify() {
	b.t.Helper()
	verifies(b.ctx, b.t, b.c, "--bootstrap-controller", strings.Join(b.q.Addresses, ","))
}

// elects stops broker 1, and checks that the brokers' own controller elects others: one
// of an epoch below that in the states of partitions refuses to.
func (b *wayBack) elects(adm *kadm.Client) {
	b.t.Helper()
	b.c.Brokers[0].Stop(b.t)
	waitUntil(b.t, "other leaders than broker 1", func() bool {
		topics, err := adm.ListTopics(b.ctx)
		led := err == nil
		topics.EachPartition(func(p kadm.PartitionDetail) { led = led && p.Leader > 1 })
		return led
	})
}

// age kills the active controller over and over, so that the epoch of these controllers
// is above any that the brokers' own have had.
func (b *wayBack) age() {
	b.t.Helper()
	for range 4 {
		active := b.q.Controllers[b.q.Active(b.ctx, b.t)]
		active.Kill()
		b.q.Active(b.ctx, b.t)
		active.Start(b.t)
		active.WaitReady(b.ctx, b.t)
	}
}

// finish takes the second migration to its end, by command.
func (b *wayBack) finish() {
	b.t.Helper()
	for i := range b.c.Brokers {
		b.c.inKRaftMode(b.ctx, b.t, i)
	}
	b.status("KRaft mode", func(p *progress.Progress) bool { return len(p.KRaftMode) == 3 && in(driver.DualWrite)(p) })
	kept := filepath.Join(b.t.TempDir(), "kept.jsonl")
	out := b.must("finalize", "--execute", "--export", kept)
	b.t.Logf("finalize: %s", out)
	if info, err := os.Stat(kept); err != nil || info.Size() < 10_000 || !strings.Contains(out, kept) {
		b.t.Errorf("what is kept of ZooKeeper: %v, %v", info, err)
	}
	if out, err := b.migrate("rollback", "--execute"); err == nil || !strings.Contains(out, "finalized") {
		b.t.Errorf("a rollback after the end: %v: %s", err, out)
	}
	b.restore()
}

// restore goes back after the end: a topic is made that ZooKeeper does not hear of, one
// broker becomes kvorum's, everything is stopped, ZooKeeper is brought to the metadata,
// and Apache's brokers start on it again, one of them on what kvorum's has written.
func (b *wayBack) restore() {
	b.t.Helper()
	adm := kadm.NewClient(b.c.Client(b.t))
	createTopic(b.ctx, b.t, adm, "after-the-end")
	inSync(b.ctx, b.t, adm)
	b.c.TakeOver(b.ctx, b.t, 2).Stop(b.t)
	b.c.Taken[0].Start(b.t)
	b.c.Taken[0].WaitReady(b.ctx, b.t)
	inSync(b.ctx, b.t, adm)
	for _, n := range b.c.Brokers[:2] {
		n.Stop(b.t)
	}
	b.c.Taken[0].Stop(b.t)
	active := b.q.Active(b.ctx, b.t)
	for i, n := range b.q.Controllers {
		if i != active {
			n.Kill()
		}
	}
	b.q.Controllers[active].Stop(b.t) // what is committed is on disk then
	secret := filepath.Join(b.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(Secret), 0o600); err != nil {
		b.t.Fatal(err)
	}
	var r admin.ZooKeeperRestore
	kvorum(b.ctx, b.t, 0, &r, "migrate", "restore", "--zookeeper", b.c.Connect, "--password-encoder-secret-file", secret,
		"--metadata", b.q.Controllers[active].(*cluster.Node).DataDir(), "--execute", "-o", "json")
	b.t.Logf("restored to offset %d: %d nodes differed, %d writes, not kept: %q", r.Offset, len(r.Changed), r.Written, r.Lost)
	checkGivenBack(b.ctx, b.t, b.z)
	for _, n := range b.c.Brokers {
		n.Configure(b.t) // ZooKeeper mode's
		n.Start(b.t)
	}
	for _, n := range b.c.Brokers {
		n.WaitReady(b.ctx, b.t)
	}
	inSync(b.ctx, b.t, adm)
	there(b.ctx, b.t, adm, []string{"after-the-end", "between"})
	createTopic(b.ctx, b.t, adm, "by-the-brokers-again")
	inZooKeeper(b.ctx, b.t, b.z, "by-the-brokers-again")
}

// inZooKeeperMode restarts a broker without the keys of a migration.
func (c *Cluster) inZooKeeperMode(ctx context.Context, t testing.TB, i int) {
	t.Helper()
	b := c.Brokers[i]
	b.Stop(t)
	b.Configure(t)
	b.Start(t)
	b.WaitReady(ctx, t)
}

func waitUntil(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
