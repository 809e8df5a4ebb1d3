package leaving

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kvorum/integration/loopback"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/convert"
	"kvorum/migration/mirror"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// patience is how long these tests wait for what must come.
const patience = 20 * time.Second

// relay stands between a client and ZooKeeper, cuts connections and holds answers up.
type relay struct {
	address, target string
	wait            sync.WaitGroup

	mu     sync.Mutex
	random *rand.Rand
	every  int           // on average one answer in so many is lost, with its connection; 0 for none
	shut   bool          // nobody comes through
	late   time.Duration // what each answer waits
	open   []net.Conn
	lost   int
}

func startRelay(t *testing.T, target string) *relay {
	t.Helper()
	r := &relay{address: loopback.Address(t), target: target, random: rand.New(rand.NewPCG(1, 2))}
	l, err := net.Listen("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	r.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wait.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); r.set(0, true); r.wait.Wait() })
	return r
}

func (r *relay) set(every int, shut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.every, r.shut = every, shut
	if shut {
		for _, c := range r.open {
			c.Close()
		}
		r.open = nil
	}
}

// slow lets every answer wait.
func (r *relay) slow(late time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = late
}

func (r *relay) holdUp() {
	r.mu.Lock()
	late := r.late
	r.mu.Unlock()
	time.Sleep(late) // the fault itself
}

func (r *relay) serve(c net.Conn) {
	defer c.Close()
	server, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer server.Close()
	r.mu.Lock()
	shut := r.shut
	r.open = append(r.open, c, server)
	r.mu.Unlock()
	if shut {
		return
	}
	r.wait.Go(func() {
		io.Copy(server, c)
		server.Close()
	})
	buffer := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := server.Read(buffer)
		if err != nil || !first && r.lose() {
			return
		}
		r.holdUp()
		if _, err := c.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (r *relay) lose() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.every > 0 && r.random.IntN(r.every) == 0 {
		r.lost++
		return true
	}
	return false
}

// metadata is an image that goes through what a cluster does.
type metadata struct {
	t  *testing.T
	im *image.Image
}

func (m *metadata) add(records ...record.Record) *image.Image {
	m.t.Helper()
	d := image.NewDelta(m.im)
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			m.t.Fatal(err)
		}
	}
	m.im = d.Apply(image.Position{Offset: m.im.At().Offset + kafka.Offset(len(records)), Epoch: 5})
	return m.im
}

func topicID(i int) kafka.TopicID { return kafka.TopicID{0: 9, 14: byte(i >> 8), 15: byte(i)} }

// step is the i-th change: of every kind, some of which undo earlier ones.
func (m *metadata) step(i int) *image.Image {
	m.t.Helper()
	name, text := fmt.Sprint("topic-", i/8), fmt.Sprint(i)
	id := topicID(i/8 + 1)
	switch i % 8 {
	case 0:
		records := []record.Record{&record.TopicRecord{Name: name, TopicID: id}}
		for p := range 3 {
			records = append(records, &record.PartitionRecord{PartitionID: kafka.PartitionID(p), TopicID: id, Replicas: []kafka.BrokerID{1, 2, 3}, ISR: []kafka.BrokerID{1, 2, 3}, Leader: 1})
		}
		return m.add(records...)
	case 1:
		return m.add(&record.ConfigRecord{ResourceType: 2, ResourceName: name, Name: "retention.ms", Value: &text})
	case 2: // more than one epoch at once
		change := func(isr ...kafka.BrokerID) record.Record {
			return &record.PartitionChangeRecord{PartitionID: 1, TopicID: id, ISR: isr, Leader: isr[0], LeaderRecoveryState: -1}
		}
		return m.add(change(2), change(2, 3), change(3, 2, 1))
	case 3:
		user := fmt.Sprint("user ", i)
		return m.add(&record.ClientQuotaRecord{Entity: []record.QuotaEntity{{EntityType: "user", EntityName: &user}}, Key: "producer_byte_rate", Value: float64(i)},
			&record.UserScramCredentialRecord{Name: user, Mechanism: 1, Salt: []byte{1}, StoredKey: []byte{2}, ServerKey: []byte{3}, Iterations: 4096})
	case 4:
		return m.add(&record.AccessControlEntryRecord{ID: id, ResourceType: 2, ResourceName: name, PatternType: 4, Principal: "User:a", Host: "*", Operation: 3, PermissionType: 3})
	case 5:
		password := "listener.name.x.ssl.key.password"
		return m.add(&record.ConfigRecord{ResourceType: 4, ResourceName: "1", Name: password, Value: &text}, &record.ProducerIDsRecord{BrokerID: 1, BrokerEpoch: 1, NextProducerID: kafka.ProducerID(1000 * (i + 1))})
	case 6:
		if i/8%2 == 1 {
			return m.add(&record.RemoveTopicRecord{TopicID: id}, &record.ConfigRecord{ResourceType: 2, ResourceName: name, Name: "retention.ms"}, &record.RemoveAccessControlEntryRecord{ID: id})
		}
		return m.add(&record.PartitionRecord{PartitionID: 3, TopicID: id, Replicas: []kafka.BrokerID{2}, ISR: []kafka.BrokerID{2}, Leader: 2})
	}
	return m.add(&record.NoOpRecord{})
}

// checkMirrored reads ZooKeeper by itself: nothing is left to write, and the version
// of every state is the partition epoch.
func checkMirrored(ctx context.Context, t *testing.T, c *zk.Client, im *image.Image) {
	t.Helper()
	tree, err := c.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	nodes := convert.All(im, convert.WriteOptions{ControllerEpoch: 5, Secret: Secret, Random: func() (out [272]byte) { return out }}).Nodes
	for _, w := range convert.Writes(tree, append(nodes, convert.Extra(tree, im, nodes)...)) {
		t.Errorf("offset %d: %v %s %s is not done", im.At().Offset, w.Op, w.Path, w.Data)
	}
	for topic := range im.Topics() {
		for id, p := range topic.Partitions() {
			if n, _ := tree.Get(znode.StatePath(topic.Name, id)); n.Version != int32(p.PartitionEpoch) {
				t.Errorf("%s-%d: version %d, partition epoch %d", topic.Name, id, n.Version, p.PartitionEpoch)
			}
		}
	}
	n, _ := tree.Get(znode.MigrationPath)
	if v, err := znode.DecodeMigration(n.Data); err != nil || v.Offset != im.At().Offset || v.Epoch != im.At().Epoch {
		t.Errorf("/migration is %s, the image is at %+v, %v", n.Data, im.At(), err)
	}
}

func claimed(ctx context.Context, t *testing.T, c *zk.Client, id kafka.NodeID, epoch kafka.LeaderEpoch) *mirror.Mirror {
	t.Helper()
	fence, err := c.Claim(ctx, zk.Claim{ID: id, Epoch: epoch, NowMs: 1})
	if err != nil {
		t.Fatal(err)
	}
	return mirror.New(mirror.Config{Client: c, Fence: fence, Secret: Secret})
}

func apply(ctx context.Context, t *testing.T, m *mirror.Mirror, im *image.Image) mirror.Report {
	t.Helper()
	report, err := m.Apply(ctx, im)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		t.Error(p)
	}
	return report
}

// TestMirror: dual write to a real ZooKeeper, through changes of every kind, what
// others do to its nodes, another controller's turn, and a rival.
func TestMirror(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	c := z.open(ctx, t)
	z.create(t, "/brokers/topics/stray", `{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAACQ","partitions":{"0":[1]},"adding_replicas":{},"removing_replicas":{}}`)
	m := claimed(ctx, t, c, 3001, 5)
	md := &metadata{t: t, im: image.Empty()}
	for i := range 8 {
		md.step(i)
	}
	if r := apply(ctx, t, m, md.im); !r.Reconciled || r.Writes == 0 {
		t.Errorf("the first: %+v", r)
	}
	checkMirrored(ctx, t, c, md.im)
	for i := 8; i < 48; i++ {
		r := apply(ctx, t, m, md.step(i))
		if r.Reconciled || r.Conflicts > 0 || (i%8 == 7) != (r.Writes == 0) {
			t.Errorf("step %d: %+v", i, r)
		}
		checkMirrored(ctx, t, c, md.im)
	}
	changes, _, err := z.raw.Children("/kafka/config/changes")
	if err != nil || len(changes) < 6*3 {
		t.Errorf("%d notifications, %v", len(changes), err)
	}

	// The next controller finds everything as it should be, and writes nothing.
	second := z.open(ctx, t)
	m2 := claimed(ctx, t, second, 3002, 6)
	if r := apply(ctx, t, m2, md.im); !r.Reconciled || r.Writes != 0 {
		t.Errorf("after a failover: %+v", r)
	}
	if _, err := m.Apply(ctx, md.step(48)); !errors.Is(err, zk.ErrDeposed) {
		t.Errorf("the deposed controller: %v", err)
	}
	// Nodes that others have changed: what the image wants comes back. A change of
	// theirs to a state that is written anyway costs nothing; a partition that nobody
	// knows of makes it look at everything.
	apply(ctx, t, m2, md.im)
	md.step(49)
	z.set(t, znode.TopicConfigPath("topic-6"), `{"version":1,"config":{"retention.ms":"behind our back"}}`)
	z.create(t, znode.PartitionPath("topic-2", 7), "")
	apply(ctx, t, m2, md.im)
	if r := apply(ctx, t, m2, md.add(&record.RemoveTopicRecord{TopicID: topicID(3)})); !r.Reconciled || r.Conflicts == 0 {
		t.Errorf("a partition that nobody knows of: %+v", r)
	}
	checkMirrored(ctx, t, second, md.im)
	if _, err := m2.Apply(ctx, image.Empty()); !errors.Is(err, mirror.ErrOlder) {
		t.Errorf("an older image: %v", err)
	}
}

// TestMirrorComparesWithWhatWasRead: the first reconciliation after the copy compares with what
// the copy has read, and reads nothing again unless a node was changed since.
func TestMirrorComparesWithWhatWasRead(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	c := z.open(ctx, t)
	md := &metadata{t: t, im: image.Empty()}
	for i := range 8 {
		md.step(i)
	}
	apply(ctx, t, claimed(ctx, t, c, 3001, 5), md.im)
	tree, err := c.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func(epoch kafka.LeaderEpoch) *mirror.Mirror {
		fence, err := c.Claim(ctx, zk.Claim{ID: 3001, Epoch: epoch, NowMs: 1})
		if err != nil {
			t.Fatal(err)
		}
		return mirror.New(mirror.Config{Client: c, Fence: fence, Secret: Secret, Read: tree})
	}
	// A node that is as the image wants it is not looked at: what somebody has written to it
	// since is there until the next change, as in all of dual write.
	configured := tree.Children(znode.TopicConfigsPath)
	if len(configured) == 0 {
		t.Fatal("no topic has a config")
	}
	path := znode.TopicConfigPath(configured[0])
	z.set(t, path, `{"version":1,"config":{"retention.ms":"behind our back"}}`)
	if r := apply(ctx, t, read(6), md.im); !r.Reconciled || r.Writes != 0 || r.Conflicts != 0 {
		t.Errorf("nothing was changed: %+v", r)
	}
	if n, _, err := c.Get(ctx, path); err != nil || !strings.Contains(string(n.Data), "behind our back") {
		t.Errorf("%s is %s, %v", path, n.Data, err)
	}
	// One that the image wants otherwise than it was read, and that was changed since, is a
	// conflict, and everything is looked at.
	n, ok := tree.Get(path)
	if !ok {
		t.Fatalf("%s was not read", path)
	}
	tree.Add(path, znode.Node{Data: []byte(`{"version":1,"config":{"retention.ms":"old"}}`), Version: n.Version})
	if r := apply(ctx, t, read(7), md.im); r.Conflicts != 1 || r.Writes == 0 {
		t.Errorf("a node that was changed since: %+v", r)
	}
	checkMirrored(ctx, t, c, md.im)
}

// TestMirrorLosesAnswers: answers of ZooKeeper are lost together with their
// connections, then the session ends. Nothing is written twice, nothing is left out.
func TestMirrorLosesAnswers(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	server, _, _ := strings.Cut(z.connect, "/")
	r := startRelay(t, server)
	c, err := zk.Open(ctx, zk.Config{Connect: r.address + "/kafka", SessionTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	m := claimed(ctx, t, c, 3001, 5)
	md := &metadata{t: t, im: image.Empty()}
	r.set(30, false) // the library waits a second before it connects again
	for i := range 40 {
		apply(ctx, t, m, md.step(i))
	}
	r.set(0, false)
	t.Logf("%d connections were cut", r.lost)
	if r.lost == 0 {
		t.Error("no answer was lost")
	}
	direct := z.open(ctx, t)
	checkMirrored(ctx, t, direct, md.im)

	before := sessions(ctx, t, server)
	r.set(0, true)
	done := make(chan error, 1)
	md.step(40)
	go func() {
		_, err := m.Apply(ctx, md.im)
		done <- err
	}()
	for deadline := time.Now().Add(patience); len(sessions(ctx, t, server)) >= len(before); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the session did not end: %v, before %v", sessions(ctx, t, server), before)
		}
	}
	r.set(0, false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	checkMirrored(ctx, t, direct, md.im)
}

// sessions are the sessions that ZooKeeper has, as its four letters "cons" and
// "dump" tell.
func sessions(ctx context.Context, t *testing.T, address string) []string {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("dump")); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	ids := regexp.MustCompile(`0x[0-9a-f]{6,}`).FindAllString(string(text), -1)
	slices.Sort(ids)
	return slices.Compact(ids)
}
