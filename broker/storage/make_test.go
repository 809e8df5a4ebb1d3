package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kvorum/broker/storage/checkpoint"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// TestCreateTouchesNoFile: a new log is in memory until its directory is made by
// the chores; its files come with its first record.
func TestCreateTouchesNoFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := pebblevfs.NewMem()
		d := mustOpenDirs(t, dirsOptions(t, mem, "/a"))
		before := listAll(t, mem, "/a")
		l := mustCreate(t, d, part("t", 0))
		for i := range 20 {
			mustCreate(t, d, part("u", i))
		}
		if l.LogEnd() != 0 || l.LogStart() != 0 || l.Size() != 0 || l.SegmentCount() != 1 {
			t.Errorf("a new log: %d to %d, %d bytes", l.LogStart(), l.LogEnd(), l.Size())
		}
		if s, err := l.Read(0, 100, 100, true); err != nil || s.Len() != 0 {
			t.Errorf("read a new log: %d bytes, %v", s.Len(), err)
		}
		if err := errors.Join(l.Flush(), l.Roll(testNow)); err != nil {
			t.Fatal(err)
		}
		if err := d.Delete(part("u", 19)); err != nil {
			t.Fatal(err)
		}
		if after := listAll(t, mem, "/a"); len(after) != len(before) {
			t.Fatalf("creating made %v of %v", after, before)
		}
		stop := runDirs(d)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(listAll(t, mem, "/a")) - len(before); n != 20 {
			t.Errorf("%d directories were made, want 20", n)
		}
		if names := listAll(t, mem, "/a/t-0"); len(names) != 1 || names[0] != checkpoint.PartitionMetadata {
			t.Errorf("in the directory of a new log: %v", names)
		}
		appendN(t, l, 1, 1, 10, 0)
		if names := listAll(t, mem, "/a/t-0"); len(names) != 2 {
			t.Errorf("in the directory after the first record: %v", names)
		}
		mustCreate(t, d, part("late", 0))
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
		for dir, want := range map[string]string{
			"/a/t-0": ".index .log .timeindex leader-epoch-checkpoint partition.metadata", "/a/late-0": "partition.metadata",
		} {
			var kinds []string
			for _, name := range listAll(t, mem, dir) {
				kinds = append(kinds, strings.TrimPrefix(name, "00000000000000000000"))
			}
			slices.Sort(kinds)
			if got := strings.Join(kinds, " "); got != want {
				t.Errorf("%s has %q after a clean stop, want %q", dir, got, want)
			}
		}
	})
}

// TestNewLogsSurviveACrash cuts the power before every change of the disk while
// two partitions are made, written, flushed and rolled. A broker that starts on
// what is left, and creates the partitions again because the image has them, can
// use them: with everything that was flushed, with everything that was written
// where only the process died, and never with the records of nobody.
func TestNewLogsSurviveACrash(t *testing.T) {
	mem := pebblevfs.NewCrashableMem()
	var (
		o                 DirsOptions
		appended, flushed [2]kafka.Offset
		images, torn      int
		looking           sync.Mutex // logs are closed side by side
	)
	look := func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || o.FS == nil {
			return nil
		}
		looking.Lock()
		defer looking.Unlock()
		for _, percent := range []int{0, 30, 70, 100} {
			images++
			image := mem.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(images), 1))})
			want := flushed
			if percent == 100 {
				want = appended
			}
			crashed := o
			crashed.FS = image
			name := fmt.Sprintf("image %d before %v of %s, %d%%", images, op.Kind, op.Path, percent)
			torn += checkMade(t, crashed, name, want, percent == 100)
		}
		return nil
	}
	watched := errorfs.Wrap(mem, errorfs.InjectorFunc(look))
	made := dirsOptions(t, watched, "/a")
	d := mustOpenDirs(t, made)
	o = made
	steps := func(i int, l *Log) {
		for round := range 4 {
			appendN(t, l, 1, 2, 100, 3)
			appended[i] = l.LogEnd()
			if round%2 == 1 {
				end := l.LogEnd()
				if err := l.Flush(); err != nil {
					t.Fatal(err)
				}
				flushed[i] = end
				d.checkpointAll(checkpoint.RecoveryPoint)
			}
			if round == 2 {
				if err := l.Roll(testNow); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	early := mustCreate(t, d, part("t", 0))
	if err := early.Make(); err != nil { // by the chores
		t.Fatal(err)
	}
	steps(0, early)
	steps(1, mustCreate(t, d, part("t", 1))) // by the first record
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
	if images < 100 || torn < 5 {
		t.Fatalf("only %d images, of which %d had a directory without a topic", images, torn)
	}
	t.Logf("%d images, of which %d had a directory without a topic", images, torn)
}

// checkMade starts on an image as a broker does, and returns how many directories
// did not say whose they are.
func checkMade(t *testing.T, o DirsOptions, name string, want [2]kafka.Offset, processOnly bool) (torn int) {
	d, err := OpenDirs(o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, s := range d.All() { // as Publish looks for strays
		id, err := d.TopicIDOf(s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if id == topicA {
			continue
		}
		torn++
		if err := d.Stray(s.Partition); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if n := countSuffix(listAll(t, o.FS, "/a"), "-stray"); n > 0 && processOnly {
		t.Fatalf("%s: the end of the process left %d directories with records and without a topic", name, n)
	}
	for i, end := range want {
		l, err := d.Create(part("t", i), topicA, NewLogConfig(config.Layers{}, nil), kafka.DirectoryUnassigned)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if l.LogEnd() < end {
			t.Fatalf("%s: %s ends at %d and not at %d or later", name, l.Partition(), l.LogEnd(), end)
		}
		end = l.LogEnd()
		appendN(t, l, 1, 1, 50, 9)
		if err := l.Flush(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again := o
		again.FS = o.FS.(*pebblevfs.MemFS).CrashClone(pebblevfs.CrashCloneCfg{})
		checkFlushed(t, again, name, part("t", i), end+1)
	}
	if err := d.Close(1); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return torn
}

// checkFlushed wants a partition with its topic and its records after a power loss.
func checkFlushed(t *testing.T, o DirsOptions, name string, p kafka.TopicPartition, end kafka.Offset) {
	d, err := OpenDirs(o)
	if err != nil {
		t.Fatalf("%s, a second crash: %v", name, err)
	}
	l, err := d.Get(p)
	if err != nil || l.TopicID() != topicA || l.LogEnd() != end {
		t.Fatalf("%s, a second crash: %s, want the end %d: %v", name, p, end, err)
	}
	if err := d.Close(1); err != nil {
		t.Fatalf("%s, a second crash: %v", name, err)
	}
}

// TestWorthlessDirectories: without a record and without a topic's id a directory
// is nobody's loss; with either it is kept as a stray.
func TestWorthlessDirectories(t *testing.T) {
	mem := pebblevfs.NewMem()
	o := dirsOptions(t, mem, "/a")
	put := func(path, content string) {
		t.Helper()
		f, err := vfs.Create(mem, path)
		if err == nil {
			_, err = f.Write([]byte(content))
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"none-0", "torn-0", "record-0", "named-0"} {
		if err := mem.MkdirAll("/a/"+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put("/a/torn-0/partition.metadata", "")
	put("/a/torn-0/00000000000000000000.log", "")
	put("/a/record-0/00000000000000000000.log", string(records(1, 10, testNow)))
	put("/a/named-0/partition.metadata", string(checkpoint.AppendTopicID(nil, topicA)))
	d := mustOpenDirs(t, o)
	for _, s := range d.All() {
		if err := d.Stray(s.Partition); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range listAll(t, mem, "/a") {
		switch topic, _, _ := strings.Cut(name, "-"); topic {
		case "none", "torn":
			if !strings.HasSuffix(name, "-delete") {
				t.Errorf("%s is kept", name)
			}
		case "record", "named":
			if !strings.HasSuffix(name, "-stray") {
				t.Errorf("%s is not kept", name)
			}
		}
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

// TestAnEpochWithoutRecordsIsNotWritten: to lead a log and to write nothing costs
// no fsync; the epoch is in its file with the first record that was flushed.
func TestAnEpochWithoutRecordsIsNotWritten(t *testing.T) {
	mem := pebblevfs.NewMem()
	d := mustOpenDirs(t, dirsOptions(t, mem, "/a"))
	l := mustCreate(t, d, part("t", 0))
	stored := func() string {
		t.Helper()
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		e, err := checkpoint.ReadEpochs(mem, l.Dir())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(e.All())
	}
	appendN(t, l, 1, 2, 10, 3)
	if got := stored(); got != "[{3 0}]" {
		t.Errorf("after the first records: %s", got)
	}
	l.AssignEpochStart(7, l.LogEnd())
	if got := stored(); got != "[{3 0}]" || l.LatestEpoch() != 7 {
		t.Errorf("an epoch without a record is stored: %s, %d", got, l.LatestEpoch())
	}
	appendN(t, l, 1, 2, 10, 7)
	if got := stored(); got != "[{3 0} {7 2}]" {
		t.Errorf("after the epoch's first record: %s", got)
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}
