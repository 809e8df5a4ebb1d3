package metadatalog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// leftByFullDisk are the goroutines of a database whose disk failed: pebble
// keeps its locks then, so nothing can end them but the process.
var leftByFullDisk []goleak.Option

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(leftByFullDisk...); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func open(t testing.TB, fs vfs.FS, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// someBatch has n records whose values tell where they were written.
func someBatch(base kafka.Offset, epoch kafka.LeaderEpoch, n int) []byte {
	values := make([][]byte, n)
	for i := range values {
		values[i] = fmt.Appendf(nil, "epoch %d offset %d", epoch, base+kafka.Offset(i))
	}
	return batch.AppendData(nil, base, epoch, int64(base), values)
}

// fill appends one batch of each length, all of one epoch.
func fill(t testing.TB, s *Store, epoch kafka.LeaderEpoch, lengths ...int) {
	t.Helper()
	for _, n := range lengths {
		must(t, s.Append(Append{Batches: someBatch(s.EndOffset(), epoch, n)}))
	}
}

func wantEnds(t testing.TB, s *Store, start, end kafka.Offset, epoch kafka.LeaderEpoch) {
	t.Helper()
	if s.LogStart() != start || s.EndOffset() != end || s.LastEpoch() != epoch {
		t.Fatalf("log from %d to %d, last epoch %d; want %d to %d, epoch %d",
			s.LogStart(), s.EndOffset(), s.LastEpoch(), start, end, epoch)
	}
}

func TestAppendReadReopen(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs, "/d/store")
	wantEnds(t, s, 0, 0, 0)
	if b, err := s.Read(0, 100); b != nil || err != nil {
		t.Fatalf("read of an empty log: %x, %v", b, err)
	}
	two := append(someBatch(0, 1, 2), someBatch(2, 3, 3)...)
	must(t, s.Append(Append{Batches: two, AppliedIndex: 7, Private: map[string][]byte{"a": {1}, "b": {2}}}))
	must(t, s.Append(Append{AppliedIndex: 9, Private: map[string][]byte{"a": nil}}))
	must(t, s.Close())

	s = open(t, fs, "/d/store")
	wantEnds(t, s, 0, 5, 3)
	if got, err := s.Read(1, 1<<20); err != nil || !bytes.Equal(got, two) {
		t.Fatalf("read: %v", err)
	}
	if got, err := s.Read(4, 1); err != nil || !bytes.Equal(got, someBatch(2, 3, 3)) {
		t.Fatalf("read: %v", err)
	}
	if s.AppliedIndex() != 9 {
		t.Fatalf("applied %d", s.AppliedIndex())
	}
	_, hasA := s.Private("a")
	b, hasB := s.Private("b")
	if hasA || !hasB || !bytes.Equal(b, []byte{2}) {
		t.Fatalf("private values: a %v, b %v %x", hasA, hasB, b)
	}
	for _, from := range []kafka.Offset{-1, 6} {
		if _, err := s.Read(from, 10); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Fatalf("read at %d: %v", from, err)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	s := open(t, vfs.NewMem(), "/store")
	must(t, s.Append(Append{Batches: someBatch(0, 5, 3), AppliedIndex: 10}))
	flipped := someBatch(3, 5, 1)
	flipped[len(flipped)-2] ^= 1
	for _, tc := range []struct {
		name string
		a    Append
		want error
	}{
		{"gap", Append{Batches: someBatch(4, 5, 1)}, ErrNotContiguous},
		{"overlap", Append{Batches: someBatch(2, 5, 2)}, ErrNotContiguous},
		{"second batch has a gap", Append{Batches: append(someBatch(3, 5, 1), someBatch(5, 5, 1)...)}, ErrNotContiguous},
		{"older epoch", Append{Batches: someBatch(3, 4, 1)}, ErrEpochBackwards},
		{"older epoch later", Append{Batches: append(someBatch(3, 7, 1), someBatch(4, 6, 1)...)}, ErrEpochBackwards},
		{"flipped bit", Append{Batches: flipped}, batch.ErrCorrupt},
		{"cut", Append{Batches: flipped[:70]}, batch.ErrShort},
		{"applied", Append{Batches: someBatch(3, 5, 1), AppliedIndex: 9}, ErrAppliedBackwards},
		{"private", Append{Private: map[string][]byte{"x": make([]byte, maxPrivateBytes+1)}}, ErrTooLarge},
		{"no name", Append{Private: map[string][]byte{"": {1}}}, ErrTooLarge},
		{"batch too large", Append{Batches: batch.AppendData(nil, 3, 5, 0, [][]byte{make([]byte, batch.MaxMetadataSize)})}, ErrTooLarge},
	} {
		if err := s.Append(tc.a); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		wantEnds(t, s, 0, 3, 5)
	}
	fill(t, s, 5, 1)
	wantEnds(t, s, 0, 4, 5)
}

func TestEpochEnd(t *testing.T) {
	type ends map[kafka.LeaderEpoch]kafka.EpochOffset
	at := func(o kafka.Offset, e kafka.LeaderEpoch) kafka.EpochOffset {
		return kafka.EpochOffset{Offset: o, Epoch: e}
	}
	for _, tc := range []struct {
		name  string
		steps func(t *testing.T, s *Store)
		want  ends
	}{
		{"empty", func(*testing.T, *Store) {}, ends{0: at(0, 0), 4: at(0, 0)}},
		{"one epoch", func(t *testing.T, s *Store) { fill(t, s, 2, 3) },
			ends{1: at(0, 1), 2: at(3, 2), 9: at(3, 2)}},
		{"epoch 0", func(t *testing.T, s *Store) { fill(t, s, 0, 3) }, ends{0: at(3, 0)}},
		{"gaps", func(t *testing.T, s *Store) { fill(t, s, 2, 3); fill(t, s, 5, 1, 1) },
			ends{1: at(0, 1), 2: at(3, 2), 4: at(3, 2), 5: at(5, 5), 6: at(5, 5)}},
		{"trimmed inside of an epoch", func(t *testing.T, s *Store) {
			fill(t, s, 2, 3, 3)
			fill(t, s, 5, 1)
			must(t, s.TrimTo(3))
		}, ends{1: at(3, 2), 2: at(6, 2), 5: at(7, 5)}},
		{"trimmed at an epoch's start", func(t *testing.T, s *Store) {
			fill(t, s, 2, 3)
			fill(t, s, 5, 1)
			must(t, s.TrimTo(3))
		}, ends{1: at(3, 2), 2: at(3, 2), 4: at(3, 2), 5: at(4, 5)}},
		{"trimmed away", func(t *testing.T, s *Store) { fill(t, s, 2, 3); must(t, s.TrimTo(3)) },
			ends{1: at(3, 2), 2: at(3, 2), 3: at(3, 2)}},
		{"truncated", func(t *testing.T, s *Store) {
			fill(t, s, 2, 3)
			fill(t, s, 5, 2, 2)
			must(t, s.TruncateTo(3))
			fill(t, s, 7, 1)
		}, ends{2: at(3, 2), 5: at(3, 2), 7: at(4, 7)}},
		{"reset", func(t *testing.T, s *Store) {
			fill(t, s, 2, 3)
			must(t, s.Reset(at(100, 8), 3, nil))
			fill(t, s, 9, 1)
		}, ends{2: at(100, 8), 8: at(100, 8), 9: at(101, 9)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, fs, "/store")
			tc.steps(t, s)
			check := func(when string) {
				for e, want := range tc.want {
					if got := s.EpochEnd(e); got != want {
						t.Errorf("%s: end of epoch %d is %+v, want %+v", when, e, got, want)
					}
				}
			}
			check("written")
			must(t, s.Close())
			s = open(t, fs, "/store")
			check("opened again")
		})
	}
}

func TestTruncateTrimBounds(t *testing.T) {
	s := open(t, vfs.NewMem(), "/store")
	fill(t, s, 1, 3, 3, 3)
	must(t, s.TruncateTo(9))
	must(t, s.TruncateTo(50))
	wantEnds(t, s, 0, 9, 1)
	must(t, s.TruncateTo(7)) // inside of the batch 6-8
	wantEnds(t, s, 0, 6, 1)
	if err := s.TrimTo(4); !errors.Is(err, ErrNotBoundary) {
		t.Fatalf("trim inside of a batch: %v", err)
	}
	if err := s.TrimTo(7); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("trim past the end: %v", err)
	}
	must(t, s.TrimTo(3))
	must(t, s.TrimTo(1))
	wantEnds(t, s, 3, 6, 1)
	if err := s.TruncateTo(2); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("truncate below the start: %v", err)
	}
	if _, err := s.Read(2, 10); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("read below the start: %v", err)
	}
	must(t, s.TruncateTo(3))
	wantEnds(t, s, 3, 3, 1)
	fill(t, s, 1, 2)
	if b, err := s.Read(3, 1); err != nil || !bytes.Equal(b, someBatch(3, 1, 2)) {
		t.Fatalf("read after truncation: %v", err)
	}
}

func TestWaitChanged(t *testing.T) {
	s := open(t, vfs.NewMem(), "/store")
	a, b := s.WaitChanged(), s.WaitChanged()
	must(t, s.Append(Append{AppliedIndex: 1})) // moves no offset
	if isClosed(a) {
		t.Fatal("woken without a change")
	}
	fill(t, s, 1, 1)
	if !isClosed(a) || !isClosed(b) {
		t.Fatal("not woken by an append")
	}
	c := s.WaitChanged()
	must(t, s.TruncateTo(0))
	if !isClosed(c) {
		t.Fatal("not woken by a truncation")
	}
	c = s.WaitChanged()
	must(t, s.Close())
	if !isClosed(c) || !isClosed(s.WaitChanged()) {
		t.Fatal("not woken by Close")
	}
	if err := s.Append(Append{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after Close: %v", err)
	}
	if _, err := s.View(); !errors.Is(err, ErrClosed) {
		t.Fatalf("view after Close: %v", err)
	}
}

func TestTailReadsAreSharedAndDoNotAllocate(t *testing.T) {
	s := open(t, vfs.NewMem(), "/store")
	fill(t, s, 1, 2, 2, 2)
	first, err := s.Read(0, 1<<20)
	must(t, err)
	before := bytes.Clone(first)
	if n := testing.AllocsPerRun(100, func() {
		if b, err := s.Read(2, 1<<20); err != nil || len(b) == 0 {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per tail read", n)
	}
	must(t, s.TruncateTo(2))
	fill(t, s, 2, 5, 5)
	if !bytes.Equal(first, before) {
		t.Fatal("a reader's bytes changed")
	}
}

func TestOpenRefuses(t *testing.T) {
	newStore := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "store")
		s := open(t, nil, dir)
		fill(t, s, 1, 1)
		must(t, s.Close())
		return dir
	}
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   []string
	}{
		{"newer format", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, currentFile), []byte("format=2\nwhatever"), 0o644))
		}, []string{currentFile, "format 2", "newer kvorum"}},
		{"not a format", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, currentFile), []byte("\x00\x00\x00"), 0o644))
		}, []string{currentFile, "damaged"}},
		{"no database", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, currentFile), []byte("format=1\ndatabase=../../x\n"), 0o644))
		}, []string{currentFile, "names no database"}},
		{"file lost", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, currentFile)))
		}, []string{currentFile, "is missing", "db-000001"}},
		{"database lost", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "db-000001")))
		}, []string{"db-000001"}},
		{"open twice", func(t *testing.T, dir string) { open(t, nil, dir) }, []string{"db-000001"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := newStore(t)
			tc.damage(t, dir)
			s, err := Open(dir, Options{})
			if err == nil {
				must(t, s.Close())
				t.Fatal("opened")
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v: does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has more than one line", err)
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	s := open(b, nil, filepath.Join(b.TempDir(), "store"))
	values := [][]byte{bytes.Repeat([]byte{1}, 100)}
	var buf []byte
	b.ReportAllocs()
	for i := uint64(1); b.Loop(); i++ {
		buf = batch.AppendData(buf[:0], s.EndOffset(), 1, 0, values)
		must(b, s.Append(Append{Batches: buf, AppliedIndex: i}))
	}
}

func BenchmarkTailRead(b *testing.B) {
	s := open(b, vfs.NewMem(), "/store")
	fill(b, s, 1, 10, 10, 10, 10)
	b.ReportAllocs()
	for b.Loop() {
		if data, err := s.Read(20, 1<<20); err != nil || len(data) == 0 {
			b.Fatal(err)
		}
	}
}

// TestReadOnlyChangesNothing: reading a store leaves every file as it was, and
// is refused while a writer has the store open.
func TestReadOnlyChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := Open(dir, Options{ReadOnly: true}); err == nil || !strings.Contains(err.Error(), dir) {
		t.Fatalf("a store that is not there was opened: %v", err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	data := batch.AppendData(nil, 0, 1, 5, [][]byte{{1, 20, 0, 0}})
	if err := s.Append(Append{Batches: data, Sync: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{ReadOnly: true}); !errors.Is(err, ErrLocked) {
		t.Fatalf("a store in use was opened: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := listing(t, dir)
	s, err = Open(dir, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(0, 1); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %x, %v", got, err)
	}
	if err := s.Append(Append{Batches: batch.AppendData(nil, 1, 1, 5, [][]byte{{1, 20, 0, 0}})}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a store that is open for reading took a write: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("the directory had\n%s\nand has\n%s", before, after)
	}
}

// listing names every file below dir with its content's hash.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&out, "%s %x\n", path, sha256.Sum256(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}
