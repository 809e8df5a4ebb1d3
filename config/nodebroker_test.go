package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// combined is a node of both roles, broker a broker of other controllers.
const (
	combined = `process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
controller.listener.names=CONTROLLER
`
	broker = `process.roles=broker
node.id=11
controller.quorum.bootstrap.servers=c1:9093,c2:9093
listeners=PLAINTEXT://:9092,INSIDE://10.0.0.1:9094
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT
inter.broker.listener.name=INSIDE
`
)

func TestBrokerNode(t *testing.T) {
	n := mustNode(t, broker+"broker.rack=r1\nadvertised.listeners=PLAINTEXT://h:9192,INSIDE://10.0.0.1:9094\noffsets.topic.replication.factor=1\n"+
		"kvorum.raft.rtt.ms=10\nnum.io.threads=4\n")
	b := n.Broker
	got := fmt.Sprintln(n.Controller, len(n.Listeners), b.Listeners, b.InterBroker, b.Rack, b.Offsets, b.SessionTimeout, b.AutoCreateTopics, n.WithoutEffect)
	want := "false 0 [{PLAINTEXT :9092 h:9192} {INSIDE 10.0.0.1:9094 10.0.0.1:9094}] INSIDE r1 {50 1 104857600 0} 9s true [kvorum.raft.rtt.ms num.io.threads]\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if b.RegistrationTimeout != time.Minute || b.FetchBytes != 1<<20 {
		t.Errorf("%+v", b)
	}
}

func TestCombinedNode(t *testing.T) {
	n := mustNode(t, combined)
	got := fmt.Sprintln(n.Controller, n.Listeners, n.Broker.Listeners, n.Broker.InterBroker, n.WithoutEffect)
	if want := "true [{CONTROLLER :9093 :9093}] [{PLAINTEXT :9092 :9092}] PLAINTEXT []\n"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestBrokerOfDefaults: without listeners a broker has Kafka's own default.
func TestBrokerOfDefaults(t *testing.T) {
	n := mustNode(t, "process.roles=broker\nnode.id=11\ncontroller.quorum.bootstrap.servers=c1:9093\ncontroller.listener.names=CONTROLLER\n")
	if got := fmt.Sprint(n.Broker.Listeners); got != "[{PLAINTEXT :9092 :9092}]" {
		t.Errorf("listeners are %s", got)
	}
}

// TestKafkasCombinedFile: the server.properties that Kafka 4 ships.
func TestKafkasCombinedFile(t *testing.T) {
	n := mustNode(t, `process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
`)
	if !slices.Contains(n.WithoutEffect, "transaction.state.log.min.isr") || slices.Contains(n.WithoutEffect, "offsets.topic.replication.factor") {
		t.Errorf("without effect: %v", n.WithoutEffect)
	}
}

// TestBrokerRefuses: what a broker cannot keep is an error at its start, and
// what it cannot be found by.
func TestBrokerRefuses(t *testing.T) {
	for _, c := range []struct{ base, from, to, want string }{
		{broker, "PLAINTEXT://:9092", "CONTROLLER://:9092", "listeners: CONTROLLER is a listener of the controllers (controller.listener.names); a node with process.roles=broker does not listen on it"},
		{broker, "name=INSIDE", "name=OUTSIDE", "inter.broker.listener.name: the listener OUTSIDE is not among the broker's listeners"},
		{broker, "INSIDE:PLAINTEXT", "INSIDE:SASL_SSL", "listener INSIDE: SASL_SSL is not supported by this release"},
		{broker, "bootstrap.servers=c1:9093,c2:9093", "voters=11@c1:9093", "names this node (node.id=11), which is a broker"},
		{broker, "", "security.inter.broker.protocol=SSL", "security.inter.broker.protocol=SSL is not supported by this release"},
		{broker, "", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "a broker of this release has no authorizer"},
		{combined, "", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "a broker of this release has no authorizer"},
		{broker, "", "replica.selector.class=com.example.Selector", "replica.selector.class=com.example.Selector: Java classes cannot be loaded here; leave it out, or use org.apache.kafka.common.replica.RackAwareReplicaSelector"},
		{broker, "", "client.quota.callback.class=x", "this release does not do that"},
		{broker, "", "remote.log.storage.system.enable=true", "this release does not do that"},
		{broker, "", "sasl.enabled.mechanisms=PLAIN", "this release does not do that"},
		{broker, "", "zookeeper.connect=h:2181\nzookeeper.session.timeout.ms=1000", "zookeeper.connect: kvorum's brokers have no ZooKeeper mode. Leave Apache Kafka on this broker until"},
		{broker, "", "password.encoder.secret=s", "password.encoder.secret: kvorum's brokers have no ZooKeeper mode"},
		{combined, "", "zookeeper.metadata.migration.enable=true\nzookeeper.connect=h:2181", "a migration from ZooKeeper needs controllers of their own"},
		{combined, "CONTROLLER://:9093", "OTHER://:9093", "controller.listener.names: CONTROLLER is not among"},
	} {
		text := c.base + c.to
		if c.from != "" {
			text = strings.Replace(c.base, c.from, c.to, 1)
		}
		if _, err := parseNode(t, text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q:\n got %v\nwant %s", c.to, c.from, err, c.want)
		}
	}
	for class, want := range map[string]bool{leaderSelector: false, rackAwareSelector: true} {
		if n, err := parseNode(t, broker+"replica.selector.class="+class); err != nil || n.Broker.RackAware != want {
			t.Errorf("%s: %v, rack aware: %v", class, err, n.Broker.RackAware)
		}
	}
	if _, err := parseNode(t, one+"replica.selector.class=com.example.Selector"); err != nil {
		t.Errorf("a controller refuses a broker's key: %v", err)
	}
}
