package leaving

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/go-zookeeper/zk"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/convert"
	"kvorum/migration/driver"
	"kvorum/migration/mirror"
	"kvorum/migration/run"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// recordedCluster is /cluster/id of the recorded trees.
const recordedCluster = "7RyY3jD5SWiPIBiocbCRNw"

// loadRecorded puts a recorded tree into ZooKeeper, with the versions that its nodes
// had. The one password is encrypted again under Secret: the recorded brokers' is
// not kept anywhere.
func loadRecorded(t *testing.T, z *bareZooKeeper, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "migration", "znode", "testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var n struct {
			Path, Data string
			Version    int
		}
		if err := json.Unmarshal(line, &n); err != nil {
			t.Fatal(err)
		}
		if n.Path == "/config/brokers/2" {
			config, err := convert.EncodePassword(Secret, "org.apache.kafka.common.security.scram.ScramLoginModule required;", [272]byte{1, 2, 3})
			if err != nil {
				t.Fatal(err)
			}
			n.Data = string(znode.EncodeConfig(map[string]string{"listener.name.plaintext.scram-sha-256.sasl.jaas.config": config}))
		}
		for path := znode.Parent(n.Path); path != "/"; path = znode.Parent(path) {
			if _, err := z.raw.Create("/kafka"+path, nil, 0, client.WorldACL(client.PermAll)); err != nil && !errors.Is(err, client.ErrNodeExists) && !errors.Is(err, client.ErrNoNode) {
				t.Fatal(err)
			}
		}
		if _, err := z.raw.Create("/kafka"+n.Path, []byte(n.Data), 0, client.WorldACL(client.PermAll)); errors.Is(err, client.ErrNodeExists) {
			z.set(t, n.Path, n.Data)
		} else if err != nil {
			t.Fatalf("create %s: %v", n.Path, err)
		}
		for _, stat, err := z.raw.Get("/kafka" + n.Path); err == nil && int(stat.Version) < n.Version; stat.Version++ {
			z.set(t, n.Path, n.Data)
		}
	}
}

// metadataLog is a metadata log without a quorum behind it: what its leader appends
// is committed at once, and one runner at a time leads.
type metadataLog struct {
	t testing.TB

	mu     sync.Mutex
	im     *image.Image
	next   kafka.Offset
	epoch  kafka.LeaderEpoch
	leader *run.Runner
	open   []record.Message // of the open transaction, with its BeginTransaction
	copies int              // times that the state became MIGRATION
	// dies, if not nil, is asked before and after a batch is committed whether the
	// leader is dead from then on.
	dies   func() bool
	refuse func() error // a batch; nil for nobody
}

var errNotLeader = errors.New("not the leader of that epoch")

// newLog is a log that waits for a migration, with the recorded brokers registered.
func newLog(t testing.TB) *metadataLog {
	l := &metadataLog{t: t, im: image.Empty()}
	l.fold(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV39IV0)},
		&record.ZkMigrationStateRecord{ZkMigrationState: int8(driver.PreMigration)})
	for id := range kafka.BrokerID(3) {
		l.fold(&record.RegisterBrokerRecord{BrokerID: id + 1, BrokerEpoch: kafka.BrokerEpoch(l.next), IncarnationID: kafka.UUID{15: byte(id + 1)}, IsMigratingZkBroker: true, Fenced: true,
			EndPoints: []record.Endpoint{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092}}})
	}
	return l
}

// fold commits records outside a transaction of the migration.
func (l *metadataLog) fold(records ...record.Record) {
	var batch []record.Message
	for _, r := range records {
		batch = append(batch, record.Message{Record: r})
	}
	if err := l.commit(batch); err != nil {
		l.t.Error(err)
	}
}

func (l *metadataLog) commit(batch []record.Message) (err error) {
	for _, m := range batch {
		switch r := m.Record.(type) {
		case *record.BeginTransactionRecord:
			if l.open != nil {
				return errors.New("a transaction in a transaction")
			}
			l.open = []record.Message{m}
		case *record.EndTransactionRecord:
			first := l.next - kafka.Offset(len(l.open)-1)
			if l.im, err = image.Fold(l.im, first, l.epoch, 0, l.open[1:]); err != nil {
				return err
			}
			l.open = nil
			l.im = image.NewDelta(l.im).Apply(image.Position{Offset: l.next, Epoch: l.epoch})
		case *record.AbortTransactionRecord:
			l.open = nil
			l.im = image.NewDelta(l.im).Apply(image.Position{Offset: l.next, Epoch: l.epoch})
		case *record.ZkMigrationStateRecord:
			if r.ZkMigrationState == int8(driver.Migration) {
				l.copies++
			}
			if err := l.one(m); err != nil {
				return err
			}
		default:
			if err := l.one(m); err != nil {
				return err
			}
		}
		l.next++
	}
	return nil
}

func (l *metadataLog) one(m record.Message) (err error) {
	if l.open != nil {
		l.open = append(l.open, m)
		return nil
	}
	l.im, err = image.Fold(l.im, l.next, l.epoch, 0, []record.Message{m})
	return err
}

// Append is run.Config's.
func (l *metadataLog) Append(ctx context.Context, e kafka.LeaderEpoch, batch []record.Message) (kafka.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leader == nil || e != l.epoch || l.die() {
		return 0, errNotLeader
	}
	if l.refuse != nil {
		if err := l.refuse(); err != nil {
			return 0, err
		}
	}
	if err := l.commit(batch); err != nil {
		l.t.Error(err)
		return 0, err
	}
	if l.die() {
		return 0, errNotLeader
	}
	l.tell()
	return l.next - 1, nil
}

// die lets the leader die if it is to: it is not told.
func (l *metadataLog) die() bool {
	if l.dies != nil && l.dies() {
		l.leader = nil
	}
	return l.leader == nil
}

// add is what other writers of the controller commit.
func (l *metadataLog) add(records ...record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fold(records...)
	l.tell()
}

func (l *metadataLog) tell() {
	if l.leader != nil {
		l.leader.Committed(run.Committed{Image: l.im, Offset: l.next - 1, Open: l.open != nil})
	}
}

// elect makes a runner the leader of the next epoch.
func (l *metadataLog) elect(r *run.Runner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.depose()
	l.epoch++
	l.fold(&record.NoOpRecord{})
	l.leader = r
	l.tell()
	r.Elected(l.epoch)
}

func (l *metadataLog) depose() {
	if l.leader != nil {
		l.leader.Deposed()
		l.leader = nil
	}
}

func (l *metadataLog) image() *image.Image {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.im
}

func (l *metadataLog) runner(t testing.TB, node kafka.NodeID, connect string) *run.Runner {
	t.Helper()
	r, err := run.New(run.Config{
		Node: node, ClusterID: recordedCluster, ZooKeeper: zk.Config{Connect: connect, SessionTimeout: 4 * time.Second}, Secret: Secret, Listener: "PLAINTEXT",
		Append: l.Append, Log: slog.New(slog.NewTextHandler(testOutput{t}, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// testOutput gives lines to a test.
type testOutput struct{ t testing.TB }

func (o testOutput) Write(p []byte) (int, error) {
	fmt.Fprint(o.t.Output(), string(p))
	return len(p), nil
}

// mirrored waits until a runner is in dual write and ZooKeeper holds the log.
func (l *metadataLog) mirrored(t testing.TB, r *run.Runner) {
	t.Helper()
	waitStatus(t, r, "dual write of everything", func(s run.Status) bool {
		return s.State == driver.DualWrite && s.Written == l.image().At().Offset
	})
}

func waitStatus(t testing.TB, r *run.Runner, what string, done func(run.Status) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(r.Status()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s; %+v", what, r.Status())
		}
	}
}

// compare checks that ZooKeeper holds the image, and nothing else.
func compare(ctx context.Context, t testing.TB, z *zk.Client, im *image.Image) {
	t.Helper()
	tree, err := z.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := mirror.Compare(tree, im, Secret)
	for _, d := range c.Differences {
		t.Errorf("offset %d: %+v", c.Offset, d)
	}
	if c.Items < 40 {
		t.Errorf("%d items were compared", c.Items)
	}
}

// TestRunner: a migration of the recorded cluster by runners and a real ZooKeeper,
// from the first look to its end: the copy, dual write, a failover, ZooKeeper away
// for a while, a rival and what a person does then, and the end.
func TestRunner(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	loadRecorded(t, z, "before")
	direct := z.open(ctx, t)
	server, _, _ := strings.Cut(z.connect, "/")
	relay := startRelay(t, server)
	l := newLog(t)
	before, err := direct.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}

	first := l.runner(t, 3001, z.connect)
	began := time.Now()
	l.elect(first)
	l.mirrored(t, first)
	t.Logf("elected to dual write: %v", time.Since(began))
	compare(ctx, t, direct, l.image())
	if l.copies != 1 {
		t.Errorf("%d copies", l.copies)
	}
	sameButForUs(ctx, t, direct, before)
	id := kafka.TopicID{15: 77}
	l.add(&record.TopicRecord{Name: "later", TopicID: id}, &record.PartitionRecord{TopicID: id, Replicas: []kafka.BrokerID{1}, ISR: []kafka.BrokerID{1}, Leader: 1})
	l.mirrored(t, first)
	compare(ctx, t, direct, l.image())

	second := l.runner(t, 3002, relay.address+"/kafka")
	began = time.Now()
	l.elect(second)
	l.mirrored(t, second)
	t.Logf("failover: %v", time.Since(began))
	if s := first.Status(); s.Leads || s.State != driver.Inactive || s.Written != kafka.NoOffset {
		t.Errorf("the deposed one: %+v", s)
	}
	relay.set(0, true)
	l.add(&record.RemoveTopicRecord{TopicID: id})
	waitStatus(t, second, "ZooKeeper to be missed", func(s run.Status) bool { return s.Action == "mirror" && s.Lag == 1 })
	relay.set(0, false)
	l.mirrored(t, second)
	compare(ctx, t, direct, l.image())

	// Somebody else claims, with a higher epoch: nothing is written until it is gone and
	// a person says so.
	rival, err := direct.Claim(ctx, zk.Claim{ID: 9, Epoch: 1000})
	if err != nil {
		t.Fatal(err)
	}
	l.add(&record.ConfigRecord{ResourceType: 2, ResourceName: "orders", Name: "retention.ms", Value: new(string)})
	waitStatus(t, second, "the rival to be noticed", func(s run.Status) bool {
		return s.State == driver.Stopped && strings.Contains(s.Reason, "another controller")
	})
	l.add(&record.NoOpRecord{})
	second.Resume()
	waitStatus(t, second, "the rival to be noticed again", func(s run.Status) bool {
		return s.State == driver.Stopped && strings.Contains(s.Err, "controller 9 at epoch 1000")
	})
	if n, _, err := direct.Get(ctx, znode.MigrationPath); err != nil || n.Version != rival.Migration.Version {
		t.Errorf("/migration of the rival is %s at version %d, %v", n.Data, n.Version, err)
	}
	z.set(t, znode.ControllerPath, string(znode.Controller{ID: 3002, KRaftEpoch: 1}.Encode()))
	second.Resume()
	l.mirrored(t, second)
	compare(ctx, t, direct, l.image())

	l.add(&record.ZkMigrationStateRecord{ZkMigrationState: int8(driver.PostMigration)})
	waitStatus(t, second, "the end", func(s run.Status) bool { return s.State == driver.KRaft && s.Action == "" })
	l.add(&record.NoOpRecord{})
}

// sameButForUs checks that the copy has changed nothing but the nodes that name the
// controller: no state was written again, as Apache's reconciliation does.
func sameButForUs(ctx context.Context, t *testing.T, z *zk.Client, before *znode.Tree) {
	t.Helper()
	after, err := z.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range after.Paths() {
		a, _ := after.Get(path)
		b, _ := before.Get(path)
		ours := []string{znode.ControllerPath, znode.ControllerEpochPath, znode.MigrationPath}
		if (a.Version != b.Version || !bytes.Equal(a.Data, b.Data)) && !slices.Contains(ours, path) {
			t.Errorf("%s was %s at version %d, and is %s at version %d", path, b.Data, b.Version, a.Data, a.Version)
		}
	}
}

// TestRunnerRefuses: what must not be claimed keeps its controller, and the status
// says why.
func TestRunnerRefuses(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	loadRecorded(t, z, "before")
	direct := z.open(ctx, t)
	controller, _, err := direct.Get(ctx, znode.ControllerPath)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(t)
	id := func(id string) { z.set(t, znode.ClusterIDPath, `{"version":"1","id":"`+id+`"}`) }
	id("another-cluster-of-them")
	r := l.runner(t, 3001, z.connect)
	l.elect(r)
	waitStatus(t, r, "the other cluster to be seen", func(s run.Status) bool { return strings.Contains(s.Err, "another-cluster-of-them") })
	id(recordedCluster)
	z.set(t, znode.TopicPath("orders"), "{")
	waitStatus(t, r, "the bad node to be seen", func(s run.Status) bool { return strings.Contains(s.Err, znode.TopicPath("orders")) })
	l.add(&record.RegisterBrokerRecord{BrokerID: 2, BrokerEpoch: 9, IncarnationID: kafka.UUID{15: 2}, IsMigratingZkBroker: true, Fenced: true,
		EndPoints: []record.Endpoint{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092, SecurityProtocol: 3}}})
	waitStatus(t, r, "SASL_SSL to be seen", func(s run.Status) bool {
		return strings.Contains(s.Err, "ZooKeeper is not claimed: broker 2's listener PLAINTEXT is not PLAINTEXT")
	})
	if n, _, err := direct.Get(ctx, znode.ControllerPath); err != nil || n.Version != controller.Version {
		t.Errorf("/controller is %s, %v", n.Data, err)
	}
	if at := l.image().At().Offset; r.Status().LogState != driver.PreMigration || at != 6 {
		t.Errorf("the log is at %d, %+v", at, r.Status())
	}
}
