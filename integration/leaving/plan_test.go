package leaving

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/migration"
	"kvorum/migration/convert"
	"kvorum/migration/zk"
	"kvorum/migration/znode"
)

// TestPlan: a real cluster of 60 topics with ACLs, users, quotas, a group and
// configurations is read, counted and converted as what Apache's admin client
// sees of it, and nothing in ZooKeeper changes by it.
func TestPlan(t *testing.T) {
	ctx := t.Context()
	c := Start(ctx, t, 3)
	filled := c.Fill(ctx, t, 60)
	before := read(ctx, t, c)

	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var plan migration.Plan
	kvorum(ctx, t, 0, &plan, "migrate", "plan", "--zookeeper", c.Connect, "--password-encoder-secret-file", secret, "-o", "json")
	checkPlan(t, &plan, filled)

	preflight := []string{"migrate", "preflight", "--zookeeper", c.Connect, "-o", "json"}
	var answer struct {
		Passed bool
		Stops  []migration.Finding
	}
	kvorum(ctx, t, 0, &answer, append(preflight, "--password-encoder-secret-file", secret)...)
	if !answer.Passed || len(answer.Stops) > 0 {
		t.Errorf("preflight stops on %+v", answer.Stops)
	}
	kvorum(ctx, t, 2, &answer, preflight...)
	if answer.Passed || len(answer.Stops) != 1 || answer.Stops[0].Check != "password-secret" {
		t.Errorf("without the secret preflight stops on %+v", answer.Stops)
	}

	after := read(ctx, t, c)
	if same, why := sameTree(before, after); !same {
		t.Errorf("ZooKeeper has changed: %s", why)
	}
	checkConversion(ctx, t, c, znode.Decode(after), filled)

	toBrokers(ctx, t, c, append(preflight, "--password-encoder-secret-file", secret, "--to-kvorum-brokers"))

	c.Brokers[2].Kill()
	awaitBrokers(ctx, t, c, 2)
	kvorum(ctx, t, 2, &answer, append(preflight, "--password-encoder-secret-file", secret)...)
	if !slices.ContainsFunc(answer.Stops, func(f migration.Finding) bool { return f.Check == "broker-missing" }) {
		t.Errorf("with a broker that died preflight stops on %+v", answer.Stops)
	}
}

// toBrokers checks what stops the step to kvorum's brokers: an authorizer, clients with
// transactions, a transaction that is open, and records of an old format.
func toBrokers(ctx context.Context, t *testing.T, c *Cluster, preflight []string) {
	t.Helper()
	adm := kadm.NewClient(c.Client(t))
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "old"); err != nil {
		t.Fatal(err)
	}
	leader := int32(-1)
	var names []string
	waitUntil(t, "the topic of an old format to have a leader and a log", func() bool {
		topics, err := adm.ListTopics(ctx, "old")
		if p, ok := topics["old"].Partitions[0]; err == nil && ok && p.Leader > 0 {
			leader = p.Leader
			names, err = filepath.Glob(filepath.Join(c.Brokers[leader-1].DataDir(), "old-0", "0*"))
		}
		return err == nil && len(names) > 0
	})
	b := c.Brokers[leader-1]
	b.Stop(t)
	old := filepath.Join(b.DataDir(), "old-0")
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(old, "00000000000000000000.log"), messageV1("k", "v", time.Now().UnixMilli()), 0o644); err != nil {
		t.Fatal(err)
	}
	b.Start(t)
	b.WaitReady(ctx, t)
	producer := c.Client(t, kgo.TransactionalID("tx-1"), kgo.DefaultProduceTopic(topicName(1)))
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := producer.ProduceSync(ctx, kgo.StringRecord("open")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	stops := func(exit int, args ...string) []string {
		t.Helper()
		var answer struct{ Stops []migration.Finding }
		kvorum(ctx, t, exit, &answer, append(slices.Clone(preflight), args...)...)
		var out []string
		for _, f := range answer.Stops {
			out = append(out, f.Check)
			t.Logf("%s: %s", f.Check, f.Text)
		}
		slices.Sort(out)
		return out
	}
	want := []string{"kvorum-authorizer", "message-format", "open-transactions", "transactions"}
	if got := stops(2); !slices.Equal(got, want) {
		t.Errorf("it stops on %v, and not on %v", got, want)
	}
	if got := stops(0, "--allow", strings.Join(want, ",")); len(got) > 0 {
		t.Errorf("it stops on %v, all of which are allowed", got)
	}
	if err := producer.EndTransaction(ctx, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.DeleteTopics(ctx, "old"); err != nil {
		t.Fatal(err)
	}
}

// messageV1 is a message of format 1 (KIP-32), which brokers from 0.10 wrote, at
// offset 0.
func messageV1(key, value string, ms int64) []byte {
	body := binary.BigEndian.AppendUint64([]byte{1, 0}, uint64(ms)) // magic, attributes, timestamp
	for _, field := range []string{key, value} {
		body = append(binary.BigEndian.AppendUint32(body, uint32(len(field))), field...)
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 8), uint32(4+len(body)))
	return append(binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(body)), body...)
}

// kvorum runs the binary, which must exit with a code, and reads its JSON.
func kvorum(ctx context.Context, t *testing.T, exit int, into any, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, cluster.Binary(t), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var code *exec.ExitError
	if err != nil && !errors.As(err, &code) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != exit {
		t.Fatalf("kvorum %s: exit %d instead of %d\n%s%s", strings.Join(args, " "), got, exit, &stdout, &stderr)
	}
	if err := json.Unmarshal(stdout.Bytes(), into); err != nil {
		t.Fatalf("kvorum %s printed %s: %v", strings.Join(args, " "), &stdout, err)
	}
}

// kvorumFails runs the binary, which must fail and say why.
func kvorumFails(ctx context.Context, t *testing.T, why string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(ctx, cluster.Binary(t), args...).CombinedOutput(); err == nil || !strings.Contains(string(out), why) {
		t.Errorf("kvorum %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// read reads ZooKeeper.
func read(ctx context.Context, t *testing.T, c *Cluster) *znode.Tree {
	t.Helper()
	z, err := zk.Open(ctx, zk.Config{Connect: c.Connect})
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	tree, err := z.Read(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// awaitBrokers waits until ZooKeeper has n brokers: the session of one that died
// ends by itself.
func awaitBrokers(ctx context.Context, t *testing.T, c *Cluster, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	z, err := zk.Open(ctx, zk.Config{Connect: c.Connect})
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for {
		tree, err := z.Read(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(tree.Children(znode.BrokerIDsPath)) == n {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func checkPlan(t *testing.T, p *migration.Plan, filled Filled) {
	t.Helper()
	for _, f := range p.Findings {
		if f.Severity == migration.Blocker {
			t.Errorf("blocker: %+v", f)
		}
	}
	// __consumer_offsets, which the brokers made: 4 partitions and three configs.
	want := migration.Counts{
		Topics: filled.Topics + 1, Partitions: filled.Partitions + 4, TopicConfigs: filled.TopicConfigs + 3, BrokerConfigs: filled.BrokerConfigs,
		Passwords: filled.Passwords, Users: filled.Users, Quotas: filled.Quotas, ACLs: filled.ACLs,
	}
	got := p.Counts
	got.Records, got.ZNodes = 0, 0
	if got != want {
		t.Errorf("the plan counts %+v, the cluster has %+v", got, want)
	}
	if sum := got.Topics + got.Partitions + got.TopicConfigs + got.BrokerConfigs + got.Users + got.Quotas + got.ACLs + 1; p.Counts.Records != sum {
		t.Errorf("%d records instead of %d", p.Counts.Records, sum) // and one of the producer ids
	}
	if p.Phase != migration.PhaseZooKeeper || p.MetadataVersion != "3.9-IV0" || len(p.Brokers) != 3 {
		t.Errorf("phase %s, metadata.version %s, brokers %+v", p.Phase, p.MetadataVersion, p.Brokers)
	}
	for _, b := range p.Brokers {
		if !strings.Contains(b.Version, "3.9") || !strings.HasPrefix(b.Protocol, "3.9") || b.LogDirs != 1 || b.Migrating {
			t.Errorf("broker %+v", b)
		}
	}
	var lines []string
	for _, s := range p.Steps {
		for _, n := range s.Nodes {
			lines = append(lines, n.Add...)
			lines = append(lines, n.Remove...)
		}
	}
	for _, line := range []string{"zookeeper.metadata.migration.enable=true", "listener.security.protocol.map=SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT", "node.id=3", "password.encoder.secret",
		"zookeeper.connect", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, line) }) {
			t.Errorf("no line %s in %q", line, lines)
		}
	}
}

// sameTree compares two trees, but for what changes by itself.
func sameTree(a, b *znode.Tree) (bool, string) {
	if !reflect.DeepEqual(a.Paths(), b.Paths()) {
		return false, "other nodes exist"
	}
	for _, path := range a.Paths() {
		x, _ := a.Get(path)
		y, _ := b.Get(path)
		if x.Version != y.Version || !bytes.Equal(x.Data, y.Data) {
			return false, path
		}
	}
	return true, ""
}

// checkConversion folds the records of the copy, and compares the image with what
// the brokers answer.
func checkConversion(ctx context.Context, t *testing.T, c *Cluster, s *znode.Snapshot, filled Filled) {
	t.Helper()
	if err := s.Blocking(); err != nil {
		t.Fatal(err)
	}
	messages, problems := convert.Records(s, convert.Options{MetadataVersion: image.MV39IV0, Secret: Secret, NewID: func() kafka.UUID {
		id, err := kafka.RandomUUID(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	im, err := image.Fold(image.Empty(), 0, 1, 0, messages)
	if err != nil {
		t.Fatal(err)
	}
	adm := kadm.NewClient(c.Client(t))
	topics, err := adm.ListTopicsWithInternal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if im.TopicCount() != len(topics) {
		t.Errorf("%d topics were converted, the brokers have %d", im.TopicCount(), len(topics))
	}
	for name, d := range topics {
		topic := im.TopicByName(name)
		if topic == nil || [16]byte(topic.ID) != [16]byte(d.ID) || topic.PartitionCount() != len(d.Partitions) {
			t.Errorf("topic %s with id %v and %d partitions was converted to %+v", name, d.ID, len(d.Partitions), topic)
			continue
		}
		for _, p := range d.Partitions {
			q := topic.Partition(kafka.PartitionID(p.Partition))
			if int32(q.Leader) != p.Leader || int32(q.LeaderEpoch) != p.LeaderEpoch || len(q.Replicas) != len(p.Replicas) {
				t.Errorf("%s-%d: %+v was converted to %+v", name, p.Partition, p, q)
			}
		}
	}
	users, err := adm.DescribeUserSCRAMs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		for _, info := range u.CredInfos {
			if im.ScramCredential(u.User, image.ScramMechanism(info.Mechanism)) == nil {
				t.Errorf("the credential %v of %s was not converted", info.Mechanism, u.User)
			}
		}
	}
	if im.ACLCount() != filled.ACLs || im.ProducerIDs().Next < 1000 {
		t.Errorf("%d ACLs of %d, next producer id %d", im.ACLCount(), filled.ACLs, im.ProducerIDs().Next)
	}
	password, _ := im.ConfigValue(image.Resource{Type: image.ResourceBroker, Name: "1"}, "listener.name.plaintext.scram-sha-256.sasl.jaas.config")
	if password != "org.apache.kafka.common.security.scram.ScramLoginModule required;" {
		t.Errorf("the password was converted to %q", password)
	}
}
