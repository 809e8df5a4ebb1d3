//go:build linux

package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvorum/internal/vfs"
)

// seeds are the random runs of each test; over them every kind of loss must be seen.
const seeds = 60

// TestBytes writes, cuts and syncs a file at random, by processes that come and go, and
// takes the power away: each sector then is as it was at the last sync, or as it was
// written since, and what was synced is whole.
func TestBytes(t *testing.T) {
	var shorter, untouched, mixed int
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 1))
		root := t.TempDir()
		journal, path := filepath.Join(root, "journal"), filepath.Join(root, "f")
		var synced, now []byte
		for range 1 + random.IntN(3) {
			fs := must(New(journal))(t)
			f := must(vfs.OpenReadWrite(fs, path))(t)
			check(t, vfs.SyncDir(fs, root))
			for range random.IntN(12) {
				synced, now = step(t, f, random, synced, now)
				if random.IntN(6) == 0 {
					check(t, f.Close())
					f = must(vfs.OpenReadWrite(fs, path))(t)
				}
			}
			if random.IntN(2) == 0 {
				check(t, f.Close()) // else it was killed
			}
		}
		lost := must(Lose(journal, random))(t)
		left := must(os.ReadFile(path))(t)
		for at := 0; at < len(left); at += sector {
			have := left[at:min(at+sector, len(left))]
			if !bytes.Equal(have, cut(synced, at, len(have))) && !bytes.Equal(have, cut(now, at, len(have))) {
				t.Fatalf("seed %d: the sector at %d is neither what was synced nor what was written", seed, at)
			}
		}
		if len(left) < min(len(synced), len(now)) {
			t.Fatalf("seed %d: %d bytes are left of %d synced and %d written", seed, len(left), len(synced), len(now))
		}
		switch {
		case bytes.Equal(synced, now) && lost != (Lost{}):
			t.Fatalf("seed %d: lost %+v of what was synced", seed, lost)
		case bytes.Equal(left, now):
			untouched++
		case bytes.Equal(left, synced):
			shorter++
		default:
			mixed++
		}
	}
	if shorter == 0 || untouched == 0 || mixed == 0 {
		t.Errorf("%d lost all, %d nothing, %d some: each must be seen", shorter, untouched, mixed)
	}
}

// step makes one random change or sync.
func step(t *testing.T, f vfs.File, random *rand.Rand, synced, now []byte) (afterSync, after []byte) {
	t.Helper()
	switch at := random.IntN(len(now) + 1); random.IntN(5) {
	case 0:
		check(t, f.Sync())
		return bytes.Clone(now), now
	case 1:
		check(t, f.(interface{ Truncate(int64) error }).Truncate(int64(at)))
		return synced, bytes.Clone(now[:at])
	default:
		data := make([]byte, 1+random.IntN(3*pageSize))
		for i := range data {
			data[i] = byte(1 + random.IntN(255))
		}
		after = make([]byte, max(len(now), at+len(data)))
		copy(after, now)
		copy(after[at:], data)
		must(f.WriteAt(data, int64(at)))(t)
		return synced, after
	}
}

// cut is what b has from at on, with zeros behind its end.
func cut(b []byte, at, length int) []byte {
	out := make([]byte, length)
	if at < len(b) {
		copy(out, b[at:])
	}
	return out
}

// TestNames changes names in every way, syncs after some of the changes, and takes the
// power away: the names are those after one of the changes since the sync, all older
// ones included, with the contents that they had.
func TestNames(t *testing.T) {
	steps := []func(fs *FS, root string) error{
		func(fs *FS, root string) error { return put(fs, root+"/a", "1") },
		func(fs *FS, root string) error { return fs.Rename(root+"/a", root+"/b") },
		func(fs *FS, root string) error { return put(fs, root+"/a", "2") },
		func(fs *FS, root string) error { return fs.Rename(root+"/a", root+"/b") }, // over b
		func(fs *FS, root string) error { return fs.Link(root+"/b", root+"/c") },
		func(fs *FS, root string) error { return put(fs, root+"/b", "3") }, // in the place of b
		func(fs *FS, root string) error { return fs.MkdirAll(root+"/d", 0o755) },
		func(fs *FS, root string) error { return fs.Rename(root+"/d", root+"/e") },
		func(fs *FS, root string) error { return fs.Remove(root + "/b") },
		func(fs *FS, root string) error { return fs.RemoveAll(root + "/e") },
		func(fs *FS, root string) error {
			f, err := fs.ReuseForWrite(root+"/c", root+"/f", "")
			return errors.Join(err, f.Close())
		},
	}
	undone := map[int]bool{}
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 2))
		top := t.TempDir()
		root, journal := top+"/files", top+"/journal"
		check(t, os.Mkdir(root, 0o755))
		fs := must(New(journal))(t)
		syncedAt, after := random.IntN(len(steps)), random.IntN(len(steps))+1
		views := []string{view(t, root)}
		for i, do := range steps[:after] {
			if random.IntN(3) == 0 {
				fs = must(New(journal))(t) // the one before was killed
			}
			check(t, do(fs, root))
			if i == syncedAt {
				check(t, vfs.SyncDir(fs, root))
				views = nil
			}
			views = append(views, view(t, root))
		}
		must(Lose(journal, random))(t)
		left := view(t, root)
		found := -1
		for i, v := range views {
			if v == left {
				found = i
			}
		}
		if found < 0 {
			t.Fatalf("seed %d, synced after %d of %d: %s is none of %q", seed, syncedAt, after, left, views)
		}
		undone[len(views)-1-found] = true
		if place := must(must(New(journal))(t).PlaceOf(root))(t); place.Boot == must(fs.PlaceOf(root))(t).Boot {
			t.Error("it is the same boot after a loss of power")
		}
	}
	if len(undone) < 5 {
		t.Errorf("only %v changes were undone at once", undone)
	}
}

// put makes a file, whose bytes are synced and whose name is not.
func put(fs *FS, path, text string) error {
	f, err := vfs.Create(fs, path)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	return errors.Join(err, f.Sync(), f.Close())
}

// view is what a directory has, as text.
func view(t *testing.T, dir string) (out string) {
	t.Helper()
	for _, e := range must(os.ReadDir(dir))(t) {
		text, _ := os.ReadFile(filepath.Join(dir, e.Name())) // empty for a directory
		out += fmt.Sprintf("%s=%s ", e.Name(), text)
	}
	return out
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDragonboat lets dragonboat's log be written and synced through the file system
// that it gets: what was synced is there after a loss of power, what was appended
// since may be gone, in one journal with the files of others.
func TestDragonboat(t *testing.T) {
	var gone int
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 3))
		root := t.TempDir()
		journal, dir := filepath.Join(root, "journal"), filepath.Join(root, "raft")
		fs := must(New(journal))(t).Dragonboat()
		check(t, fs.MkdirAll(dir, 0o755))
		for _, above := range []string{root, dir} {
			d := must(fs.OpenDir(above))(t)
			check(t, errors.Join(d.Sync(), d.Close()))
		}
		path := fs.PathJoin(dir, "log")
		f := must(fs.Create(path))(t)
		must(f.Write([]byte("synced")))(t)
		d := must(fs.OpenDir(dir))(t)
		check(t, errors.Join(f.Sync(), d.Sync(), d.Close(), f.Close()))
		f = must(fs.OpenForAppend(path))(t)
		must(f.Write([]byte(" and not synced")))(t)
		must(Lose(journal, random))(t)
		left := must(os.ReadFile(path))(t)
		if !bytes.HasPrefix(left, []byte("synced")) {
			t.Fatalf("seed %d: %q is left", seed, left)
		}
		if len(left) == len("synced") {
			gone++
		}
		check(t, f.Close())
	}
	if gone == 0 {
		t.Error("nothing was lost: dragonboat's files are not in the journal")
	}
}

// TestFreeze: the disk freezes in each span, never for longer than it may, and goes on
// between.
func TestFreeze(t *testing.T) {
	const longest = 2 * time.Second
	var frozen, free int
	for span := range 100 {
		was := time.Duration(0)
		for at := time.Duration(0); at < 3*longest; at += 10 * time.Millisecond {
			left := untilThaw(longest, time.Unix(1_200_000, 0).Add(time.Duration(3*span)*longest+at))
			if left > longest || left > 0 && was > 0 && left != was-10*time.Millisecond {
				t.Fatalf("span %d: frozen for %v at %v, after %v", span, left, at, was)
			}
			if was = left; left > 0 {
				frozen++
			} else {
				free++
			}
		}
	}
	if share := float64(frozen) / float64(frozen+free); share < 0.2 || share > 0.3 {
		t.Errorf("frozen for %.2f of the time", share)
	}
}
