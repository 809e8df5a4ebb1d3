package replication

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// trimmed is a cluster of three brokers with topics whose records go away again. The
// value of each record begins with its offset.
type trimmed struct {
	*testing.T
	ctx     context.Context
	brokers []*cluster.Node
	admin   *kadm.Client
	client  *kgo.Client
	written map[string]int // records of each partition, by topic
}

const (
	trimPartitions = 2
	trimSegment    = 1 << 20 // the smallest that there may be
	// padding makes 100 records a segment.
	padding  = 10 << 10
	trimKeys = 10 // of the compacted topic
)

func startTrimmed(t *testing.T) *trimmed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	t.Cleanup(cancel)
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1})
	w := &trimmed{T: t, ctx: ctx, written: map[string]int{}}
	w.brokers = q.StartKvorumBrokers(ctx, t, 3, map[string]string{"log.initial.task.delay.ms": "100", "log.retention.check.interval.ms": "200", "log.cleaner.backoff.ms": "200"})
	seeds, _ := addresses(w.brokers)
	w.client = newClient(t, kgo.SeedBrokers(seeds...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(10*padding), kgo.ProducerBatchCompression(kgo.NoCompression()))
	w.admin = kadm.NewClient(w.client)
	return w
}

func (w *trimmed) create(topic string, configs ...string) {
	w.Helper()
	all := map[string]*string{"segment.bytes": kadm.StringPtr(fmt.Sprint(trimSegment)), "min.insync.replicas": kadm.StringPtr("2")}
	for i := 0; i < len(configs); i += 2 {
		all[configs[i]] = &configs[i+1]
	}
	if _, err := w.admin.CreateTopic(w.ctx, trimPartitions, 3, all, topic); err != nil {
		w.Fatal(err)
	}
	awaitISR(w.ctx, w.T, w.admin, topic, 3)
}

// fill writes n more records to each partition.
func (w *trimmed) fill(topic string, n int) {
	w.Helper()
	var records []*kgo.Record
	for p := range trimPartitions {
		for i := w.written[topic]; i < w.written[topic]+n; i++ {
			r := kgo.KeyStringRecord(fmt.Sprint(i%trimKeys), fmt.Sprintf("%d %s", i, strings.Repeat("x", padding)))
			r.Topic, r.Partition = topic, int32(p)
			records = append(records, r)
		}
	}
	if err := w.client.ProduceSync(w.ctx, records...).FirstErr(); err != nil {
		w.Fatal(err)
	}
	w.written[topic] += n
}

// readBy has a broker lead all partitions, and returns their starts and the offsets
// that it holds. Each record must be the one that was written there, and the last must
// be there.
func (w *trimmed) readBy(b *cluster.Node, topic string) (starts []int64, held [][]int) {
	w.Helper()
	order := []int32{b.ID}
	for _, other := range w.brokers {
		if other.ID != b.ID {
			order = append(order, other.ID)
		}
	}
	lead(w.ctx, w.T, w.admin, topic, trimPartitions, order)
	starts = w.startsBy(b, topic)
	from := map[int32]kgo.Offset{}
	for p, start := range starts {
		from[int32(p)] = kgo.NewOffset().At(start)
	}
	client := newClient(w.T, kgo.SeedBrokers(b.Client), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	defer client.Close()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	held = make([][]int, trimPartitions)
	last := func(p int) bool { return len(held[p]) > 0 && held[p][len(held[p])-1] == w.written[topic]-1 }
	for !last(0) || !last(1) {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.Fatalf("read %s by %s, of which %d and %d records have come: %v", topic, b, len(held[0]), len(held[1]), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			number, _, _ := strings.Cut(string(r.Value), " ")
			if number != fmt.Sprint(r.Offset) {
				w.Fatalf("%s: record %s of %s is at offset %d of partition %d", b, number, topic, r.Offset, r.Partition)
			}
			held[r.Partition] = append(held[r.Partition], int(r.Offset))
		})
	}
	return starts, held
}

// startsBy asks a broker where its logs begin, until it knows that it leads all of them.
func (w *trimmed) startsBy(b *cluster.Node, topic string) (starts []int64) {
	w.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for p := range trimPartitions {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = int32(p), -2 // the log's start
		asked.Partitions = append(asked.Partitions, one)
	}
	req.Topics = append(req.Topics, asked)
	await(w.ctx, w.T, fmt.Sprintf("%s leads %s", b, topic), func(ctx context.Context) error {
		starts = make([]int64, trimPartitions)
		return peer.Ask(ctx, b.Client, func(ctx context.Context, b *kgo.Broker) error {
			resp, err := req.RequestWith(ctx, b)
			if err != nil {
				return err
			}
			for _, p := range resp.Topics[0].Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return fmt.Errorf("partition %d: %w", p.Partition, err)
				}
				starts[p.Partition] = p.Offset
			}
			return nil
		})
	})
	return starts
}

// whole reads a topic by each broker, from at least an offset on: without holes.
func (w *trimmed) whole(topic string, least int64) {
	w.Helper()
	for _, b := range w.brokers {
		starts, held := w.readBy(b, topic)
		for p, offsets := range held {
			if starts[p] < least || int64(offsets[0]) != starts[p] || len(offsets) != w.written[topic]-offsets[0] {
				w.Errorf("%s, partition %d of %s: begins at %d, at least %d is wanted; %d records from %d on, of %d", b, p, topic, starts[p], least, len(offsets), offsets[0], w.written[topic])
			}
		}
	}
}

// compacted reads a topic by each broker: every key has its last value.
func (w *trimmed) compacted(topic string) {
	w.Helper()
	for _, b := range w.brokers {
		_, held := w.readBy(b, topic)
		for p, offsets := range held {
			if !slices.IsSorted(offsets) || len(offsets) >= w.written[topic] {
				w.Errorf("%s, partition %d of %s: %d of %d records are left", b, p, topic, len(offsets), w.written[topic])
			}
			for i := w.written[topic] - trimKeys; i < w.written[topic]; i++ {
				if !slices.Contains(offsets, i) {
					w.Errorf("%s, partition %d of %s: the last value of key %d is gone", b, p, topic, i%trimKeys)
				}
			}
		}
	}
}

// bases are the first offsets of a partition's segments in a broker's directory.
func (w *trimmed) bases(b *cluster.Node, topic string, partition int) (all []int) {
	w.Helper()
	names, err := filepath.Glob(filepath.Join(b.DataDir(), fmt.Sprintf("%s-%d", topic, partition), "*.log"))
	if err != nil {
		w.Fatal(err)
	}
	for _, name := range names {
		base, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".log"))
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, base)
	}
	slices.Sort(all)
	return all
}

// awaitBegins waits until no broker has a segment of a topic below an offset.
func (w *trimmed) awaitBegins(topic string, from int, brokers ...*cluster.Node) {
	w.Helper()
	await(w.ctx, w.T, fmt.Sprintf("no segment of %s below %d", topic, from), func(context.Context) error {
		var all error
		for _, b := range brokers {
			for p := range trimPartitions {
				if bases := w.bases(b, topic, p); len(bases) == 0 || bases[0] < from {
					all = errors.Join(all, fmt.Errorf("%s has segments of partition %d at %v", b, p, bases))
				}
			}
		}
		return all
	})
}

// awaitSizes waits until the sizes of the segments of each partition on brokers are
// such as a rule wants them.
func (w *trimmed) awaitSizes(what, topic string, brokers []*cluster.Node, rule func(sizes []int64) bool) {
	w.Helper()
	await(w.ctx, w.T, topic+" is "+what, func(context.Context) error {
		var all error
		for _, b := range brokers {
			for p := range trimPartitions {
				if sizes := w.sizes(b, topic, p); len(sizes) == 0 || !rule(sizes) {
					all = errors.Join(all, fmt.Errorf("%s has segments of %v bytes of partition %d", b, sizes, p))
				}
			}
		}
		return all
	})
}

// sizes are those of the segments; one may go away meanwhile.
func (w *trimmed) sizes(b *cluster.Node, topic string, partition int) (all []int64) {
	for _, base := range w.bases(b, topic, partition) {
		if info, err := os.Stat(filepath.Join(b.DataDir(), fmt.Sprintf("%s-%d", topic, partition), fmt.Sprintf("%020d.log", base))); err == nil {
			all = append(all, info.Size())
		}
	}
	return all
}

func sum(sizes []int64) (total int64) {
	for _, s := range sizes {
		total += s
	}
	return total
}

// awaitCompacted waits until hardly anything is left of the segments but the last.
func (w *trimmed) awaitCompacted(topic string, brokers []*cluster.Node) {
	w.Helper()
	w.awaitSizes("compacted", topic, brokers, func(sizes []int64) bool { return sum(sizes[:len(sizes)-1]) < trimSegment/2 })
}

// awaitRetained waits until retention of the size of one segment takes no more: then
// the logs begin where they do.
func (w *trimmed) awaitRetained(topic string, brokers []*cluster.Node) {
	w.Helper()
	w.awaitSizes("as long as retention lets it", topic, brokers, func(sizes []int64) bool { return sum(sizes[1:]) < trimSegment })
}

// without does something while a broker is dead and out of every ISR.
func (w *trimmed) without(b *cluster.Node, topic string, do func()) {
	w.Helper()
	b.Kill()
	awaitISR(w.ctx, w.T, w.admin, topic, 2)
	do()
	b.Start(w.T)
	awaitISR(w.ctx, w.T, w.admin, topic, 3)
}

// TestTrimmedReplicas: what DeleteRecords, retention and compaction take from a log is
// gone on every replica that leads later, and nothing else is; also on one that was away
// meanwhile, and on one whose log ends before that of its leader begins, which begins
// again there (OFFSET_OUT_OF_RANGE). 6 s.
func TestTrimmedReplicas(t *testing.T) {
	w := startTrimmed(t)
	late := w.brokers[2]
	w.create("deleted")
	w.fill("deleted", 300)
	w.without(late, "deleted", func() {
		w.fill("deleted", 100)
		to := kadm.Offsets{}
		for p := range trimPartitions {
			to.Add(kadm.Offset{Topic: "deleted", Partition: int32(p), At: 350})
		}
		if _, err := w.admin.DeleteRecords(w.ctx, to); err != nil {
			t.Fatal(err)
		}
	})
	w.awaitBegins("deleted", 301, late) // with the batch of 350
	w.fill("deleted", 50)
	w.whole("deleted", 350)

	// Retention by size, of logs whose segments begin at other offsets on each broker.
	if _, err := w.admin.AlterTopicConfigs(w.ctx, []kadm.AlterConfig{{Name: "retention.bytes", Value: kadm.StringPtr(fmt.Sprint(trimSegment))}}, "deleted"); err != nil {
		t.Fatal(err)
	}
	w.fill("deleted", 300)
	w.awaitRetained("deleted", w.brokers)
	w.whole("deleted", 450)

	w.create("compacted", "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.01")
	w.without(late, "compacted", func() {
		w.fill("compacted", 400)
		w.awaitCompacted("compacted", w.brokers[:2])
	})
	w.compacted("compacted")
	w.fill("compacted", 200)
	w.awaitCompacted("compacted", w.brokers)
	w.compacted("compacted")
}
