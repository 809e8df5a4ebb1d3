package storage

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	wire "kvorum/protocol/errors"
)

// segmented is a log of four segments with two batches each, one record a batch,
// a second between segments; the last one is active. It ends at offset 8.
func segmented(t testing.TB, fsys vfs.FS) *Log {
	t.Helper()
	l := mustOpen(t, testOptions(t, fsys, "/orders-3"))
	for i := range 4 {
		if err := l.Roll(testNow); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := l.AppendLeader(records(1, 100, testNow+int64(i)*1000), 0, AppendOptions{NowMs: testNow}); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.SetHighWatermark(8)
	return l
}

func TestRetention(t *testing.T) {
	const last = testNow + 3000 // when the newest record was made
	for name, c := range map[string]struct {
		change   func(c *LogConfig, segment int64)
		hw, from kafka.Offset
		now      int64
		start    kafka.Offset
		segments int
	}{
		"nothing is old":             {nil, 8, 0, last, 0, 4},
		"no limit":                   {func(c *LogConfig, _ int64) { c.RetentionMs, c.RetentionBytes = -1, -1 }, 8, 0, last + 1e12, 0, 4},
		"two segments are old":       {func(c *LogConfig, _ int64) { c.RetentionMs = 1500 }, 8, 0, last, 4, 2},
		"just not old":               {func(c *LogConfig, _ int64) { c.RetentionMs = 3000 }, 8, 0, last, 0, 4},
		"all are old":                {func(c *LogConfig, _ int64) { c.RetentionMs = 1 }, 8, 0, last + 10, 8, 1},
		"not above the watermark":    {func(c *LogConfig, _ int64) { c.RetentionMs = 1 }, 5, 0, last + 10, 4, 2},
		"not the active one, either": {func(c *LogConfig, _ int64) { c.RetentionMs = 1 }, 7, 0, last + 10, 6, 1},
		"by size":                    {func(c *LogConfig, n int64) { c.RetentionBytes = 2*n + 1 }, 8, 0, last, 2, 3},
		"by size, exactly":           {func(c *LogConfig, n int64) { c.RetentionBytes = 2 * n }, 8, 0, last, 4, 2},
		"nothing by size":            {func(c *LogConfig, _ int64) { c.RetentionBytes = 0 }, 8, 0, last, 8, 1},
		"before the log's start":     {nil, 8, 4, last, 4, 2},
		"compacted: only those":      {func(c *LogConfig, _ int64) { c.Delete, c.Compact, c.RetentionMs, c.RetentionBytes = false, true, 1, 1 }, 8, 3, last + 10, 3, 3},
		"compacted and deleted":      {func(c *LogConfig, _ int64) { c.Compact, c.RetentionMs = true, 1500 }, 8, 0, last, 4, 2},
	} {
		t.Run(name, func(t *testing.T) {
			mem := pebblevfs.NewMem()
			l := segmented(t, mem)
			config := l.Config()
			if c.change != nil {
				c.change(&config, l.Size()/4)
			}
			l.SetConfig(config)
			l.SetHighWatermark(c.hw)
			if _, err := l.DeleteRecordsTo(c.from); err != nil {
				t.Fatal(err)
			}
			before := l.SegmentCount()
			reading, err := l.Read(max(c.from, 0), 1<<20, c.hw, true)
			if err != nil {
				t.Fatal(err)
			}
			paths, err := l.deleteOld(c.now)
			if err != nil || l.LogStart() != c.start || l.SegmentCount() != c.segments || l.LogEnd() != 8 {
				t.Fatalf("start %d, %d segments, end %d, %v; want start %d, %d segments", l.LogStart(), l.SegmentCount(), l.LogEnd(), err, c.start, c.segments)
			}
			checkDeleted(t, mem, paths, before-c.segments)
			if data, err := reading.AppendTo(nil); err != nil || len(data) != reading.Len() {
				t.Errorf("who was reading got %d bytes of %d, %v", len(data), reading.Len(), err)
			}
			reading.Release()
			if again, err := l.deleteOld(c.now); err != nil || len(again) > 0 {
				t.Errorf("the next look deletes %v, %v", again, err)
			}
			config.Compact = false // which would want keys
			l.SetConfig(config)
			appendN(t, l, 1, 1, 10, 0)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// checkDeleted: the files are there under their new names, three for a segment
// and not the active one's.
func checkDeleted(t *testing.T, fsys vfs.FS, paths []string, atLeast int) {
	t.Helper()
	logs := 0
	for _, path := range paths {
		if _, err := fsys.Stat(path); err != nil || !strings.HasSuffix(path, deletedSuffix) {
			t.Errorf("%s: %v", path, err)
		}
		if strings.HasSuffix(path, logSuffix+deletedSuffix) {
			logs++
		}
	}
	if logs < atLeast {
		t.Errorf("%d segments are named as deleted, want %d: %v", logs, atLeast, paths)
	}
}

// TestDirsApplyRetention: the chores delete what is old, the files go after
// file.delete.delay.ms, and readers of what has gone are told so.
func TestDirsApplyRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.FS(pebblevfs.NewMem())
		o := dirsOptions(t, mem, "/a")
		o.Config = func(string) LogConfig { c := defaultConfig(); c.RetentionMs = 60_000; return c }
		d := mustOpenDirs(t, o)
		l, err := d.Create(part("t", 0), topicA, o.Config("t"), kafka.DirectoryUnassigned)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		if _, err := l.AppendLeader(records(1, 10, now), 0, AppendOptions{NowMs: now}); err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(1)
		stop := runDirs(d)
		time.Sleep(o.Times.FirstRetention + time.Second)
		synctest.Wait()
		if l.LogStart() != 0 {
			t.Error("a record of half a minute is gone")
		}
		time.Sleep(o.Times.Retention)
		synctest.Wait()
		if l.LogStart() != 1 {
			t.Error("an old record is still there")
		}
		if _, err := l.Read(0, 100, 1, true); wire.CodeOf(err) != wire.OffsetOutOfRange {
			t.Errorf("read what is gone: %v", err)
		}
		deleted := func() bool {
			return slices.ContainsFunc(listAll(t, mem, "/a/t-0"), func(n string) bool { return strings.HasSuffix(n, deletedSuffix) })
		}
		if !deleted() {
			t.Error("the files are gone at once")
		}
		time.Sleep(time.Duration(l.Config().FileDeleteDelayMs)*time.Millisecond + 2*time.Second)
		synctest.Wait()
		if deleted() {
			t.Error("the files are still there")
		}
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDirsCompact: the chores compact what is due, say so in the checkpoint, and
// the next process goes on from there.
func TestDirsCompact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.FS(pebblevfs.NewMem())
		o := dirsOptions(t, mem, "/a")
		o.Config = func(string) LogConfig { c := defaultConfig(); c.Compact, c.Delete = true, false; return c }
		o.Cleaner = CleanerOptions{Threads: 2, KeyMemory: 1 << 20, Backoff: time.Second, BytesPerSecond: 1 << 20}
		d := mustOpenDirs(t, o)
		if s := d.CleanerStats(); s != (CleanerStats{}) {
			t.Errorf("before the first look: %+v", s)
		}
		stop := runDirs(d)
		logs := map[int]*Log{}
		for i := range 3 {
			l, err := d.Create(part("t", i), topicA, o.Config("t"), kafka.DirectoryUnassigned)
			if err != nil {
				t.Fatal(err)
			}
			logs[i] = l
			c := &compacted{l: l, nowMs: time.Now().UnixMilli()}
			for range 10 {
				c.append(t, plainBuilder(), -1, []record{{key: "k", value: "v", ms: c.nowMs}})
			}
			if err := l.Roll(c.nowMs); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for i, l := range logs {
			if got, _ := stored(t, l); len(got) != 1 || got[0].at != 9 {
				t.Errorf("log %d has %s", i, describe(got))
			}
			e := d.holdings[part("t", i)]
			if at := d.cleaned(e); at != 10 {
				t.Errorf("log %d is said to be compacted to %d, want 10", i, at)
			}
		}
		// As if the segments of one could not be read.
		d.mu.Lock()
		d.cleaner.failed[logs[2]] = true
		d.mu.Unlock()
		if s := d.CleanerStats(); s.Uncleanable != 1 || s.DirtyRatio != 0 || s.SinceLook > time.Second || s.Took <= 0 {
			t.Errorf("after all are compacted: %+v", s)
		}
		if err := errors.Join(d.Delete(part("t", 0))); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
		d = mustOpenDirs(t, o)
		if got := d.cleaner.offsets[d.dirs[0]]; len(got) != 2 || got[part("t", 1)] != 10 {
			t.Errorf("after a restart: %v", got)
		}
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}
