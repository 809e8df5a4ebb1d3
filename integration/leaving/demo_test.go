package leaving

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/admin"
	"kvorum/integration/peer"
	"kvorum/migration"
	"kvorum/migration/driver"
	"kvorum/migration/progress"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// demo is the demonstration of a migration, for somebody who watches.
type demo struct {
	commands
	c      *Cluster
	adm    *kadm.Client
	z      *zk.Client
	screen *screen
	before description
	tools  *peer.Driver // Apache's, 4.3.1's

	mu     sync.Mutex
	load   *load // both set once, by the steps alone; nil before there is a cluster
	group  *follower
	moves  *transactions
	asked  string   // the controllers that the screen asks, "" for none
	none   string   // what it says without them
	modes  []string // of the brokers
	was    int      // records acknowledged when the screen last looked
	wasAt  time.Time
	topics int // made on the way
}

// The ways in which a broker runs.
const (
	inZooKeeperWay = "ZooKeeper"
	migratingWay   = "ZooKeeper, migrating"
	inKRaftWay     = "KRaft (Apache)"
	inKvorumWay    = "kvorum"
)

const demoTopic = "orders"

// TestDemo shows the whole way out of ZooKeeper, with real processes and under load:
// a migration that is rolled back, a second one that goes to its end, two active
// controllers killed on the way, and no Java at the end. `make demo-migration` runs
// it; TestMigrate and TestGoBack are what CI runs of it.
func TestDemo(t *testing.T) {
	if os.Getenv("KVORUM_DEMO") == "" {
		t.Skip("skipped: make demo-migration runs it")
	}
	d := &demo{commands: commands{ctx: t.Context(), t: t}, none: "not begun", modes: slices.Repeat([]string{inZooKeeperWay}, 3)}
	d.screen = newScreen(os.Stdout, d.live)
	for _, part := range []func(){d.zooKeeper, d.plan, d.first, d.kill, d.back, d.second, d.kraft, d.kill, d.straight, d.end, d.takeOver, d.verdict} {
		part()
	}
	d.screen.close()
}

// live is what stands below: the migration, the brokers, the clients.
func (d *demo) live() [][2]string {
	d.mu.Lock()
	asked, state, modes := d.asked, d.none, slices.Clone(d.modes)
	load, group := d.load, d.group
	d.mu.Unlock()
	if asked != "" {
		p, _, err := admin.MigrationProgress(d.ctx, asked, time.Second)
		if state = "no active controller"; err == nil && p.Active {
			state = fmt.Sprintf("%s, metadata up to offset %d, ZooKeeper behind by %d", p.State, p.Offset, p.Lag)
		}
	}
	for i := range modes {
		modes[i] = fmt.Sprintf("%d %s", i+1, modes[i])
	}
	rows := [][2]string{{"migration", state}, {"brokers", strings.Join(modes, ", ")}}
	if load == nil {
		return rows
	}
	acked, failed, gap := load.state()
	d.mu.Lock()
	rate := float64(acked-d.was) / max(time.Since(d.wasAt).Seconds(), 0.001)
	d.was, d.wasAt = acked, time.Now()
	d.mu.Unlock()
	return append(rows,
		[2]string{"producer", fmt.Sprintf("%d records acknowledged, %.0f/s, %d errors, longest gap of this phase %.2f s", acked, rate, failed, gap.Seconds())},
		[2]string{"group", fmt.Sprintf("%d records read, %d behind", group.count(), acked-group.count())})
}

// count is how many records the member has read, each once.
func (f *follower) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

func (d *demo) phase(name, what string) {
	if d.load != nil {
		d.load.gap()
	}
	d.screen.phase(name, what)
}

// done says how long a step took, and what it cost the producer.
func (d *demo) done(began time.Time, format string, args ...any) {
	took := time.Since(began).Seconds()
	d.screen.step("%s (%.1f s; longest gap of the producer %.2f s)", fmt.Sprintf(format, args...), took, d.load.gap().Seconds())
}

func (d *demo) mode(i int, way string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.modes[i] = way
}

// topic makes a topic through the brokers, and says how long that took.
func (d *demo) topic(name string) {
	took := createTopic(d.ctx, d.t, d.adm, name)
	d.topics++
	d.screen.step("topic %s is made through a broker, answered after %.2f s", name, took.Seconds())
}

func (d *demo) zooKeeper() {
	d.phase("Kafka 3.9.2 on ZooKeeper", "One ZooKeeper and three brokers of Apache Kafka 3.9.2, with 60 topics, ACLs, users, quotas and groups.\nAn idempotent producer sends 1,000 records a second with acks=all, a group reads them; neither is restarted to the end.\nA transactional producer goes on as long as all brokers are Apache's.")
	d.c = StartWith(d.ctx, d.t, 3, map[string]string{"offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "5", "min.insync.replicas": "2",
		"transaction.state.log.replication.factor": "3", "transaction.state.log.num.partitions": "5", "transaction.state.log.min.isr": "2"})
	filled := d.c.Fill(d.ctx, d.t, 60)
	d.adm = kadm.NewClient(d.c.Client(d.t, kgo.MetadataMinAge(50*time.Millisecond)))
	if _, err := d.adm.CreateTopic(d.ctx, 6, 3, nil, demoTopic); err != nil {
		d.t.Fatal(err)
	}
	createTopic(d.ctx, d.t, d.adm, "deleted-in-between")
	var err error
	if d.z, err = zk.Open(d.ctx, zk.Config{Connect: d.c.Connect}); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(d.z.Close)
	d.before = describe(d.ctx, d.t, d.c)
	maps.Copy(d.before, describeACLs(d.ctx, d.t, d.c.Brokers[0].Listener))
	d.tools = peer.Require(d.t, peer.V43).StartDriver(d.t)
	maps.Copy(d.before, d.c.printed(d.ctx, d.t, d.tools, ""))
	maps.DeleteFunc(d.before, func(what, _ string) bool { return strings.Contains(what, "deleted-in-between") })
	group, load := startFollower(d.t, d.c, demoTopic), startLoad(d.t, d.c, demoTopic)
	d.moves = startTransactions(d.ctx, d.t, d.c, d.adm)
	d.mu.Lock()
	d.group, d.load = group, load
	d.mu.Unlock()
	d.screen.step("%d topics with %d partitions, %d ACLs, %d users, %d quotas", filled.Topics, filled.Partitions, filled.ACLs, filled.Users, filled.Quotas)
}

func (d *demo) plan() {
	d.phase("Look", "kvorum migrate plan reads ZooKeeper and asks the brokers, and changes nothing.")
	var plan migration.Plan
	secret := filepath.Join(d.t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(Secret), 0o600); err != nil {
		d.t.Fatal(err)
	}
	kvorum(d.ctx, d.t, 0, &plan, "migrate", "plan", "--zookeeper", d.c.Connect, "--password-encoder-secret-file", secret, "-o", "json")
	n := plan.Counts
	d.screen.step("%d topics, %d partitions, %d ACLs, %d users' credentials, %d quotas, %d configs will be %d records of metadata", n.Topics, n.Partitions, n.ACLs, n.Users, n.Quotas, n.TopicConfigs+n.BrokerConfigs, n.Records)
	for _, f := range plan.Findings {
		d.screen.step("it says: %s", f.Text)
	}
}

// migrateAll brings the brokers to a new quorum of controllers, one at a time, and waits
// for dual write.
func (d *demo) migrateAll() {
	began := time.Now()
	d.q = d.c.Controllers(d.ctx, d.t, 3, map[string]string{"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:ANONYMOUS"})
	d.ask(strings.Join(d.q.Addresses, ","), "")
	d.done(began, "three of kvorum's controllers are formatted and started: they wait for the brokers")
	for i := range d.c.Brokers {
		began = time.Now()
		d.c.Migrate(d.ctx, d.t, d.q, i)
		d.mode(i, migratingWay)
		inSync(d.ctx, d.t, d.adm)
		d.done(began, "broker %d is restarted with the keys of the migration, still on ZooKeeper", i+1)
	}
	began = time.Now()
	p := d.status("dual write", in(driver.DualWrite))
	d.done(began, "ZooKeeper is claimed and copied; the controllers lead, and write ZooKeeper, too (dual write, /controller_epoch %d)", p.ControllerEpoch)
}

// ask lets the screen ask controllers from now on; without any it says what else.
func (d *demo) ask(controllers, otherwise string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked, d.none = controllers, otherwise
}

func (d *demo) first() {
	d.phase("The brokers are restarted, one at a time", "Each registers with the controllers and goes on with ZooKeeper; with the last of them the controllers copy it.")
	d.migrateAll()
	d.topic("made-in-dual-write")
	inZooKeeper(d.ctx, d.t, d.z, "made-in-dual-write")
	d.screen.step("it is in ZooKeeper, too: the way back is open")
}

func (d *demo) kill() {
	d.phase("kill -9 of the active controller", "Another one takes the claim over and goes on to write ZooKeeper.")
	active := d.q.Controllers[d.q.Active(d.ctx, d.t)]
	began := time.Now()
	active.Kill()
	d.status("dual write", in(driver.DualWrite))
	d.done(began, "dual write again")
	d.topic(fmt.Sprintf("made-after-kill-%d", d.topics))
	active.Start(d.t)
	active.WaitReady(d.ctx, d.t)
}

func (d *demo) back() {
	d.phase("Back", "kvorum migrate rollback --execute gives ZooKeeper back; a broker is the controller a moment later.")
	m := startMaker(d.t, d.c, "made-around-")
	m.count(d.t, 3)
	began := time.Now()
	d.must("rollback", "--execute")
	checkGivenBack(d.ctx, d.t, d.z)
	m.count(d.t, m.count(d.t, 0)+3)
	longest := m.end()
	d.topics += len(m.made)
	d.done(began, "rolled back; for %.1f s at most nobody made topics", longest.Seconds())
	d.ask("", "rolled back")
	for _, n := range d.q.Controllers {
		n.Stop(d.t)
	}
	for i := range d.c.Brokers {
		began = time.Now()
		d.c.inZooKeeperMode(d.ctx, d.t, i)
		d.mode(i, inZooKeeperWay)
		inSync(d.ctx, d.t, d.adm)
		d.done(began, "broker %d is restarted without the keys of the migration", i+1)
	}
	d.topic("made-in-between")
	if _, err := d.adm.DeleteTopic(d.ctx, "deleted-in-between"); err != nil {
		d.t.Fatal(err)
	}
	waitUntil(d.t, "the topic to be deleted", func() bool {
		_, ok, err := d.z.Get(d.ctx, znode.TopicPath("deleted-in-between"))
		return err == nil && !ok
	})
	d.screen.step("and a topic is deleted, by the brokers' own controller")
}

func (d *demo) second() {
	d.phase("Once more", "Controllers that were formatted anew; what was made and deleted in between has to come out right.")
	d.migrateAll()
	topics, err := d.adm.ListTopics(d.ctx)
	if err != nil || !topics.Has("made-in-between") || topics.Has("deleted-in-between") {
		d.t.Fatalf("after the second migration the topics are %v: %v", topics.Names(), err)
	}
	verify(d.ctx, d.t, d.c, d.q)
	d.status("dual write", in(driver.DualWrite))
	d.screen.step("kvorum migrate verify compared ZooKeeper with the metadata log, item by item: equal")
}

func (d *demo) kraft() {
	d.phase("Two brokers to KRaft mode", "The same Apache brokers on the same directories, without ZooKeeper. ZooKeeper is still written.")
	for i := range d.c.Brokers[1:] {
		began := time.Now()
		d.c.inKRaftMode(d.ctx, d.t, i+1)
		d.mode(i+1, inKRaftWay)
		inSync(d.ctx, d.t, d.adm)
		d.done(began, "broker %d is in KRaft mode", i+2)
	}
}

func (d *demo) straight() {
	d.phase("One broker straight to kvorum", "kvorum's broker starts on the directories of Apache's, with its id and its address.\n"+
		"Openly: it has no authorizer, no SASL and no TLS yet. ACLs and SCRAM users stay in the metadata, and nobody enforces them from here on. Nor does it coordinate transactions: the transactional producer ends here.")
	d.moves.finish(d.t)
	d.screen.step("%d transactions are committed, %d aborted", len(d.moves.committed)/perTransaction, len(d.moves.aborted)/perTransaction)
	d.take(0)
}

func (d *demo) take(i int) {
	inSync(d.ctx, d.t, d.adm)
	began := time.Now()
	d.c.TakeOver(d.ctx, d.t, i)
	d.mode(i, inKvorumWay)
	inSync(d.ctx, d.t, d.adm)
	d.done(began, "broker %d is kvorum's", i+1)
}

func (d *demo) end() {
	d.phase("The end of ZooKeeper", "kvorum migrate finalize --execute, then the controllers are restarted without the keys, and ZooKeeper is stopped.")
	d.status("nobody in ZooKeeper mode", func(p *progress.Progress) bool { return len(p.ZooKeeperMode) == 0 && in(driver.DualWrite)(p) })
	began := time.Now()
	d.must("finalize", "--execute", "--export", filepath.Join(d.t.TempDir(), "zookeeper.jsonl"))
	d.done(began, "what ZooKeeper held is kept in a file, and the migration is finalized")
	last := d.q.Active(d.ctx, d.t)
	for _, i := range slices.Concat(slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == last }), []int{last}) {
		finalized(d.ctx, d.t, d.q, i)
	}
	d.ask("", "over: the metadata log is all there is")
	d.done(began, "the controllers are restarted")
	d.z.Close()
	d.c.ZooKeeper.Stop(d.t)
	d.screen.step("ZooKeeper is stopped")
	d.topic("made-without-zookeeper")
}

func (d *demo) takeOver() {
	d.phase("The last of Java", "kvorum's brokers take the other two directories over.")
	for i := range d.c.Brokers[1:] {
		d.take(i + 1)
	}
	if left := d.java(); left > 0 {
		d.t.Errorf("%d of Apache's processes still run", left)
	}
	d.topic("made-without-java")
}

// java is how many of Apache's brokers run; ZooKeeper was stopped before.
func (d *demo) java() (left int) {
	for _, b := range d.c.Brokers {
		if b.Running() {
			left++
		}
	}
	return left
}

func (d *demo) verdict() {
	d.phase("The verdict", "Everything is read back.")
	after := describe(d.ctx, d.t, d.c)
	maps.Copy(after, describeACLs(d.ctx, d.t, d.q.Addresses[d.q.Active(d.ctx, d.t)]))
	maps.Copy(after, d.c.printed(d.ctx, d.t, d.tools, d.q.Addresses[d.q.Active(d.ctx, d.t)]))
	v := d.load.end(context.WithoutCancel(d.ctx), d.t, d.c, demoTopic)
	d.group.check(d.ctx, d.t, int64(v.acked))
	d.moves.check(d.ctx, d.t, d.c)
	same(d.t, d.before, after)
	for _, row := range [][2]string{
		{"records acknowledged", fmt.Sprint(v.acked)}, {"lost", fmt.Sprint(v.lost)}, {"duplicated", fmt.Sprint(v.twice)}, {"errors at the producer", fmt.Sprint(len(v.errs))},
		{"transactions read back: committed, aborted", fmt.Sprintf("%d, %d", len(d.moves.committed)/perTransaction, len(d.moves.aborted)/perTransaction)},
		{"longest gap of the producer", fmt.Sprintf("%.2f s", v.longest.Seconds())}, {"records read by the group", fmt.Sprint(d.group.count())},
		{"topics made on the way", fmt.Sprint(d.topics)}, {"configs, ACLs, users, quotas, offsets as before, lines of Apache's tools included", fmt.Sprint(len(d.before))},
		{"clients restarted", "0"}, {"processes of Java left", fmt.Sprint(d.java())},
	} {
		d.screen.say(fmt.Sprintf("       %-50s %s", row[0], row[1]))
	}
	if v.lost+v.twice+len(v.errs) > 0 {
		d.t.Errorf("%+v", v)
	}
}
