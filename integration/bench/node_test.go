package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/integration/process"
)

// serverJVM are the options that Apache's kafka-server-start.sh gives a broker. The
// tests' own are for many small nodes on one machine.
var serverJVM = []string{"-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"}

// nodeProperties are the same on both sides. What a round has written is gone from
// the disk before the next one but one, and ten minutes of load do not fill it.
var nodeProperties = map[string]string{"log.segment.delete.delay.ms": "1000", "log.retention.check.interval.ms": "1000"}

// benchNode runs a benchmark on one combined node of kvorum and then of Apache. The
// short form is for kvorum alone: TestNodeTraffic shows that Apache's side works, and
// each start of a JVM costs ten seconds.
func benchNode(t *testing.T, run func(t *testing.T, s side, node *cluster.Single)) {
	for _, s := range []side{kvorum, apache} {
		t.Run(string(s), func(t *testing.T) {
			if s == apache && !full {
				t.Skip("skipped: only KVORUM_BENCH=1 runs it on Apache's node")
			}
			run(t, s, formatNode(t, s))
		})
	}
}

func formatNode(t *testing.T, s side) *cluster.Single {
	if s == kvorum {
		return cluster.FormatSingleKvorum(t.Context(), t, nodeProperties)
	}
	kit := peer.Require(t, peer.V43)
	node := cluster.FormatSingleApache(t.Context(), t, kit, kit.StartDriver(t), nodeProperties)
	node.Server.(*peer.Node).JVM = serverJVM
	return node
}

// contender is one of two nodes that run at once. One is asked at a time, in turns,
// so that the machine's moods fall on both; the other one is idle meanwhile.
type contender struct {
	side side
	node *cluster.Single
}

// startBoth starts a node of each make, of kvorum alone where Apache cannot run.
func startBoth(t *testing.T) (both []contender) {
	sides := []side{kvorum}
	t.Run("peer", func(t *testing.T) {
		peer.Require(t, peer.V43)
		sides = append(sides, apache)
	})
	for _, s := range sides {
		node := formatNode(t, s)
		node.StartReady(t.Context(), t)
		both = append(both, contender{s, node})
	}
	return both
}

// firstOf is firstRecord for a cluster of one.
func firstOf(ctx context.Context, bootstrap string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.MetadataMinAge(10*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 2 * time.Millisecond }),
		kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: "first", Value: []byte("record")}).FirstErr()
}

func createOn(t *testing.T, bootstrap, topic string, partitions int32, replicas int16) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, replicas, nil, topic); err != nil {
		t.Fatal(err)
	}
}

// randomBytes is a value that does not compress, the same in every run.
func randomBytes(n int) []byte {
	var seed [32]byte
	value := make([]byte, n)
	if _, err := rand.NewChaCha8(seed).Read(value); err != nil {
		panic(err)
	}
	return value
}

// writeEach writes one record to every partition.
func writeEach(t *testing.T, bootstrap, topic string, partitions int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for p := range partitions {
		records = append(records, &kgo.Record{Partition: int32(p), Value: bytes.Repeat([]byte{'v'}, 100)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// running is what has a process.
type running interface{ Process() *process.Process }

// cpuSeconds is the processor time that a node's process has used.
func cpuSeconds(t *testing.T, node running) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", node.Process().PID()))
	if err != nil {
		t.Skip("skipped: this system does not tell a process's processor time")
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	if err1 != nil || err2 != nil {
		t.Fatalf("/proc/pid/stat has %q and %q", fields[11], fields[12])
	}
	return (user + system) / 100 // USER_HZ
}
