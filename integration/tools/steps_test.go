package tools

import (
	"fmt"
	"strings"

	"kvorum/integration/peer"
	"kvorum/integration/printed"
)

// topics: created, changed, described and refused.
func (s *story) topics() {
	for _, c := range []command{
		{tool: peer.Topics, args: "--create --topic a --partitions 3 --replication-factor 1"},
		{tool: peer.Topics, args: "--describe --topic a", until: "Partition: 2"},
		{tool: peer.Topics, args: "--create --topic a --partitions 3 --replication-factor 1"},
		{tool: peer.Topics, args: "--create --if-not-exists --topic a --partitions 3 --replication-factor 1"},
		{tool: peer.Topics, args: "--create --topic with.dot --partitions 1 --replication-factor 1"},
		{tool: peer.Topics, args: "--list", until: "with.dot"},
		{tool: peer.Topics, args: "--create --topic with_ --partitions 1 --replication-factor 1"},
		{tool: peer.Topics, args: "--create --topic bad/name --partitions 1 --replication-factor 1"},
		{tool: peer.Topics, args: "--create --topic b --partitions 1 --replication-factor 2"},
		{tool: peer.Topics, args: "--create --topic b --partitions 0 --replication-factor 1"},
		{tool: peer.Topics, args: "--create --topic b --partitions 1 --replication-factor 1 --config no.such.key=1"},
		{tool: peer.Topics, args: "--create --topic b --partitions 1 --replication-factor 1 --config retention.ms=soon"},
		{tool: peer.Topics, args: "--create --topic b --replica-assignment 7"},
		{tool: peer.Topics, args: "--create --topic b --replica-assignment 1,1 --config retention.ms=-1"},
		{tool: peer.Topics, args: "--create --topic compacted --config cleanup.policy=compact --config min.insync.replicas=1"},
		{tool: peer.Topics, args: "--describe --topic compacted", until: "Partition: 0"},
		{tool: peer.Topics, args: "--alter --topic compacted --partitions 2"},
		{tool: peer.Topics, args: "--describe --topic compacted", until: "Partition: 1"},
		{tool: peer.Topics, args: "--alter --topic compacted --partitions 1"},
		{tool: peer.Topics, args: "--alter --topic no-such-topic --partitions 2"},
		{tool: peer.Topics, args: "--describe --topic no-such-topic"},
		{tool: peer.Topics, args: "--describe"},
		{tool: peer.Topics, args: "--describe --unavailable-partitions"},
		{tool: peer.Topics, args: "--describe --at-min-isr-partitions --topic compacted"},
		{tool: peer.Topics, args: "--describe --topics-with-overrides"},
	} {
		s.run(c)
	}
}

// clients: what the console, the verifiable and the performance clients say.
func (s *story) clients() {
	var lines strings.Builder
	for i := range 20 {
		fmt.Fprintf(&lines, "k%d:v%d\n", i%5, i)
	}
	for _, c := range []command{
		{tool: peer.ConsoleProducer, args: "--topic a --reader-property parse.key=true --reader-property key.separator=:", stdin: lines.String()},
		{tool: peer.ConsoleConsumer, args: "--topic a --from-beginning --timeout-ms 10000 --max-messages 20 --formatter-property print.key=true --formatter-property print.partition=true --formatter-property print.offset=true --formatter-property print.timestamp=true", sorted: true},
		{tool: peer.ConsoleConsumer, args: "--topic a --partition 0 --offset 2 --timeout-ms 10000 --max-messages 2 --formatter-property print.offset=true"},
		{tool: peer.ConsoleConsumer, args: "--topic a --group console --from-beginning --timeout-ms 10000 --max-messages 20", sorted: true},
		{tool: peer.ConsoleConsumer, args: "--topic a --group console --timeout-ms 1000"},
		{tool: peer.ConsoleConsumer, args: "--topic no-such-topic --timeout-ms 1000"},
		{tool: peer.VerifiableProducer, args: "--topic a --max-messages 30 --value-prefix 7 --repeating-keys 3", arrange: events, sorted: true},
		{tool: peer.VerifiableConsumer, args: "--topic a --group-id verifiable --max-messages 50", arrange: events, sorted: true},
		{tool: peer.ProducerPerf, args: "--topic with.dot --num-records 3000 --record-size 100 --throughput -1 --command-property acks=all", arrange: progress},
		{tool: peer.ConsumerPerf, args: "--topic with.dot --num-records 3000 --group perf", arrange: csv},
	} {
		s.run(c)
	}
}

// offsets: of the partitions, and records deleted below one.
func (s *story) offsets() {
	s.timed("b", 1700000000000)
	for _, c := range []command{
		{tool: peer.GetOffsets, args: "--topic b --time -1"},
		{tool: peer.GetOffsets, args: "--topic b --time earliest"},
		{tool: peer.GetOffsets, args: "--topic b --time max-timestamp"},
		{tool: peer.GetOffsets, args: "--topic b --time earliest-local"},
		{tool: peer.GetOffsets, args: "--topic b --time latest-tiered"},
		{tool: peer.GetOffsets, args: "--topic b --time earliest-pending-upload"},
		{tool: peer.GetOffsets, args: "--topic b --time 1700000000010"},
		{tool: peer.GetOffsets, args: "--topic b --time 0"},
		{tool: peer.GetOffsets, args: "--topic b --time 32503680000000"},
		{tool: peer.GetOffsets, args: "--topic-partitions a:1-,with.*:0 --exclude-internal-topics"},
		{tool: peer.GetOffsets, args: "--topic no-such-topic"},
		{tool: peer.DeleteRecords, args: "--offset-json-file FILE", file: `{"version":1,"partitions":[{"topic":"a","partition":0,"offset":3},{"topic":"a","partition":1,"offset":-1}]}`, sorted: true},
		{tool: peer.GetOffsets, args: "--topic a --time earliest"},
		{tool: peer.DeleteRecords, args: "--offset-json-file FILE", file: `{"version":1,"partitions":[{"topic":"a","partition":2,"offset":100000}]}`},
		{tool: peer.DeleteRecords, args: "--offset-json-file FILE", file: `{"version":1,"partitions":[{"topic":"compacted","partition":0,"offset":0}]}`},
		{tool: peer.ConsoleConsumer, args: "--topic a --partition 0 --offset 0 --max-messages 1 --timeout-ms 1000 --formatter-property print.offset=true"},
	} {
		s.run(c)
	}
}

// groups: with members and without.
func (s *story) groups() {
	leave := s.join("live", "a")
	for _, c := range []command{
		{tool: peer.ConsumerGroups, args: "--list", sorted: true},
		{tool: peer.ConsumerGroups, args: "--list --state", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--list --state Stable", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--list --state empty,STABLE", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--list --state nonsense", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--list --type", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--list --type Classic", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--list --type consumer", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group live", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group live --members", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group live --members --verbose", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group live --state", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group live --state --verbose", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group live --offsets --verbose", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group live --group console --offsets", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group verifiable", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group verifiable --members"},
		{tool: peer.ConsumerGroups, args: "--describe --group verifiable --state", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group no-such-group"},
		{tool: peer.ConsumerGroups, args: "--describe --all-groups --state", arrange: columns, sorted: true},
		{tool: peer.ConsumerGroups, args: "--delete --group live"},
		{tool: peer.ConsumerGroups, args: "--delete --group no-such-group"},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group live --to-earliest --topic a --execute"},
		{tool: peer.ConsumerGroups, args: "--delete-offsets --group live --topic a"},
		{tool: peer.Groups, args: "--list", arrange: columns},
		{tool: peer.Groups, args: "--list --consumer", arrange: columns},
	} {
		s.run(c)
	}
	leave()
}

// reset: the offsets of a group without members.
func (s *story) reset() {
	for _, c := range []command{
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --to-earliest --topic a --dry-run", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --to-offset 1 --topic a:2 --execute", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --shift-by 2 --topic a:2 --execute", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --shift-by 10000 --topic a:2 --dry-run", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --to-datetime 2023-11-14T22:13:20.010 --topic a:2 --dry-run", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --by-duration PT1S --topic a:2 --dry-run", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --to-current --all-topics --export --dry-run", sorted: true},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group brand-new --to-latest --topic a --execute", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --to-latest --topic no-such-topic --dry-run"},
		{tool: peer.ConsumerGroups, args: "--reset-offsets --group verifiable --from-file FILE --execute", file: "a,0,4\na,1,5\n", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group verifiable", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--delete-offsets --group verifiable --topic a:0", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--delete-offsets --group verifiable --topic no-such-topic:0", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--delete-offsets --group no-such-group --topic a:0", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--describe --group verifiable", arrange: columns},
		{tool: peer.ConsumerGroups, args: "--delete --group verifiable --group console --group no-such-group", sorted: true},
		{tool: peer.ConsumerGroups, args: "--list", sorted: true},
	} {
		s.run(c)
	}
}

// configs: of topics, brokers, users, clients and the rest.
func (s *story) configs() {
	for _, c := range []command{
		{tool: peer.Configs, args: "--alter --entity-type topics --entity-name a --add-config retention.ms=3600000,segment.bytes=2097152"},
		{tool: peer.Configs, args: "--describe --entity-type topics --entity-name a", until: "segment.bytes"},
		{tool: peer.Configs, args: "--describe --entity-type topics --entity-name a --all", sorted: true},
		{tool: peer.Configs, args: "--alter --entity-type topics --entity-name a --add-config retention.ms=soon"},
		{tool: peer.Configs, args: "--alter --entity-type topics --entity-name a --add-config no.such.key=1"},
		{tool: peer.Configs, args: "--alter --entity-type topics --entity-name no-such-topic --add-config retention.ms=1"},
		{tool: peer.Configs, args: "--describe --entity-type topics --entity-name no-such-topic"},
		{tool: peer.Configs, args: "--alter --entity-type topics --entity-name a --delete-config segment.bytes"},
		{tool: peer.Configs, args: "--alter --entity-type topics --entity-name a --delete-config no.such.key"},
		{tool: peer.Configs, args: "--describe --entity-type topics", sorted: true},
		{tool: peer.Configs, args: "--alter --entity-type brokers --entity-name 1 --add-config log.cleaner.threads=2"},
		{tool: peer.Configs, args: "--describe --entity-type brokers --entity-name 1", until: "log.cleaner.threads"},
		{tool: peer.Configs, args: "--alter --entity-type brokers --entity-default --add-config message.max.bytes=1048576"},
		{tool: peer.Configs, args: "--describe --entity-type brokers --entity-default", until: "message.max.bytes"},
		{tool: peer.Configs, args: "--describe --entity-type brokers", sorted: true},
		{tool: peer.Configs, args: "--alter --entity-type brokers --entity-name 1 --add-config log.dirs=/nowhere"},
		{tool: peer.Configs, args: "--alter --entity-type brokers --entity-name 1 --add-config log.cleaner.threads=none"},
		{tool: peer.Configs, args: "--alter --entity-type brokers --entity-name 1 --delete-config log.cleaner.threads"},
		{tool: peer.Configs, args: "--describe --entity-type brokers --entity-name 1 --all", sorted: true},
		{tool: peer.Configs, args: "--describe --entity-type brokers --entity-name 9"},
		{tool: peer.Configs, args: "--alter --entity-type users --entity-name alice --add-config producer_byte_rate=1024,consumer_byte_rate=2048.5"},
		{tool: peer.Configs, args: "--alter --entity-type users --entity-name alice --add-config SCRAM-SHA-256=[iterations=8192,password=alice-secret]"},
		{tool: peer.Configs, args: "--describe --entity-type users --entity-name alice", until: "SCRAM", sorted: true},
		{tool: peer.Configs, args: "--alter --entity-type clients --entity-default --add-config request_percentage=50"},
		{tool: peer.Configs, args: "--describe --entity-type clients --entity-default", until: "request_percentage"},
		{tool: peer.Configs, args: "--alter --entity-type clients --entity-name c --add-config no_such_quota=7"},
		{tool: peer.Configs, args: "--alter --entity-type ips --entity-name 10.0.0.1 --add-config connection_creation_rate=7"},
		{tool: peer.Configs, args: "--describe --entity-type ips", until: "connection_creation_rate"},
		{tool: peer.Configs, args: "--alter --entity-type groups --entity-name live --add-config consumer.session.timeout.ms=50000"},
		{tool: peer.Configs, args: "--describe --entity-type groups --entity-name live", until: "consumer.session.timeout.ms"},
		{tool: peer.ClientMetrics, args: "--alter --name m --metrics org.apache. --interval 60000"},
		{tool: peer.ClientMetrics, args: "--list", until: "m"},
		{tool: peer.ClientMetrics, args: "--describe --name m"},
		{tool: peer.ClientMetrics, args: "--delete --name m"},
	} {
		s.run(c)
	}
}

// node: what the tools say of the cluster, its one node and its directories.
func (s *story) node() {
	for _, c := range []command{
		{tool: peer.BrokerAPIVersions},
		{tool: peer.Cluster, args: "cluster-id"},
		{tool: peer.Cluster, args: "list-endpoints"},
		{tool: peer.Cluster, args: "list-endpoints --include-fenced-brokers"},
		{tool: peer.Cluster, args: "unregister --id 9"},
		{tool: peer.Features, args: "describe"},
		{tool: peer.Features, args: "upgrade --feature no.such.feature=1"},
		{tool: peer.MetadataQuorum, args: "describe --status"},
		{tool: peer.MetadataQuorum, args: "describe --replication", arrange: printed.Replication},
		{tool: peer.LogDirs, args: "--describe", arrange: logDirs},
		{tool: peer.LogDirs, args: "--describe --topic-list a --broker-list 1", arrange: logDirs},
		{tool: peer.LogDirs, args: "--describe --broker-list 9"},
		{tool: peer.LeaderElection, args: "--election-type preferred --all-topic-partitions"},
		{tool: peer.LeaderElection, args: "--election-type preferred --topic a --partition 0"},
		{tool: peer.LeaderElection, args: "--election-type unclean --topic a --partition 0"},
		{tool: peer.LeaderElection, args: "--election-type preferred --topic no-such-topic --partition 0"},
		{tool: peer.ACLs, args: "--list"},
		{tool: peer.ACLs, args: "--add --allow-principal User:alice --operation Read --topic a"},
	} {
		s.run(c)
	}
}

// reassign: on one node there is little to move to.
func (s *story) reassign() {
	const here = `{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1],"log_dirs":["any"]}]}`
	for _, c := range []command{
		{tool: peer.Reassign, args: "--list"},
		{tool: peer.Reassign, args: "--generate --broker-list 1 --topics-to-move-json-file FILE", file: `{"version":1,"topics":[{"topic":"a"}]}`},
		{tool: peer.Reassign, args: "--execute --reassignment-json-file FILE", file: here},
		{tool: peer.Reassign, args: "--verify --reassignment-json-file FILE", file: here},
		{tool: peer.Reassign, args: "--cancel --reassignment-json-file FILE", file: here},
		{tool: peer.Reassign, args: "--execute --reassignment-json-file FILE", file: strings.ReplaceAll(here, "[1]", "[9]")},
		{tool: peer.Reassign, args: "--execute --reassignment-json-file FILE", file: strings.ReplaceAll(here, `"a"`, `"no-such-topic"`)},
		{tool: peer.Reassign, args: "--execute --reassignment-json-file FILE", file: strings.ReplaceAll(here, `"any"`, `"/no/such/directory"`)},
	} {
		s.run(c)
	}
}

// transactions: the producers of a partition, and what the coordinator knows.
func (s *story) transactions() {
	for _, c := range []command{
		{tool: peer.Transactions, args: "describe-producers --topic a --partition 0", arrange: producers},
		{tool: peer.Transactions, args: "find-hanging --broker-id 1"},
	} {
		s.run(c)
	}
}

// end: topics go.
func (s *story) end() {
	for _, c := range []command{
		{tool: peer.Topics, args: "--delete --topic with.dot"},
		{tool: peer.Topics, args: "--delete --topic no-such-topic"},
		{tool: peer.Topics, args: "--delete --if-exists --topic no-such-topic"},
		{tool: peer.Topics, args: "--delete --topic a"},
		{tool: peer.Topics, args: "--list", until: "compacted"},
		{tool: peer.ConsumerGroups, args: "--describe --group perf"},
	} {
		s.run(c)
	}
}
