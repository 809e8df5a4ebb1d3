package leaving

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	client "github.com/go-zookeeper/zk"

	"kvorum/integration/loopback"
	"kvorum/integration/peer"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/migration/convert"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// bareZooKeeper is a ZooKeeper with the few nodes that a broker of Kafka's makes,
// below a chroot, and a connection that knows no fence, as other programs are.
type bareZooKeeper struct {
	connect string
	raw     *client.Conn
}

func startZooKeeper(ctx context.Context, t *testing.T) *bareZooKeeper {
	t.Helper()
	server := &peer.ZooKeeper{Kit: peer.Require(t, peer.V39), Dir: filepath.Join(t.TempDir(), "zookeeper"), Address: loopback.Address(t)}
	server.Start(ctx, t)
	raw, _, err := client.Connect([]string{server.Address}, 10*time.Second, client.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	z := &bareZooKeeper{connect: server.Address + "/kafka", raw: raw}
	z.create(t, "", "")
	for _, path := range []string{"/brokers", "/brokers/topics", "/config", "/config/topics", "/config/changes"} {
		z.create(t, path, "")
	}
	z.create(t, znode.ControllerEpochPath, "3")
	return z
}

func (z *bareZooKeeper) create(t *testing.T, path, data string) {
	t.Helper()
	if _, err := z.raw.Create("/kafka"+path, []byte(data), 0, client.WorldACL(client.PermAll)); err != nil {
		t.Fatalf("create %s: %v", path, err)
	}
}

func (z *bareZooKeeper) set(t *testing.T, path, data string) {
	t.Helper()
	if _, err := z.raw.Set("/kafka"+path, []byte(data), -1); err != nil {
		t.Fatalf("set %s: %v", path, err)
	}
}

func (z *bareZooKeeper) open(ctx context.Context, t *testing.T) *zk.Client {
	t.Helper()
	c, err := zk.Open(ctx, zk.Config{Connect: z.connect})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestFence: what a claim does to ZooKeeper, and what it keeps another from doing.
func TestFence(t *testing.T) {
	ctx := t.Context()
	z := startZooKeeper(ctx, t)
	first, second := z.open(ctx, t), z.open(ctx, t)
	create := func(path string) []znode.Write {
		return []znode.Write{{Op: znode.Create, Path: path, Data: []byte("{}")}}
	}
	claim := func(c *zk.Client, id kafka.NodeID, epoch kafka.LeaderEpoch) (*zk.Fence, error) {
		return c.Claim(ctx, zk.Claim{ID: id, Epoch: epoch, NowMs: 1})
	}

	z.create(t, znode.ControllerPath, `{"version":2,"brokerid":1,"timestamp":"1","kraftControllerEpoch":-1}`)
	one, err := claim(first, 3001, 9)
	if err != nil {
		t.Fatal(err)
	}
	if one.ControllerEpoch.Value != 9 { // not 4: never below the KRaft epoch
		t.Errorf("/controller_epoch is %d", one.ControllerEpoch.Value)
	}
	if again, err := claim(first, 3001, 9); err != nil || again.ControllerEpoch != one.ControllerEpoch {
		t.Errorf("a claim that was carried out and is repeated: %+v, %v", again, err)
	} else {
		one = again
	}
	m := znode.Migration{ControllerID: 3001, ControllerEpoch: 9, Offset: 17, Epoch: 9}
	notice := znode.Write{Op: znode.CreateSequential, Path: znode.ConfigChangePrefix, Data: []byte("x")}
	if err := first.Apply(ctx, one, append(create("/brokers/topics/a"), notice), &m); err != nil {
		t.Fatal(err)
	}

	// A node that somebody else has changed: nothing of the transaction happens.
	var conflict *zk.ConflictError
	err = first.Apply(ctx, one, append(create("/brokers/topics/b"), znode.Write{Op: znode.Set, Path: "/brokers/topics/a", Data: []byte("y"), Version: 5}), nil)
	if !errors.As(err, &conflict) || conflict.Write.Path != "/brokers/topics/a" {
		t.Errorf("a node of another version: %v", err)
	}
	if err := first.Apply(ctx, one, create("/brokers/topics/a"), nil); !errors.As(err, &conflict) {
		t.Errorf("a node that exists: %v", err)
	}

	// A rival of a lower epoch is refused, one of a higher takes over, and from then on
	// the first can neither write nor tell brokers anything.
	if _, err := claim(second, 3002, 8); !errors.Is(err, zk.ErrDeposed) {
		t.Errorf("a claim of a lower epoch: %v", err)
	}
	two, err := claim(second, 3002, 10)
	if err != nil {
		t.Fatal(err)
	}
	if two.Migration.Value.Offset != 17 || two.Migration.Value.ControllerID != 3002 || two.ControllerEpoch.Value != 10 {
		t.Errorf("the second claim got %+v", two)
	}
	if err := first.Apply(ctx, one, create("/brokers/topics/c"), nil); !errors.Is(err, zk.ErrDeposed) {
		t.Errorf("a deposed controller's write: %v", err)
	}
	if err := first.Apply(ctx, one, nil, &m); !errors.Is(err, zk.ErrDeposed) {
		t.Errorf("a deposed controller's /migration: %v", err)
	}
	if err := first.Apply(ctx, one, []znode.Write{notice}, nil); !errors.Is(err, zk.ErrDeposed) {
		t.Errorf("a deposed controller's notification: %v", err)
	}

	// /migration that another program has written deposes too.
	z.set(t, znode.MigrationPath, string(m.Encode()))
	if err := second.Apply(ctx, two, create("/brokers/topics/d"), nil); !errors.Is(err, zk.ErrDeposed) {
		t.Errorf("/migration was changed: %v", err)
	}

	children, _, err := z.raw.Children("/kafka/brokers/topics")
	if err != nil || len(children) != 1 || children[0] != "a" {
		t.Errorf("topics %v, %v", children, err)
	}
	changes, _, err := z.raw.Children("/kafka/config/changes")
	if err != nil || len(changes) != 1 || changes[0] != "config_change_0000000000" {
		t.Errorf("notifications %v, %v", changes, err)
	}
	data, stat, err := z.raw.Get("/kafka/controller")
	if err != nil || stat.EphemeralOwner != 0 || !strings.Contains(string(data), `"brokerid":3002`) {
		t.Errorf("/controller %s, %+v, %v", data, stat, err)
	}
}

// TestManyPartitions writes an image of many partitions to ZooKeeper, reads it
// again, and converts it: the same image. KVORUM_MIGRATION_PARTITIONS=100000 for
// the size that kvorum promises; 2000 without.
func TestManyPartitions(t *testing.T) {
	ctx := t.Context()
	count := 2000
	if text := os.Getenv("KVORUM_MIGRATION_PARTITIONS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	im := manyPartitions(t, count)
	z := startZooKeeper(ctx, t)
	c := z.open(ctx, t)
	before, err := c.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Claim(ctx, zk.Claim{ID: 3001, Epoch: 5})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	writes := convert.Writes(before, convert.All(im, convert.WriteOptions{ControllerEpoch: 5}).Nodes)
	if err := c.Apply(ctx, f, writes, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes for %d partitions in %v", len(writes), count, time.Since(start))

	start = time.Now()
	tree, err := c.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := time.Since(start)
	s := znode.Decode(tree)
	if len(s.Problems) > 0 {
		t.Fatal(s.Problems[0])
	}
	messages, problems := convert.Records(s, convert.Options{MetadataVersion: image.MV39IV0})
	if len(problems) > 0 {
		t.Fatal(problems[0])
	}
	t.Logf("%d nodes read in %v, %d records after %v", tree.Len(), read, len(messages), time.Since(start))
	back, err := image.Fold(image.Empty(), 0, 1, 0, messages)
	if err != nil {
		t.Fatal(err)
	}
	if !back.Equal(im) {
		t.Errorf("%d topics and %d partitions came back, %d and %d were written", back.TopicCount(), back.PartitionCount(), im.TopicCount(), im.PartitionCount())
	}
}

// manyPartitions is an image of topics of 50 partitions.
func manyPartitions(t *testing.T, count int) *image.Image {
	t.Helper()
	var messages []record.Message
	for i := range count {
		topic := kafka.UUID{0: 1, 12: byte(i / 50 >> 16), 13: byte(i / 50 >> 8), 14: byte(i / 50), 15: 1}
		if i%50 == 0 {
			messages = append(messages, record.Message{Record: &record.TopicRecord{Name: "topic-" + strconv.Itoa(i/50), TopicID: topic}})
		}
		replicas := []kafka.BrokerID{kafka.BrokerID(i%3 + 1), kafka.BrokerID((i+1)%3 + 1)}
		messages = append(messages, record.Message{Record: &record.PartitionRecord{
			PartitionID: kafka.PartitionID(i % 50), TopicID: topic, Replicas: replicas, ISR: replicas, Leader: replicas[0], LeaderEpoch: 3, PartitionEpoch: kafka.PartitionEpoch(i % 2),
		}})
	}
	im, err := image.Fold(image.Empty(), 0, 1, 0, messages)
	if err != nil {
		t.Fatal(err)
	}
	return im
}
