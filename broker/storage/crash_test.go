package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// world is a disk that takes an image of itself before every step that changes
// it, and what a log that is opened on such an image has to have.
type world struct {
	t   *testing.T
	mem *pebblevfs.MemFS
	o   Options
	l   *Log

	batches []batch.View // of the log now, in order
	coming  []batch.View // of an append that has not returned
	before  []batch.View // of the log before a truncation that has not returned
	start   kafka.Offset
	flushed kafka.Offset
	point   kafka.Offset // the recovery point of the checkpoint

	images, cuts int
	busy         bool
}

const crashDir = "/data/orders-3"

func newWorld(t *testing.T) *world {
	x := &world{t: t, mem: pebblevfs.NewCrashableMem()}
	if err := x.mem.MkdirAll(crashDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/", "/data", crashDir} {
		if err := vfs.SyncDir(x.mem, dir); err != nil {
			t.Fatal(err)
		}
	}
	watched := errorfs.Wrap(x.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && !x.busy {
			x.crash(op)
		}
		return nil
	}))
	x.o = Options{
		Partition: kafka.TopicPartition{Topic: "orders", Partition: 3}, Dir: crashDir,
		Files: NewFiles(watched, 4), Config: defaultConfig(), ProducerExpirationMs: 86_400_000, NowMs: testNow,
		LowerRecoveryPoint: func(_ *Log, to kafka.Offset) error { x.point = to; return nil },
	}
	x.o.Config.SegmentBytes = 20_000
	x.o.Config.IndexIntervalBytes = 1000
	return x
}

// crash opens the images of this moment: a power loss that keeps nothing, some
// or all of what was not fsynced, with the recovery point of now and with none.
func (x *world) crash(op errorfs.Op) {
	x.busy = true
	defer func() { x.busy = false }()
	for _, percent := range []int{0, 30, 70, 100} {
		for _, point := range []kafka.Offset{x.point, 0} {
			x.images++
			name := fmt.Sprintf("image %d before %v of %s, %d%%, recovery point %d", x.images, op.Kind, op.Path, percent, point)
			rng := rand.New(rand.NewPCG(uint64(x.images), 1))
			image := x.mem.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			x.check(name, image, point, percent == 100)
		}
	}
}

// check opens an image: every batch that was flushed is there, of the others a
// prefix; all that were appended where only the process died.
func (x *world) check(name string, image *pebblevfs.MemFS, point kafka.Offset, processOnly bool) {
	t := x.t
	o := x.o
	o.Files, o.RecoveryPoint, o.LogStart = NewFiles(image, 4), point, x.start
	o.LowerRecoveryPoint = nil
	l, err := Open(o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var data []byte
	if l.LogEnd() > l.LogStart() {
		data = readAll(t, l, 8000)
	}
	end := x.prefix(name, data, l)
	if end < x.flushed || (processOnly && x.before == nil && end < x.end()) {
		t.Fatalf("%s: the log ends at %d, flushed to %d of %d", name, end, x.flushed, x.end())
	}
	if end < x.end() {
		x.cuts++
	}
	again := appendN(t, l, 2, 3, 500, 9)
	if err := l.Close(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	o.Clean, o.RecoveryPoint = true, 0
	o.Files = NewFiles(image, 4)
	if l, err = Open(o); err != nil {
		t.Fatalf("%s: opened again: %v", name, err)
	}
	if got := readAll(t, l, 8000); !bytes.Equal(got, append(data, again...)) {
		t.Fatalf("%s: %d bytes after the next stop, want %d", name, len(got), len(data)+len(again))
	}
	if err := l.Close(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func (x *world) end() kafka.Offset {
	if n := len(x.batches); n > 0 {
		return x.batches[n-1].EndOffset()
	}
	return 0
}

// prefix wants the recovered bytes to be the begin of one of the histories that
// may be on the disk.
func (x *world) prefix(name string, data []byte, l *Log) kafka.Offset {
	histories := [][]batch.View{append(x.batches[:len(x.batches):len(x.batches)], x.coming...), x.before}
	for _, h := range histories {
		var all []byte
		for _, v := range h {
			if v.LastOffset() >= l.LogStart() {
				all = append(all, v...)
			}
		}
		if bytes.HasPrefix(all, data) {
			return l.LogEnd()
		}
	}
	x.t.Fatalf("%s: what was recovered from %d to %d is no prefix of the log to %d", name, l.LogStart(), l.LogEnd(), x.end())
	return 0
}

func (x *world) open(clean bool) {
	x.o.Clean, x.o.RecoveryPoint, x.o.LogStart = clean, x.point, x.start
	l, err := Open(x.o)
	if err != nil {
		x.t.Fatal(err)
	}
	x.l = l
	l.SetHighWatermark(l.LogEnd())
}

func views(data []byte) (all []batch.View) {
	for v, err := range batch.All(bytes.Clone(data)) {
		if err != nil {
			panic(err)
		}
		all = append(all, v)
	}
	return all
}

func (x *world) append(data []byte, origin producer.Origin) {
	restamped := views(data)
	next := x.l.LogEnd()
	for _, v := range restamped {
		batch.Restamp(v, next, 4)
		next = v.EndOffset()
	}
	x.coming = restamped
	if _, err := x.l.AppendLeader(data, 4, AppendOptions{Origin: origin, NowMs: testNow}); err != nil {
		x.t.Fatal(err)
	}
	x.batches, x.coming = append(x.batches, restamped...), nil
	x.l.SetHighWatermark(next)
}

func (x *world) produce(id kafka.ProducerID, sequence int32, transactional bool, size int) {
	b := batch.NewBuilder(batch.Compression{})
	b.SetProducer(id, 0, sequence, transactional)
	b.Add(testNow+int64(sequence), []byte("key"), bytes.Repeat([]byte{byte(sequence)}, size))
	x.append(b.AppendTo(nil, 0, 0), producer.Client)
}

func (x *world) flush() {
	end := x.l.LogEnd()
	if err := x.l.Flush(); err != nil {
		x.t.Fatal(err)
	}
	x.flushed, x.point = end, end
}

func (x *world) truncate(to kafka.Offset) {
	x.before = x.batches
	for i, v := range x.batches {
		if v.LastOffset() >= to {
			x.batches = x.batches[:i:i]
			break
		}
	}
	x.flushed = min(x.flushed, to)
	if err := x.l.TruncateTo(to); err != nil {
		x.t.Fatal(err)
	}
	x.before = nil
}

// TestCrashImages runs a log through its life and opens it on every image that a
// crash could leave.
func TestCrashImages(t *testing.T) {
	x := newWorld(t)
	x.open(false)
	for i := range int32(6) {
		x.produce(7, i, false, 1500)
	}
	x.flush()
	x.produce(8, 0, true, 3000)
	x.append(batch.AppendEndTxn(nil, 0, 0, testNow, batch.EndTxn{ProducerID: 8}), producer.Coordinator)
	for i := range int32(12) { // rolls, twice
		x.produce(9, i, false, 3500)
	}
	x.flush()
	for i := range int32(8) {
		x.produce(10, i, false, 4000)
	}
	x.truncate(24)
	for i := range int32(3) {
		x.produce(11, i, false, 4000)
	}
	x.truncate(9)
	x.produce(12, 0, false, 9000)
	x.flush()
	if err := x.l.Close(); err != nil {
		t.Fatal(err)
	}
	x.open(true)
	x.produce(12, 1, false, 9000)
	x.open(false) // killed
	x.produce(12, 2, false, 100)
	if x.images < 400 || x.cuts < 20 {
		t.Fatalf("only %d images, of which %d lost something", x.images, x.cuts)
	}
	t.Logf("%d images, of which %d lost something that was not flushed", x.images, x.cuts)
}
