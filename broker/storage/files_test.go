package storage

import (
	"bytes"
	"testing"
	"testing/synctest"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/kafka"
	wire "kvorum/protocol/errors"
)

// TestCrowded: files in use are not closed for others, and those above the limit are
// closed as soon as they are released.
func TestCrowded(t *testing.T) {
	c := NewFiles(pebblevfs.NewMem(), 2)
	files := []*file{c.file("/a"), c.file("/b"), c.file("/c"), c.file("/d")}
	for i, f := range files {
		if _, err := f.acquire(); err != nil {
			t.Fatal(err)
		}
		if c.Open() != i+1 || c.Crowded() != (i+1 > 2) {
			t.Fatalf("%d files are open, crowded: %t", c.Open(), c.Crowded())
		}
	}
	for _, f := range files {
		f.release()
	}
	if c.Open() != 2 || c.Crowded() {
		t.Errorf("%d files are open when none is used, crowded: %t", c.Open(), c.Crowded())
	}
	for _, f := range files { // those that were closed open again, and make room
		if _, err := f.acquire(); err != nil {
			t.Fatal(err)
		}
		f.release()
	}
	if c.Open() != 2 {
		t.Errorf("%d files are open", c.Open())
	}
	for _, f := range files {
		if err := f.forget(); err != nil {
			t.Fatal(err)
		}
	}
	if c.Open() != 0 {
		t.Errorf("%d files are open after all were forgotten", c.Open())
	}
}

// TestNoDescriptor: where the process has no descriptor left, reads and appends are
// refused; neither the log nor its directory is lost by it, and both go on when there
// is one.
func TestNoDescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		roomy := &refusing{FS: pebblevfs.NewMem()}
		roomy.free.Store(minFree)
		disk := &unreadable{FS: roomy, suffix: ".log"}
		o := dirsOptions(t, disk, "/a")
		o.OpenFiles = 1
		reopened := make(chan *Log, 1)
		o.Reopened = func(l *Log) { reopened <- l }
		o.Failed = func(_ kafka.DirectoryID, err error) { t.Errorf("the directory failed: %v", err) }
		d := mustOpenDirs(t, o)
		stop := runDirs(d)
		l, other := mustCreate(t, d, part("t", 0)), mustCreate(t, d, part("t", 1))
		want := appendN(t, l, 3, 2, 100, 1)
		l.SetHighWatermark(6)
		appendN(t, other, 1, 1, 10, 1) // takes the only place

		disk.on.Store(true)
		if _, err := l.Read(0, 1<<20, l.LogEnd(), true); wire.CodeOf(err) != wire.KafkaStorageError {
			t.Errorf("a read without a descriptor: %v", err)
		}
		if err := l.Err(); err != nil {
			t.Errorf("the log failed by a read that found no descriptor: %v", err)
		}
		if _, err := l.AppendLeader(records(1, 10, testNow), 1, AppendOptions{NowMs: testNow}); wire.CodeOf(err) != wire.KafkaStorageError {
			t.Errorf("an append without a descriptor: %v", err)
		}
		disk.on.Store(false)
		if l = <-reopened; !bytes.Equal(readAll(t, l, 1<<20), want) {
			t.Error("the log that was opened again has other records")
		}
		appendN(t, l, 1, 1, 10, 1)
		stop()
		if err := d.Close(1); err != nil {
			t.Fatal(err)
		}
	})
}
