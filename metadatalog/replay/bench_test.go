package replay

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// cluster writes the records of a cluster with topics of perTopic partitions
// and three replicas each, as a controller would, and gives it batch by batch.
type cluster struct {
	topics, perTopic, brokers int
}

func (c cluster) String() string {
	return fmt.Sprintf("%d topics of %d partitions on %d brokers", c.topics, c.perTopic, c.brokers)
}

func brokerDirectory(id int) kafka.DirectoryID {
	return kafka.DirectoryID{9, 15: byte(id), 14: byte(id >> 8)}
}

func (c cluster) batches(tb testing.TB) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	var values [][]byte
	var data []byte
	var at kafka.Offset
	flush := func() {
		data = batch.AppendData(data, at, 1, 1000, values)
		at += kafka.Offset(len(values))
		values = nil
	}
	put := func(r record.Record, version int16) {
		v, err := record.Message{Record: r, Version: version}.Append(nil)
		if err != nil {
			tb.Fatal(err)
		}
		if values = append(values, v); len(values) == 10_000 {
			flush()
		}
	}
	put(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV39IV0)}, 0)
	for t := range c.topics {
		put(topic(t), 0)
		for p := range c.perTopic {
			put(c.partition(rnd, t, p), 1)
		}
	}
	flush()
	return data
}

func (c cluster) partition(rnd *rand.Rand, t, p int) *record.PartitionRecord {
	r := &record.PartitionRecord{PartitionID: kafka.PartitionID(p), TopicID: topicID(t)}
	for len(r.Replicas) < 3 {
		id := rnd.IntN(c.brokers)
		if !slices.Contains(r.Replicas, kafka.BrokerID(id)) {
			r.Replicas = append(r.Replicas, kafka.BrokerID(id))
			r.Directories = append(r.Directories, brokerDirectory(id))
		}
	}
	r.ISR, r.Leader = r.Replicas, r.Replicas[0]
	return r
}

var large = []cluster{{1_000, 1_000, 12}, {100_000, 10, 100}}

// BenchmarkLoad replays a million partitions. "live-MiB" is the image alone,
// "peak-MiB" what the process took from the system meanwhile, the log's bytes
// included.
func BenchmarkLoad(b *testing.B) {
	for _, c := range large {
		data := c.batches(b)
		b.Run(c.String(), func(b *testing.B) {
			var r *Replayer
			for range b.N {
				r = New(nil)
				for v := range batch.All(data) {
					if _, err := r.Feed(v); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.StopTimer()
			var with, without runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&with)
			if r.Image().PartitionCount() != c.topics*c.perTopic {
				b.Fatal(r.Image().PartitionCount())
			}
			r = nil
			runtime.GC()
			runtime.ReadMemStats(&without)
			b.ReportMetric(float64(with.HeapAlloc-without.HeapAlloc)/(1<<20), "live-MiB")
			b.ReportMetric(float64(with.Sys)/(1<<20), "peak-MiB")
			b.ReportMetric(float64(len(data))/(1<<20), "log-MiB")
		})
	}
}

// BenchmarkOneMore adds one topic of six partitions to an empty cluster and to
// large ones; a change costs what it changes.
func BenchmarkOneMore(b *testing.B) {
	for _, c := range append([]cluster{{0, 0, 12}}, large...) {
		r, one := c.oneMore(b)
		b.Run(c.String(), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				trial := *r
				if _, err := trial.Feed(one); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// oneMore replays the cluster and returns a batch with one more topic.
func (c cluster) oneMore(tb testing.TB) (*Replayer, []byte) {
	r := New(nil)
	if _, err := r.Feed(c.batches(tb)); err != nil {
		tb.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	log := logOf{end: r.NextOffset()}
	records := []record.Record{&record.TopicRecord{Name: "one-more", TopicID: kafka.TopicID{7, 7}}}
	for p := range 6 {
		one := cluster{brokers: 12}.partition(rnd, 0, p)
		one.TopicID, one.Directories = kafka.TopicID{7, 7}, nil
		records = append(records, one)
	}
	log.add(tb, records...)
	return r, log.data
}

// TestOneMoreCostsWhatItChanges compares the bytes that one more topic takes in
// an empty and in a large cluster.
func TestOneMoreCostsWhatItChanges(t *testing.T) {
	cost := func(c cluster) uint64 {
		r, one := c.oneMore(t)
		const trials = 200
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range trials {
			trial := *r
			if _, err := trial.Feed(one); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / trials
	}
	empty, full := cost(cluster{0, 0, 12}), cost(cluster{50_000, 1, 12})
	if full > 2*empty {
		t.Errorf("one more topic costs %d bytes in a cluster of 50,000 topics, %d in an empty one", full, empty)
	}
}

// BenchmarkOneChange changes one partition of a topic with very many.
func BenchmarkOneChange(b *testing.B) {
	for _, n := range []int{1, 20_000, 1_000_000} {
		c := cluster{1, n, 12}
		r := New(nil)
		if _, err := r.Feed(c.batches(b)); err != nil {
			b.Fatal(err)
		}
		change := record.NewPartitionChangeRecord()
		change.TopicID, change.PartitionID, change.Leader = topicID(0), kafka.PartitionID(n/2), 3
		log := logOf{end: r.NextOffset()}
		log.add(b, change)
		b.Run(c.String(), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				one := *r
				if _, err := one.Feed(log.data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
