package leaving

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
	"kvorum/integration/peer"
)

// Secret is the brokers' password.encoder.secret.
const Secret = "a-secret-of-the-brokers"

// Cluster is Apache Kafka 3.9 on ZooKeeper, below a chroot.
type Cluster struct {
	ZooKeeper *peer.ZooKeeper
	Brokers   []*peer.Node
	Connect   string // zookeeper.connect
	// Taken are kvorum's brokers that have taken over, in the order in which they did.
	Taken []*cluster.Node
}

// Start starts ZooKeeper and n brokers with ids from 1, all of them on loopback,
// and waits until they serve.
func Start(ctx context.Context, t testing.TB, n int) *Cluster {
	t.Helper()
	return StartWith(ctx, t, n, nil)
}

// StartWith is Start with more properties for every broker.
func StartWith(ctx context.Context, t testing.TB, n int, properties map[string]string) *Cluster {
	t.Helper()
	kit := peer.Require(t, peer.V39)
	dir := t.TempDir()
	c := &Cluster{ZooKeeper: &peer.ZooKeeper{Kit: kit, Dir: filepath.Join(dir, "zookeeper"), Address: loopback.Address(t)}}
	c.ZooKeeper.Start(ctx, t)
	c.Connect = c.ZooKeeper.Address + "/kafka"
	for i := range n {
		b := &peer.Node{
			Kit: kit, ID: int32(i + 1), Dir: filepath.Join(dir, fmt.Sprint("broker-", i+1)), Listener: loopback.Address(t), ZooKeeper: c.Connect,
			Properties: map[string]string{
				"inter.broker.protocol.version": "3.9",
				"password.encoder.secret":       Secret,
				"authorizer.class.name":         "kafka.security.authorizer.AclAuthorizer",
				"super.users":                   "User:ANONYMOUS",
				"delegation.token.secret.key":   "a-key-of-tokens",
				"zookeeper.session.timeout.ms":  "6000",
			},
		}
		maps.Copy(b.Properties, properties)
		b.Configure(t)
		b.Start(t)
		c.Brokers = append(c.Brokers, b)
	}
	for _, b := range c.Brokers {
		b.WaitReady(ctx, t)
	}
	return c
}

// Client is a client of the brokers, closed when the test ends. It asks again where a
// broker that dies hangs up on a new connection's first request, which kgo by itself
// takes for a wrong configuration.
func (c *Cluster) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	var seeds []string
	for _, b := range c.Brokers {
		seeds = append(seeds, b.Listener)
	}
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds...), kgo.AlwaysRetryEOF())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// Filled is what Fill has put into a cluster.
type Filled struct {
	Topics, Partitions, TopicConfigs, ACLs, Users, Quotas, BrokerConfigs, Passwords int
}

// Fill makes topics with configurations, ACLs of every pattern, users, quotas of
// every kind of entity, dynamic broker configs with a password, a producer id
// block and a consumer group.
func (c *Cluster) Fill(ctx context.Context, t testing.TB, topics int) Filled {
	t.Helper()
	client := c.Client(t)
	f := &filler{ctx: ctx, t: t, adm: kadm.NewClient(client)}
	f.topics(topics, len(c.Brokers))
	f.acls()
	f.users()
	f.quotas()
	f.brokers(c.Brokers[0])
	f.group(c)
	return f.done
}

// filler fills one cluster and counts.
type filler struct {
	ctx  context.Context
	t    testing.TB
	adm  *kadm.Client
	done Filled
}

// topicName is the name of the i-th topic.
func topicName(i int) string { return fmt.Sprintf("topic-%03d", i) }

// topics makes topics of three partitions; every third is compacted.
func (f *filler) topics(n, brokers int) {
	f.t.Helper()
	for i := range n {
		configs := map[string]*string{"min.insync.replicas": kadm.StringPtr("2")}
		if i%3 == 0 {
			configs = map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "segment.bytes": kadm.StringPtr("1048576")}
		}
		if i%3 == 1 {
			configs = nil
		}
		if _, err := f.adm.CreateTopic(f.ctx, 3, int16(min(3, brokers)), configs, topicName(i)); err != nil {
			f.t.Fatalf("create %s: %v", topicName(i), err)
		}
		f.done.Topics++
		f.done.Partitions += 3
		f.done.TopicConfigs += len(configs)
	}
}

func (f *filler) acls() {
	f.t.Helper()
	for _, b := range []*kadm.ACLBuilder{
		kadm.NewACLs().Topics(topicName(0), "*").ResourcePatternType(kadm.ACLPatternLiteral).Allow("User:alice").AllowHosts("*").Operations(kadm.OpRead, kadm.OpDescribeConfigs),
		kadm.NewACLs().Topics("topic-").ResourcePatternType(kadm.ACLPatternPrefixed).Deny("User:mallory").DenyHosts("10.0.0.7").Operations(kadm.OpAll),
		kadm.NewACLs().Groups("g1").ResourcePatternType(kadm.ACLPatternLiteral).Allow("User:team a@corp").AllowHosts("*").Operations(kadm.OpRead),
		kadm.NewACLs().Clusters().ResourcePatternType(kadm.ACLPatternLiteral).Allow("User:bob").AllowHosts("*").Operations(kadm.OpClusterAction, kadm.OpIdempotentWrite),
		kadm.NewACLs().TransactionalIDs("tx").ResourcePatternType(kadm.ACLPatternPrefixed).Allow("User:bob").AllowHosts("*").Operations(kadm.OpWrite),
	} {
		results, err := f.adm.CreateACLs(f.ctx, b)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil {
				f.t.Fatalf("create the ACL %+v: %v", r, r.Err)
			}
		}
		f.done.ACLs += len(results)
	}
}

func (f *filler) users() {
	f.t.Helper()
	for i, user := range []string{"alice", "bob", "team a@corp"} {
		for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512}[:1+i%2] {
			results, err := f.adm.AlterUserSCRAMs(f.ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: m, Iterations: 4096, Password: "pw-" + user}})
			if err == nil {
				err = results.Error()
			}
			if err != nil {
				f.t.Fatalf("user %s: %v", user, err)
			}
			f.done.Users++
		}
	}
}

func (f *filler) quotas() {
	f.t.Helper()
	alice, app, ip, spaced := "alice", "app-1", "127.0.0.9", "team a@corp"
	part := func(kind string, name *string) kadm.ClientQuotaEntityComponent {
		return kadm.ClientQuotaEntityComponent{Type: kind, Name: name}
	}
	for _, q := range []struct {
		entity kadm.ClientQuotaEntity
		key    string
		value  float64
	}{
		{kadm.ClientQuotaEntity{part("user", &alice)}, "producer_byte_rate", 10485760},
		{kadm.ClientQuotaEntity{part("user", nil)}, "consumer_byte_rate", 5242880},
		{kadm.ClientQuotaEntity{part("client-id", &app)}, "request_percentage", 55.5},
		{kadm.ClientQuotaEntity{part("client-id", nil)}, "producer_byte_rate", 1048576},
		{kadm.ClientQuotaEntity{part("user", &spaced), part("client-id", &app)}, "controller_mutation_rate", 100},
		{kadm.ClientQuotaEntity{part("user", nil), part("client-id", nil)}, "request_percentage", 200},
		{kadm.ClientQuotaEntity{part("ip", &ip)}, "connection_creation_rate", 10},
	} {
		results, err := f.adm.AlterClientQuotas(f.ctx, []kadm.AlterClientQuotaEntry{{Entity: q.entity, Ops: []kadm.AlterClientQuotaOp{{Key: q.key, Value: q.value}}}})
		if err != nil {
			f.t.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil {
				f.t.Fatalf("quota of %v: %v", q.entity, r.Err)
			}
		}
		f.done.Quotas++
	}
}

// brokers sets the cluster's default, and a value and a password of one broker.
func (f *filler) brokers(b *peer.Node) {
	f.t.Helper()
	set := func(ids []int32, key, value string) {
		results, err := f.adm.AlterBrokerConfigs(f.ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, ids...)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil {
				f.t.Fatalf("set %s: %v", key, r.Err)
			}
		}
		f.done.BrokerConfigs++
	}
	set(nil, "log.retention.ms", "172800000")
	set([]int32{b.ID}, "log.cleaner.threads", "2")
	set([]int32{b.ID}, "listener.name.plaintext.scram-sha-256.sasl.jaas.config", "org.apache.kafka.common.security.scram.ScramLoginModule required;")
	f.done.Passwords++
}

// group writes with an idempotent producer, which takes a block of producer ids,
// and commits the offsets of a group.
func (f *filler) group(c *Cluster) {
	f.t.Helper()
	producer := c.Client(f.t, kgo.DefaultProduceTopic(topicName(2)))
	for i := range 30 {
		r := &kgo.Record{Key: []byte{byte(i)}, Value: []byte("v")}
		if err := producer.ProduceSync(f.ctx, r).FirstErr(); err != nil {
			f.t.Fatalf("produce: %v", err)
		}
	}
	offsets := kadm.Offsets{}
	for p := range int32(3) {
		offsets.Add(kadm.Offset{Topic: topicName(2), Partition: p, At: 1})
	}
	if err := f.adm.CommitAllOffsets(f.ctx, "g1", offsets); err != nil {
		f.t.Fatalf("commit: %v", err)
	}
}
