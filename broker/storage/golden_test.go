package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// apacheDirs are partitions that Apache's brokers wrote: all codecs, idempotent
// and transactional producers, group and transaction state.
func apacheDirs(t testing.TB) []string {
	t.Helper()
	dirs, err := filepath.Glob("testdata/apache/*/*")
	if err != nil || len(dirs) < 6 {
		t.Fatalf("%d partitions of Apache's: %v", len(dirs), err)
	}
	return dirs
}

// copyOf copies a directory, so that a log may be opened in it.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// logBytes are the bytes of all segments in a directory.
func logBytes(t testing.TB, dir string) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatal(dir, err)
	}
	var all []byte
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

// TestOpensApache: what Apache's brokers wrote is served as it is, after an
// orderly stop and after a crash, and what is derived from it is what Apache
// derived.
func TestOpensApache(t *testing.T) {
	for _, dir := range apacheDirs(t) {
		t.Run(strings.TrimPrefix(dir, "testdata/apache/"), func(t *testing.T) {
			want := logBytes(t, dir)
			for _, clean := range []bool{true, false} {
				at := copyOf(t, dir)
				o := testOptions(t, vfs.Default, at)
				o.Clean = clean
				l := mustOpen(t, o)
				if got := readAll(t, l, 700); !bytes.Equal(got, want) {
					t.Fatalf("clean %v: read %d bytes of %d", clean, len(got), len(want))
				}
				var first, last kafka.Offset
				for v := range batch.All(want) {
					first, last = min(first, v.BaseOffset()), v.EndOffset()
				}
				if l.LogStart() != first || l.LogEnd() != last || l.LatestEpoch() != 0 {
					t.Fatalf("clean %v: %d to %d, want %d to %d", clean, l.LogStart(), l.LogEnd(), first, last)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				compareFiles(t, dir, at, ".txnindex")
				compareFiles(t, dir, at, ".log")
				noFindings(t, at)
			}
		})
	}
}

// compareFiles wants the files of a kind to have the bytes that Apache wrote.
func compareFiles(t *testing.T, apache, ours, suffix string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(apache, "*"+suffix))
	for _, name := range files {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(ours, filepath.Base(name)))
		if err != nil && len(want) > 0 || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, Apache's is %x: %v", filepath.Base(name), got, want, err)
		}
	}
}

func noFindings(t *testing.T, dir string) {
	t.Helper()
	report, err := Verify(vfs.Default, dir)
	if err != nil || len(report.Findings) > 0 || report.Batches == 0 {
		t.Fatalf("verify %s: %+v, %v", dir, report, err)
	}
}

func TestVerifiesApache(t *testing.T) {
	for _, dir := range apacheDirs(t) {
		noFindings(t, dir)
	}
}

// TestDerivedFilesOfApache throws away all that can be derived and wants it back
// as Apache had it.
func TestDerivedFilesOfApache(t *testing.T) {
	for _, dir := range []string{"testdata/apache/3.9.2/t-log-0", "testdata/apache/4.3.1/t-log-0"} {
		at := copyOf(t, dir)
		before := mustOpen(t, withClean(testOptions(t, vfs.Default, at), true))
		producers := before.Producers()
		aborted, err := before.AbortedTransactions(0, before.LogEnd())
		if err != nil || len(aborted) != 2 || len(producers) == 0 {
			t.Fatalf("%d aborted transactions, %d producers: %v", len(aborted), len(producers), err)
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		for _, pattern := range []string{"*.index", "*.timeindex", "*.txnindex", "*.snapshot", "leader-epoch-checkpoint"} {
			files, _ := filepath.Glob(filepath.Join(at, pattern))
			for _, name := range files {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		}
		o := testOptions(t, vfs.Default, at)
		o.Config.IndexIntervalBytes = 100 // as these topics were made
		l := mustOpen(t, o)
		if got, err := l.AbortedTransactions(0, l.LogEnd()); err != nil || !reflect.DeepEqual(got, aborted) {
			t.Errorf("aborted %v, want %v: %v", got, aborted, err)
		}
		if got := l.Producers(); len(got) != len(producers) {
			t.Errorf("producers %v, want %v", got, producers)
		}
		for i, got := range l.Producers() {
			want, _ := producers[i].Last()
			if last, _ := got.Last(); got.ID != producers[i].ID || last.LastSequence != want.LastSequence || last.LastOffset != want.LastOffset || got.Epoch != producers[i].Epoch {
				t.Errorf("producer %+v, want %+v", got, producers[i])
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{".index", ".timeindex", ".txnindex", "leader-epoch-checkpoint"} {
			compareFiles(t, dir, at, suffix)
		}
		noFindings(t, at)
	}
}

func withClean(o Options, clean bool) Options {
	o.Clean = clean
	return o
}

// TestDamage breaks one thing at a time in a partition that was closed in order.
// Nothing wrong is ever served: it is repaired from what is true, or the log or
// the read fails and says where.
func TestDamage(t *testing.T) {
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 0x41; return b }
	}
	for _, tc := range []struct {
		name, file string
		change     func([]byte) []byte
		clean      bool
		repaired   bool   // all batches are served; else an error says where
		findings   string // a part of what Verify says before it is opened
	}{
		{"missing index", "00000000000000000000.index", nil, true, true, "missing"},
		{"missing index of the active segment", "*1.index", nil, true, true, "missing"},
		{"missing time index", "00000000000000000000.timeindex", nil, true, true, "missing"},
		{"empty index", "00000000000000000000.index", func([]byte) []byte { return nil }, true, true, ""},
		{"empty time index", "00000000000000000000.timeindex", func([]byte) []byte { return nil }, true, true, ""},
		{"flipped position in the index", "00000000000000000000.index", flip(6), true, true, "no batch at position"},
		{"flipped offset in the index", "00000000000000000000.index", flip(3), true, true, "no batch at position"},
		{"flipped last entry of the index", "*1.index", flip(-2), true, true, "no batch at position"},
		{"index ahead of the log", "*1.index", func(b []byte) []byte { return append(b, 0, 0, 9, 9, 0x7f, 0, 0, 0) }, true, true, "no batch at position"},
		{"half an entry in the index", "*1.index", func(b []byte) []byte { return append(b, 0, 0, 9) }, true, true, ""},
		{"index of its full size", "*1.index", func(b []byte) []byte { return append(b, make([]byte, 10<<20-len(b))...) }, true, true, ""},
		{"flipped last entry of the time index", "00000000000000000000.timeindex", flip(-10), true, true, "timestamp"},
		{"garbage in the snapshot", "*.snapshot", flip(7), true, true, "snapshot"},
		{"garbage in the epochs", "leader-epoch-checkpoint", func([]byte) []byte { return []byte("what\n") }, true, true, "leader-epoch"},
		{"flipped length in a closed segment", "00000000000000000000.log", flip(10), true, false, "position 0"},
		{"flipped magic in a closed segment", "00000000000000000000.log", flip(16), true, false, "position 0"},
		{"flipped record in a closed segment", "00000000000000000000.log", flip(200), true, true, "checksum"},
		{"zeroes after the log", "*1.log", func(b []byte) []byte { return append(b, make([]byte, 5000)...) }, false, true, "magic 0"},
		{"torn tail", "*1.log", func(b []byte) []byte { return append(b, b[:100]...) }, false, true, ""},
		{"a batch twice", "*1.log", func(b []byte) []byte { return append(b, b[len(b)-1072:]...) }, false, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := testOptions(t, vfs.Default, t.TempDir())
			o.Config.SegmentBytes = 12_000
			o.Config.IndexIntervalBytes = 1500
			l := mustOpen(t, o)
			var want []byte
			for i := range int32(21) {
				b := batch.NewBuilder(batch.Compression{})
				b.SetProducer(5, 0, i, false)
				b.Add(testNow+int64(i), nil, bytes.Repeat([]byte{byte(i + 1)}, 1000))
				data := b.AppendTo(nil, 0, 0)
				if _, err := l.AppendLeader(data, 0, AppendOptions{NowMs: testNow}); err != nil {
					t.Fatal(err)
				}
				want = append(want, data...)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			name := damage(t, o.Dir, tc.file, tc.change)
			want = changed(t, want, o.Dir, tc.name)
			if report, err := Verify(vfs.Default, o.Dir); err != nil || tc.findings != "" && !mentions(report, filepath.Base(name), tc.findings) {
				t.Errorf("verify of %s found %v, want %q: %v", name, report.Findings, tc.findings, err)
			}
			o.Files, o.Clean = NewFiles(vfs.Default, 4), tc.clean
			serve(t, o, want, tc.repaired)
		})
	}
}

// damage changes the file that matches a pattern; no change removes it. A leading
// star means the last file of the kind.
func damage(t *testing.T, dir, pattern string, change func([]byte) []byte) string {
	t.Helper()
	if i := strings.LastIndex(pattern, "*1"); i >= 0 {
		pattern = "*" + pattern[i+2:]
	}
	files, _ := filepath.Glob(filepath.Join(dir, pattern))
	if len(files) == 0 {
		t.Fatalf("no file %s", pattern)
	}
	name := files[len(files)-1]
	if change == nil {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(data), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// changed is what a reader gets where the damage is inside of records: their
// batch, whose checksum tells the client.
func changed(t *testing.T, want []byte, dir, name string) []byte {
	if !strings.Contains(name, "flipped record") {
		return want
	}
	return logBytes(t, dir)
}

func mentions(r Report, name, text string) bool {
	for _, f := range r.Findings {
		if strings.HasSuffix(f.File, name) && strings.Contains(f.String(), text) {
			return true
		}
	}
	return false
}

// serve opens a damaged log and reads every offset of it.
func serve(t *testing.T, o Options, want []byte, repaired bool) {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		if repaired {
			t.Fatal(err)
		}
		return
	}
	defer l.Close()
	if !repaired {
		if _, err := l.Read(0, 1<<20, l.LogEnd(), true); errors.CodeOf(err) != errors.CorruptMessage && errors.CodeOf(err) != errors.UnsupportedForMessageFormat {
			t.Fatalf("read of a damaged segment: %v", err)
		}
		return
	}
	for v, err := range batch.All(want) {
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Read(v.BaseOffset(), 1, l.LogEnd(), true)
		if err != nil {
			t.Fatalf("read at %d: %v", v.BaseOffset(), err)
		}
		got, err := s.AppendTo(nil)
		s.Release()
		if err != nil || !bytes.Equal(got, v) {
			t.Fatalf("read at %d: %d bytes of another batch: %v", v.BaseOffset(), len(got), err)
		}
		found, err := l.OffsetForTimestamp(v.MaxTimestamp())
		if err != nil || found.Offset != v.BaseOffset() {
			t.Fatalf("timestamp %d is at %d: %+v, %v", v.MaxTimestamp(), v.BaseOffset(), found, err)
		}
	}
	if end := l.LogEnd(); end != 21 {
		t.Fatalf("the log ends at %d", end)
	}
	if p := l.Producers(); len(p) != 1 || p[0].LastSequence() != 20 {
		t.Fatalf("producers %+v", p)
	}
	if _, err := l.AppendLeader(records(1, 10, testNow), 1, AppendOptions{NowMs: testNow}); err != nil {
		t.Fatal(err)
	}
}
