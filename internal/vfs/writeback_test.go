package vfs

import (
	"os"
	"runtime"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
)

// TestWriteBack: it takes a directory of a real disk, says when there is none, and
// leaves a test's file system alone.
func TestWriteBack(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/f", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteBack(Default, dir); err != nil {
		t.Fatal(err)
	}
	if err := WriteBack(Default, dir+"/none"); err == nil && runtime.GOOS == "linux" {
		t.Fatal("a directory that is not there was written back")
	}
	if err := WriteBack(pebblevfs.NewMem(), dir+"/none"); err != nil {
		t.Fatal(err)
	}
}
