package leaving

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"kvorum/integration/cluster"
	"kvorum/migration/driver"
	"kvorum/migration/progress"
	"kvorum/migration/zk"
)

// killer kills active controllers as they enter a state of the migration.
type killer struct {
	t     testing.TB
	q     *cluster.Quorum
	seen  []int // how much of each controller's log is from before the last kill
	kills int
	drawn *rand.Rand
}

func newKiller(t testing.TB, q *cluster.Quorum) *killer {
	return &killer{t: t, q: q, seen: make([]int, len(q.Controllers)), drawn: rand.New(rand.NewPCG(1, 2))}
}

// log is what a controller has printed.
func (k *killer) log(i int) []byte {
	k.t.Helper()
	text, err := os.ReadFile(filepath.Join(k.q.Controllers[i].(*cluster.Node).Dir, "server.log"))
	if err != nil {
		k.t.Fatal(err)
	}
	return text
}

// in waits until a controller has entered a state since the last kill.
func (k *killer) in(s driver.State) (controller int) {
	k.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		for i := range k.q.Controllers {
			if text := k.log(i); bytes.Contains(text[min(k.seen[i], len(text)):], []byte("to="+s.String()+" ")) {
				return i
			}
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("no controller has entered %v after kill %d", s, k.kills)
		}
	}
}

// kill kills the one that enters a state, a drawn time of at most delay after it,
// and starts it again.
func (k *killer) kill(s driver.State, delay time.Duration) {
	k.t.Helper()
	i := k.in(s)
	if delay > 0 {
		time.Sleep(time.Duration(k.drawn.Int64N(int64(delay)))) // the moment is drawn
	}
	n := k.q.Controllers[i].(*cluster.Node)
	n.Kill()
	k.kills++
	for j := range k.q.Controllers {
		text := k.log(j)
		if j == i {
			k.t.Logf("kill %d: controller %d entered %v and died in %s", k.kills, n.ID, s, lastState(text))
		}
		k.seen[j] = len(text) // an election takes longer than this
	}
	n.Start(k.t)
}

// lastState is the state that a log ends in.
func lastState(log []byte) string {
	_, state, _ := strings.Cut(string(log[max(0, bytes.LastIndex(log, []byte(" to="))):]), " to=")
	state, _, _ = strings.Cut(state, " ")
	return state
}

// TestKilledAnywhere: the active controller of one migration of three brokers of
// Kafka 3.9.2 is killed thirty times, in every state and at drawn moments of dual
// write while topics are made, under an idempotent producer. For KVORUM_CRASHES=all;
// TestGoBack has three kills for every run.
func TestKilledAnywhere(t *testing.T) {
	if os.Getenv("KVORUM_CRASHES") != "all" {
		t.Skip("minutes: KVORUM_CRASHES=all")
	}
	ctx := t.Context()
	c := StartWith(ctx, t, 3, map[string]string{"offsets.topic.replication.factor": "3", "offsets.topic.num.partitions": "5", "min.insync.replicas": "2"})
	c.Fill(ctx, t, 60)
	adm := kadm.NewClient(c.Client(t))
	createTopic(ctx, t, adm, "load")
	z, err := zk.Open(ctx, zk.Config{Connect: c.Connect})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	w := startWriter(t, c, "load")
	q := c.Controllers(ctx, t, 3, nil)
	k, b := newKiller(t, q), &wayBack{commands: commands{ctx, t, q}, c: c, z: z}
	k.kill(driver.WaitForBrokers, 0)
	k.kill(driver.WaitForBrokers, 300*time.Millisecond)
	c.Migrate(ctx, t, q, 0)
	k.kill(driver.WaitForBrokers, 0)
	c.Migrate(ctx, t, q, 1)
	k.kill(driver.WaitForBrokers, 0)
	c.beginMigrating(ctx, t, q, 2)
	k.kill(driver.BecomeController, 0)
	k.kill(driver.Copying, 10*time.Millisecond)
	k.kill(driver.Syncing, 0)
	for range 3 {
		k.kill(driver.Syncing, 30*time.Millisecond)
	}
	c.Brokers[2].WaitReady(ctx, t)
	k.inDualWrite(c, 13, "dual-")
	for i := range c.Brokers {
		c.inKRaftMode(ctx, t, i)
		k.inDualWrite(c, 2, fmt.Sprint("hybrid-", i, "-"))
	}
	b.verify()
	b.status("KRaft mode", func(p *progress.Progress) bool { return len(p.KRaftMode) == 3 && in(driver.DualWrite)(p) })
	for i := range q.Controllers {
		k.seen[i] = len(k.log(i))
	}
	finalized, kept := make(chan error, 1), filepath.Join(t.TempDir(), "kept.jsonl")
	go func() {
		out, err := b.migrate("finalize", "--execute", "--export", kept)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		finalized <- err
	}()
	k.kill(driver.KRaft, 0)
	if err := <-finalized; err != nil {
		t.Errorf("finalize whose controller dies: %v", err)
	}
	b.status("the end", in(driver.KRaft))
	createTopic(ctx, t, adm, "finalized")
	t.Logf("%d kills, longest gap of the producer %v", k.kills, w.gap())
	w.check(ctx, t, c, "load")
}

// inDualWrite kills n times while topics are made; every topic whose maker was told so
// is there at the end.
func (k *killer) inDualWrite(c *Cluster, n int, prefix string) {
	k.t.Helper()
	t := k.t.(*testing.T)
	m := startMaker(t, c, prefix)
	for range n {
		k.kill(driver.DualWrite, 200*time.Millisecond)
		began := time.Now()
		k.in(driver.DualWrite)
		took := time.Since(began)
		m.count(t, m.count(t, 0))
		k.t.Logf("dual write again after %v, the next topic after %v", took, time.Since(began))
	}
	gap := m.end()
	there(t.Context(), t, kadm.NewClient(c.Client(t)), m.made)
	t.Logf("%d topics were made and are there, longest time without one %v", len(m.made), gap)
}
