package broker

import (
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"

	"kvorum/broker/incarnation"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
)

// A directory whose disk refused something may lack what was written to it. A broker
// that comes back, in the same boot and with the disk in order again, must not go on as
// who it was: neither by what the others remember, nor where there is no other.
func TestAFailedDirectoryEndsTheIncarnation(t *testing.T) {
	for _, n := range []int{1, 2} {
		m := &memories{fs: vfs.Default, logger: slog.New(slog.NewTextHandler(io.Discard, nil)), now: incarnation.Memory{ID: kafka.UUID{1}, Epoch: 7, Previous: kafka.NoBrokerEpoch}}
		for i := range n {
			d := incarnation.Found{Path: t.TempDir(), ID: kafka.DirectoryID{2, byte(i)}, Place: incarnation.Place{Boot: "this"}}
			m.dirs = append(m.dirs, d)
			m.now.Directories = append(m.now.Directories, d.ID)
		}
		all := slices.Clone(m.dirs)
		if err := m.write(func(*incarnation.Memory) {}); err != nil {
			t.Fatal(err)
		}
		begin := func() incarnation.Start {
			var found []incarnation.Found
			for _, d := range all {
				readMemory(&d)
				d.Place = incarnation.Place{Boot: "this"}
				found = append(found, d)
			}
			return incarnation.Begin(true, found, kafka.UUID{9})
		}
		if s := begin(); !s.Resumes() {
			t.Fatalf("%d directories: after a kill it does not go on: %s", n, s.Why)
		}
		m.without(all[0].ID)
		if s := begin(); s.Resumes() {
			t.Errorf("%d directories: it goes on as who it was", n)
		}
		if _, err := vfs.Default.Stat(filepath.Join(all[0].Path, incarnation.FileName)); err == nil {
			t.Errorf("%d directories: the failed one remembers", n)
		}
	}
}
