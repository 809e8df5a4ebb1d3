package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/broker/storage/checkpoint"
	"kvorum/config"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	wire "kvorum/protocol/errors"
)

// seeded is a source of ids that is the same in every run.
func seeded(seed uint64) io.Reader {
	var key [32]byte
	key[0] = byte(seed)
	return rand.NewChaCha8(key)
}

// dirsOptions are two log directories, /a and /b, in a file system.
func dirsOptions(t testing.TB, fsys vfs.FS, paths ...string) DirsOptions {
	t.Helper()
	o := DirsOptions{
		FS: fsys, OpenFiles: 64, RecoveryThreads: 2, ProducerExpirationMs: 86_400_000,
		Config: func(string) LogConfig { return NewLogConfig(config.Layers{}, nil) },
		Times:  DefaultDirsTimes, Clock: clock.System, Random: seeded(1),
	}
	for i, path := range paths {
		if err := fsys.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := vfs.SyncDir(fsys, fsys.PathDir(path)); err != nil {
			t.Fatal(err)
		}
		o.Directories = append(o.Directories, Directory{Path: path, ID: kafka.UUID{0xd0, byte(i + 1)}})
	}
	return o
}

func mustOpenDirs(t testing.TB, o DirsOptions) *Dirs {
	t.Helper()
	d, err := OpenDirs(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func part(topic string, n int) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topic, Partition: kafka.PartitionID(n)}
}

var topicA = kafka.TopicID{0xaa}

func mustCreate(t testing.TB, d *Dirs, p kafka.TopicPartition) *Log {
	t.Helper()
	l, err := d.Create(p, topicA, NewLogConfig(config.Layers{}, nil), kafka.DirectoryUnassigned)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustGet(t testing.TB, d *Dirs, p kafka.TopicPartition) *Log {
	t.Helper()
	l, err := d.Get(p)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestDirNames(t *testing.T) {
	id := kafka.UUID{1, 2, 0xff}
	long := strings.Repeat("t", 249)
	for name, want := range map[string]struct {
		p    kafka.TopicPartition
		kind dirKind
	}{
		"orders-0":     {part("orders", 0), current},
		"my-topic-12":  {part("my-topic", 12), current},
		"a.b-delete-3": {part("a.b-delete", 3), current},
		"a-2147483647": {part("a", 2147483647), current},
		"orders-0.0102ff00000000000000000000000000-delete": {part("orders", 0), deleting},
		"a.b-1.0102ff00000000000000000000000000-future":    {part("a.b", 1), future},
		"x-9.0102ff00000000000000000000000000-stray":       {part("x", 9), stray},
		"__cluster_metadata-0":                             {},
		"recovery-point-offset-checkpoint":                 {},
		"meta.properties":                                  {},
		".lock":                                            {},
		"lost+found":                                       {},
		"remote-log-index-cache":                           {},
		"-1":                                               {},
		"a-2147483648":                                     {},
		"a--1":                                             {part("a-", 1), current},
		"a-+1":                                             {},
		"a-1-delete":                                       {},
	} {
		p, kind := parseDirName(name)
		if p != want.p || kind != want.kind {
			t.Errorf("%s is read as %v of kind %d", name, p, kind)
		}
	}
	for _, kind := range []dirKind{current, deleting, future, stray} {
		name := dirName(part("some-topic", 7), kind, id)
		if p, k := parseDirName(name); p != part("some-topic", 7) || k != kind {
			t.Errorf("%s is read as %v of kind %d", name, p, k)
		}
		if n := len(dirName(part(long, 1000), kind, id)); n > maxDirName {
			t.Errorf("a name has %d bytes", n)
		}
	}
}

func TestCreateGetDelete(t *testing.T) {
	mem := vfs.FS(pebblevfs.NewCrashableMem())
	o := dirsOptions(t, mem, "/a", "/b")
	d := mustOpenDirs(t, o)
	for i := range 6 {
		mustCreate(t, d, part("t", i))
	}
	count := map[kafka.DirectoryID]int{}
	for _, s := range d.All() {
		count[s.Directory]++
		if id, err := d.TopicIDOf(s); id != topicA || err != nil {
			t.Errorf("%v is of topic %v, %v", s, id, err)
		}
	}
	if count[o.Directories[0].ID] != 3 || count[o.Directories[1].ID] != 3 {
		t.Errorf("the logs are spread as %v", count)
	}
	if l := mustCreate(t, d, part("t", 0)); l != mustGet(t, d, part("t", 0)) {
		t.Error("creating a log again gives another one")
	}
	if _, err := d.Create(part("t", 0), kafka.TopicID{0xbb}, LogConfig{}, kafka.DirectoryUnassigned); wire.CodeOf(err) != wire.InconsistentTopicID {
		t.Errorf("another topic's partition: %v", err)
	}
	assigned, err := d.Create(part("u", 0), topicA, NewLogConfig(config.Layers{}, nil), o.Directories[1].ID)
	if err != nil || !strings.HasPrefix(assigned.Dir(), "/b/") {
		t.Fatalf("assigned to /b: %v, %v", assigned, err)
	}
	if _, err := d.Create(part("u", 1), topicA, LogConfig{}, kafka.DirectoryID{9}); wire.CodeOf(err) != wire.KafkaStorageError {
		t.Errorf("a directory of somebody else: %v", err)
	}
	if _, err := d.Get(part("u", 1)); !errors.Is(err, ErrNoLog) {
		t.Errorf("a partition that is not here: %v", err)
	}
	old := mustGet(t, d, part("t", 1))
	appendN(t, old, 1, 1, 10, 0)
	appendN(t, mustGet(t, d, part("t", 2)), 1, 1, 10, 0)
	if err := errors.Join(d.Delete(part("t", 1)), d.Delete(part("t", 1)), d.Stray(part("t", 2))); err != nil {
		t.Fatal(err)
	}
	_, err = old.AppendLeader(records(1, 10, testNow), 0, AppendOptions{NowMs: testNow})
	if code := wire.CodeOf(err); code != wire.KafkaStorageError && code != wire.NotLeaderOrFollower {
		t.Errorf("append to a deleted log: %v", err)
	}
	// Creating the partition again has nothing to do with the old directory.
	if l := mustCreate(t, d, part("t", 1)); l.LogEnd() != 0 {
		t.Errorf("the new log ends at %d", l.LogEnd())
	}
	names := listAll(t, mem, "/a", "/b")
	if n := countSuffix(names, "-delete"); n != 1 {
		t.Errorf("%d deleted directories in %v", n, names)
	}
	if n := countSuffix(names, "-stray"); n != 1 {
		t.Errorf("%d stray directories in %v", n, names)
	}
	if err := d.Close(5); err != nil {
		t.Fatal(err)
	}
}

func listAll(t testing.TB, fsys vfs.FS, paths ...string) []string {
	t.Helper()
	var all []string
	for _, path := range paths {
		names, err := fsys.List(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, names...)
	}
	return all
}

func countSuffix(names []string, suffix string) int {
	n := 0
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			n++
		}
	}
	return n
}

// TestCleanStop: what Close leaves lets the next start trust everything, without
// opening a log.
func TestCleanStop(t *testing.T) {
	mem := vfs.FS(pebblevfs.NewCrashableMem())
	o := dirsOptions(t, mem, "/a", "/b")
	d := mustOpenDirs(t, o)
	want := map[kafka.TopicPartition][]byte{}
	for i := range 4 {
		l := mustCreate(t, d, part("t", i))
		want[part("t", i)] = appendN(t, l, 5, 2, 100, 3)
		l.SetHighWatermark(kafka.Offset(i + 1))
	}
	if err := d.Close(42); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second start is after one that opened nothing
		d = mustOpenDirs(t, o)
		if got := d.PreviousEpoch(); got != 42 {
			t.Errorf("the last registration was %d, want 42", got)
		}
		for _, e := range d.list(nil) {
			if e.log.Load() != nil {
				t.Errorf("%s was opened by the start", e.partition)
			}
		}
		if _, clean, _ := checkpoint.ReadCleanShutdown(mem, "/a"); clean {
			t.Error("the marker of a clean stop is still there")
		}
		if err := d.Close(42); err != nil {
			t.Fatal(err)
		}
	}
	d = mustOpenDirs(t, o)
	for i := range 4 {
		l := mustGet(t, d, part("t", i))
		if got := readAll(t, l, 1<<20); !bytes.Equal(got, want[part("t", i)]) {
			t.Errorf("log %d has %d bytes, want %d", i, len(got), len(want[part("t", i)]))
		}
		if hw := l.HighWatermark(); hw != kafka.Offset(i+1) {
			t.Errorf("log %d has high watermark %d, want %d", i, hw, i+1)
		}
		if l.TopicID() != topicA || l.RecoveryPoint() != l.LogEnd() {
			t.Errorf("log %d: topic %v, recovery point %d", i, l.TopicID(), l.RecoveryPoint())
		}
	}
	if err := d.Close(43); err != nil {
		t.Fatal(err)
	}
}

func TestLockedAndDuplicate(t *testing.T) {
	mem := vfs.FS(pebblevfs.NewMem())
	o := dirsOptions(t, mem, "/a", "/b")
	d := mustOpenDirs(t, o)
	if _, err := OpenDirs(o); !errors.Is(err, errLocked) {
		t.Errorf("a second broker: %v", err)
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/a/t-0", "/b/t-0"} {
		if err := mem.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	_, err := OpenDirs(o)
	if err == nil || !strings.Contains(err.Error(), "t-0 is in /a and in /b") {
		t.Errorf("one partition twice: %v", err)
	}
	if err := mem.RemoveAll("/b/t-0"); err != nil {
		t.Fatal(err)
	}
	d = mustOpenDirs(t, o) // the failed start has let go of the locks
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

// TestOneDirectoryCannotBeRead: the others serve.
func TestOneDirectoryCannotBeRead(t *testing.T) {
	mem := vfs.FS(pebblevfs.NewMem())
	o := dirsOptions(t, mem, "/a")
	broken := errors.New("its disk is gone")
	o.Directories = append(o.Directories, Directory{Path: "/gone", ID: kafka.UUID{7}, Err: broken})
	var told []kafka.DirectoryID
	o.Failed = func(id kafka.DirectoryID, err error) {
		if !errors.Is(err, broken) {
			t.Errorf("it failed with %v", err)
		}
		told = append(told, id)
	}
	synctest.Test(t, func(t *testing.T) {
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		synctest.Wait()
		if !slices.Equal(told, []kafka.DirectoryID{{7}}) || !slices.Equal(d.Offline(), told) || len(d.Online()) != 1 {
			t.Errorf("told of %v, offline %v, online %v", told, d.Offline(), d.Online())
		}
		if _, err := d.Create(part("t", 0), topicA, NewLogConfig(config.Layers{}, nil), kafka.DirectoryMigrating); wire.CodeOf(err) != wire.KafkaStorageError {
			t.Errorf("a partition that may be in the failed directory: %v", err)
		}
		mustCreate(t, d, part("t", 0))
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
	o.Directories = o.Directories[1:]
	if _, err := OpenDirs(o); err == nil || !strings.Contains(err.Error(), "no log directory can be used") {
		t.Errorf("no directory at all: %v", err)
	}
}

// runDirs runs the chores and returns a function that ends them.
func runDirs(d *Dirs) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { d.Run(ctx) })
	return func() { cancel(); done.Wait() }
}

// TestCheckpoints: they are written at their times, and a crash after one is
// recovered to what it says at least.
func TestCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := pebblevfs.NewCrashableMem()
		o := dirsOptions(t, mem, "/a")
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		l := mustCreate(t, d, part("t", 0))
		appendN(t, l, 10, 1, 10, 0)
		l.SetHighWatermark(7)
		if _, err := d.DeleteRecords(part("t", 0), 3); err != nil {
			t.Fatal(err)
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		expect := func(name string, want kafka.Offset) {
			t.Helper()
			got, err := checkpoint.ReadOffsets(mem.CrashClone(pebblevfs.CrashCloneCfg{}), "/a/"+name)
			if err != nil || got[part("t", 0)] != want {
				t.Errorf("%s says %v, %v; want %d", name, got, err, want)
			}
		}
		expect(checkpoint.LogStart, 3) // DeleteRecords does not wait for its time
		time.Sleep(o.Times.HighWatermark + time.Millisecond)
		synctest.Wait()
		expect(checkpoint.HighWatermark, 7)
		expect(checkpoint.RecoveryPoint, 0)
		time.Sleep(o.Times.RecoveryPoint)
		synctest.Wait()
		expect(checkpoint.RecoveryPoint, 10)
		if err := l.TruncateTo(8); err != nil {
			t.Fatal(err)
		}
		expect(checkpoint.RecoveryPoint, 8) // before the bytes were taken away
		stop()

		o.FS = mem.CrashClone(pebblevfs.CrashCloneCfg{})
		crashed := mustOpenDirs(t, o)
		c := mustGet(t, crashed, part("t", 0))
		if c.LogStart() != 3 || c.LogEnd() < 8 || c.HighWatermark() != 7 || crashed.PreviousEpoch() != kafka.NoBrokerEpoch {
			t.Errorf("after a crash: start %d, end %d, high watermark %d", c.LogStart(), c.LogEnd(), c.HighWatermark())
		}
		if err := errors.Join(crashed.Close(1), d.Close(1)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDeletedDirectoriesGo: after file.delete.delay.ms, by this process or the
// next.
func TestDeletedDirectoriesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.FS(pebblevfs.NewMem())
		o := dirsOptions(t, mem, "/a")
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		mustCreate(t, d, part("t", 0))
		mustCreate(t, d, part("t", 1))
		time.Sleep(time.Second) // directories are made
		if err := d.Delete(part("t", 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		if n := countSuffix(listAll(t, mem, "/a"), "-delete"); n != 1 {
			t.Errorf("%d deleted directories, want 1", n)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := countSuffix(listAll(t, mem, "/a"), "-delete"); n != 0 {
			t.Errorf("%d deleted directories, want 0", n)
		}
		if err := d.Delete(part("t", 1)); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
		d = mustOpenDirs(t, o)
		stop = runDirs(d)
		time.Sleep(62 * time.Second)
		synctest.Wait()
		if n := countSuffix(listAll(t, mem, "/a"), "-delete"); n != 0 {
			t.Errorf("%d deleted directories after a restart, want 0", n)
		}
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}

// TestUncleanStopIsRecovered: Run opens what a crash left, and the next stop is
// clean again.
func TestUncleanStopIsRecovered(t *testing.T) {
	mem := pebblevfs.NewCrashableMem()
	o := dirsOptions(t, mem, "/a")
	d := mustOpenDirs(t, o)
	for i := range 8 {
		appendN(t, mustCreate(t, d, part("t", i)), 4, 1, 50, 0)
	}
	o.FS = mem.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		synctest.Wait()
		for _, e := range d.list(nil) {
			if l := e.log.Load(); l == nil || l.LogEnd() != 4 {
				t.Errorf("%s was not recovered", e.partition)
			}
		}
		stop()
		if err := d.Close(2); err != nil {
			t.Fatal(err)
		}
		if _, clean, _ := checkpoint.ReadCleanShutdown(o.FS, "/a"); !clean {
			t.Error("the stop after a recovery is not clean")
		}
	})
}

func TestDescribe(t *testing.T) {
	disk := &refusing{FS: pebblevfs.NewMem()}
	disk.free.Store(12345)
	o := dirsOptions(t, disk, "/a", "/b")
	d := mustOpenDirs(t, o)
	size := len(appendN(t, mustCreate(t, d, part("t", 0)), 4, 1, 50, 0))
	for range 2 {
		states := d.Describe()
		if len(states) != 2 || states[0].UsableBytes != 12345 || states[0].TotalBytes != 1<<40 || states[0].Err != nil {
			t.Fatalf("%+v", states)
		}
		if r := states[0].Replicas; len(r) != 1 || r[0].Partition != part("t", 0) || r[0].SizeBytes != int64(size) || r[0].OffsetLag != 0 {
			t.Errorf("%+v, want %d bytes", r, size)
		}
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
		d = mustOpenDirs(t, o) // and measured by the files
	}
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}

func TestGroupSync(t *testing.T) {
	synctest.Test(t, testGroupSync)
}

func testGroupSync(t *testing.T) {
	var g groupSync
	var runs, failing atomic.Int32
	broken := errors.New("no")
	var work sync.WaitGroup
	for range 50 {
		work.Go(func() {
			before := runs.Load()
			err := g.do(func() error {
				runs.Add(1)
				time.Sleep(time.Millisecond)
				if failing.Load() > 0 {
					return broken
				}
				return nil
			})
			if err != nil || runs.Load() == before {
				t.Errorf("no run of its own: %v", err)
			}
		})
	}
	work.Wait()
	if n := runs.Load(); n == 50 {
		t.Error("nobody shared a run")
	}
	failing.Store(1)
	if err := g.do(func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
