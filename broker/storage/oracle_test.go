package storage

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// oracle is a log that is a slice of batches: what Log has to do, done the
// simplest way.
type oracle struct {
	batches    []batch.View
	start, end kafka.Offset
	high       kafka.Offset
	flushed    kafka.Offset
}

func (m *oracle) add(data []byte) {
	for v, err := range batch.All(bytes.Clone(data)) {
		if err != nil {
			panic(err)
		}
		m.batches = append(m.batches, v)
		m.end = v.EndOffset()
	}
}

// from returns the batches that hold an offset or come after it.
func (m *oracle) from(at kafka.Offset) []batch.View {
	for i, v := range m.batches {
		if v.LastOffset() >= at {
			return m.batches[i:]
		}
	}
	return nil
}

// truncate drops what ends after an offset; the log says where between the last
// batch that stays and the offset it ends.
func (m *oracle) truncate(to, end kafka.Offset) {
	least := kafka.Offset(0)
	for i, v := range m.batches {
		if v.LastOffset() >= to {
			m.batches = m.batches[:i:i]
			break
		}
		least = v.EndOffset()
	}
	if end < least || end > to {
		panic(fmt.Sprintf("truncated to %d: the end is %d, not in %d to %d", to, end, least, to))
	}
	m.end = end
	m.start, m.high, m.flushed = min(m.start, m.end), min(m.high, m.end), min(m.flushed, m.end)
}

// find is the first record from the start on with a timestamp of at least ms.
func (m *oracle) find(ms int64) (kafka.Offset, int64) {
	for _, v := range m.batches {
		it := v.Records()
		for it.Next() {
			if t := v.BaseTimestamp() + it.Record().TimestampDelta; t >= ms && it.Offset() >= m.start {
				return it.Offset(), t
			}
		}
	}
	return kafka.NoOffset, -1
}

// machine drives a log and its oracle by the same random steps.
type machine struct {
	t *rapid.T
	o Options
	l *Log
	m oracle

	nowMs     int64
	sequences map[kafka.ProducerID]int32
	last      []byte // the last idempotent append, as it was sent
	lastFirst kafka.Offset
}

func (x *machine) open(clean bool) {
	x.o.Clean, x.o.NowMs = clean, x.nowMs
	x.o.LogStart, x.o.RecoveryPoint = x.m.start, x.m.flushed
	x.o.Files = NewFiles(x.o.Files.fs, 3)
	l, err := Open(x.o)
	if err != nil {
		x.t.Fatal(err)
	}
	x.l = l
	l.SetHighWatermark(x.m.high)
}

func (x *machine) batch(id kafka.ProducerID) []byte {
	b := batch.NewBuilder(batch.Compression{})
	n := rapid.IntRange(1, 6).Draw(x.t, "records")
	if id >= 0 {
		b.SetProducer(id, 0, x.sequences[id], false)
	}
	for range n {
		x.nowMs += int64(rapid.IntRange(-3, 10).Draw(x.t, "ms"))
		b.Add(x.nowMs, []byte("k"), make([]byte, rapid.IntRange(0, 300).Draw(x.t, "bytes")))
	}
	return b.AppendTo(nil, 0, 0)
}

// epoch is the least that the next records may have: epochs never go back, also
// where the log has forgotten that of its last records, as a truncation at the end
// of a log makes it when all of them are deleted.
func (x *machine) epoch() kafka.LeaderEpoch {
	epoch := max(x.l.LatestEpoch(), 0)
	for _, v := range x.m.batches {
		epoch = max(epoch, v.Epoch())
	}
	return epoch
}

func (x *machine) Append(t *rapid.T) {
	id := kafka.ProducerID(rapid.IntRange(-1, 3).Draw(t, "producer"))
	data := x.batch(id)
	sent := bytes.Clone(data)
	epoch := x.epoch() + kafka.LeaderEpoch(rapid.IntRange(0, 1).Draw(t, "epoch"))
	a, err := x.l.AppendLeader(data, epoch, AppendOptions{NowMs: x.nowMs})
	if err != nil || a.First != x.m.end {
		t.Fatalf("append at %d: %+v, %v", x.m.end, a, err)
	}
	x.m.add(data)
	if id >= 0 {
		x.sequences[id] += int32(a.Last-a.First) + 1
		x.last, x.lastFirst = sent, a.First
	}
	if x.m.end != a.Last+1 {
		t.Fatalf("appended to %d, want %d", a.Last, x.m.end-1)
	}
}

func (x *machine) AppendAgain(t *rapid.T) {
	if x.last == nil {
		t.Skip()
	}
	a, err := x.l.AppendLeader(bytes.Clone(x.last), x.epoch(), AppendOptions{NowMs: x.nowMs})
	if err != nil || !a.Duplicate || a.First != x.lastFirst {
		t.Fatalf("the batch at %d again: %+v, %v", x.lastFirst, a, err)
	}
}

func (x *machine) Follow(t *rapid.T) {
	data := x.batch(-1)
	v, _, _ := batch.Next(data)
	gap := kafka.Offset(0)
	if x.o.Config.Compact { // only compaction leaves gaps
		gap = kafka.Offset(rapid.IntRange(0, 20).Draw(t, "gap"))
	}
	batch.Restamp(v, x.m.end+gap, x.epoch())
	if _, err := x.l.AppendFollower(data, x.nowMs); err != nil {
		t.Fatal(err)
	}
	x.m.add(data)
}

func (x *machine) Read(t *rapid.T) {
	from := kafka.Offset(rapid.Int64Range(int64(x.m.start)-2, int64(x.m.end)+2).Draw(t, "from"))
	upTo := kafka.Offset(rapid.Int64Range(int64(x.m.start), int64(x.m.end)).Draw(t, "upTo"))
	maxBytes := rapid.IntRange(0, 3000).Draw(t, "maxBytes")
	minOne := rapid.Bool().Draw(t, "minOne")
	s, err := x.l.Read(from, maxBytes, upTo, minOne)
	defer s.Release()
	if from < x.m.start || from > x.m.end {
		if errors.CodeOf(err) != errors.OffsetOutOfRange {
			t.Fatalf("read at %d of %d to %d: %v", from, x.m.start, x.m.end, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	x.compare(got, x.m.from(from), from, upTo, maxBytes, minOne)
}

// compare wants got to be a run of the batches expected, within its bounds, and
// not empty without a reason.
func (x *machine) compare(got []byte, expected []batch.View, from, upTo kafka.Offset, maxBytes int, minOne bool) {
	first := len(expected) > 0 && expected[0].BaseOffset() < upTo && from < upTo && (minOne || expected[0].Size() <= maxBytes)
	if first != (len(got) > 0) {
		x.t.Fatalf("read %d bytes at %d up to %d", len(got), from, upTo)
	}
	if len(got) > maxBytes && (!minOne || len(got) != expected[0].Size()) {
		x.t.Fatalf("read %d bytes, the bound was %d", len(got), maxBytes)
	}
	for i := 0; len(got) > 0; i++ {
		if i == len(expected) || !bytes.HasPrefix(got, expected[i]) || expected[i].BaseOffset() >= upTo {
			x.t.Fatalf("read from %d up to %d: batch %d is another", from, upTo, i)
		}
		got = got[len(expected[i]):]
	}
}

func (x *machine) Truncate(t *rapid.T) {
	to := kafka.Offset(rapid.Int64Range(int64(x.m.start), int64(x.m.end)+1).Draw(t, "to"))
	if err := x.l.TruncateTo(to); err != nil {
		t.Fatal(err, x.l.Err())
	}
	if to >= x.m.end {
		return
	}
	x.last = nil
	x.m.truncate(to, x.l.LogEnd())
	x.sequences = x.stillKnown()
}

// known reads the producers' next sequence numbers from the batches.
func (x *machine) known() map[kafka.ProducerID]int32 {
	known := map[kafka.ProducerID]int32{}
	for _, v := range x.m.batches {
		if v.ProducerID() >= 0 {
			known[v.ProducerID()] = v.BaseSequence() + v.Count()
		}
	}
	return known
}

func (x *machine) StartAnew(t *rapid.T) {
	at := x.m.end + kafka.Offset(rapid.IntRange(0, 50).Draw(t, "ahead"))
	if err := x.l.TruncateFullyAndStartAt(at); err != nil {
		t.Fatal(err)
	}
	x.m = oracle{start: at, end: at, high: at, flushed: min(x.m.flushed, at)}
	x.sequences, x.last = map[kafka.ProducerID]int32{}, nil
}

func (x *machine) Roll(t *rapid.T) {
	if err := x.l.Roll(x.nowMs); err != nil {
		t.Fatal(err)
	}
}

func (x *machine) Flush(t *rapid.T) {
	if err := x.l.Flush(); err != nil {
		t.Fatal(err)
	}
	x.m.flushed = x.m.end
}

func (x *machine) HighWatermark(t *rapid.T) {
	hw := kafka.Offset(rapid.Int64Range(int64(x.m.high), int64(x.m.end)).Draw(t, "hw"))
	x.m.high = x.l.SetHighWatermark(hw)
	if x.m.high != hw {
		t.Fatalf("high watermark %d, set %d", x.m.high, hw)
	}
}

func (x *machine) DeleteRecords(t *rapid.T) {
	to := kafka.Offset(rapid.Int64Range(0, int64(x.m.high)).Draw(t, "to"))
	start, err := x.l.DeleteRecordsTo(to)
	x.m.start = max(x.m.start, to)
	if err != nil || start != x.m.start {
		t.Fatalf("start %d, want %d: %v", start, x.m.start, err)
	}
}

func (x *machine) RemoveSegments(t *rapid.T) {
	if err := removeOld(x.l); err != nil {
		t.Fatal(err)
	}
	first := (*x.l.segments.Load())[0].base
	for len(x.m.batches) > 0 && x.m.batches[0].LastOffset() < first {
		x.m.batches = x.m.batches[1:]
	}
	x.sequences = x.stillKnown()
}

// stillKnown asks the log which producers it remembers, at least those that have
// batches. Removing segments forgets none, and a recovery begins with what is
// left.
func (x *machine) stillKnown() map[kafka.ProducerID]int32 {
	still := map[kafka.ProducerID]int32{}
	for _, e := range x.l.Producers() {
		still[e.ID] = producer.Increment(e.LastSequence(), 1)
	}
	for id, next := range x.known() {
		if still[id] != next {
			x.t.Fatalf("producer %d has sequence %d next, want %d", id, still[id], next)
		}
	}
	return still
}

func (x *machine) Find(t *rapid.T) {
	ms := x.nowMs - int64(rapid.IntRange(-5, 300).Draw(t, "ago"))
	at, timestamp := x.m.find(ms)
	got, err := x.l.OffsetForTimestamp(ms)
	if err != nil || got.Offset != at || got.TimestampMs != timestamp {
		t.Fatalf("timestamp %d: %+v, %v; want offset %d, timestamp %d", ms, got, err, at, timestamp)
	}
}

func (x *machine) CloseAndOpen(t *rapid.T) {
	if err := x.l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := x.l.files.Open(); n != 0 {
		t.Fatalf("%d files are open after Close", n)
	}
	x.m.flushed = x.m.end
	x.open(true)
	x.sequences = x.stillKnown()
}

// Kill is a process that dies: what was written is there.
func (x *machine) Kill(*rapid.T) {
	x.open(false)
	x.sequences = x.stillKnown()
	if x.last != nil {
		if _, ok := x.sequences[producerOf(x.last)]; !ok {
			x.last = nil // its batch was in a segment that is gone
		}
	}
}

func producerOf(data []byte) kafka.ProducerID {
	v, _, _ := batch.Next(data)
	return v.ProducerID()
}

// Check runs after every step.
func (x *machine) Check(t *rapid.T) {
	l := x.l
	if l.LogStart() != x.m.start || l.LogEnd() != x.m.end || l.HighWatermark() != x.m.high {
		t.Fatalf("start %d end %d high %d, want %d %d %d", l.LogStart(), l.LogEnd(), l.HighWatermark(), x.m.start, x.m.end, x.m.high)
	}
	var size int64
	for _, v := range x.m.batches {
		size += int64(v.Size())
		if at := max(v.BaseOffset(), x.m.start); at <= v.LastOffset() && l.EpochAt(at) != v.Epoch() {
			t.Fatalf("offset %d is of epoch %d, want %d", at, l.EpochAt(at), v.Epoch())
		}
	}
	if l.Size() != size {
		t.Fatalf("%d bytes, want %d", l.Size(), size)
	}
}

func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := pebblevfs.NewMem()
		runMachine(t, fsys, "/orders-3")
	})
}

func TestAgainstOracleOnDisk(t *testing.T) {
	dir, run := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		runMachine(t, vfs.Default, fmt.Sprintf("%s/%d", dir, run))
	})
}

func runMachine(t *rapid.T, fsys vfs.FS, dir string) {
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Partition: kafka.TopicPartition{Topic: "orders", Partition: 3}, Dir: dir, Files: NewFiles(fsys, 3),
		Config: defaultConfig(), ProducerExpirationMs: 86_400_000, NowMs: testNow,
	}
	o.Config.SegmentBytes = int64(rapid.IntRange(2500, 10_000).Draw(t, "segment.bytes"))
	o.Config.Compact = rapid.Bool().Draw(t, "compact")
	o.Config.IndexIntervalBytes = int64(rapid.IntRange(0, 1000).Draw(t, "index.interval.bytes"))
	x := &machine{t: t, o: o, nowMs: testNow, sequences: map[kafka.ProducerID]int32{}}
	x.open(false)
	t.Repeat(rapid.StateMachineActions(x))
	if err := x.l.Close(); err != nil {
		t.Fatal(err)
	}
}
