package replica

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"kvorum/broker/storage"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

const (
	self  = kafka.BrokerID(1)
	other = kafka.BrokerID(2)
	third = kafka.BrokerID(3)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openFiles is how many files of logs a world may have open.
const openFiles = 64

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// world is a broker's replicas in memory, with a metadata log that the test
// writes.
type world struct {
	t     testing.TB
	fs    vfs.FS
	dirs  *storage.Dirs
	ps    *Partitions
	image *image.Image
	// more are log directories beside /logs.
	more []storage.Directory

	requests chan kmsg.Request
	answers  chan kmsg.Response
}

func newWorld(t testing.TB) *world { return newWideWorld(t) }

// newWideWorld has more log directories than one.
func newWideWorld(t testing.TB, more ...storage.Directory) *world {
	w := &world{t: t, more: more, fs: vfs.NewMem(), image: image.Empty(), requests: make(chan kmsg.Request), answers: make(chan kmsg.Response)}
	w.start(nil)
	t.Cleanup(func() {
		if err := w.dirs.Close(epochOf(self)); err != nil {
			t.Error(err)
		}
	})
	w.publish(
		&record.FeatureLevelRecord{Name: image.FeatureMetadataVersion, FeatureLevel: int16(image.MV40IV1)},
		broker(self, false), broker(other, false), broker(third, false))
	return w
}

var directory = kafka.DirectoryID{7}

// start begins with the logs that are on disk and has seen no image.
func (w *world) start(static map[string]string) {
	w.t.Helper()
	directories := append([]storage.Directory{{Path: "/logs", ID: directory}}, w.more...)
	for _, d := range directories {
		if err := w.fs.MkdirAll(d.Path, 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	c := Config{Self: self, Static: static, Clock: clock.System, Log: slog.New(slog.DiscardHandler), LagMax: 30 * time.Second, Controller: w,
		BrokerEpoch: func() kafka.BrokerEpoch { return epochOf(self) }}
	var err error
	c.FS = w.fs
	c.Dirs, err = storage.OpenDirs(storage.DirsOptions{
		FS: w.fs, Directories: directories, OpenFiles: openFiles,
		Config:          func(topic string) storage.LogConfig { return w.ps.TopicConfig(topic) },
		RecoveryThreads: 2, ProducerExpirationMs: 86_400_000, Times: storage.DefaultDirsTimes,
		Clock: clock.System, Random: rand.Reader, Reopened: func(l *storage.Log) { w.ps.Reopened(l) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.dirs, w.ps = c.Dirs, New(c)
}

// restart stops in order, begins anew, and publishes the image.
func (w *world) restart(next *image.Image) {
	w.t.Helper()
	if err := w.dirs.Close(epochOf(self)); err != nil {
		w.t.Fatal(err)
	}
	w.start(nil)
	w.image = next
	w.ps.Publish(image.Diff(image.Empty(), next), next)
}

// Do is the active controller: it does what the test has prepared.
func (w *world) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	select {
	case w.requests <- req:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case resp := <-w.answers:
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// publish writes records to the metadata log and publishes the image.
func (w *world) publish(records ...record.Record) {
	w.t.Helper()
	d := image.NewDelta(w.image)
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			w.t.Fatal(err)
		}
	}
	next := d.Apply(image.Position{Offset: w.image.At().Offset + kafka.Offset(len(records))})
	w.ps.Publish(d.Changes(next), next)
	w.image = next
}

func broker(id kafka.BrokerID, fenced bool) record.Record {
	return &record.RegisterBrokerRecord{BrokerID: id, BrokerEpoch: epochOf(id), IncarnationID: kafka.UUID{byte(id)}, Fenced: fenced}
}

func epochOf(id kafka.BrokerID) kafka.BrokerEpoch { return kafka.BrokerEpoch(10 + id) }

func topicID(name string) kafka.TopicID {
	id := kafka.TopicID{15: 200}
	copy(id[:15], name)
	return id
}

func topic(name string) record.Record {
	return &record.TopicRecord{Name: name, TopicID: topicID(name)}
}

// partition is led by its first replica; the controllers know in which directory
// each is.
func partition(name string, p int, replicas ...kafka.BrokerID) *record.PartitionRecord {
	r := &record.PartitionRecord{TopicID: topicID(name), PartitionID: kafka.PartitionID(p),
		Replicas: replicas, ISR: slices.Clone(replicas), Leader: replicas[0]}
	for _, id := range replicas {
		where := kafka.DirectoryID{0: 8, 1: byte(id)}
		if id == self {
			where = directory
		}
		r.Directories = append(r.Directories, where)
	}
	return r
}

// alone makes a topic of n partitions whose only replica is here.
func (w *world) alone(name string, n int) {
	records := []record.Record{topic(name)}
	for p := range n {
		records = append(records, partition(name, p, self))
	}
	w.publish(records...)
}

func elect(name string, p int, leader kafka.BrokerID) record.Record {
	return &record.PartitionChangeRecord{TopicID: topicID(name), PartitionID: kafka.PartitionID(p), Leader: leader, LeaderRecoveryState: -1}
}

func isr(name string, p int, members ...kafka.BrokerID) record.Record {
	return &record.PartitionChangeRecord{TopicID: topicID(name), PartitionID: kafka.PartitionID(p), Leader: -2, LeaderRecoveryState: -1, ISR: members}
}

func setting1(name, key, value string) record.Record {
	return &record.ConfigRecord{ResourceType: int8(image.ResourceTopic), ResourceName: name, Name: key, Value: &value}
}

func tp(name string, p int) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: name, Partition: kafka.PartitionID(p)}
}

// someRecords is one batch of n records.
func someRecords(n int) []byte {
	b := batch.NewBuilder(batch.Compression{})
	for range n {
		b.Add(1000, []byte("key"), []byte("value"))
	}
	return b.AppendTo(nil, 0, 0)
}

func (w *world) produce(o ProduceOptions, name string, n int) ProduceResult {
	w.t.Helper()
	o.NowMs = time.Now().UnixMilli()
	return w.ps.Produce(context.Background(), o, []ProducePartition{{TopicPartition: tp(name, 0), Records: someRecords(n)}}, nil)[0]
}

// mustProduce appends n records with acks 1 and returns their first offset.
func (w *world) mustProduce(name string, n int) kafka.Offset {
	w.t.Helper()
	r := w.produce(ProduceOptions{Acks: 1}, name, n)
	if r.Err != nil {
		w.t.Fatal(r.Err)
	}
	return r.First
}

func consume(maxWait time.Duration) FetchOptions {
	return FetchOptions{Replica: Consumer, BrokerEpoch: kafka.NoBrokerEpoch, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: maxWait}
}

func from(name string, p int, offset kafka.Offset) FetchPartition {
	return FetchPartition{TopicPartition: tp(name, p), Offset: offset, LogStart: kafka.NoOffset, MaxBytes: 1 << 20, LeaderEpoch: kafka.NoEpoch, LastEpoch: kafka.NoEpoch}
}

func (w *world) fetch(o FetchOptions, in ...FetchPartition) []FetchResult {
	w.t.Helper()
	return w.ps.Fetch(context.Background(), o, in, nil)
}

// follow fetches as a replica.
func (w *world) follow(id kafka.BrokerID, in FetchPartition) FetchResult {
	w.t.Helper()
	o := consume(0)
	o.Replica, o.BrokerEpoch = id, epochOf(id)
	return w.fetch(o, in)[0]
}

func count(t testing.TB, s storage.Slice) (n int) {
	t.Helper()
	defer s.Release()
	data, err := s.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	for v, err := range batch.All(data) {
		if err != nil {
			t.Fatal(err)
		}
		n += int(v.Count())
	}
	return n
}

func wantCode(t testing.TB, err error, want errors.Code) {
	t.Helper()
	if got := errors.CodeOf(err); got != want {
		t.Fatalf("got %v (%v), want %v", got, err, want)
	}
}
