package peer

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Tool is one of Apache's command line tools, by the name of its script.
type Tool string

// The tools that the tests use.
const (
	Storage            Tool = "storage"
	DumpLog            Tool = "dump-log"
	MetadataShell      Tool = "metadata-shell"
	MetadataQuorum     Tool = "metadata-quorum"
	Topics             Tool = "topics"
	Configs            Tool = "configs"
	ACLs               Tool = "acls"
	Features           Tool = "features"
	ConsumerGroups     Tool = "consumer-groups"
	Reassign           Tool = "reassign-partitions"
	LeaderElection     Tool = "leader-election"
	LogDirs            Tool = "log-dirs"
	Cluster            Tool = "cluster"
	BrokerAPIVersions  Tool = "broker-api-versions"
	ConsoleProducer    Tool = "console-producer"
	ConsoleConsumer    Tool = "console-consumer"
	VerifiableProducer Tool = "verifiable-producer"
	VerifiableConsumer Tool = "verifiable-consumer"
	ProducerPerf       Tool = "producer-perf-test"
	ConsumerPerf       Tool = "consumer-perf-test"
	GetOffsets         Tool = "get-offsets"
	DeleteRecords      Tool = "delete-records"
	Transactions       Tool = "transactions"
	Groups             Tool = "groups"
	ClientMetrics      Tool = "client-metrics"
)

// classes are the tools' classes; where a class moved, 3.9's stands in before40.
var (
	classes = map[Tool]string{
		Storage:            "kafka.tools.StorageTool",
		DumpLog:            "org.apache.kafka.tools.DumpLogSegments",
		MetadataShell:      "org.apache.kafka.shell.MetadataShell",
		MetadataQuorum:     "org.apache.kafka.tools.MetadataQuorumCommand",
		Topics:             "org.apache.kafka.tools.TopicCommand",
		Configs:            "kafka.admin.ConfigCommand",
		ACLs:               "org.apache.kafka.tools.AclCommand",
		Features:           "org.apache.kafka.tools.FeatureCommand",
		ConsumerGroups:     "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
		Reassign:           "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
		LeaderElection:     "org.apache.kafka.tools.LeaderElectionCommand",
		LogDirs:            "org.apache.kafka.tools.LogDirsCommand",
		Cluster:            "org.apache.kafka.tools.ClusterTool",
		BrokerAPIVersions:  "org.apache.kafka.tools.BrokerApiVersionsCommand",
		ConsoleProducer:    "org.apache.kafka.tools.ConsoleProducer",
		ConsoleConsumer:    "org.apache.kafka.tools.consumer.ConsoleConsumer",
		VerifiableProducer: "org.apache.kafka.tools.VerifiableProducer",
		VerifiableConsumer: "org.apache.kafka.tools.VerifiableConsumer",
		ProducerPerf:       "org.apache.kafka.tools.ProducerPerformance",
		ConsumerPerf:       "org.apache.kafka.tools.ConsumerPerformance",
		GetOffsets:         "org.apache.kafka.tools.GetOffsetShell",
		DeleteRecords:      "org.apache.kafka.tools.DeleteRecordsCommand",
		Transactions:       "org.apache.kafka.tools.TransactionsCommand",
		Groups:             "org.apache.kafka.tools.GroupsCommand",
		ClientMetrics:      "org.apache.kafka.tools.ClientMetricsCommand",
	}
	before40 = map[Tool]string{
		DumpLog:           "kafka.tools.DumpLogSegments",
		ACLs:              "kafka.admin.AclCommand",
		BrokerAPIVersions: "kafka.admin.BrokerApiVersionsCommand",
		ConsoleProducer:   "kafka.tools.ConsoleProducer",
	}
)

// Output is what a tool printed and its exit code.
type Output struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Exit   int    `json:"exit"`
}

// String prints everything, for failures.
func (o Output) String() string {
	return fmt.Sprintf("exit %d\nstdout:\n%s\nstderr:\n%s", o.Exit, o.Stdout, o.Stderr)
}

// class returns the class of a tool in this release.
func (k *Kit) class(tool Tool) string {
	if c := before40[tool]; c != "" && k.Version.major() < 4 {
		return c
	}
	c := classes[tool]
	if c == "" {
		panic(fmt.Sprintf("no class is known for the tool %q", tool))
	}
	return c
}

// Run runs a tool in a JVM of its own, as its script does; it costs one to two
// seconds, so that a test of many steps uses Driver.Tool. The error is nil when
// the tool ran, whatever its exit code.
func (k *Kit) Run(ctx context.Context, tool Tool, args ...string) (Output, error) {
	cmd := exec.CommandContext(ctx, "java", k.javaArgs(k.class(tool), args...)...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	out := Output{Stdout: stdout.String(), Stderr: stderr.String(), Exit: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("run %s of Apache Kafka %s: %w", tool, k.Version, err)
	}
	return out, nil
}
