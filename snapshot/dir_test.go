package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

func rng() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func ids(d *Dir) string {
	var out []string
	for _, s := range d.List() {
		out = append(out, fmt.Sprintf("%d-%d", s.ID.Offset, s.ID.Epoch))
	}
	return strings.Join(out, " ")
}

func write(t testing.TB, fs vfs.FS, path, text string) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.Write([]byte(text))
	must(t, errors.Join(err, f.Close()))
}

func TestDirLists(t *testing.T) {
	fs := vfs.NewMem()
	d := openDir(t, fs)
	save(t, d, at(30, 2), 3)
	save(t, d, at(10, 1), 1)
	save(t, d, at(20, 1), 2)
	save(t, d, Bootstrap, 0)
	for _, name := range []string{"00000000000000000000.log", Name(at(40, 2)) + ".part", Name(at(5, 1)) + ".deleted", "quorum-state", Name(at(6, 1)) + ".damaged"} {
		write(t, fs, "/d/"+name, "x")
	}
	for _, d := range []*Dir{d, openDir(t, fs)} {
		if got := ids(d); got != "30-2 20-1 10-1" {
			t.Errorf("snapshots %s", got)
		}
		latest, ok1 := d.Latest()
		earliest, ok2 := d.Earliest()
		if latest.ID != at(30, 2) || earliest.ID != at(10, 1) || !ok1 || !ok2 || latest.Size == 0 {
			t.Errorf("latest %+v, earliest %+v", latest, earliest)
		}
	}
	names, err := fs.List("/d")
	must(t, err)
	slices.Sort(names)
	want := []string{Name(Bootstrap), "00000000000000000000.log", Name(at(6, 1)) + ".damaged", Name(at(10, 1)), Name(at(20, 1)), Name(at(30, 2)), "quorum-state"}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("left %v", names)
	}
}

func TestChunks(t *testing.T) {
	fs := vfs.NewMem()
	d := openDir(t, fs)
	id := at(20, 1)
	save(t, d, at(10, 1), 1, "old")
	save(t, d, id, 2, strings.Repeat("x", 5000), "y")
	save(t, d, at(30, 1), 3)
	save(t, d, Bootstrap, 0)
	want := readFile(t, fs, "/d/"+Name(id))
	var got []byte
	for i := 0; len(got) < len(want); i++ {
		c, err := d.ReadChunk(id, int64(len(got)), 1000)
		must(t, err)
		if c.Size != int64(len(want)) || len(c.Bytes) > 1000 {
			t.Fatalf("chunk of %d bytes, size %d", len(c.Bytes), c.Size)
		}
		got = append(got, c.Bytes...)
		if i == 1 { // it goes away under its reader
			must(t, d.DeleteBefore(25, 1000))
		}
	}
	if !bytes.Equal(got, want) || ids(d) != "30-1" {
		t.Fatalf("chunks differ from the file, or %s is left", ids(d))
	}
	must(t, d.Purge(1000+DeleteDelayMs-1))
	if _, err := d.ReadChunk(id, 0, 1); err != nil {
		t.Fatalf("within the delay: %v", err)
	}
	must(t, d.Purge(1000+DeleteDelayMs))
	for _, id := range []kafka.EpochOffset{id, at(11, 1), Bootstrap} {
		if _, err := d.ReadChunk(id, 0, 1); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v: %v", id, err)
		}
	}
	for _, position := range []int64{-1, 1 << 40} {
		if _, err := d.ReadChunk(at(30, 1), position, 1); !errors.Is(err, ErrPosition) {
			t.Errorf("position %d: %v", position, err)
		}
	}
	if names, _ := fs.List("/d"); len(names) != 2 {
		t.Errorf("left %v", names)
	}
}

func TestInstall(t *testing.T) {
	from, fs := vfs.NewMem(), vfs.NewMem()
	source := openDir(t, from)
	save(t, source, at(20, 3), 2, "a", "b")
	data := readFile(t, from, "/d/"+Name(at(20, 3)))
	d := openDir(t, fs)
	for name, err := range map[string]error{
		"cut":         d.Install(at(20, 3), bytes.NewReader(data[:len(data)-1])),
		"wrong epoch": d.Install(at(20, 4), bytes.NewReader(data)),
		"empty":       d.Install(at(20, 3), bytes.NewReader(nil)),
	} {
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names, _ := fs.List("/d"); len(names) != 0 || len(d.List()) != 0 {
		t.Fatalf("left %v", names)
	}
	must(t, d.Install(at(20, 3), bytes.NewReader(data)))
	if got := readFile(t, fs, "/d/"+Name(at(20, 3))); !bytes.Equal(got, data) || ids(d) != "20-3" {
		t.Fatalf("installed %d of %d bytes, %s", len(got), len(data), ids(d))
	}
}

func TestExpire(t *testing.T) {
	const nowMs = 1_000_000
	size := func() int64 {
		d := openDir(t, vfs.NewMem())
		save(t, d, at(10, 1), 0)
		latest, _ := d.Latest()
		return latest.Size
	}()
	for _, tc := range []struct {
		name     string
		keep     Retention
		logBytes int64
		want     string
		logStart kafka.Offset
	}{
		{"all fits", Retention{MaxBytes: 3*size + 10, MaxAgeMs: nowMs}, 10, "30-1 20-1 10-1", 0},
		{"one byte too many", Retention{MaxBytes: 3*size + 9, MaxAgeMs: nowMs}, 10, "30-1 20-1", 20},
		{"two too many", Retention{MaxBytes: 2*size - 1, MaxAgeMs: nowMs}, 0, "30-1", 30},
		{"never the last", Retention{MaxBytes: 1, MaxAgeMs: 0}, 1 << 40, "30-1", 30},
		{"the oldest too old", Retention{MaxBytes: 1 << 40, MaxAgeMs: nowMs - 101}, 0, "30-1 20-1", 20},
		{"just not too old", Retention{MaxBytes: 1 << 40, MaxAgeMs: nowMs - 100}, 0, "30-1 20-1 10-1", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := openDir(t, vfs.NewMem())
			save(t, d, at(10, 1), 100)
			save(t, d, at(20, 1), 200)
			save(t, d, at(30, 1), 300)
			var logStart kafka.Offset
			for range 10 {
				start, deleted, err := d.Expire(tc.keep, nowMs, tc.logBytes)
				must(t, err)
				if !deleted {
					break
				}
				logStart = start
			}
			if ids(d) != tc.want || logStart != tc.logStart {
				t.Errorf("left %s, log start %d; want %s, %d", ids(d), logStart, tc.want, tc.logStart)
			}
		})
	}
}

func TestLoadNewestFallsBack(t *testing.T) {
	damage := func(t *testing.T, fs vfs.FS, id kafka.EpochOffset, cut int) {
		data := readFile(t, fs, "/d/"+Name(id))
		write(t, fs, "/d/"+Name(id), string(data[:len(data)-cut]))
	}
	prepare := func(t *testing.T) (vfs.FS, *Dir) {
		fs := vfs.NewMem()
		d := openDir(t, fs)
		save(t, d, at(10, 1), 1, "ten")
		save(t, d, at(20, 1), 2, "twenty")
		return fs, d
	}
	var seen []string
	load := func(_ kafka.EpochOffset, r *Reader) error {
		seen = nil
		for r.Next() {
			seen = append(seen, string(r.Value()))
		}
		return nil // LoadNewest itself looks at the reader's end
	}
	t.Run("newest is cut", func(t *testing.T) {
		fs, d := prepare(t)
		damage(t, fs, at(20, 1), 3)
		id, ok, damaged, err := d.LoadNewest(10, load)
		must(t, err)
		if id != at(10, 1) || !ok || len(damaged) != 1 || !slices.Equal(seen, []string{"ten"}) {
			t.Fatalf("%+v, %v, %v, %v", id, ok, damaged, seen)
		}
		if !strings.Contains(damaged[0].Error(), Name(at(20, 1))) {
			t.Errorf("%v does not name the file", damaged[0])
		}
		if _, err := fs.Stat("/d/" + Name(at(20, 1)) + ".damaged"); err != nil || ids(d) != "10-1" {
			t.Errorf("not set aside: %v, %s", err, ids(d))
		}
	})
	t.Run("older one does not reach the log", func(t *testing.T) {
		fs, d := prepare(t)
		damage(t, fs, at(20, 1), 3)
		_, ok, damaged, err := d.LoadNewest(15, load)
		if ok || len(damaged) != 1 || !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "offset 15") {
			t.Fatalf("%v, %v, %v", ok, damaged, err)
		}
	})
	t.Run("all damaged, log from 0", func(t *testing.T) {
		fs, d := prepare(t)
		damage(t, fs, at(20, 1), 3)
		damage(t, fs, at(10, 1), 200)
		_, ok, damaged, err := d.LoadNewest(0, load)
		if ok || len(damaged) != 2 || err != nil {
			t.Fatalf("%v, %v, %v", ok, damaged, err)
		}
	})
	t.Run("an error that is no damage", func(t *testing.T) {
		_, d := prepare(t)
		other := errors.New("other")
		_, ok, damaged, err := d.LoadNewest(0, func(kafka.EpochOffset, *Reader) error { return other })
		if ok || len(damaged) != 0 || !errors.Is(err, other) || ids(d) != "20-1 10-1" {
			t.Fatalf("%v, %v, %v, %s", ok, damaged, err, ids(d))
		}
	})
}

// TestGoldenImages loads Apache's checkpoints as images, saves those, and loads
// them again.
func TestGoldenImages(t *testing.T) {
	topics := 0
	for _, path := range goldenFiles(t) {
		id, ok := ParseName(filepath.Base(path))
		if !ok || id == Bootstrap {
			continue
		}
		r, err := OpenFile(vfs.Default, path)
		must(t, err)
		im, err := LoadImage(id, r)
		must(t, errors.Join(err, r.Close()))
		topics += im.TopicCount()
		d := openDir(t, vfs.NewMem())
		got, err := d.Save(im, r.Header(), 77)
		must(t, err)
		if got != id {
			t.Fatalf("%s: saved as %+v", path, got)
		}
		again, err := d.Open(id)
		must(t, err)
		im2, err := LoadImage(id, again)
		must(t, errors.Join(err, again.Close()))
		if !im.Equal(im2) || im.At() != im2.At() {
			t.Errorf("%s: the image is another one after a round trip", path)
		}
		if h := again.Header(); h.LastContainedLogTimestampMs != r.Header().LastContainedLogTimestampMs || (h.Voters == nil) != (r.Header().Voters == nil) {
			t.Errorf("%s: header %+v", path, h)
		}
	}
	if topics == 0 {
		t.Fatal("no topics in any checkpoint")
	}
}

// TestLoadImageRefuses shows that a record that cannot be understood is no
// damage: the file stays where it is.
func TestLoadImageRefuses(t *testing.T) {
	orphan, err := record.Message{Record: &record.PartitionRecord{TopicID: kafka.UUID{1}}}.Append(nil)
	must(t, err)
	for name, value := range map[string]string{"unknown type": "\x01\xff\x01\x00\x00", "partition without topic": string(orphan)} {
		d := openDir(t, vfs.NewMem())
		save(t, d, at(20, 1), 2, value)
		_, ok, damaged, err := d.LoadNewest(0, func(id kafka.EpochOffset, r *Reader) error {
			_, err := LoadImage(id, r)
			return err
		})
		if ok || err == nil || len(damaged) != 0 || errors.Is(err, ErrDamaged) || ids(d) != "20-1" {
			t.Errorf("%s: %v, %v, %v, %s", name, ok, damaged, err, ids(d))
		}
	}
}

func TestSaveOfEmptyImage(t *testing.T) {
	d := openDir(t, vfs.NewMem())
	if _, err := d.Save(image.Empty(), someHeader(), 0); err == nil {
		t.Fatal("saved the image of no record")
	}
	if _, ok := d.Latest(); ok {
		t.Fatal("a snapshot in an empty directory")
	}
}

func BenchmarkLoadImage(b *testing.B) {
	path := "testdata/golden/4.3.1-small/00000000000000000497-0000000001.checkpoint"
	id, _ := ParseName(filepath.Base(path))
	b.ReportAllocs()
	for b.Loop() {
		r, err := OpenFile(vfs.Default, path)
		must(b, err)
		_, err = LoadImage(id, r)
		must(b, errors.Join(err, r.Close()))
	}
}
