package snapshot

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strconv"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog/record"
)

// BenchmarkLoadPartitions loads a snapshot of topics with 100 partitions of 3
// replicas each. KVORUM_BENCH_PARTITIONS says how many partitions (10,000); the
// figure of docs/benchmarks.md is for 1,000,000.
func BenchmarkLoadPartitions(b *testing.B) {
	partitions := 10_000
	if text := os.Getenv("KVORUM_BENCH_PARTITIONS"); text != "" {
		var err error
		partitions, err = strconv.Atoi(text)
		must(b, err)
	}
	d, err := OpenDir(vfs.Default, b.TempDir())
	must(b, err)
	id := kafka.EpochOffset{Offset: kafka.Offset(partitions), Epoch: 1}
	writePartitions(b, d, id, partitions)
	latest, _ := d.Latest()
	b.SetBytes(latest.Size)
	b.ReportAllocs()
	for b.Loop() {
		r, err := d.Open(id)
		must(b, err)
		im, err := LoadImage(id, r)
		must(b, errors.Join(err, r.Close()))
		if im.PartitionCount() != partitions {
			b.Fatalf("%d partitions", im.PartitionCount())
		}
		b.StopTimer()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB-live")
		runtime.KeepAlive(im)
		b.StartTimer()
	}
}

func writePartitions(b *testing.B, d *Dir, id kafka.EpochOffset, partitions int) {
	b.Helper()
	w, err := d.Create(id, someHeader(), 0)
	must(b, err)
	put := func(rec record.Record, version int16) {
		value, err := record.Message{Record: rec, Version: version}.Append(nil)
		must(b, err)
		must(b, w.Append(value))
	}
	put(&record.FeatureLevelRecord{Name: "metadata.version", FeatureLevel: 21}, 0)
	var topic kafka.UUID
	for i := range partitions {
		if i%100 == 0 {
			binary.BigEndian.PutUint64(topic[:], uint64(i+1))
			put(&record.TopicRecord{Name: "topic-" + strconv.Itoa(i/100), TopicID: topic}, 0)
		}
		replicas := []kafka.BrokerID{kafka.BrokerID(i % 7), kafka.BrokerID((i + 1) % 7), kafka.BrokerID((i + 2) % 7)}
		put(&record.PartitionRecord{
			PartitionID: kafka.PartitionID(i % 100), TopicID: topic, Replicas: replicas, ISR: replicas, Leader: replicas[0],
			Directories: []kafka.UUID{{1}, {2}, {3}},
		}, 1)
	}
	must(b, w.Finish())
}
