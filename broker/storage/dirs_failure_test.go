package storage

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/broker/storage/checkpoint"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	wire "kvorum/protocol/errors"
)

// refusing is a file system that fails writes below a path.
type refusing struct {
	vfs.FS
	below string
	err   atomic.Pointer[error]
	free  atomic.Uint64
}

func (f *refusing) refuse(path string) error {
	if e := f.err.Load(); e != nil && strings.HasPrefix(path, f.below) {
		return fmt.Errorf("write %s: %w", path, *e)
	}
	return nil
}

func (f *refusing) set(err error) {
	if err == nil {
		f.err.Store(nil)
		return
	}
	f.err.Store(&err)
}

func (f *refusing) Create(name string, c pebblevfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.refuse(name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	return &refusingFile{file, f, name}, err
}

func (f *refusing) OpenReadWrite(name string, c pebblevfs.DiskWriteCategory, o ...pebblevfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	if err != nil {
		return nil, err
	}
	return &refusingFile{file, f, name}, nil
}

func (f *refusing) GetDiskUsage(string) (pebblevfs.DiskUsage, error) {
	return pebblevfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: f.free.Load()}, nil
}

type refusingFile struct {
	vfs.File
	fs   *refusing
	name string
}

func (f *refusingFile) Write(p []byte) (int, error) {
	if err := f.fs.refuse(f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *refusingFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.fs.refuse(f.name); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], at) // a torn write
		return n, err
	}
	return f.File.WriteAt(p, at)
}

// TestFailedDisk: one log's error takes all logs of its directory offline, and
// none of the other directory.
func TestFailedDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &refusing{FS: pebblevfs.NewMem(), below: "/a"}
		o := dirsOptions(t, disk, "/a", "/b")
		var failed []kafka.DirectoryID
		o.Failed = func(id kafka.DirectoryID, _ error) { failed = append(failed, id) }
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		onA, onA2, onB := mustCreate(t, d, part("t", 0)), (*Log)(nil), mustCreate(t, d, part("t", 1))
		onA2 = mustCreate(t, d, part("t", 2))
		if !strings.HasPrefix(onA.Dir(), "/a") || !strings.HasPrefix(onB.Dir(), "/b") || !strings.HasPrefix(onA2.Dir(), "/a") {
			t.Fatal(onA.Dir(), onB.Dir(), onA2.Dir())
		}
		disk.set(syscall.EIO)
		if _, err := onA.AppendLeader(records(1, 10, testNow), 0, AppendOptions{NowMs: testNow}); wire.CodeOf(err) != wire.KafkaStorageError {
			t.Fatalf("append to a failed disk: %v", err)
		}
		synctest.Wait()
		if want := []kafka.DirectoryID{o.Directories[0].ID}; !slices.Equal(failed, want) || !slices.Equal(d.Offline(), want) {
			t.Fatalf("failed: %v, offline: %v", failed, d.Offline())
		}
		if onA2.Err() == nil || onB.Err() != nil {
			t.Errorf("the other log of /a: %v, of /b: %v", onA2.Err(), onB.Err())
		}
		if _, err := d.Create(part("t", 9), topicA, LogConfig{}, o.Directories[0].ID); wire.CodeOf(err) != wire.KafkaStorageError {
			t.Errorf("create there: %v", err)
		}
		appendN(t, onB, 1, 1, 10, 0)
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
		if _, clean, _ := checkpoint.ReadCleanShutdown(disk, "/a"); clean {
			t.Error("the failed directory is marked as closed in order")
		}
		if _, clean, _ := checkpoint.ReadCleanShutdown(disk, "/b"); !clean {
			t.Error("the other directory is not marked as closed in order")
		}
	})
}

// TestFullDisk: the log that could not write is refused until there is room, and
// then comes back by itself with what had been acknowledged.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &refusing{FS: pebblevfs.NewMem(), below: "/a/t-0"}
		o := dirsOptions(t, disk, "/a")
		reopened := make(chan *Log, 1)
		o.Reopened = func(l *Log) { reopened <- l }
		o.Failed = func(_ kafka.DirectoryID, err error) { t.Errorf("the directory failed: %v", err) }
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		l := mustCreate(t, d, part("t", 0))
		want := appendN(t, l, 3, 2, 100, 1)
		l.SetHighWatermark(4)
		disk.set(syscall.ENOSPC)
		if _, err := l.AppendLeader(records(1, 10, testNow), 1, AppendOptions{NowMs: testNow}); wire.CodeOf(err) != wire.KafkaStorageError {
			t.Fatalf("append to a full disk: %v", err)
		}
		time.Sleep(10 * time.Second)
		if len(reopened) != 0 {
			t.Fatal("it was opened again without room")
		}
		disk.set(nil)
		disk.free.Store(minFree)
		again := <-reopened
		if now := mustGet(t, d, part("t", 0)); now != again || again == l {
			t.Error("the log that was opened again is not the one that is given out")
		}
		if got := readAll(t, again, 1<<20); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back, want %d", len(got), len(want))
		}
		if hw := again.HighWatermark(); hw != 4 {
			t.Errorf("high watermark %d, want 4", hw)
		}
		appendN(t, again, 1, 1, 10, 1)
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}

// TestARefusedLogIsTriedAgain: a log that could not be opened comes back by
// itself when what was in the way is gone.
func TestARefusedLogIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := pebblevfs.NewMem()
		o := dirsOptions(t, mem, "/a")
		d := mustOpenDirs(t, o)
		want := appendN(t, mustCreate(t, d, part("t", 0)), 3, 2, 100, 1)
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
		disk := &unreadable{FS: mem, suffix: ".log"}
		disk.on.Store(true)
		reopened := make(chan *Log, 1)
		o.FS, o.Reopened = disk, func(l *Log) { reopened <- l }
		o.Failed = func(_ kafka.DirectoryID, err error) { t.Errorf("the directory failed: %v", err) }
		d = mustOpenDirs(t, o)
		stop := runDirs(d)
		for range 2 { // the second answer is from memory
			if _, err := d.Get(part("t", 0)); wire.CodeOf(err) != wire.KafkaStorageError {
				t.Fatalf("a log that cannot be opened: %v", err)
			}
		}
		time.Sleep(10 * time.Second)
		if disk.refused.Load() < 2 || disk.refused.Load() > 8 {
			t.Errorf("it was tried %d times in 10 s", disk.refused.Load())
		}
		disk.on.Store(false)
		again := <-reopened
		if got := readAll(t, again, 1<<20); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back, want %d", len(got), len(want))
		}
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}

// unreadable is a file system that opens no file with a suffix.
type unreadable struct {
	vfs.FS
	suffix  string
	on      atomic.Bool
	refused atomic.Int64
}

func (f *unreadable) OpenReadWrite(name string, c pebblevfs.DiskWriteCategory, o ...pebblevfs.OpenOption) (vfs.File, error) {
	if f.on.Load() && strings.HasSuffix(name, f.suffix) {
		f.refused.Add(1)
		return nil, fmt.Errorf("open %s: %w", name, syscall.EMFILE)
	}
	return f.FS.OpenReadWrite(name, c, o...)
}
