package storage

import (
	"testing"
	"testing/synctest"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// TestTune: compactions begin and end with log.cleaner.threads, and a producer is
// forgotten by the newest producer.id.expiration.ms, in a log that is open.
func TestTune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := dirsOptions(t, vfs.FS(pebblevfs.NewMem()), "/a")
		o.Config = func(string) LogConfig { c := defaultConfig(); c.Compact, c.Delete = true, false; return c }
		o.Cleaner = CleanerOptions{}
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		l, err := d.Create(part("t", 0), topicA, o.Config("t"), kafka.DirectoryUnassigned)
		if err != nil {
			t.Fatal(err)
		}
		c := &compacted{l: l, nowMs: time.Now().UnixMilli(), open: map[kafka.ProducerID]*bool{}, seq: map[kafka.ProducerID]int32{}}
		c.append(t, plainBuilder(), 5, []record{{key: "p", value: "v", ms: c.nowMs}})
		roll := func() {
			for range 10 {
				c.append(t, plainBuilder(), -1, []record{{key: "k", value: "v", ms: c.nowMs}})
			}
			if err := l.Roll(c.nowMs); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		cleaned := func() kafka.Offset { return d.cleaned(d.holdings[part("t", 0)]) }
		roll()
		if at := cleaned(); at != kafka.NoOffset {
			t.Fatalf("compacted to %d without a thread", at)
		}
		tuned := Tuning{RecoveryThreads: 3, ProducerExpirationMs: 77, Cleaner: CleanerOptions{Threads: 2, KeyMemory: 1 << 20, Backoff: time.Second}}
		d.Tune(tuned)
		roll()
		if at := cleaned(); at != 21 {
			t.Fatalf("compacted to %d with two threads, want 21", at)
		}
		if n := l.ExpireProducers(time.Now().UnixMilli()); n != 1 {
			t.Errorf("%d producers are forgotten, want the one that was idle for longer than 77 ms", n)
		}
		tuned.Cleaner.Threads = 0
		d.Tune(tuned)
		roll()
		if at := cleaned(); at != 21 {
			t.Errorf("compacted to %d without threads again, want 21", at)
		}
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}

// TestProducersExpire: a producer that has sent nothing for its time is forgotten
// by the next look for such.
func TestProducersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := dirsOptions(t, pebblevfs.NewMem(), "/a")
		o.ProducerExpirationMs, o.Times.ProducerExpiry = 90_000, time.Minute
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		l, err := d.Create(part("t", 0), topicA, o.Config("t"), kafka.DirectoryUnassigned)
		if err != nil {
			t.Fatal(err)
		}
		c := &compacted{l: l, nowMs: time.Now().UnixMilli(), open: map[kafka.ProducerID]*bool{}, seq: map[kafka.ProducerID]int32{}}
		c.append(t, plainBuilder(), 5, []record{{key: "k", value: "v", ms: c.nowMs}})
		for _, x := range []struct {
			after time.Duration
			know  int
		}{{time.Minute, 1}, {59 * time.Second, 1}, {2 * time.Second, 0}} {
			time.Sleep(x.after)
			synctest.Wait()
			if n := len(l.Producers()); n != x.know {
				t.Errorf("after %v more %d producers are known, want %d", x.after, n, x.know)
			}
		}
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}
