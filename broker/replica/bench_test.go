package replica

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/broker/storage"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// newDiskWorld is a world on the disk of this machine.
func newDiskWorld(t testing.TB) *world {
	w := &world{t: t, fs: vfs.Default, image: image.Empty()}
	c := Config{Self: self, FS: w.fs, Clock: clock.System, Log: slog.New(slog.DiscardHandler), LagMax: 30 * time.Second, Controller: w,
		BrokerEpoch: func() kafka.BrokerEpoch { return epochOf(self) }}
	var err error
	c.Dirs, err = storage.OpenDirs(storage.DirsOptions{
		FS: w.fs, Directories: []storage.Directory{{Path: t.TempDir(), ID: directory}}, OpenFiles: 1000,
		Config:          func(topic string) storage.LogConfig { return w.ps.TopicConfig(topic) },
		RecoveryThreads: 2, ProducerExpirationMs: 86_400_000, Times: storage.DefaultDirsTimes,
		Clock: clock.System, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.dirs, w.ps = c.Dirs, New(c)
	t.Cleanup(func() {
		if err := w.dirs.Close(epochOf(self)); err != nil {
			t.Error(err)
		}
	})
	w.publish(&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV40IV1)}, broker(self, false))
	return w
}

// BenchmarkLead5000 makes a topic of 5,000 partitions that are all led here.
func BenchmarkLead5000(b *testing.B) {
	w := newDiskWorld(b)
	for i := 0; b.Loop(); i++ {
		w.alone(fmt.Sprintf("topic%d", i), 5000)
	}
}

// BenchmarkProduce appends one batch of 1 KiB with acks=all to a partition
// without followers.
func BenchmarkProduce(b *testing.B) {
	w := newDiskWorld(b)
	w.alone("orders", 1)
	in := []ProducePartition{{TopicPartition: tp("orders", 0), Records: someRecords(100)}}
	var out []ProduceResult
	b.ReportAllocs()
	b.SetBytes(int64(len(in[0].Records)))
	for b.Loop() {
		batch.Restamp(batch.View(in[0].Records), 0, 0)
		out = w.ps.Produce(context.Background(), ProduceOptions{Acks: -1, Timeout: time.Second, NowMs: 1000}, in, out[:0])
		if out[0].Err != nil {
			b.Fatal(out[0].Err)
		}
	}
}

// BenchmarkFetch reads what is at the end of a log.
func BenchmarkFetch(b *testing.B) {
	w := newDiskWorld(b)
	w.alone("orders", 1)
	at := kafka.Offset(0)
	for range 1000 {
		at = w.mustProduce("orders", 100)
	}
	in := []FetchPartition{from("orders", 0, at)}
	var out []FetchResult
	b.ReportAllocs()
	for b.Loop() {
		out = w.ps.Fetch(context.Background(), consume(time.Second), in, out[:0])
		if out[0].Err != nil || out[0].Records.Len() == 0 {
			b.Fatal(out[0].Err)
		}
		ReleaseAll(out)
	}
}

// BenchmarkProduceBesideIdleFetches appends to one partition while 10,000
// fetches sleep on others.
func BenchmarkProduceBesideIdleFetches(b *testing.B) {
	w := newDiskWorld(b)
	w.alone("orders", 1)
	w.alone("idle", 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	for i := range 10_000 {
		go func() {
			w.ps.Fetch(ctx, consume(time.Hour), []FetchPartition{from("idle", i%100, 0)}, nil)
			done <- struct{}{}
		}()
	}
	in := []ProducePartition{{TopicPartition: tp("orders", 0), Records: someRecords(100)}}
	var out []ProduceResult
	b.ReportAllocs()
	for b.Loop() {
		batch.Restamp(batch.View(in[0].Records), 0, 0)
		out = w.ps.Produce(ctx, ProduceOptions{Acks: -1, Timeout: time.Second, NowMs: 1000}, in, out[:0])
	}
	b.StopTimer()
	cancel()
	for range 10_000 {
		<-done
	}
}
