package cluster

import (
	"os"
	"path/filepath"
	"testing"
)

// TestReplace: a file is replaced by another one and never written in place, so that
// who has it open, or runs it, keeps the old one whole; an equal one is left alone.
func TestReplace(t *testing.T) {
	path, fresh := filepath.Join(t.TempDir(), "program"), filepath.Join(t.TempDir(), "fresh")
	stat := func() os.FileInfo {
		t.Helper()
		i, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	var seen []os.FileInfo
	for _, text := range []string{"one", "one", "two"} {
		if err := os.WriteFile(fresh, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := replace(path, fresh); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Fatalf("%q, %v, want %q", got, err, text)
		}
		seen = append(seen, stat())
	}
	if !os.SameFile(seen[0], seen[1]) {
		t.Error("an equal file was replaced")
	}
	if os.SameFile(seen[1], seen[2]) {
		t.Error("another file was written in place")
	}
	if seen[2].Mode().Perm() != 0o755 {
		t.Errorf("mode %v", seen[2].Mode())
	}
}
