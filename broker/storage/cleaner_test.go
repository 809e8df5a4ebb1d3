package storage

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

func TestOffsetMap(t *testing.T) {
	m := newOffsetMap(5000*slotBytes, 0.8)
	want := map[string]kafka.Offset{}
	for i := 0; ; i++ {
		key := fmt.Sprint("key-", i%3000, "-", i/6000)
		if !m.put([]byte(key), kafka.Offset(i)) {
			break
		}
		want[key] = kafka.Offset(i)
	}
	if len(want) != 4000 || len(m.slots) != 5000 || m.count != len(want) {
		t.Errorf("%d keys of %d fit in %d slots", len(want), m.count, len(m.slots))
	}
	for key, at := range want {
		if got := m.get([]byte(key)); got != at {
			t.Fatalf("%s is at %d, want %d", key, got, at)
		}
	}
	if got := m.get([]byte("never")); got != kafka.NoOffset {
		t.Errorf("a key that is not there is at %d", got)
	}
}

// record is a record as the test knows it.
type record struct {
	at       kafka.Offset
	key      string // "" has none
	value    string // "" is a tombstone
	ms       int64
	batch    *int64 // the delete horizon of its batch; below 0 none yet
	aborted  *bool  // of its transaction; nil without one
	producer kafka.ProducerID
}

// compacted is a log with what a naive compaction of a slice would leave of it:
// the oracle.
type compacted struct {
	l       *Log
	records []record
	open    map[kafka.ProducerID]*bool
	seq     map[kafka.ProducerID]int32
	cleaned kafka.Offset
	nowMs   int64
	io      int64 // CleanerOptions.IOMemory
}

func (c *compacted) append(t testing.TB, b *batch.Builder, id kafka.ProducerID, add []record) {
	t.Helper()
	if id >= 0 {
		b.SetProducer(id, 0, c.seq[id], c.open[id] != nil)
		c.seq[id] += int32(len(add))
	}
	for _, r := range add {
		var key, value []byte
		if r.key != "" {
			key = []byte(r.key)
		}
		if r.value != "" {
			value = []byte(r.value)
		}
		b.Add(r.ms, key, value, batch.Header{Key: "h", Value: []byte("v")})
	}
	a, err := c.l.AppendLeader(b.AppendTo(nil, 0, 0), 0, AppendOptions{NowMs: c.nowMs})
	if err != nil || a.Duplicate {
		t.Fatal(a, err)
	}
	horizon := int64(-1)
	for i, r := range add {
		r.at, r.batch, r.producer, r.aborted = a.First+kafka.Offset(i), &horizon, id, c.open[id]
		c.records = append(c.records, r)
	}
	c.l.SetHighWatermark(c.l.LogEnd())
}

func (c *compacted) end(t testing.TB, id kafka.ProducerID, commit bool) {
	t.Helper()
	if c.open[id] == nil {
		return
	}
	*c.open[id] = !commit
	delete(c.open, id)
	marker := batch.AppendEndTxn(nil, 0, 0, c.nowMs, batch.EndTxn{ProducerID: id, ProducerEpoch: 0, Commit: commit})
	if _, err := c.l.AppendLeader(marker, 0, AppendOptions{Origin: producer.Coordinator, NowMs: c.nowMs}); err != nil {
		t.Fatal(err)
	}
	c.l.SetHighWatermark(c.l.LogEnd())
}

// clean compacts the log and the slice.
func (c *compacted) clean(t testing.TB, memory int64) {
	t.Helper()
	r, err := c.l.dirty(c.cleaned, c.nowMs)
	if err != nil {
		t.Fatal(err)
	}
	if r.dirtyBytes == 0 {
		return
	}
	round := &cleaning{l: c.l, nowMs: c.nowMs, r: r, o: CleanerOptions{KeyMemory: memory, IOMemory: c.io}, pace: func(context.Context, int) error { return nil }}
	end, _, err := round.clean(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if end <= r.first || end > r.end {
		t.Fatalf("a round over %+v got to %d", r, end)
	}
	last := map[string]kafka.Offset{}
	for _, x := range c.records {
		if x.at >= r.first && x.at < end && (x.aborted == nil || !*x.aborted) {
			last[x.key] = x.at
		}
	}
	had := map[*int64]int64{}
	for _, x := range c.records {
		had[x.batch] = *x.batch
	}
	var kept []record
	for _, x := range c.records {
		if x.at >= end && x.at >= r.end { // segments that were not touched
			kept = append(kept, x)
			continue
		}
		stays := x.at >= end
		if !stays && x.key != "" && (x.aborted == nil || !*x.aborted) {
			at, ok := last[x.key]
			stays = (!ok || x.at >= at) && (x.value != "" || had[x.batch] < 0 || c.nowMs < had[x.batch])
		}
		stays = stays && (x.aborted == nil || !*x.aborted)
		if !stays {
			continue
		}
		kept = append(kept, x)
		if x.value == "" && *x.batch < 0 {
			*x.batch = c.nowMs + c.l.Config().DeleteRetentionMs
		}
	}
	c.records, c.cleaned = kept, end
}

// stored reads the log's records.
func stored(t testing.TB, l *Log) (records []record, batches []batch.View) {
	t.Helper()
	for v, err := range batch.All(readAll(t, l, 1<<20)) {
		if err == nil {
			err = v.CheckCRC()
		}
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, v)
		if v.Control() {
			continue
		}
		inflated, err := v.AppendInflated(nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		it := v.RecordsIn(inflated)
		largest := int64(-1)
		for it.Next() {
			r := it.Record()
			largest = max(largest, v.BaseTimestamp()+r.TimestampDelta)
			headers := 0
			for range r.Headers() {
				headers++
			}
			if headers != 1 {
				t.Fatalf("the record at offset %d has %d headers", it.Offset(), headers)
			}
			records = append(records, record{at: it.Offset(), key: string(r.Key), value: string(r.Value), ms: v.BaseTimestamp() + r.TimestampDelta, producer: v.ProducerID()})
		}
		if it.Err() != nil || v.Count() > 0 && v.MaxTimestamp() != largest {
			t.Fatalf("the batch at offset %d: largest timestamp %d, its header says %d: %v", v.BaseOffset(), largest, v.MaxTimestamp(), it.Err())
		}
	}
	return records, batches
}

func describe(records []record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%d:%s=%s@%d/%d ", r.at, r.key, r.value, r.ms, r.producer)
	}
	return b.String()
}

func newCompacted(t testing.TB, fsys vfs.FS) *compacted {
	t.Helper()
	o := testOptions(t, fsys, "/log")
	o.Config.Compact, o.Config.Delete = true, false
	o.Config.DeleteRetentionMs, o.Config.IndexIntervalBytes = 1000, 64
	o.ProducerExpirationMs = 1 << 60
	return &compacted{l: mustOpen(t, o), open: map[kafka.ProducerID]*bool{}, seq: map[kafka.ProducerID]int32{}, cleaned: kafka.NoOffset, nowMs: testNow}
}

// TestCompactionAgainstTheOracle: whatever was appended, compacted and reopened,
// the log has the records that a naive compaction of a slice leaves, with their
// offsets, timestamps and producers.
func TestCompactionAgainstTheOracle(t *testing.T) {
	codecs := []batch.Compression{{}, batch.Gzip.Default(), batch.Snappy.Default(), batch.LZ4.Default(), batch.Zstd.Default()}
	rapid.Check(t, func(rt *rapid.T) {
		c := newCompacted(t, pebblevfs.NewMem())
		c.io = rapid.SampledFrom([]int64{0, 1}).Draw(rt, "io memory")
		for range rapid.IntRange(1, 50).Draw(rt, "steps") {
			c.nowMs += rapid.SampledFrom([]int64{0, 1, 100, 500, 1000}).Draw(rt, "pause")
			switch rapid.IntRange(0, 9).Draw(rt, "kind") {
			case 0, 1:
				if err := c.l.Roll(c.nowMs); err != nil {
					rt.Fatal(err)
				}
			case 2:
				c.clean(t, int64(rapid.SampledFrom([]int{20 * slotBytes, 1 << 20}).Draw(rt, "memory")))
			case 3:
				c.end(t, kafka.ProducerID(rapid.IntRange(2, 3).Draw(rt, "who")), rapid.Bool().Draw(rt, "commit"))
			case 4:
				c.reopen(t)
			default:
				id := kafka.ProducerID(rapid.IntRange(-1, 3).Draw(rt, "producer"))
				if id >= 2 && c.open[id] == nil {
					c.open[id] = new(bool)
				}
				c.append(t, batch.NewBuilder(rapid.SampledFrom(codecs).Draw(rt, "codec")), id, drawRecords(rt, c.nowMs))
			}
			got, batches := stored(t, c.l)
			if describe(got) != describe(c.records) {
				rt.Fatalf("the log has\n%s\nand the slice\n%s", describe(got), describe(c.records))
			}
			checkSegments(rt, c.l, batches)
		}
		if err := c.l.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func drawRecords(rt *rapid.T, nowMs int64) []record {
	var add []record
	for range rapid.IntRange(1, 4).Draw(rt, "count") {
		r := record{key: fmt.Sprint("k", rapid.IntRange(0, 5).Draw(rt, "key")), ms: nowMs - int64(rapid.IntRange(0, 50).Draw(rt, "age"))}
		if rapid.IntRange(0, 3).Draw(rt, "tombstone") > 0 {
			r.value = fmt.Sprint("v", rapid.IntRange(0, 1000).Draw(rt, "value"))
		}
		add = append(add, r)
	}
	return add
}

// reopen closes the log in order and opens it.
func (c *compacted) reopen(t testing.TB) {
	t.Helper()
	hw, o := c.l.HighWatermark(), c.l.options
	o.Config, o.Clean = c.l.Config(), true
	if err := c.l.Close(); err != nil {
		t.Fatal(err)
	}
	c.l = mustOpen(t, o)
	c.l.SetHighWatermark(hw)
}

// checkSegments: bases and batches ascend, every offset is found by the index, and
// the last batch of every producer is there.
func checkSegments(t *rapid.T, l *Log, batches []batch.View) {
	at := kafka.Offset(-1)
	last := map[kafka.ProducerID]kafka.Offset{}
	for _, v := range batches {
		if v.BaseOffset() <= at {
			t.Fatalf("the batch at offset %d comes after offset %d", v.BaseOffset(), at)
		}
		at = v.LastOffset()
		if v.ProducerID() >= 0 && !v.Control() {
			last[v.ProducerID()] = v.LastOffset()
		}
		s, err := l.Read(v.LastOffset(), 1, l.LogEnd(), true)
		if err != nil || s.Base != v.BaseOffset() {
			t.Fatalf("offset %d is found in the batch at %d, want %d: %v", v.LastOffset(), s.Base, v.BaseOffset(), err)
		}
		s.Release()
	}
	for _, e := range l.Producers() {
		if b, ok := e.Last(); ok && last[e.ID] != b.LastOffset {
			t.Fatalf("the last batch of producer %d at offset %d is gone; there is %d", e.ID, b.LastOffset, last[e.ID])
		}
	}
}

// TestMarkersGo: the marker of a transaction whose records are gone stays for
// delete.retention.ms.
func TestMarkersGo(t *testing.T) {
	c := newCompacted(t, pebblevfs.NewMem())
	write := func(id kafka.ProducerID, key string) {
		if id >= 0 {
			c.open[id] = new(bool)
		}
		c.append(t, batch.NewBuilder(batch.Compression{}), id, []record{{key: key, value: "v", ms: c.nowMs}})
	}
	write(5, "a")
	c.end(t, 5, false)
	write(6, "a")
	c.end(t, 6, true)
	write(-1, "a")
	if err := c.l.Roll(c.nowMs); err != nil {
		t.Fatal(err)
	}
	markers := func() int {
		n := 0
		_, batches := stored(t, c.l)
		for _, v := range batches {
			if v.Control() && v.Count() > 0 {
				n++
			}
		}
		return n
	}
	recompact := func() { // something dirty
		write(-1, "b")
		if err := c.l.Roll(c.nowMs); err != nil {
			t.Fatal(err)
		}
		c.clean(t, 1<<20)
	}
	c.clean(t, 1<<20)
	recompact() // the batches of producers that are remembered stay, empty
	if n := markers(); n != 2 {
		t.Fatalf("%d markers while the producers are remembered, want 2", n)
	}
	c.l.ExpireProducers(math.MaxInt64)
	recompact() // drops the empty batches
	recompact() // meets markers without batches: their time begins
	if n := markers(); n != 2 {
		t.Fatalf("%d markers after the second round, want 2", n)
	}
	c.nowMs += 2000
	recompact()
	if n := markers(); n != 0 {
		t.Errorf("%d markers after delete.retention.ms, want 0", n)
	}
	if list, err := c.l.AbortedTransactions(0, c.l.LogEnd()); err != nil || len(list) != 0 {
		t.Errorf("aborted transactions without records: %v, %v", list, err)
	}
}

func TestDirty(t *testing.T) {
	c := newCompacted(t, pebblevfs.NewMem())
	config := c.l.Config()
	for i := range 4 {
		c.nowMs = testNow + int64(i)*1000
		c.append(t, batch.NewBuilder(batch.Compression{}), -1, []record{{key: "a", value: "v", ms: c.nowMs}})
		if err := c.l.Roll(c.nowMs); err != nil {
			t.Fatal(err)
		}
	}
	size := c.l.Size() / 4
	for name, x := range map[string]struct {
		change  func(*LogConfig)
		hw      kafka.Offset
		cleaned kafka.Offset
		want    dirtyRange
		due     bool
	}{
		"all":                    {nil, 4, -1, dirtyRange{0, 4, 0, 4 * size, false}, true},
		"half, not over a half":  {nil, 4, 2, dirtyRange{2, 4, 2 * size, 2 * size, false}, false},
		"half, and enough":       {func(c *LogConfig) { c.MinCleanableDirtyRatio = 0.4 }, 4, 2, dirtyRange{2, 4, 2 * size, 2 * size, false}, true},
		"nothing is committed":   {nil, 0, -1, dirtyRange{0, 0, 0, 0, false}, false},
		"not all is committed":   {nil, 3, -1, dirtyRange{0, 3, 0, 3 * size, false}, true},
		"young records":          {func(c *LogConfig) { c.MinCompactionLagMs = 1500 }, 4, -1, dirtyRange{0, 2, 0, 2 * size, false}, true},
		"late records":           {func(c *LogConfig) { c.MaxCompactionLagMs = 500 }, 4, 2, dirtyRange{2, 4, 2 * size, 2 * size, true}, true},
		"late, but all is clean": {func(c *LogConfig) { c.MaxCompactionLagMs = 500 }, 4, 4, dirtyRange{4, 4, 4 * size, 0, false}, false},
		"a checkpoint too high":  {nil, 4, 99, dirtyRange{0, 4, 0, 4 * size, false}, true},
	} {
		t.Run(name, func(t *testing.T) {
			changed := config
			if x.change != nil {
				x.change(&changed)
			}
			c.l.SetConfig(changed)
			c.l.SetHighWatermark(x.hw)
			r, err := c.l.dirty(x.cleaned, c.nowMs)
			if err != nil || r != x.want || r.due(changed) != x.due {
				t.Errorf("got %+v due %v, %v; want %+v", r, r.due(changed), err, x.want)
			}
		})
	}
}

// crashing takes an image of the disk at every change of a name, as a power cut
// there would leave it.
type crashing struct {
	vfs.FS
	mem    *pebblevfs.MemFS
	images []*pebblevfs.MemFS
	at     []string
}

func (c *crashing) cut(what string) {
	for percent := range 3 {
		seed := rand.New(rand.NewPCG(uint64(len(c.images)), 7))
		c.images = append(c.images, c.mem.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: 50 * percent, RNG: seed}))
		c.at = append(c.at, fmt.Sprintf("%s, %d%% of what was not synced", what, 50*percent))
	}
}

func (c *crashing) Rename(from, to string) error {
	c.cut("before " + to)
	err := c.FS.Rename(from, to)
	c.cut("after " + to)
	return err
}

func (c *crashing) Remove(name string) error {
	c.cut("before the removal of " + name)
	return c.FS.Remove(name)
}

// TestCompactionSurvivesACrash at every boundary: the log has the last value of
// every key, and all offsets that were there or a compaction's subset of them.
func TestCompactionSurvivesACrash(t *testing.T) {
	mem := pebblevfs.NewCrashableMem()
	disk := &crashing{FS: mem, mem: mem}
	if err := mem.MkdirAll("/log", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := vfs.SyncDir(mem, "/"); err != nil {
		t.Fatal(err)
	}
	c := newCompacted(t, disk)
	want := map[string]string{}
	for i := range 40 {
		r := record{key: fmt.Sprint("k", i%7), value: fmt.Sprint("v", i), ms: c.nowMs}
		want[r.key] = r.value
		c.append(t, batch.NewBuilder(batch.Compression{}), -1, []record{r})
		if i%10 == 9 {
			if err := c.l.Roll(c.nowMs); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.l.Flush(); err != nil {
		t.Fatal(err)
	}
	disk.images, disk.at = nil, nil
	before := c.l.LogEnd()
	c.clean(t, 1<<20)
	disk.cut("the end")
	if len(disk.images) < 12 {
		t.Fatalf("only %d images", len(disk.images))
	}
	for i, image := range disk.images {
		o := c.l.options
		o.Files, o.Clean, o.RecoveryPoint = NewFiles(image, 8), false, before
		l, err := Open(o)
		if err != nil {
			t.Fatalf("%s: %v", disk.at[i], err)
		}
		records, _ := stored(t, l)
		got := map[string]string{}
		for _, r := range records {
			got[r.key] = r.value
		}
		if !maps.Equal(got, want) || l.LogEnd() != before {
			t.Fatalf("%s: end %d, %v", disk.at[i], l.LogEnd(), got)
		}
		if !sort.SliceIsSorted(records, func(a, b int) bool { return records[a].at < records[b].at }) {
			t.Fatalf("%s: %s", disk.at[i], describe(records))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		names := listAll(t, image, "/log")
		if slices.ContainsFunc(names, func(n string) bool {
			return strings.HasSuffix(n, cleanedSuffix) || strings.HasSuffix(n, swapSuffix) || strings.HasSuffix(n, deletedSuffix)
		}) {
			t.Fatalf("%s: remains in %v", disk.at[i], names)
		}
	}
}

func plainBuilder() *batch.Builder { return batch.NewBuilder(batch.Compression{}) }
