package replica

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// stopped is a world with logs on its disk and a broker that has read nothing of
// them.
func stopped(t *testing.T, topics ...string) (w *world, next *image.Image) {
	t.Helper()
	w = newWorld(t)
	for _, name := range topics {
		w.alone(name, 1)
		w.mustProduce(name, 3)
	}
	if err := w.dirs.Close(epochOf(self)); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	return w, w.image
}

func (w *world) cold(name string) bool {
	w.t.Helper()
	p := w.ps.known(tp(name, 0))
	if p == nil {
		w.t.Fatalf("%s is not hosted", name)
	}
	return p.cold.Load() != nil
}

// TestLogsAreOpenedWhenWanted: an image opens no log that is on the disk; a
// request for a partition opens its log, and only that.
func TestLogsAreOpenedWhenWanted(t *testing.T) {
	w, next := stopped(t, "wanted", "other")
	w.ps.Publish(image.Diff(image.Empty(), next), next)
	if !w.cold("wanted") || !w.cold("other") || w.ps.Counts().Leaders != 2 {
		t.Fatalf("the first image opened logs, or does not count leaders: %+v", w.ps.Counts())
	}
	var many sync.WaitGroup
	for range 8 {
		many.Go(func() {
			if got := w.fetch(consume(0), from("wanted", 0, 0))[0]; got.Err != nil || count(t, got.Records) != 3 {
				t.Errorf("fetched %+v", got)
			}
		})
	}
	many.Wait()
	if w.cold("wanted") || !w.cold("other") {
		t.Error("the wrong log was opened")
	}
	// What comes before a partition is opened is what it becomes.
	w.publish(setting1("other", "retention.ms", "4711"), elect("other", 0, self), elect("other", 0, self))
	if !w.cold("other") {
		t.Error("an image opened a log")
	}
	p, err := w.ps.Lookup(tp("other", 0))
	if err != nil {
		t.Fatal(err)
	}
	if epoch, leads := p.LeaderEpoch(); epoch != 2 || !leads || p.Log().Config().RetentionMs != 4711 || p.Log().LatestEpoch() != 2 {
		t.Errorf("opened with epoch %d (%t), %+v", epoch, leads, p.Log().Config())
	}
}

// TestTheRestIsOpenedInTheBackground.
func TestTheRestIsOpenedInTheBackground(t *testing.T) {
	w, next := stopped(t, "a", "b", "c")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	var running sync.WaitGroup
	running.Go(func() { w.ps.openCold(ctx) })
	w.ps.Publish(image.Diff(image.Empty(), next), next)
	for _, name := range []string{"a", "b", "c"} {
		for w.cold(name) {
			if ctx.Err() != nil {
				t.Fatalf("%s is still cold", name)
			}
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	running.Wait()
}

// TestColdPartitionsGo: what is deleted is not opened for it.
func TestColdPartitionsGo(t *testing.T) {
	w, next := stopped(t, "orders")
	w.ps.Publish(image.Diff(image.Empty(), next), next)
	p := w.ps.known(tp("orders", 0))
	w.publish(&record.RemoveTopicRecord{TopicID: topicID("orders")})
	p.warm()
	if p.Log() != nil {
		t.Error("a deleted partition has a log")
	}
	wantCode(t, p.fault(), errors.UnknownTopicOrPartition)
	wantCode(t, w.produce(ProduceOptions{Acks: 1}, "orders", 1).Err, errors.UnknownTopicOrPartition)
}

// TestAnEarlierTopicsLogIsSetAside: while the broker was down its topic was
// deleted and another one got the name. The old records are neither served nor
// lost.
func TestAnEarlierTopicsLogIsSetAside(t *testing.T) {
	w, _ := stopped(t, "orders")
	d := image.NewDelta(w.image)
	again := partition("orders", 0, self)
	again.TopicID = kafka.TopicID{0xee}
	for _, r := range []record.Record{
		&record.RemoveTopicRecord{TopicID: topicID("orders")}, &record.TopicRecord{Name: "orders", TopicID: again.TopicID}, again,
	} {
		if err := d.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	w.image = d.Apply(image.Position{Offset: w.image.At().Offset + 3})
	w.ps.Publish(image.Diff(image.Empty(), w.image), w.image)
	if at := w.mustProduce("orders", 1); at != 0 {
		t.Errorf("the first record of the new topic is at %d", at)
	}
	names, err := w.fs.List("/logs")
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(names, " "); !strings.Contains(all, "-stray") {
		t.Errorf("the old log is not kept: %s", all)
	}
}

// unreadable is a file system that opens no segment.
type unreadable struct {
	vfs.FS
	on atomic.Bool
}

func (f *unreadable) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if f.on.Load() && strings.HasSuffix(name, ".log") {
		return nil, syscall.EMFILE
	}
	return f.FS.OpenReadWrite(name, c, o...)
}

// TestARefusedPartitionComesBack: its log could not be opened, and is led as soon
// as it can.
func TestARefusedPartitionComesBack(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	w.mustProduce("orders", 3)
	if err := w.dirs.Close(epochOf(self)); err != nil {
		t.Fatal(err)
	}
	disk := &unreadable{FS: w.fs}
	disk.on.Store(true)
	w.fs = disk
	w.start(nil)
	w.ps.Publish(image.Diff(image.Empty(), w.image), w.image)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.dirs.Run(ctx) })
	wantCode(t, w.produce(ProduceOptions{Acks: 1}, "orders", 1).Err, errors.KafkaStorageError)
	disk.on.Store(false)
	deadline := time.Now().Add(patience)
	for r := w.produce(ProduceOptions{Acks: 1}, "orders", 1); r.Err != nil; r = w.produce(ProduceOptions{Acks: 1}, "orders", 1) {
		wantCode(t, r.Err, errors.KafkaStorageError)
		if time.Now().After(deadline) {
			t.Fatal("the partition does not come back")
		}
		time.Sleep(time.Millisecond)
	}
	if got := w.fetch(consume(0), from("orders", 0, 0))[0]; got.Err != nil || count(t, got.Records) != 4 {
		t.Errorf("fetched %+v", got)
	}
	cancel()
	running.Wait()
}
