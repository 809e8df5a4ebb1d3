package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	vfsync "kvorum/internal/vfs"
)

const apache = "testdata/apache-4.3.1"

func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(apache, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestApachesFiles(t *testing.T) {
	dir := filepath.FromSlash(apache)
	for name, want := range map[string]int{RecoveryPoint: 28, HighWatermark: 28, LogStart: 0, Cleaner: 0} {
		offsets, err := ReadOffsets(vfs.Default, filepath.Join(dir, name))
		if err != nil || len(offsets) != want {
			t.Errorf("%s: %d partitions, %v; want %d", name, len(offsets), err, want)
		}
		again, err := ParseOffsets(name, offsets.Append(nil))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(offsets) {
			t.Errorf("%s comes back as %v, %v", name, again, err)
		}
		if mine, theirs := len(offsets.Append(nil)), len(golden(t, name)); mine != theirs {
			t.Errorf("%s: we write %d bytes, Apache %d", name, mine, theirs)
		}
	}
	epochs, err := ReadEpochs(vfs.Default, dir)
	if want := []EpochStart{{1, 0}, {2, 370}, {3, 372}}; err != nil || fmt.Sprint(epochs.All()) != fmt.Sprint(want) {
		t.Fatalf("epochs %v, %v; want %v", epochs, err, want)
	}
	if got := epochs.Append(nil); !bytes.Equal(got, golden(t, EpochsFile)) {
		t.Errorf("epochs are written as %q", got)
	}
	id, ok, err := ReadTopicID(vfs.Default, dir)
	if !ok || err != nil || id.String() != "TpsxZGCdSfaC7IAPSdWcEw" {
		t.Fatalf("topic id %v, %v, %v", id, ok, err)
	}
	if got := AppendTopicID(nil, id); !bytes.Equal(got, golden(t, PartitionMetadata)) {
		t.Errorf("partition.metadata is written as %q", got)
	}
}

func TestDamage(t *testing.T) {
	for content, want := range map[string]string{
		"1\n0\n":                           "f, line 1:",
		"x":                                "f, line 1:",
		"0\nmany\n":                        "f, line 2:",
		"0\n-1\n":                          "f, line 2:",
		"0\n2\na 0 1\n":                    "f, line 2:",
		"0\n0\na 0 1\n":                    "f, line 2:",
		"0\n1\na 0\n":                      "f, line 3:",
		"0\n1\na x 1\n":                    "f, line 3:",
		"0\n1\na 0 -1\n":                   "f, line 3:",
		"0\n1\na -1 1\n":                   "f, line 3:",
		"0\n2\na 0 1\na 0 2\n":             "f, line 4:",
		"0\n1\na 0 99999999999999999999\n": "f, line 3:",
		"0\n2\na 0 1\n\n":                  "f, line 4:",
	} {
		if _, err := ParseOffsets("f", []byte(content)); !errors.Is(err, ErrDamaged) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
	}
	for content, want := range map[string]string{
		"0\n1\n1\n":            "f, line 3:",
		"0\n1\n-1 0\n":         "f, line 3:",
		"0\n1\n0 -5\n":         "f, line 3:",
		"0\n2\n0 0\n0 5\n":     "f, line 4:",
		"0\n2\n1 5\n2 5\n":     "f, line 4:",
		"0\n1\n2147483648 0\n": "f, line 3:",
	} {
		if _, err := ParseEpochs("f", []byte(content)); !errors.Is(err, ErrDamaged) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
	}
	for content, want := range map[string]string{
		"":              "f, line 1:",
		"version: x":    "f, line 1:",
		"version: -1\n": "f, line 1:",
		"topic_id: a\n": "f, line 1:",
		"version: 0\n":  "f, line 2:",
		"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA": "f, line 2:",
		"version: 0\ntopic_id: short":                  "f, line 2:",
	} {
		if _, err := ParseTopicID("f", []byte(content)); !errors.Is(err, ErrDamaged) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", content, err, want)
		}
	}
}

// TestBeginnings: Kafka makes checkpoint files empty before it writes them.
func TestBeginnings(t *testing.T) {
	for _, content := range []string{"", "0", "0\n", "0\n0", "0\n0\n"} {
		if o, err := ParseOffsets("f", []byte(content)); err != nil || len(o) != 0 {
			t.Errorf("%q: %v, %v", content, o, err)
		}
	}
	mem := vfs.NewMem()
	if o, err := ReadOffsets(mem, "none"); err != nil || len(o) != 0 {
		t.Errorf("no file: %v, %v", o, err)
	}
	if e, err := ReadEpochs(mem, "none"); err != nil || e.Len() != 0 {
		t.Errorf("no file: %v, %v", e, err)
	}
	if _, ok, err := ReadTopicID(mem, "none"); ok || err != nil {
		t.Errorf("no file: %v, %v", ok, err)
	}
}

func TestCleanShutdown(t *testing.T) {
	for content, want := range map[string]kafka.BrokerEpoch{
		`{"version":0,"brokerEpoch":42}`: 42, `{"version":0}`: -1, "": -1, "garbage": -1,
		`{"version":1,"brokerEpoch":7,"more":true}`: 7,
	} {
		if got := parseShutdown([]byte(content)); got != want {
			t.Errorf("%q: epoch %d, want %d", content, got, want)
		}
	}
	mem := vfs.NewCrashableMem()
	if _, clean, err := ReadCleanShutdown(mem, ""); clean || err != nil {
		t.Fatal(clean, err)
	}
	if err := WriteCleanShutdown(mem, "", 42); err != nil {
		t.Fatal(err)
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if epoch, clean, err := ReadCleanShutdown(after, ""); !clean || epoch != 42 || err != nil {
		t.Fatalf("after a crash: %v %v %v", epoch, clean, err)
	}
	for range 2 {
		if err := RemoveCleanShutdown(mem, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, clean, err := ReadCleanShutdown(mem.CrashClone(vfs.CrashCloneCfg{}), ""); clean || err != nil {
		t.Fatal("the word is back after a crash", err)
	}
}

// TestWritesAreDurable cuts the power right after each write.
func TestWritesAreDurable(t *testing.T) {
	mem := vfs.NewCrashableMem()
	id := kafka.TopicID{1, 2, 3}
	for i := range kafka.Offset(20) {
		epochs := &Epochs{}
		epochs.Assign(kafka.LeaderEpoch(i), i)
		offsets := Offsets{{Topic: "a", Partition: 1}: i}
		if err := errors.Join(WriteOffsets(mem, HighWatermark, offsets), WriteEpochs(mem, "", epochs), WriteTopicID(mem, "", id), SyncTopicID(mem, ""), vfsync.SyncDir(mem, "")); err != nil {
			t.Fatal(err)
		}
		crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(uint64(i), 1))})
		gotOffsets, err1 := ReadOffsets(crashed, HighWatermark)
		gotEpochs, err2 := ReadEpochs(crashed, "")
		gotID, _, err3 := ReadTopicID(crashed, "")
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(gotOffsets) != fmt.Sprint(offsets) || fmt.Sprint(gotEpochs.All()) != fmt.Sprint(epochs.All()) || gotID != id {
			t.Fatalf("round %d: found %v %v %v", i, gotOffsets, gotEpochs, gotID)
		}
	}
}

// TestTopicIDIsWholeOrNothing: the end of the process leaves partition.metadata as
// it was or whole; a power loss before SyncTopicID may take it.
func TestTopicIDIsWholeOrNothing(t *testing.T) {
	mem := vfs.NewCrashableMem()
	id := kafka.TopicID{1, 2, 3}
	if err := WriteTopicID(mem, "", id); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := ReadTopicID(mem.CrashClone(vfs.CrashCloneCfg{}), ""); ok || err != nil {
		t.Fatalf("durable without fsync: %v", err)
	}
	if err := errors.Join(SyncTopicID(mem, ""), vfsync.SyncDir(mem, "")); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := ReadTopicID(mem.CrashClone(vfs.CrashCloneCfg{}), ""); !ok || err != nil || got != id {
		t.Fatalf("after fsync: %v %v %v", got, ok, err)
	}
	if err := SyncTopicID(vfs.NewMem(), ""); err != nil {
		t.Fatalf("a directory without the file: %v", err)
	}
}

func FuzzOffsets(f *testing.F) {
	f.Add(golden(f, RecoveryPoint))
	f.Add([]byte("0\n1\na 0 1\n"))
	f.Add([]byte("0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOffsets("f", b)
		if err != nil {
			return
		}
		again, err := ParseOffsets("f", o.Append(nil))
		if err != nil || len(again) != len(o) {
			t.Fatalf("%q: %v comes back as %v, %v", b, o, again, err)
		}
	})
}

func FuzzEpochs(f *testing.F) {
	f.Add(golden(f, EpochsFile))
	f.Add([]byte("0\n2\n1 0\n5 9\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEpochs("f", b)
		if err != nil {
			return
		}
		again, err := ParseEpochs("f", e.Append(nil))
		if err != nil || fmt.Sprint(again.All()) != fmt.Sprint(e.All()) {
			t.Fatalf("%q: %v comes back as %v, %v", b, e, again, err)
		}
	})
}

func FuzzTopicID(f *testing.F) {
	f.Add(golden(f, PartitionMetadata))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := ParseTopicID("f", b); err == nil {
			if again, err := ParseTopicID("f", AppendTopicID(nil, id)); err != nil || again != id {
				t.Fatalf("%v comes back as %v, %v", id, again, err)
			}
		}
	})
}

func epochsOf(pairs ...int64) *Epochs {
	e := &Epochs{}
	for i := 0; i < len(pairs); i += 2 {
		e.starts = append(e.starts, EpochStart{kafka.LeaderEpoch(pairs[i]), kafka.Offset(pairs[i+1])})
	}
	return e
}

func TestAssign(t *testing.T) {
	for _, c := range []struct {
		before  *Epochs
		epoch   kafka.LeaderEpoch
		start   kafka.Offset
		after   *Epochs
		changed bool
	}{
		{epochsOf(), 0, 0, epochsOf(0, 0), true},
		{epochsOf(0, 0), 0, 5, epochsOf(0, 0), false},
		{epochsOf(0, 0), 1, 5, epochsOf(0, 0, 1, 5), true},
		{epochsOf(0, 5), 0, 3, epochsOf(0, 3), true},             // the same epoch, earlier
		{epochsOf(0, 0, 1, 5), 2, 5, epochsOf(0, 0, 2, 5), true}, // a leader that wrote nothing
		{epochsOf(0, 0, 2, 5, 3, 9), 1, 7, epochsOf(0, 0, 1, 7), true},
		{epochsOf(0, 0, 2, 5, 3, 9), 4, 4, epochsOf(0, 0, 4, 4), true},
		{epochsOf(3, 7), 1, 2, epochsOf(1, 2), true},
	} {
		was := fmt.Sprint(c.before.All())
		changed := c.before.Assign(c.epoch, c.start)
		if changed != c.changed || fmt.Sprint(c.before.All()) != fmt.Sprint(c.after.All()) {
			t.Errorf("%s with epoch %d at %d: %v %v, want %v %v", was, c.epoch, c.start, c.before.All(), changed, c.after.All(), c.changed)
		}
	}
}

// TestEpochEnd is the table of KIP-101 and KIP-279: what a leader answers to a
// follower that asks where an epoch ended.
func TestEpochEnd(t *testing.T) {
	e := epochsOf(2, 10, 4, 20, 7, 30)
	for asked, want := range map[kafka.LeaderEpoch]EpochStart{
		-1: {-1, -1},
		0:  {0, 10}, // before everything known: the data is gone by retention
		1:  {1, 10},
		2:  {2, 20},
		3:  {2, 20}, // an epoch the leader never saw: the one below it
		4:  {4, 30},
		6:  {4, 30},
		7:  {7, 99}, // the latest: the log's end
		8:  {-1, -1},
	} {
		if epoch, end := e.End(asked, 99); epoch != want.Epoch || end != want.Start {
			t.Errorf("epoch %d: %d ends at %d, want %v", asked, epoch, end, want)
		}
	}
	if epoch, end := (&Epochs{}).End(0, 5); epoch != -1 || end != -1 {
		t.Errorf("no epochs: %d ends at %d", epoch, end)
	}
	for at, want := range map[kafka.Offset]kafka.LeaderEpoch{9: -1, 10: 2, 19: 2, 20: 4, 1000: 7} {
		if got := e.ForOffset(at); got != want {
			t.Errorf("offset %d is of epoch %d, want %d", at, got, want)
		}
	}
	for epoch, want := range map[kafka.LeaderEpoch]kafka.LeaderEpoch{1: -1, 2: -1, 3: 2, 7: 4, 9: 7} {
		if got, _ := e.Previous(epoch); got.Epoch != want {
			t.Errorf("before epoch %d comes %d, want %d", epoch, got.Epoch, want)
		}
	}
}

func TestTruncation(t *testing.T) {
	for _, c := range []struct {
		end, start kafka.Offset // one of them is -1
		want       *Epochs
		changed    bool
	}{
		{31, -1, epochsOf(2, 10, 4, 20, 7, 30), false},
		{30, -1, epochsOf(2, 10, 4, 20), true},
		{11, -1, epochsOf(2, 10), true},
		{10, -1, epochsOf(), true},
		{-1, 5, epochsOf(2, 10, 4, 20, 7, 30), false},
		{-1, 10, epochsOf(2, 10, 4, 20, 7, 30), false},
		{-1, 15, epochsOf(2, 15, 4, 20, 7, 30), true},
		{-1, 20, epochsOf(4, 20, 7, 30), true},
		{-1, 99, epochsOf(7, 99), true},
	} {
		e := epochsOf(2, 10, 4, 20, 7, 30)
		changed := false
		if c.start < 0 {
			changed = e.TruncateEnd(c.end)
		} else {
			changed = e.TruncateStart(c.start)
		}
		if changed != c.changed || fmt.Sprint(e.All()) != fmt.Sprint(c.want.All()) {
			t.Errorf("end %d, start %d: %v %v, want %v", c.end, c.start, e.All(), changed, c.want.All())
		}
	}
	for above, want := range map[kafka.LeaderEpoch]*Epochs{1: epochsOf(), 2: epochsOf(2, 10), 3: epochsOf(2, 10), 6: epochsOf(2, 10, 4, 20), 7: epochsOf(2, 10, 4, 20, 7, 30)} {
		e := epochsOf(2, 10, 4, 20, 7, 30)
		if changed := e.TruncateAbove(above); changed != (want.Len() < 3) || fmt.Sprint(e.All()) != fmt.Sprint(want.All()) {
			t.Errorf("above %d: %v %v, want %v", above, e.All(), changed, want.All())
		}
	}
	var e Epochs
	if e.TruncateAbove(math.MaxInt32) || e.TruncateEnd(-1) || e.TruncateStart(3) {
		t.Error("no epochs changed")
	}
}

// TestEpochsAgainstTheRecords keeps the epoch of every record beside the cache,
// and asks both.
func TestEpochsAgainstTheRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Epochs
		var records []kafka.LeaderEpoch // by offset - start
		start, epoch := kafka.Offset(0), kafka.LeaderEpoch(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			end := start + kafka.Offset(len(records))
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				epoch += kafka.LeaderEpoch(rapid.IntRange(1, 3).Draw(t, "bump"))
			case 1:
				cut := rapid.Int64Range(int64(start), int64(end)).Draw(t, "end")
				records = records[:kafka.Offset(cut)-start]
				e.TruncateEnd(kafka.Offset(cut))
			case 2:
				cut := kafka.Offset(rapid.Int64Range(int64(start), int64(end)).Draw(t, "start"))
				records = records[cut-start:]
				e.TruncateStart(cut)
				start = cut
			default:
				e.Assign(epoch, end)
				records = append(records, epoch)
			}
			for i, want := range records {
				if got := e.ForOffset(start + kafka.Offset(i)); got != want {
					t.Fatalf("offset %d is of epoch %d, want %d: %v", start+kafka.Offset(i), got, want, e.All())
				}
			}
			checkEnds(t, &e, records, start)
		}
	})
}

// checkEnds compares the end of every epoch that has records with theirs.
func checkEnds(t *rapid.T, e *Epochs, records []kafka.LeaderEpoch, start kafka.Offset) {
	for i, epoch := range records {
		if i+1 < len(records) && records[i+1] == epoch {
			continue
		}
		want := start + kafka.Offset(i+1)
		if got, end := e.End(epoch, start+kafka.Offset(len(records))); got != epoch || end != want {
			t.Fatalf("epoch %d is said to be %d and to end at %d, want %d: %v", epoch, got, end, want, e.All())
		}
	}
}
