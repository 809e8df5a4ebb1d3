package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// benchNode runs a benchmark on one combined node of kvorum and then of Apache.
func benchNode(t *testing.T, properties map[string]string, run func(t *testing.T, s side, node *cluster.Single)) {
	for _, s := range []side{kvorum, apache} {
		t.Run(string(s), func(t *testing.T) {
			if s == kvorum {
				run(t, s, cluster.FormatSingleKvorum(t.Context(), t, properties))
				return
			}
			kit := peer.Require(t, peer.V43)
			run(t, s, cluster.FormatSingleApache(t.Context(), t, kit, kit.StartDriver(t), properties))
		})
	}
}

// TestNodeStart measures from the start of a formatted node's process to the first
// acknowledged record of a new topic, and its memory once it is idle.
func TestNodeStart(t *testing.T) {
	benchNode(t, nil, func(t *testing.T, s side, node *cluster.Single) {
		began := time.Now()
		node.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := firstOf(ctx, node.Bootstrap); err != nil {
			t.Fatal(err)
		}
		noteDuration(t, s, "one node, from exec to the first acknowledged record", "0.3 s", time.Since(began))
		time.Sleep(sizes.idle)
		mib := float64(node.Process().ResidentBytes()) / (1 << 20)
		note(t, s, "one node resident, idle", "50 MiB", mib, fmt.Sprintf("%.0f MiB", mib))
	})
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

// TestNodeRates measures how fast one node takes records and gives them back, and
// what processor time a gigabyte costs it, with a franz-go client on the same
// cores. The records are random, so that no compression helps.
func TestNodeRates(t *testing.T) {
	benchNode(t, nil, func(t *testing.T, s side, node *cluster.Single) {
		node.StartReady(t.Context(), t)
		for _, size := range []int{1024, 100} {
			topic := fmt.Sprintf("bytes-%d", size)
			createOn(t, node.Bootstrap, topic, 6)
			total := sizes.bytes
			if size < 1024 {
				total /= 4
			}
			cpu, began := cpuSeconds(t, node), time.Now()
			produceBytes(t, node.Bootstrap, topic, size, total)
			noteRate(t, s, fmt.Sprintf("produce %d B, acks=all", size), produceTarget(size), size, total, time.Since(began), cpuSeconds(t, node)-cpu)
			cpu, began = cpuSeconds(t, node), time.Now()
			consumeBytes(t, node.Bootstrap, topic, total/size)
			noteRate(t, s, fmt.Sprintf("consume %d B", size), consumeTarget(size), size, total, time.Since(began), cpuSeconds(t, node)-cpu)
		}
	})
}

func produceTarget(size int) string {
	if size == 100 {
		return "2 M/s"
	}
	return "Krabka's 426-597 MB/s, 1.2 s/GB"
}

func consumeTarget(size int) string {
	if size == 100 {
		return "3.5 M/s"
	}
	return "1 GB/s, 0.3 s/GB"
}

func noteRate(t *testing.T, s side, name, target string, size, total int, took time.Duration, cpu float64) {
	t.Helper()
	rate := float64(total) / took.Seconds()
	text := fmt.Sprintf("%.0f MB/s, %.2f processor s/GB", rate/1e6, cpu/(float64(total)/1e9))
	if size == 100 {
		text = fmt.Sprintf("%.2f M/s, %.2f processor s/GB", rate/float64(size)/1e6, cpu/(float64(total)/1e9))
	}
	note(t, s, name, target, rate, text)
}

// TestNodeLatency measures how long a record takes to be acknowledged at a steady
// rate.
func TestNodeLatency(t *testing.T) {
	benchNode(t, nil, func(t *testing.T, s side, node *cluster.Single) {
		node.StartReady(t.Context(), t)
		createOn(t, node.Bootstrap, "steady", 6)
		for _, rate := range []int{1000, 5000} {
			all := steady(t, node.Bootstrap, "steady", rate, sizes.steady)
			target := map[int]string{1000: "p99 4 ms", 5000: "p99 3 ms"}[rate]
			p50, p99 := quantile(all, 0.5), quantile(all, 0.99)
			note(t, s, fmt.Sprintf("acknowledged at %d/s, p50 / p99", rate), target, p99.Seconds(), short(p50)+" / "+short(p99))
		}
	})
}

// TestNodePartitions measures a restart with many partitions, after a clean
// shutdown, and what they cost in memory.
func TestNodePartitions(t *testing.T) {
	benchNode(t, nil, func(t *testing.T, s side, node *cluster.Single) {
		node.StartReady(t.Context(), t)
		began := time.Now()
		createOn(t, node.Bootstrap, "many", int32(sizes.nodePartitions))
		noteDuration(t, s, fmt.Sprintf("one node, a topic of %d partitions", sizes.nodePartitions), "100 ms for 5,000", time.Since(began))
		writeEach(t, node.Bootstrap, "many", sizes.nodePartitions)
		noteDuration(t, s, fmt.Sprintf("one node, %d partitions each have a record after", sizes.nodePartitions), "leaders within 2 s", time.Since(began))
		mib := float64(node.Process().ResidentBytes()) / (1 << 20)
		note(t, s, fmt.Sprintf("one node resident with %d partitions", sizes.nodePartitions), "300 MiB for 10,000", mib, fmt.Sprintf("%.0f MiB", mib))
		node.Stop(t)
		began = time.Now()
		node.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := firstOf(ctx, node.Bootstrap); err != nil {
			t.Fatal(err)
		}
		noteDuration(t, s, fmt.Sprintf("restart with %d partitions, from exec to the first acknowledged record", sizes.nodePartitions), "1 s for 6,000", time.Since(began))
	})
}

func createOn(t *testing.T, bootstrap, topic string, partitions int32) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
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

func produceBytes(t *testing.T, bootstrap, topic string, size, total int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(1_000_000), kgo.MaxBufferedRecords(200_000), kgo.RecordPartitioner(kgo.UniformBytesPartitioner(1_000_000, false, false, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	value := randomBytes(size)
	var first error
	var once sync.Once
	for range total / size {
		client.Produce(t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first != nil {
		t.Fatal(first)
	}
}

func consumeBytes(t *testing.T, bootstrap, topic string, records int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(10<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for records > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records have not come: %v", records, err)
		}
		records -= fetches.NumRecords()
	}
}

// steady sends records of 1 KiB at a rate and returns how long each took.
func steady(t *testing.T, bootstrap, topic string, rate int, length time.Duration) []time.Duration {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	value := randomBytes(1024)
	var mu sync.Mutex
	var took []time.Duration
	began, sent := time.Now(), 0
	for elapsed := time.Duration(0); elapsed < length; elapsed = time.Since(began) {
		for due := int(elapsed.Seconds() * float64(rate)); sent < due; sent++ {
			at := time.Now()
			client.Produce(t.Context(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("a record was not acknowledged: %v", err)
				}
				took = append(took, time.Since(at))
			})
		}
		time.Sleep(200 * time.Microsecond)
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(took[len(took)/5:]) // the first fifth warms up
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

// cpuSeconds is the processor time that the node's process has used.
func cpuSeconds(t *testing.T, node *cluster.Single) float64 {
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
