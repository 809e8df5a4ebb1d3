package storage

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"kvorum/config"
	"kvorum/internal/kafka"
	wire "kvorum/protocol/errors"
)

var dirA, dirB = kafka.UUID{0xd0, 1}, kafka.UUID{0xd0, 2}

// moving is a partition in /a with records, flushed, and a future log in /b that
// has them too. It returns the records.
func moving(t *testing.T, d *Dirs) (kafka.TopicPartition, []byte) {
	t.Helper()
	p := part("moved", 0)
	l, err := d.Create(p, topicA, NewLogConfig(config.Layers{}, nil), dirA)
	if err != nil {
		t.Fatal(err)
	}
	data := appendN(t, l, 6, 3, 40, 2)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := d.BeginMove(p, dirB); err != nil {
		t.Fatal(err)
	}
	fill(t, d, p)
	return p, data
}

// fill copies what the future log has not.
func fill(t *testing.T, d *Dirs, p kafka.TopicPartition) {
	t.Helper()
	l, future := mustGet(t, d, p), mustFuture(t, d, p)
	for future.LogEnd() < l.LogEnd() {
		s, err := l.Read(future.LogEnd(), 100, l.LogEnd(), true)
		if err != nil {
			t.Fatal(err)
		}
		data, err := s.AppendTo(nil)
		s.Release()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := future.AppendFollower(data, testNow); err != nil {
			t.Fatal(err)
		}
	}
}

func mustFuture(t *testing.T, d *Dirs, p kafka.TopicPartition) *Log {
	t.Helper()
	l, err := d.Future(p)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestMoveSurvivesACrash cuts the power at every change of a name of a move between
// directories. What is left is a log that a broker starts with, with all records
// that were flushed: the old one, or the new one, or a future log alone that is
// complete; never two current ones.
func TestMoveSurvivesACrash(t *testing.T) {
	mem := pebblevfs.NewCrashableMem()
	disk := &crashing{FS: mem, mem: mem}
	o := dirsOptions(t, disk, "/a", "/b")
	d := mustOpenDirs(t, o)
	p, data := moving(t, d)
	disk.images, disk.at = nil, nil
	l := mustGet(t, d, p)
	l.SetHighWatermark(11)
	if _, err := l.DeleteRecordsTo(4); err != nil {
		t.Fatal(err)
	}
	moved, err := d.FinishMove(p)
	if err != nil {
		t.Fatal(err)
	}
	if at, _ := d.Where(p); at != dirB || !strings.HasPrefix(moved.Dir(), "/b/moved-0") || moved.HighWatermark() != 11 {
		t.Fatal(at, moved.Dir(), moved.HighWatermark())
	}
	disk.cut("the end")
	seen := map[string]int{}
	for i, image := range disk.images {
		crashed := o
		crashed.FS = image
		again, err := OpenDirs(crashed)
		if err != nil {
			t.Fatalf("%s: %v", disk.at[i], err)
		}
		state := "old"
		if adopted, err := again.Adopt(p, topicA, dirB); err != nil {
			t.Fatalf("%s: %v", disk.at[i], err)
		} else if adopted {
			state = "adopted"
		} else if at, ok := again.Where(p); !ok {
			t.Fatalf("%s: the partition is gone", disk.at[i])
		} else if at == dirB {
			state = "new"
		}
		seen[state]++
		got := mustGet(t, again, p)
		if got.LogEnd() != 18 || got.TopicID() != topicA || !bytes.HasSuffix(data, readAll(t, got, 1<<20)) {
			t.Fatalf("%s, %s: the log ends at %d", disk.at[i], state, got.LogEnd())
		}
		if err := again.Close(1); err != nil {
			t.Fatalf("%s: %v", disk.at[i], err)
		}
	}
	if seen["old"] == 0 || seen["adopted"] == 0 || seen["new"] == 0 {
		t.Fatal("not every state was seen", seen)
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

// TestMoveIsShownAndGivenUp: DescribeLogDirs, the errors, and a cancel.
func TestMoveIsShownAndGivenUp(t *testing.T) {
	mem := pebblevfs.NewMem()
	o := dirsOptions(t, mem, "/a", "/b")
	d := mustOpenDirs(t, o)
	p, _ := moving(t, d)
	appendN(t, mustGet(t, d, p), 1, 5, 40, 2)
	want := ReplicaState{Partition: p, SizeBytes: mustFuture(t, d, p).Size(), OffsetLag: 5, Future: true}
	if got := d.Describe()[1].Replicas; len(got) != 1 || got[0] != want {
		t.Fatalf("described as %+v, want %+v", got, want)
	}
	if _, err := d.DirectoryAt("/c"); wire.CodeOf(err) != wire.LogDirNotFound {
		t.Fatal(err)
	}
	if err := d.BeginMove(part(strings.Repeat("t", 249), 0), dirB); !errors.Is(err, ErrNoLog) {
		t.Fatal(err)
	}
	long := part(strings.Repeat("t", 249), 0)
	mustCreate(t, d, long)
	if err := d.BeginMove(long, dirB); wire.CodeOf(err) != wire.InvalidTopicException {
		t.Fatal(err)
	}
	if !d.notCleanable(mustGet(t, d, p)) {
		t.Fatal("a log that is moved may be compacted")
	}
	if err := d.CancelMove(p); err != nil {
		t.Fatal(err)
	}
	if got := d.Describe()[1].Replicas; len(got) != 1 || got[0].Future || got[0].Partition != long {
		t.Fatalf("after the cancel: %+v", got)
	}
	if names, err := mem.List("/b"); err != nil || !strings.Contains(strings.Join(names, " "), "-delete") {
		t.Fatal(names, err)
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

// TestMoveOutlivesAStop: the future log is there again after a stop in order, with
// what it has and without being read, and after its partition's deletion it is not.
func TestMoveOutlivesAStop(t *testing.T) {
	mem := pebblevfs.NewMem()
	o := dirsOptions(t, mem, "/a", "/b")
	d := mustOpenDirs(t, o)
	p, data := moving(t, d)
	if err := d.Close(7); err != nil {
		t.Fatal(err)
	}
	d = mustOpenDirs(t, o)
	if d.PreviousEpoch() != 7 {
		t.Fatal("the stop was not in order")
	}
	if at, ok := d.FutureIn(p); !ok || at.ID != dirB {
		t.Fatal(at, ok)
	}
	if got := mustFuture(t, d, p); got.LogEnd() != 18 || got.LatestEpoch() != 2 || !bytes.Equal(readAll(t, got, 1<<20), data) {
		t.Fatal("the future log is not what it was", got.LogEnd())
	}
	if adopted, err := d.Adopt(p, topicA, dirB); adopted || err != nil {
		t.Fatal("adopted beside the current log", err)
	}
	if err := d.Delete(p); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.FutureIn(p); ok {
		t.Fatal("the future log of a deleted partition is there")
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
	if d = mustOpenDirs(t, o); len(d.All()) != 0 {
		t.Fatal(d.All())
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

// TestMoveWhoseTargetFails: where the second of the two renames fails, the log is
// where it was and takes records.
func TestMoveWhoseTargetFails(t *testing.T) {
	mem := pebblevfs.NewMem()
	failing := false
	disk := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if failing && op.Kind == errorfs.OpRename && strings.Contains(op.Path, "-future") {
			return errors.New("input/output error")
		}
		return nil
	}))
	o := dirsOptions(t, disk, "/a", "/b")
	d := mustOpenDirs(t, o)
	p, data := moving(t, d)
	failing = true
	l, err := d.FinishMove(p)
	if err == nil || l == nil || d.Online()[0] != dirA || len(d.Online()) != 1 {
		t.Fatal(l, err, d.Online())
	}
	if at, _ := d.Where(p); at != dirA || mustGet(t, d, p) != l {
		t.Fatal("the log is not where it was", at)
	}
	if got := readAll(t, l, 1<<20); !bytes.Equal(got, data) {
		t.Fatal("records are missing")
	}
	appendN(t, l, 1, 1, 40, 3)
	if err := d.BeginMove(part("moved", 0), dirB); wire.CodeOf(err) != wire.KafkaStorageError {
		t.Fatal(err)
	}
	d.handleFailure(<-d.failures)
	if _, err := d.Future(p); !errors.Is(err, ErrNoLog) {
		t.Fatal(err)
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

// TestPreferredDirectories: the one that was named goes before the controllers'
// choice, once, unless it is offline; how many are remembered is bounded.
func TestPreferredDirectories(t *testing.T) {
	mem := pebblevfs.NewMem()
	d := mustOpenDirs(t, dirsOptions(t, mem, "/a", "/b"))
	made := func(name string) kafka.DirectoryID {
		t.Helper()
		if _, err := d.Create(part(name, 0), topicA, NewLogConfig(config.Layers{}, nil), dirA); err != nil {
			t.Fatal(err)
		}
		at, _ := d.Where(part(name, 0))
		return at
	}
	for i := range maxPreferred + 1 {
		if got, want := d.Prefer(part("many", i), dirB), i < maxPreferred; got != want {
			t.Fatalf("directory %d is remembered: %v", i, got)
		}
	}
	if !d.Prefer(part("many", 0), dirB) {
		t.Error("a partition that is named again is refused")
	}
	if at := made("many"); at != dirB {
		t.Errorf("made in %s", at)
	}
	if !d.Prefer(part("more", 0), dirB) {
		t.Error("the directory was not forgotten when it was used")
	}
	d.diskError(d.dirs[1], errors.New("the disk is gone"))
	if at := made("more"); at != dirA {
		t.Errorf("made in %s, and %s is offline", at, dirB)
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}
