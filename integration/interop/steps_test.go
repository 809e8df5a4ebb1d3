package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvorum/integration/peer"
	"kvorum/integration/printed"
)

// stepQuorum: what Apache's tool says about the quorum, asked of a controller
// and of a broker.
func (s *story) stepQuorum() {
	controllers := strings.Join(s.quorum.Addresses, ",")
	s.toolBy(asPrinted, peer.MetadataQuorum, "--bootstrap-controller", controllers, "describe", "--status")
	s.toolBy(asPrinted, peer.MetadataQuorum, "--bootstrap-server", s.bootstrap[0], "describe", "--status")
	s.toolBy(printed.Replication, peer.MetadataQuorum, "--bootstrap-controller", controllers, "describe", "--replication")
	s.toolBy(printed.Replication, peer.MetadataQuorum, "--bootstrap-server", s.bootstrap[0], "describe", "--replication")
	var answers []string
	for _, address := range s.quorum.Addresses {
		top, partition, err := peer.DescribeQuorum(s.ctx, address)
		s.must(err)
		answers = append(answers, fmt.Sprintf("answer %v, partition %v", top, partition))
	}
	slices.Sort(answers)
	s.say("DescribeQuorum asked of each controller, by error: %s", strings.Join(answers, "; "))
	s.tool(peer.Cluster, "cluster-id")
	var d struct {
		Cluster string
		Nodes   []int
	}
	s.must(s.do("describe-cluster", nil, &d))
	s.say("java describe-cluster: the formatted id %v, nodes %v", d.Cluster == s.quorum.ClusterID, d.Nodes)
}

// stepFeatures: what is finalized, and which changes are refused.
func (s *story) stepFeatures() {
	if s.brokers[0].Kit == s.brokers[1].Kit { // a broker answers with what it supports itself, and any broker may be asked
		s.tool(peer.Features, "describe")
	}
	s.toolBy(asPrinted, peer.Features, "--bootstrap-controller", strings.Join(s.quorum.Addresses, ","), "describe")
	s.tool(peer.Features, "upgrade", "--feature", "metadata.version=9999")
	s.tool(peer.Features, "downgrade", "--feature", "metadata.version=1")
	s.tool(peer.Features, "upgrade", "--feature", "no.such.feature=1")
}

// stepCreate: topics by three clients, and what is refused.
func (s *story) stepCreate() {
	s.java("create-topic", peer.Args{
		"topic": "java", "assignment": [][]int{{11, 12, 13}, {12, 13, 11}, {13, 11, 12}},
		"configs": map[string]string{"retention.ms": "86400000", "min.insync.replicas": "2"},
	})
	s.createByFranz("franz", 2)
	s.createBySegment("segment", 2)
	for _, refused := range []peer.Args{
		{"topic": "java"},
		{"topic": "too-many-replicas", "replication": 9},
		{"topic": "no-partitions", "partitions": 0},
		{"topic": "no replicas", "replication": 0},
		{"topic": "a b"},
		{"topic": ".."},
		{"topic": strings.Repeat("x", 250)},
		{"topic": "bad-key", "configs": map[string]string{"no.such.key": "1"}},
		{"topic": "bad-value", "configs": map[string]string{"retention.ms": "soon"}},
		{"topic": "bad-policy", "configs": map[string]string{"cleanup.policy": "burn"}},
		{"topic": "twice-on-one", "assignment": [][]int{{11, 11}}},
		{"topic": "on-nobody", "assignment": [][]int{{99}}},
		{"topic": "uneven", "assignment": [][]int{{11, 12}, {11}}},
	} {
		s.java("create-topic", refused)
	}
	s.java("create-topic", peer.Args{"topic": "only-asked", "partitions": 4, "replication": 3, "validateOnly": true})
	s.knownTopics("franz", "java", "segment")
	s.knownPartition("java", 11, 11, 12, 13)
	s.tool(peer.Topics, "--describe", "--topic", "java")
	s.toolSorted(peer.Topics, "--list", "--exclude-internal")
}

// stepConfigs: topic, broker and cluster configurations, and what is refused.
func (s *story) stepConfigs() {
	for _, change := range []peer.Args{
		{"type": "topic", "name": "java", "set": map[string]string{"max.message.bytes": "2097152"}, "delete": []string{"retention.ms"}},
		{"type": "topic", "name": "java", "append": map[string]string{"cleanup.policy": "compact"}},
		{"type": "broker", "name": "11", "set": map[string]string{"log.cleaner.threads": "2"}},
		{"type": "broker", "name": "", "set": map[string]string{"log.retention.ms": "7200000"}},
		{"type": "topic", "name": "java", "set": map[string]string{"no.such.key": "1"}},
		{"type": "topic", "name": "java", "set": map[string]string{"segment.bytes": "-5"}},
		{"type": "topic", "name": "no-such-topic", "set": map[string]string{"segment.bytes": "1048576"}},
		{"type": "topic", "name": "java", "append": map[string]string{"segment.bytes": "1"}},
		{"type": "broker", "name": "11", "set": map[string]string{"node.id": "5"}},
	} {
		s.java("alter-config", change)
	}
	s.knownConfigs("java", 3)
	s.toolSorted(peer.Configs, "--describe", "--entity-type", "topics", "--entity-name", "java")
	s.toolSorted(peer.Configs, "--describe", "--entity-type", "topics", "--entity-name", "franz")
	s.toolSorted(peer.Configs, "--describe", "--entity-type", "brokers", "--entity-name", "11")
	s.toolSorted(peer.Configs, "--describe", "--entity-type", "brokers", "--entity-default")
	s.tool(peer.Configs, "--alter", "--entity-type", "topics", "--entity-name", "franz", "--add-config", "retention.bytes=1000000")
	s.tool(peer.Configs, "--alter", "--entity-type", "brokers", "--entity-default", "--delete-config", "log.retention.ms")
}

// stepACLs: Apache's tool adds, lists and removes.
func (s *story) stepACLs() {
	s.toolACLs("--list")
	s.toolACLs("--add", "--allow-principal", "User:alice", "--operation", "Read", "--operation", "Describe", "--topic", "java")
	s.toolACLs("--add", "--deny-principal", "User:mallory", "--deny-host", "10.0.0.1", "--operation", "All", "--topic", "pre", "--resource-pattern-type", "prefixed")
	s.toolACLs("--add", "--allow-principal", "User:alice", "--producer", "--topic", "franz", "--transactional-id", "tx")
	s.knownACLs(8)
	s.toolACLs("--list")
	s.toolACLs("--remove", "--force", "--allow-principal", "User:alice", "--operation", "Read", "--topic", "java")
	s.knownACLs(7)
	s.toolACLs("--list", "--topic", "java")
}

// stepUsers: SCRAM credentials and client quotas.
func (s *story) stepUsers() {
	s.tool(peer.Configs, "--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", "SCRAM-SHA-256=[iterations=8192,password=alice-secret]")
	s.tool(peer.Configs, "--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", "SCRAM-SHA-512=[iterations=5,password=alice-secret]")
	s.tool(peer.Configs, "--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", "producer_byte_rate=1024,consumer_byte_rate=2048.5")
	s.tool(peer.Configs, "--alter", "--entity-type", "users", "--entity-name", "alice", "--entity-type", "clients", "--entity-default", "--add-config", "request_percentage=50")
	s.tool(peer.Configs, "--alter", "--entity-type", "ips", "--entity-name", "10.0.0.1", "--add-config", "connection_creation_rate=7")
	s.tool(peer.Configs, "--alter", "--entity-type", "clients", "--entity-name", "c", "--add-config", "no_such_quota=7")
	s.knownQuotas(2)
	s.toolSorted(peer.Configs, "--describe", "--entity-type", "users")
	s.toolSorted(peer.Configs, "--describe", "--entity-type", "users", "--entity-name", "alice", "--entity-type", "clients", "--entity-default")
	s.toolSorted(peer.Configs, "--describe", "--entity-type", "ips", "--entity-name", "10.0.0.1")
	s.tool(peer.Configs, "--alter", "--entity-type", "users", "--entity-name", "alice", "--delete-config", "SCRAM-SHA-256")
	s.tool(peer.Configs, "--alter", "--entity-type", "users", "--entity-name", "bob", "--delete-config", "SCRAM-SHA-256")
}

// stepPartitions: more partitions, and what is refused.
func (s *story) stepPartitions() {
	s.java("add-partitions", peer.Args{"topic": "franz", "partitions": 4})
	s.java("add-partitions", peer.Args{"topic": "franz", "partitions": 4})
	s.java("add-partitions", peer.Args{"topic": "franz", "partitions": 2})
	s.java("add-partitions", peer.Args{"topic": "no-such-topic", "partitions": 2})
	s.knownPartitions("franz", 4)
}

// topicDescription is the result of the Java client's describe-topic.
type topicDescription struct {
	Name, ID   string
	Partitions []struct {
		Partition, Leader int
		Replicas, ISR     []int
	}
}

func (s *story) topic(name string) (d topicDescription, err error) {
	err = s.do("describe-topic", peer.Args{"topic": name}, &d)
	return d, err
}

// stepReassign: by the Java client, and by Apache's tool with its file.
func (s *story) stepReassign() {
	s.java("reassign", peer.Args{"topic": "java", "partition": 0, "replicas": []int{13, 12}})
	s.until("the reassignment to end", func() (bool, error) {
		var r struct{ Reassignments map[string]any }
		err := s.do("list-reassignments", nil, &r)
		return len(r.Reassignments) == 0, err
	})
	s.knownPartition("java", 0, 12, 13)
	for _, refused := range []peer.Args{
		{"topic": "java", "partition": 0, "replicas": []int{99}},
		{"topic": "java", "partition": 0, "replicas": []int{11, 11}},
		{"topic": "java", "partition": 0, "replicas": []int{}},
		{"topic": "java", "partition": 77, "replicas": []int{11}},
		{"topic": "java", "partition": 0}, // cancels nothing
	} {
		s.java("reassign", refused)
	}
	file := filepath.Join(s.TempDir(), "reassign.json")
	plan := `{"version":1,"partitions":[{"topic":"java","partition":0,"replicas":[13,11,12]}]}`
	s.must(os.WriteFile(file, []byte(plan), 0o644))
	bootstrap := strings.Join(s.bootstrap, ",")
	hide := func(text string) string { return strings.ReplaceAll(text, file, "FILE") }
	run := func(args ...string) peer.Output {
		out, err := s.driver.Tool(s.ctx, peer.Reassign, append([]string{"--bootstrap-server", bootstrap, "--reassignment-json-file", file}, args...)...)
		s.must(err)
		return out
	}
	out := run("--execute")
	s.say("$ reassign-partitions --execute\n%s%s", hide(out.Stdout), out.Stderr)
	s.knownPartition("java", 0, 11, 12, 13)
	s.until("the tool to see the end", func() (bool, error) {
		out = run("--verify", "--preserve-throttles")
		return strings.Contains(out.Stdout, "is completed"), nil
	})
	s.say("$ reassign-partitions --verify\n%s%s", hide(out.Stdout), out.Stderr)
}

// stepElect: the preferred leader takes over; a second election is not needed.
func (s *story) stepElect() {
	d, err := s.topic("java")
	s.must(err)
	s.say("the replicas of java-0 are %v", d.Partitions[0].Replicas)
	if d.Partitions[0].Leader != 13 {
		s.must(s.do("elect", peer.Args{"election": "preferred", "topic": "java", "partition": 0}, nil))
	}
	s.knownPartition("java", 13, 11, 12, 13)
	s.java("elect", peer.Args{"election": "preferred", "topic": "java", "partition": 0})
	s.java("elect", peer.Args{"election": "unclean", "topic": "java", "partition": 0})
	s.java("elect", peer.Args{"election": "preferred", "topic": "java", "partition": 9})
	s.tool(peer.LeaderElection, "--election-type", "preferred", "--topic", "java", "--partition", "0")
	s.tool(peer.Topics, "--describe", "--topic", "java")
}

// stepBroker: a broker's controlled shutdown moves its leaders and shrinks the
// ISRs; when it is back, they are whole again.
func (s *story) stepBroker() {
	last := s.brokers[2]
	last.Stop(s.T)
	s.bootstrap = s.bootstrap[:2]
	s.knownPartition("java", 11, 11, 12)
	s.tool(peer.Topics, "--describe", "--topic", "java")
	s.java("produce", peer.Args{"topic": "java", "prefix": "without-13", "count": 20})
	last.Start(s.T)
	last.WaitReady(s.ctx, s.T)
	s.bootstrap = append(s.bootstrap, last.Listener)
	s.knownPartition("java", 0, 11, 12, 13)
	var d struct{ Nodes []int }
	s.must(s.do("describe-cluster", nil, &d))
	s.say("java describe-cluster: nodes %v", d.Nodes)
}

// stepDelete: topics go; what is asked of them afterwards is refused.
func (s *story) stepDelete() {
	s.java("delete-topic", peer.Args{"topic": "segment"})
	s.java("delete-topic", peer.Args{"topic": "no-such-topic"})
	s.deleteByFranz("franz")
	s.knownTopics("java")
	s.java("describe-topic", peer.Args{"topic": "segment"})
	s.tool(peer.Topics, "--describe", "--topic", "segment")
	s.tool(peer.Cluster, "unregister", "--id", "99")
	s.tool(peer.Cluster, "unregister", "--id", "11")
}
