package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// one is a quorum of one; tests change and add lines.
const one = `process.roles=controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=CONTROLLER://:9093
controller.listener.names=CONTROLLER
`

func parseNode(t *testing.T, text string) (*Node, error) {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return ParseNode(p)
}

func mustNode(t *testing.T, text string) *Node {
	t.Helper()
	n, err := parseNode(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestNodeTakesAKafkaFile: a controller.properties of the kind that Kafka
// ships starts a quorum of one as it is.
func TestNodeTakesAKafkaFile(t *testing.T) {
	n := mustNode(t, `
process.roles=controller
node.id=7
controller.quorum.bootstrap.servers=localhost:9093
listeners=CONTROLLER://:9093
advertised.listeners=CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/data/a,/data/b
num.partitions=3
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
`)
	l := n.Listeners[0]
	got := fmt.Sprintln(n.ID, l.Name, l.Bind, l.Advertised, n.BootstrapServers, n.LogDirs, n.MetadataLogDir, n.Cluster.NumPartitions, n.Raft.Voters, n.Raft.Listener)
	if want := "7 CONTROLLER :9093 localhost:9093 [localhost:9093] [/data/a /data/b] /data/a 3 [] <nil>\n"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !slices.Contains(n.WithoutEffect, "num.io.threads") || slices.Contains(n.WithoutEffect, "num.partitions") {
		t.Errorf("without effect: %v", n.WithoutEffect)
	}
}

func TestNodeDefaults(t *testing.T) {
	n := mustNode(t, one)
	if got, want := n.Cluster, (ClusterRules{
		BrokerSessionTimeout: 9 * time.Second, NumPartitions: 1, DefaultReplicationFactor: 1,
		DeleteTopicEnable: true, AutoLeaderRebalance: true, LeaderImbalanceCheckInterval: 5 * time.Minute, UncleanLeaderElectionInterval: 5 * time.Minute,
		PropagationMaxWait: time.Second, FenceOnDeath: true, MaxInflight: 1024,
	}); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got, want := n.Metadata, (Metadata{
		SnapshotBytes: 20 << 20, SnapshotInterval: time.Hour, RetentionBytes: 100 << 20, Retention: 7 * 24 * time.Hour, MaxIdleInterval: 500 * time.Millisecond,
	}); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if r := n.Raft; r.RTT != 10*time.Millisecond || r.ElectionTicks != 30 || r.HeartbeatTicks != 3 || r.TLS() {
		t.Errorf("raft: %+v", r)
	}
}

// TestNodeTokens: tokens are made where there is a secret, and their times are of
// no effect without one.
func TestNodeTokens(t *testing.T) {
	n := mustNode(t, one)
	if want := (DelegationTokens{MaxLifetime: 7 * 24 * time.Hour, Expiry: 24 * time.Hour}); n.Tokens != want || len(n.WithoutEffect) != 0 {
		t.Errorf("got %+v, without effect %v; want %+v", n.Tokens, n.WithoutEffect, want)
	}
	times := one + "delegation.token.max.lifetime.ms=2000\ndelegation.token.expiry.time.ms=1000\n"
	n = mustNode(t, times+"delegation.token.secret.key=s3cret\n")
	if want := (DelegationTokens{Secret: "s3cret", MaxLifetime: 2 * time.Second, Expiry: time.Second}); n.Tokens != want || len(n.WithoutEffect) != 0 {
		t.Errorf("got %+v, without effect %v; want %+v", n.Tokens, n.WithoutEffect, want)
	}
	n = mustNode(t, times+"delegation.token.secret.key=\n")
	if n.Tokens.Secret != "" || len(n.WithoutEffect) != 2 {
		t.Errorf("with an empty secret: %+v, without effect %v", n.Tokens, n.WithoutEffect)
	}
	for _, bad := range []string{"delegation.token.max.lifetime.ms=0\n", "delegation.token.expiry.time.ms=0\n"} {
		if _, err := parseNode(t, one+bad); err == nil || !strings.Contains(err.Error(), "delegation.token") {
			t.Errorf("%q gives %v", bad, err)
		}
	}
}

func TestNodeOfThree(t *testing.T) {
	n := mustNode(t, strings.Replace(one, "bootstrap.servers=localhost:9093", "voters=1@a:9093,2@b:9093,3@[fd00::3]:9093", 1)+`
kvorum.raft.listener=:9095
kvorum.raft.voters=3@c:9095,1@a:9095,2@b:9095
kvorum.raft.tls.certificate.file=cert.pem
kvorum.raft.tls.key.file=key.pem
kvorum.raft.tls.ca.file=ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:CN=x,O=y;
kvorum.metrics.listener=127.0.0.1:9404
`)
	got := fmt.Sprint(n.Voters, n.Raft.Voters, n.Raft.Listener, n.Raft.TLS(), n.Authorizer, len(n.SuperUsers), n.SuperUsers, n.MetricsListener)
	want := "[1@a:9093 2@b:9093 3@[fd00::3]:9093] [3@c:9095 1@a:9095 2@b:9095] :9095 true true 2 [User:admin User:CN=x,O=y] 127.0.0.1:9404"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestNodeRefuses: each wrong file gets its line and what to do.
func TestNodeRefuses(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"node.id=1", "node.idd=1", "line 2: unknown key node.idd; did you mean node.id?"},
		{"", "num.partition=1", "line 6: unknown key num.partition; did you mean num.partitions?"},
		{"", "kvorum.raft.voter=1", "line 6: unknown key kvorum.raft.voter; did you mean kvorum.raft.voters?"},
		{"", "something.else.entirely=1", "line 6: unknown key something.else.entirely; see docs/configuration.md for all keys"},
		{"", "retention.ms=1", "line 6: retention.ms is a key of topics; its default for all topics is log.retention.ms"},
		{"", "zookeeper.sync.time.ms=1", "line 6: zookeeper.sync.time.ms is not a key any more: only a controller of a cluster that leaves ZooKeeper speaks with it, and has no such setting; remove the line"},
		{"", "zookeeper.metadata.migration.enable=true", "line 6: zookeeper.metadata.migration.enable=true needs zookeeper.connect, the brokers' own (host:port,.../chroot)"},
		{"", "zookeeper.metadata.migration.enable=true\nzookeeper.connect=h:2181\ninter.broker.listener.name=SASL_SSL", "line 8: the brokers' listener SASL_SSL speaks SASL_SSL: controllers speak PLAINTEXT only to brokers in ZooKeeper mode; " +
			"give every broker a PLAINTEXT listener on a network that you trust, and name it with inter.broker.listener.name"},
		{"", "zookeeper.metadata.migration.enable=true\nzookeeper.connect=h:2181\nzookeeper.ssl.keystore.location=/x", "line 8: zookeeper.ssl.keystore.location needs zookeeper.ssl.client.enable=true"},
		{"", "zookeeper.ssl.truststore.type=JKS", "line 6: Invalid value JKS for configuration zookeeper.ssl.truststore.type: String must be one of (case insensitive): , PEM"},
		{"", "zookeeper.set.acl=true", "line 6: zookeeper.set.acl=true: this release does not do that (Gives the nodes that are written to ZooKeeper ACLs that only Kafka's own login may change); remove the line"},
		{"", "num.partitions=0", "line 6: Invalid value 0 for configuration num.partitions: Value must be at least 1"},
		{"", "num.partitions=many", "line 6: Invalid value many for configuration num.partitions: Not a number of type INT"},
		{"process.roles=controller", "process.roles=broker,controller", "line 4: listeners has no listener for clients: a broker needs one that is not in controller.listener.names, for instance PLAINTEXT://:9092"},
		{"process.roles=controller", "process.roles=observer", "line 1: Invalid value observer for configuration process.roles: String must be one of: broker, controller"},
		{"process.roles=controller\n", "", "process.roles is not set; set process.roles=broker,controller for a node that is both, or one of the two"},
		{"node.id=1\n", "", "node.id is not set; give each controller and broker a number of its own"},
		{"node.id=1", "node.id=1\nbroker.id=2", "line 3: broker.id=2 and node.id=1 differ; remove broker.id"},
		{"listeners=CONTROLLER://:9093\n", "", "listeners is not set; a controller listens on its controller.listener.names, for instance CONTROLLER://:9093"},
		{"listeners=CONTROLLER", "listeners=PLAINTEXT://:1,CONTROLLER", "line 4: listeners must only contain controller listeners from controller.listener.names when process.roles=controller"},
		{"names=CONTROLLER", "names=CTRL", "line 5: controller.listener.names: CTRL is not among listeners=CONTROLLER://:9093\nline 4: listeners must only contain controller listeners from controller.listener.names when process.roles=controller"},
		{"CONTROLLER://:9093", "CONTROLLER:9093", `line 4: listeners: "CONTROLLER:9093" is not of the form NAME://host:port` + "\nline 5: controller.listener.names: CONTROLLER is not among listeners=CONTROLLER:9093"},
		{"", "advertised.listeners=CONTROLLER://0.0.0.0:9093", "line 6: advertised.listeners cannot use the nonroutable meta-address 0.0.0.0:9093; name an address that brokers can reach"},
		{"", "listener.security.protocol.map=CONTROLLER:SSL", "line 6: listener CONTROLLER: SSL is not supported by this release; use PLAINTEXT on a network that you trust"},
		{"", "ssl.keystore.location=/x", "line 6: ssl.keystore.location=/x: this release does not do that (File of the key store); remove the line"},
		{"", "ssl.keystore.password=hunter2", "line 6: ssl.keystore.password: this release does not do that (Password of the key store); remove the line"},
		{"", "listener.name.controller.ssl.client.auth=required", "line 6: listener.name.controller.ssl.client.auth: settings of a single listener are not supported by this release; remove the line"},
		{"", "controller.quorum.election.timeout.ms=500", "line 6: controller.quorum.election.timeout.ms=500: this release does not do that (Time that a KRaft candidate waits for votes); use kvorum.raft.rtt.ms and kvorum.raft.election.ticks instead"},
		{"", "remote.log.storage.system.enable=true", "line 6: remote.log.storage.system.enable=true: this release does not do that (Switches remote storage on); remove the line"},
		{"controller.quorum.bootstrap.servers=localhost:9093\n", "", "neither controller.quorum.bootstrap.servers nor controller.quorum.voters is set; name the addresses at which brokers reach the controllers"},
		{"", "controller.quorum.voters=2@h:1", "line 6: controller.quorum.voters does not name this node (node.id=1)"},
		{"", "controller.quorum.voters=1@h:1,2@h:2", "line 6: controller.quorum.voters names 2 controllers; kvorum.raft.voters must give the Raft address of each, as id@host:port,..."},
		{"", "kvorum.raft.voters=1@localhost:1,2@127.0.0.1:2", "kvorum.raft.listener is not set; it is the address on which this controller takes Raft messages of the other 1"},
		{"", "kvorum.raft.voters=1@localhost:1,1@127.0.0.1:2\nkvorum.raft.listener=localhost:1", "line 6: kvorum.raft.voters: 1@127.0.0.1:2 and 1@localhost:1 share an id or an address"},
		{"", "kvorum.raft.listener=:9095", "line 6: kvorum.raft.listener=:9095 can be reached from other machines without TLS; set kvorum.raft.tls.certificate.file, .key.file and .ca.file"},
		{"", "kvorum.raft.listener=localhost:9095\nkvorum.raft.voters=1@far:1", "line 7: kvorum.raft.voters: 1@far:1 is on another machine and there is no TLS; set kvorum.raft.tls.certificate.file, .key.file and .ca.file"},
		{"", "kvorum.raft.tls.key.file=k", "kvorum.raft.tls.certificate.file, kvorum.raft.tls.key.file and kvorum.raft.tls.ca.file go together; set all three"},
		{"", "kvorum.raft.heartbeat.ticks=7", "kvorum.raft.election.ticks=30 is less than five times kvorum.raft.heartbeat.ticks=7; a late heartbeat would start an election"},
		{"", "authorizer.class.name=com.example.Mine", "line 6: authorizer.class.name=com.example.Mine: there is no such authorizer here; use org.apache.kafka.metadata.authorizer.StandardAuthorizer, or leave it empty for none"},
		{"", "super.users=admin", `line 6: super.users: "admin" is not of the form User:name`},
		{"", "broker.session.timeout.ms=2000", "line 6: broker.session.timeout.ms=2000 must be greater than broker.heartbeat.interval.ms=2000, or every broker is fenced between two heartbeats"},
		{"", "log.retention.hours=0", "line 6: log.retention.hours must be unlimited (-1) or, equal or greater than 1"},
		{"", "log.cleaner.min.compaction.lag.ms=9\nlog.cleaner.max.compaction.lag.ms=5", "the defaults of topics do not agree: conflict topic config setting min.compaction.lag.ms (9) > max.compaction.lag.ms (5)"},
		{"", "group.consumer.max.session.timeout.ms=44999", "the defaults of groups do not agree: consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"},
		{"", "queued.max.request.bytes=5", "line 6: queued.max.request.bytes=5 is less than 67108864; the largest requests could never be read"},
		{"", "bogus=1\nnum.partitions=x", "line 6: unknown key bogus; see docs/configuration.md for all keys\nline 7: Invalid value x for configuration num.partitions: Not a number of type INT"},
	} {
		text := one + c.to
		if c.from != "" {
			text = strings.Replace(one, c.from, c.to, 1)
		}
		if _, err := parseNode(t, text); err == nil || err.Error() != c.want {
			t.Errorf("%q for %q:\n got %v\nwant %s", c.to, c.from, err, c.want)
		}
	}
}

// TestRefusedKeysTakeTheirDefaults: a file that spells out Apache's defaults
// asks for nothing that is missing.
func TestRefusedKeysTakeTheirDefaults(t *testing.T) {
	for _, k := range Keys(ScopeNode) {
		if k.Effect != Refused || !k.Default.Set() {
			continue
		}
		if _, err := parseNode(t, one+k.Name+"="+k.Default.Text); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
}

// TestRemovedKeysHaveHints: every key that 3.9 had and 4.3 has not is
// recognised as such.
func TestRemovedKeysHaveHints(t *testing.T) {
	for _, name := range lines(t, "apache-3.9.2-removed.txt") {
		if _, ok := Removed(name); !ok {
			t.Errorf("no hint for %s", name)
		}
	}
}

// TestTopicValueFallsThroughTheLayers walks retention.ms down.
func TestTopicValueFallsThroughTheLayers(t *testing.T) {
	l := Layers{
		Broker:  map[string]string{"log.retention.ms": "2"},
		Cluster: map[string]string{"log.retention.ms": "3"},
		Static:  map[string]string{"log.retention.minutes": "4", "log.retention.hours": "-1"},
	}
	own := map[string]string{"retention.ms": "1"}
	for _, want := range []struct {
		value  int64
		source Source
	}{{1, FromTopic}, {2, FromBroker}, {3, FromCluster}, {240_000, FromStatic}, {-1, FromStatic}, {604_800_000, FromDefault}} {
		v, source := l.Topic(own, "retention.ms")
		if v.Int != want.value || source != want.source {
			t.Errorf("got %d from %d, want %d from %d", v.Int, source, want.value, want.source)
		}
		switch source {
		case FromTopic:
			own = nil
		case FromBroker:
			l.Broker = nil
		case FromCluster:
			l.Cluster = nil
		default:
			if v.Int == -1 {
				l.Static = nil
			} else {
				delete(l.Static, "log.retention.minutes")
			}
		}
	}
}

func TestIsList(t *testing.T) {
	for _, c := range []struct {
		scope Scope
		name  string
		want  bool
	}{
		{ScopeTopic, "cleanup.policy", true}, {ScopeTopic, "retention.ms", false}, {ScopeTopic, "nope", false},
		{ScopeBroker, "listener.name.x.ssl.cipher.suites", true}, {ScopeCluster, "log.cleanup.policy", true},
		{ScopeClientMetrics, "match", true}, {ScopeGroup, "share.session.timeout.ms", false},
	} {
		if got := IsList(c.scope, c.name); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestEveryRowIsWhole(t *testing.T) {
	for _, scope := range []Scope{ScopeNode, ScopeCluster, ScopeBroker, ScopeTopic, ScopeGroup, ScopeClientMetrics} {
		for _, k := range Keys(scope) {
			if !strings.HasSuffix(k.Doc, ".") || k.Name == "" || k.Type == Unknown {
				t.Errorf("%+v", k)
			}
			for _, f := range k.Fallback {
				if nodeIndex[f.Name] == nil {
					t.Errorf("%s falls back to %s, which is no key", k.Name, f.Name)
				}
			}
			if k.Default.Set() {
				if _, err := k.Parse(k.Default.Text); err != nil {
					t.Errorf("default of %s: %v", k.Name, err)
				}
			}
		}
	}
}

// TestReferenceIsCurrent keeps docs/configuration.md in step with the
// registry; -update writes it.
func TestReferenceIsCurrent(t *testing.T) {
	const file = "../docs/configuration.md"
	if *update {
		if err := os.WriteFile(file, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Reference() {
		t.Errorf("%s is not what the registry says; run go generate ./config", file)
	}
}

// TestConnectionLimits: limits of single addresses, the rate of new connections
// and the windows of quotas are read; what cannot be meant is refused.
func TestConnectionLimits(t *testing.T) {
	n := mustNode(t, one+"max.connections.per.ip.overrides=127.0.0.1:5, [::1]:0,10.0.0.1:2147483647\nmax.connection.creation.rate=20\n"+
		"quota.window.num=5\nquota.window.size.seconds=2\ncontroller.quota.window.num=3\n")
	if got, want := fmt.Sprint(n.Connections.PerIP, n.Connections.Rate, n.Quotas, n.MutationQuotas), "map[::1:0 10.0.0.1:2147483647 127.0.0.1:5] 20 {5 2s} {3 1s}"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n := mustNode(t, one); n.Connections.Rate != 0 || n.Connections.PerIP != nil {
		t.Errorf("by default: %+v", n.Connections)
	}
	for _, line := range []string{"max.connections.per.ip.overrides=localhost:5", "max.connections.per.ip.overrides=127.0.0.1", "max.connections.per.ip.overrides=127.0.0.1:-1", "max.connection.creation.rate=0"} {
		if _, err := parseNode(t, one+line+"\n"); err == nil || !strings.Contains(err.Error(), "line 6") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestMigrationKeys: what a controller of a cluster that leaves ZooKeeper reads, and
// what is left of its keys when that is over.
func TestMigrationKeys(t *testing.T) {
	keys := "zookeeper.connect=a:2181,b:2181/kafka\nzookeeper.session.timeout.ms=6000\npassword.encoder.secret=s3\n" +
		"zookeeper.ssl.client.enable=true\nzookeeper.ssl.truststore.location=/t.pem\nzookeeper.ssl.keystore.location=/k.pem\nzookeeper.ssl.keystore.type=pem\n" +
		"zookeeper.connection.timeout.ms=5\nkvorum.zookeeper.digest.file=/d\n"
	n, err := parseNode(t, one+keys+"zookeeper.metadata.migration.enable=true\n")
	if err != nil {
		t.Fatal(err)
	}
	want := Migration{
		Connect: "a:2181,b:2181/kafka", SessionTimeout: 6 * time.Second, TLS: true, TrustStoreFile: "/t.pem", KeysFile: "/k.pem",
		DigestFile: "/d", Secret: "s3", Listener: "PLAINTEXT",
	}
	if *n.Migration != want || !slices.Equal(n.WithoutEffect, []string{"zookeeper.connection.timeout.ms"}) {
		t.Errorf("read as %+v, without effect: %v", *n.Migration, n.WithoutEffect)
	}
	n, err = parseNode(t, one+keys)
	if err != nil || n.Migration != nil || len(n.WithoutEffect) != 9 {
		t.Errorf("over: %+v, without effect: %v, %v", n.Migration, n.WithoutEffect, err)
	}
	if n, err = parseNode(t, one+keys+"zookeeper.metadata.migration.enable=true\ninter.broker.listener.name=INSIDE\n"); err != nil || n.Migration.Listener != "INSIDE" || len(n.WithoutEffect) != 1 {
		t.Errorf("listener: %+v, %v", n.Migration, err)
	}
}
