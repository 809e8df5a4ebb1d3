package vfs

import (
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestReplaceSurvivesACrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	if err := mem.MkdirAll("/d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := SyncDir(mem, "/"); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		data := []byte(text)
		if err := Replace(mem, "/d/f", data); err != nil {
			t.Fatal(err)
		}
		if string(data) != text {
			t.Fatalf("the caller's bytes became %q", data)
		}
		f, err := mem.CrashClone(vfs.CrashCloneCfg{}).Open("/d/f")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
