package storage

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	wire "kvorum/protocol/errors"
)

// TestFullFileSystem fills a real file system: producers get an error, and what was
// acknowledged is there, and more can be written, as soon as there is room. Nobody
// does anything for it.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	const size = minFree + 16<<20
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=80m"); err != nil {
		t.Skipf("skipped: a file system of limited size cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	o := dirsOptions(t, vfs.Default, filepath.Join(dir, "logs"))
	o.Times.Probe, o.Times.HighWatermark = 20*time.Millisecond, 20*time.Millisecond
	reopened := make(chan *Log, 64)
	o.Reopened = func(l *Log) { reopened <- l }
	o.Failed = func(_ kafka.DirectoryID, err error) { t.Errorf("the directory failed: %v", err) }
	d := mustOpenDirs(t, o)
	stop := runDirs(d)
	l := mustCreate(t, d, part("t", 0))
	want := appendN(t, l, 3, 2, 100, 1)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, size-4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for l.Err() == nil {
		data := records(1, 500_000, testNow)
		_, err := l.AppendLeader(data, 1, AppendOptions{NowMs: testNow})
		if err == nil {
			want = append(want, data...)
		} else if wire.CodeOf(err) != wire.KafkaStorageError {
			t.Fatalf("append to a full disk: %v", err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case l = <-reopened:
	case <-ctx.Done():
		t.Fatal("the log did not come back")
	}
	if got := readAll(t, l, 1<<20); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, want %d", len(got), len(want))
	}
	appendN(t, l, 1, 1, 10, 1)
	stop()
	if err := d.Close(1); err != nil {
		t.Fatal(err)
	}
}
