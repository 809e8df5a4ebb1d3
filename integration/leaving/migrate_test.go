package leaving

import (
	"bytes"
	"context"
	"encoding/binary"
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

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/migration/brokerconfig"
	"kvorum/migration/mirror"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// writer is an idempotent producer that writes one numbered record at a time,
// with acks=all.
type writer struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	written int64 // acknowledged, each once
	errs    []error
	longest time.Duration // between two acknowledgements
	since   time.Time
}

func startWriter(t *testing.T, c *Cluster, topic string) *writer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{client: c.Client(t, kgo.DefaultProduceTopic(topic), kgo.RecordDeliveryTimeout(time.Minute)), stop: cancel, done: make(chan struct{}), since: time.Now()}
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			w.one(ctx)
			time.Sleep(5 * time.Millisecond) // the pace
		}
	}()
	t.Cleanup(func() { cancel(); w.client.Close(); <-w.done }) // the brokers of a test that failed may be gone
	return w
}

func (w *writer) one(ctx context.Context) {
	value := binary.BigEndian.AppendUint64(nil, uint64(w.written))
	err := w.client.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Value: value}).FirstErr()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.errs = append(w.errs, err)
		return
	}
	w.written++
	now := time.Now()
	w.longest = max(w.longest, now.Sub(w.since))
	w.since = now
}

// gap is the longest time without an acknowledgement since the last call.
func (w *writer) gap() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := max(w.longest, time.Since(w.since))
	w.longest, w.since = 0, time.Now()
	return longest
}

// check stops writing and reads everything back: each number once.
func (w *writer) check(ctx context.Context, t *testing.T, c *Cluster, topic string) {
	t.Helper()
	w.stop()
	<-w.done
	for _, err := range w.errs {
		t.Errorf("produce: %v", err)
	}
	seen := readBack(ctx, t, c, topic)
	lost, twice := 0, 0
	for i := range w.written {
		switch seen[uint64(i)] {
		case 0:
			lost++
		case 1:
		default:
			twice++
		}
	}
	t.Logf("%d records were acknowledged, %d of them lost, %d there more than once", w.written, lost, twice)
	if lost+twice > 0 || w.written < 100 {
		t.Errorf("records acknowledged %d, lost %d, duplicated %d", w.written, lost, twice)
	}
}

// entered waits until the controllers have said n times, all of them together, that
// they have entered a state.
func entered(t *testing.T, q *cluster.Quorum, state string, n int) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("state %s, entered %d times", state, n), func() bool {
		count := 0
		for _, c := range q.Controllers {
			text, err := os.ReadFile(filepath.Join(c.(*cluster.Node).Dir, "server.log"))
			if err != nil {
				t.Fatal(err)
			}
			count += bytes.Count(text, []byte("to="+state+" "))
		}
		return count >= n
	})
}

// inZooKeeper waits until ZooKeeper has a topic.
func inZooKeeper(ctx context.Context, t *testing.T, z *zk.Client, topic string) {
	t.Helper()
	waitUntil(t, "topic "+topic+" in ZooKeeper", func() bool {
		_, ok, err := z.Get(ctx, znode.TopicPath(topic))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	})
}

// inKRaftMode restarts a broker with the properties of KRaft mode, on its directory.
func (c *Cluster) inKRaftMode(ctx context.Context, t *testing.T, i int) {
	t.Helper()
	b := c.Brokers[i]
	began := time.Now()
	b.Stop(t)
	stopped := time.Now()
	nextStep(ctx, t, b, brokerconfig.ApacheKRaft)
	b.Start(t)
	b.WaitReady(ctx, t)
	t.Logf("%v stopped in %v and started in KRaft mode in %v", b, stopped.Sub(began).Round(time.Millisecond), time.Since(stopped).Round(time.Millisecond))
}

// createTopic asks until a topic is there, and returns how long that took.
func createTopic(ctx context.Context, t *testing.T, adm *kadm.Client, name string) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		_, err := adm.CreateTopic(ctx, 2, 3, nil, name)
		if err == nil || strings.Contains(err.Error(), "TOPIC_ALREADY_EXISTS") {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("create %s: %v", name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestMigrate is the whole way of a real cluster: three brokers of Apache Kafka 3.9.2
// in ZooKeeper mode are migrated to three of kvorum's controllers under load, the
// active one is killed in dual write, the brokers are restarted in KRaft mode, the
// migration is finalized, and kvorum's brokers take the directories over one by one,
// until no Java is left. No client is restarted; a transactional one ends with the
// first of Apache's brokers.
func TestMigrate(t *testing.T) {
	ctx := t.Context()
	c := StartWith(ctx, t, 3, map[string]string{"offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "5", "min.insync.replicas": "2",
		"transaction.state.log.replication.factor": "3", "transaction.state.log.num.partitions": "5", "transaction.state.log.min.isr": "2"})
	c.Fill(ctx, t, 12)
	adm := kadm.NewClient(c.Client(t, kgo.MetadataMinAge(50*time.Millisecond)))
	if _, err := adm.CreateTopic(ctx, 3, 3, nil, "load"); err != nil {
		t.Fatal(err)
	}
	z, err := zk.Open(ctx, zk.Config{Connect: c.Connect})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	before := describe(ctx, t, c)
	maps.Copy(before, describeACLs(ctx, t, c.Brokers[0].Listener))
	tools := peer.Require(t, peer.V43).StartDriver(t) // 3.9's acls tool knows no controllers
	maps.Copy(before, c.printed(ctx, t, tools, ""))
	w, follower, x := startWriter(t, c, "load"), startFollower(t, c, "load"), startTransactions(ctx, t, c, adm)
	phase := func(name string, began time.Time) {
		t.Logf("%-40s %8v, longest gap of the producer %v", name, time.Since(began).Round(time.Millisecond), w.gap().Round(time.Millisecond))
	}

	began := time.Now()
	q := c.Controllers(ctx, t, 3, map[string]string{"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:ANONYMOUS"})
	phase("three controllers", began)
	began = time.Now()
	for i := range c.Brokers {
		c.Migrate(ctx, t, q, i)
	}
	phase("brokers restarted for the migration", began)
	began = time.Now()
	entered(t, q, "DUAL_WRITE", 1)
	took := createTopic(ctx, t, adm, "in-dual-write")
	inZooKeeper(ctx, t, z, "in-dual-write")
	phase("dual write", began)
	t.Logf("the first CreateTopics took %v", took)

	active := q.Active(ctx, t)
	began = time.Now()
	q.Controllers[active].Kill()
	entered(t, q, "DUAL_WRITE", 2)
	phase("failover to dual write", began)
	t.Logf("CreateTopics after it took %v", createTopic(ctx, t, adm, "after-failover"))
	inZooKeeper(ctx, t, z, "after-failover")
	verify(ctx, t, c, q)
	entered(t, q, "DUAL_WRITE", 3)

	began = time.Now()
	for i := range c.Brokers[1:] {
		c.inKRaftMode(ctx, t, i+1)
	}
	phase("two brokers restarted in KRaft mode", began)
	x.finish(t) // kvorum's brokers have no coordinator of transactions
	began = time.Now()
	c.takeOver(ctx, t, adm, 0) // straight from ZooKeeper mode
	phase("one broker taken over", began)
	createTopic(ctx, t, adm, "hybrid")
	inZooKeeper(ctx, t, z, "hybrid")

	began = time.Now()
	last := q.Active(ctx, t)
	for _, i := range slices.Concat(slices.DeleteFunc([]int{0, 1, 2}, func(i int) bool { return i == last }), []int{last}) {
		finalized(ctx, t, q, i)
	}
	createTopic(ctx, t, adm, "finalized")
	phase("controllers restarted without the key", began)
	if _, ok, err := z.Get(ctx, znode.TopicPath("finalized")); ok || err != nil {
		t.Errorf("ZooKeeper has a topic of after the end: %v, %v", ok, err)
	}
	c.ZooKeeper.Stop(t)
	began = time.Now()
	for i := range c.Brokers[1:] {
		c.takeOver(ctx, t, adm, i+1)
	}
	phase("two more brokers taken over", began)
	for _, b := range c.Brokers {
		if b.Running() {
			t.Errorf("%v still runs", b)
		}
	}
	createTopic(ctx, t, adm, "without-java")
	after := describe(ctx, t, c)
	maps.Copy(after, describeACLs(ctx, t, q.Addresses[q.Active(ctx, t)]))
	maps.Copy(after, c.printed(ctx, t, tools, q.Addresses[q.Active(ctx, t)]))
	same(t, before, after)
	w.check(ctx, t, c, "load")
	follower.check(ctx, t, w.written)
	x.check(ctx, t, c)
}

// finalized restarts a controller without the migration.
func finalized(ctx context.Context, t *testing.T, q *cluster.Quorum, i int) {
	t.Helper()
	n := q.Controllers[i].(interface { // of either make
		cluster.Controller
		PropertiesFile() string
	})
	n.Stop(t)
	text, err := os.ReadFile(n.PropertiesFile())
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "zookeeper.") && !strings.HasPrefix(line, "password.encoder.") {
			kept = append(kept, line)
		}
	}
	if err := os.WriteFile(n.PropertiesFile(), []byte(strings.Join(kept, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	n.Start(t)
	n.WaitReady(ctx, t)
}

// verify stops the controllers, the active one last, lets the command compare that
// one's log with ZooKeeper, and starts them again.
func verify(ctx context.Context, t *testing.T, c *Cluster, q *cluster.Quorum) {
	t.Helper()
	active := q.Active(ctx, t)
	for i, n := range q.Controllers {
		if i != active {
			n.Kill()
		}
	}
	q.Controllers[active].Stop(t) // what is committed is on disk then
	verifies(ctx, t, c, "--metadata", q.Controllers[active].(*cluster.Node).DataDir())
	q.Start(ctx, t)
}

// verifies lets the command compare ZooKeeper with a metadata log, which args name.
func verifies(ctx context.Context, t *testing.T, c *Cluster, args ...string) {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	var got mirror.Comparison
	kvorum(ctx, t, 0, &got, append([]string{"migrate", "verify", "--zookeeper", c.Connect, "--password-encoder-secret-file", secret, "-o", "json"}, args...)...)
	t.Logf("%d items were compared at offset %d", got.Items, got.Offset)
	if !got.Equal() || got.Items < 60 {
		t.Errorf("%+v", got)
	}
}
