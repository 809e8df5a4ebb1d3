package metadatalog

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// oracle is the naive second implementation: every batch in a slice, and every
// question answered by looking at all of them.
type oracle struct {
	batches    []batch.View
	start      kafka.Offset
	startEpoch kafka.LeaderEpoch
	applied    uint64
	private    map[string][]byte
}

func newOracle() *oracle { return &oracle{startEpoch: kafka.NoEpoch, private: map[string][]byte{}} }

func (o *oracle) end() kafka.Offset {
	if n := len(o.batches); n > 0 {
		return o.batches[n-1].EndOffset()
	}
	return o.start
}

func (o *oracle) lastEpoch() kafka.LeaderEpoch {
	if n := len(o.batches); n > 0 {
		return o.batches[n-1].Epoch()
	}
	return max(o.startEpoch, 0)
}

func (o *oracle) set(applied uint64, private map[string][]byte) {
	if applied != 0 {
		o.applied = applied
	}
	for k, v := range private {
		if v == nil {
			delete(o.private, k)
		} else {
			o.private[k] = v
		}
	}
}

// epochEnd walks the epochs of all records, with the snapshot before the start
// standing for the records that are gone.
func (o *oracle) epochEnd(e kafka.LeaderEpoch) kafka.EpochOffset {
	if e > o.lastEpoch() {
		e = o.lastEpoch()
	}
	if len(o.batches) == 0 || (e < o.batches[0].Epoch()) {
		if o.start == 0 && len(o.batches) > 0 {
			return kafka.EpochOffset{Offset: 0, Epoch: e}
		}
		return kafka.EpochOffset{Offset: o.start, Epoch: max(o.startEpoch, 0)}
	}
	var at kafka.EpochOffset
	for _, b := range o.batches {
		if b.Epoch() <= e {
			at = kafka.EpochOffset{Offset: b.EndOffset(), Epoch: b.Epoch()}
		}
	}
	return at
}

func (o *oracle) read(from kafka.Offset) []byte {
	var out []byte
	for _, b := range o.batches {
		if b.LastOffset() >= from {
			out = append(out, b...)
		}
	}
	return out
}

func (o *oracle) truncate(end kafka.Offset) {
	o.batches = slices.DeleteFunc(o.batches, func(b batch.View) bool { return b.LastOffset() >= end })
}

func (o *oracle) trim(start kafka.Offset) {
	for _, b := range o.batches {
		if b.LastOffset() < start {
			o.startEpoch = b.Epoch()
		}
	}
	o.batches = slices.DeleteFunc(o.batches, func(b batch.View) bool { return b.LastOffset() < start })
	o.start = start
}

func (o *oracle) reset(at kafka.EpochOffset) {
	o.batches, o.start, o.startEpoch = nil, at.Offset, at.Epoch
	if at.Offset == 0 {
		o.startEpoch = kafka.NoEpoch
	}
}

// boundary draws a batch's first offset, or the end.
func (o *oracle) boundary(t *rapid.T) kafka.Offset {
	i := rapid.IntRange(0, len(o.batches)).Draw(t, "boundary")
	if i == len(o.batches) {
		return o.end()
	}
	return o.batches[i].BaseOffset()
}

// world runs the same steps on a store and on the oracle.
type world struct {
	fs      vfs.FS
	options Options
	store   *Store
	oracle  *oracle
}

func (w *world) draw(t *rapid.T) Append {
	a := Append{Sync: rapid.Bool().Draw(t, "sync")}
	epoch, end := w.oracle.lastEpoch(), w.oracle.end()
	for range rapid.IntRange(0, 4).Draw(t, "batches") {
		epoch += kafka.LeaderEpoch(max(0, rapid.IntRange(-4, 2).Draw(t, "epochs up")))
		b := someBatch(end, epoch, rapid.IntRange(1, 5).Draw(t, "records"))
		a.Batches = append(a.Batches, b...)
		end = batch.View(b).EndOffset()
	}
	if rapid.Bool().Draw(t, "applied") {
		a.AppliedIndex = w.oracle.applied + uint64(rapid.IntRange(0, 3).Draw(t, "applied by"))
	}
	if rapid.Bool().Draw(t, "private") {
		key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
		a.Private = map[string][]byte{key: rapid.SampledFrom([][]byte{nil, {}, {1}, {2, 3}}).Draw(t, "value")}
	}
	return a
}

func (w *world) step(t *rapid.T) {
	switch rapid.IntRange(0, 11).Draw(t, "step") {
	default:
		a := w.draw(t)
		w.try(t, w.store.Append(a))
		for v := range batch.All(a.Batches) {
			w.oracle.batches = append(w.oracle.batches, v)
		}
		w.oracle.set(a.AppliedIndex, a.Private)
	case 6:
		end := kafka.Offset(rapid.Int64Range(int64(w.oracle.start), int64(w.oracle.end())+2).Draw(t, "truncate"))
		w.try(t, w.store.TruncateTo(end))
		w.oracle.truncate(end)
	case 7:
		start := w.oracle.boundary(t)
		w.try(t, w.store.TrimTo(start))
		w.oracle.trim(start)
	case 8:
		at := kafka.EpochOffset{
			Offset: kafka.Offset(rapid.Int64Range(0, 50).Draw(t, "reset offset")),
			Epoch:  kafka.LeaderEpoch(rapid.Int32Range(0, 5).Draw(t, "reset epoch")),
		}
		a := w.draw(t)
		w.try(t, w.store.Reset(at, a.AppliedIndex, a.Private))
		w.oracle.reset(at)
		w.oracle.set(a.AppliedIndex, a.Private)
	case 9:
		w.restore(t)
	case 10:
		w.reopen(t)
	}
}

func (w *world) try(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) reopen(t *rapid.T) {
	w.try(t, w.store.Close())
	s, err := Open("/store", w.options)
	w.try(t, err)
	w.store = s
}

// restore moves everything through a stream, over whatever came after.
func (w *world) restore(t *rapid.T) {
	v, err := w.store.View()
	w.try(t, err)
	w.try(t, w.store.Append(Append{Batches: someBatch(w.oracle.end(), w.oracle.lastEpoch()+1, 2), Private: map[string][]byte{"c": {9}}}))
	var stream bytes.Buffer
	w.try(t, v.Export(&stream))
	w.try(t, v.Close())
	w.try(t, w.store.Restore(&stream))
}

func (w *world) check(t *rapid.T) {
	s, o := w.store, w.oracle
	if s.LogStart() != o.start || s.EndOffset() != o.end() || s.LastEpoch() != o.lastEpoch() || s.AppliedIndex() != o.applied {
		t.Fatalf("store: %d to %d, epoch %d, applied %d; oracle: %d to %d, epoch %d, applied %d",
			s.LogStart(), s.EndOffset(), s.LastEpoch(), s.AppliedIndex(), o.start, o.end(), o.lastEpoch(), o.applied)
	}
	if got, want := s.LogBytes(), int64(len(o.read(0))); got != want {
		t.Fatalf("log of %d bytes, oracle %d", got, want)
	}
	if !maps.EqualFunc(s.engine.state.private, o.private, bytes.Equal) {
		t.Fatalf("private values %v, oracle %v", s.engine.state.private, o.private)
	}
	for e := kafka.LeaderEpoch(0); e <= o.lastEpoch()+1; e++ {
		if got, want := s.EpochEnd(e), o.epochEnd(e); got != want {
			t.Fatalf("end of epoch %d: %+v, oracle %+v (epochs %v)", e, got, want, s.Epochs())
		}
	}
	if err := s.engine.state.validate(); err != nil {
		t.Fatal(err)
	}
	from := kafka.Offset(rapid.Int64Range(int64(o.start), int64(o.end())).Draw(t, "read from"))
	maxBytes := rapid.IntRange(0, 1000).Draw(t, "read bytes")
	w.checkRead(t, from, maxBytes)
}

func (w *world) checkRead(t *rapid.T, from kafka.Offset, maxBytes int) {
	want := w.oracle.read(from)
	var all []byte
	for at := from; at < w.oracle.end(); {
		b, err := w.store.Read(at, maxBytes)
		w.try(t, err)
		first, rest, err := batch.Next(b)
		w.try(t, err)
		if len(rest) > 0 && len(b) > maxBytes {
			t.Fatalf("read gave %d bytes, asked for %d", len(b), maxBytes)
		}
		at = first.EndOffset()
		for v, err := range batch.All(rest) {
			w.try(t, err)
			at = v.EndOffset()
		}
		all = append(all, b...)
	}
	if !bytes.Equal(all, want) {
		t.Fatalf("read from %d gave %d bytes, oracle %d", from, len(all), len(want))
	}
}

func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		w := &world{fs: fs, oracle: newOracle(), options: Options{
			FS: fs, CacheBytes: rapid.SampledFrom([]int{-1, 1, 100 << 10}).Draw(t, "cache")}}
		s, err := Open("/store", w.options)
		w.try(t, err)
		w.store = s
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			w.step(t)
			w.check(t)
		}
		w.reopen(t)
		w.check(t)
		w.try(t, w.store.Close())
	})
}

// TestCrashKeepsPrefix cuts the power after some writes: what is found must be
// the state after one of them, and not before the last one that was synced.
func TestCrashKeepsPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewCrashableMem()
		s, err := Open("/store", Options{FS: mem})
		if err != nil {
			t.Fatal(err)
		}
		var log []byte
		synced, n := uint64(0), rapid.IntRange(1, 40).Draw(t, "writes")
		// With large batches pebble goes on to another write-ahead log, and flushes.
		records := rapid.SampledFrom([]int{1, 3000}).Draw(t, "most records")
		for i := uint64(1); i <= uint64(n); i++ {
			b := someBatch(s.EndOffset(), kafka.LeaderEpoch(i/10), rapid.SampledFrom([]int{1, 2, 3, records}).Draw(t, "records"))
			a := Append{Batches: b, AppliedIndex: i, Private: map[string][]byte{"i": {byte(i)}}, Sync: rapid.IntRange(0, 9).Draw(t, "sync") == 0}
			if err := s.Append(a); err != nil {
				t.Fatal(err)
			}
			log = append(log, b...)
			if a.Sync {
				synced = i
			}
		}
		crashed := mem.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "kept percent"),
			RNG:                 rng(rapid.Uint64().Draw(t, "seed")),
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkPrefix(t, crashed, log, synced)
	})
}

func checkPrefix(t *rapid.T, fs vfs.FS, log []byte, synced uint64) {
	s, err := Open("/store", Options{FS: fs})
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer s.Close()
	applied := s.AppliedIndex()
	if applied < synced {
		t.Fatalf("write %d was synced, found up to %d", synced, applied)
	}
	if i, _ := s.Private("i"); applied > 0 && !bytes.Equal(i, []byte{byte(applied)}) {
		t.Fatalf("private value %x beside applied index %d", i, applied)
	}
	var got []byte
	if s.EndOffset() > 0 {
		if got, err = s.Read(0, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.HasPrefix(log, got) {
		t.Fatal("what is found is no prefix of what was written")
	}
	batches := 0
	for _, err := range batch.All(got) {
		if err != nil {
			t.Fatal(err)
		}
		batches++
	}
	if uint64(batches) != applied {
		t.Fatalf("%d batches beside applied index %d", batches, applied)
	}
}
