package storage

import (
	"os"
	"path/filepath"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/errors"
)

// TestLocateIn wants the files to say of every offset what the closed log said
// when it was open, with its indexes and without.
func TestLocateIn(t *testing.T) {
	dir := t.TempDir()
	o := testOptions(t, vfs.Default, dir)
	o.Config.SegmentBytes = 20_000
	l := mustOpen(t, o)
	appendN(t, l, 30, 5, 900, 2)
	end := l.LogEnd()
	if segments, err := l.Segments(); err != nil || len(segments) < 3 {
		t.Fatalf("%d segments: %v", len(segments), err)
	}
	want := map[kafka.Offset]Location{}
	for at := kafka.Offset(0); at < end; at++ {
		where, err := l.Locate(at)
		if err != nil {
			t.Fatal(err)
		}
		want[at] = where
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for at, w := range want {
		if got, err := LocateIn(vfs.Default, dir, at); err != nil || got != w {
			t.Errorf("offset %d: %+v, want %+v: %v", at, got, w, err)
		}
	}
	indexes, err := filepath.Glob(filepath.Join(dir, "*.index"))
	if err != nil || len(indexes) == 0 {
		t.Fatalf("indexes %v: %v", indexes, err)
	}
	for _, path := range indexes {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for at, w := range want {
		w.IndexOffset, w.IndexPosition = kafka.NoOffset, 0
		if got, err := LocateIn(vfs.Default, dir, at); err != nil || got != w {
			t.Errorf("offset %d without indexes: %+v, want %+v: %v", at, got, w, err)
		}
	}
	for _, at := range []kafka.Offset{-1, end} {
		if _, err := LocateIn(vfs.Default, dir, at); errors.CodeOf(err) != errors.OffsetOutOfRange {
			t.Errorf("offset %d: %v", at, err)
		}
	}
}
