package storage

import (
	"bytes"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// fuzzDir is a directory in memory that holds the given files.
func fuzzDir(t testing.TB, files map[string][]byte) Options {
	t.Helper()
	mem := pebblevfs.NewMem()
	o := testOptions(t, mem, "/orders-3")
	for name, data := range files {
		f, err := vfs.Create(mem, mem.PathJoin(o.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(bytes.Clone(data)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// seedLog is a segment of five batches with all that lies beside it.
func seedLog(t testing.TB) map[string][]byte {
	t.Helper()
	o := fuzzDir(t, nil)
	o.Config.IndexIntervalBytes = 100
	l := mustOpen(t, o)
	for i := range int32(5) {
		b := batch.NewBuilder(batch.Compression{})
		b.SetProducer(5, 0, i, false)
		b.Add(testNow+int64(i), []byte("k"), make([]byte, 90))
		if _, err := l.AppendLeader(b.AppendTo(nil, 0, 0), 0, AppendOptions{NowMs: testNow}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := o.Files.fs.List(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		if files[name], err = readFile(o.Files.fs, o.Files.fs.PathJoin(o.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// FuzzRecover opens whatever bytes after an unclean stop: what is left is whole
// batches with right checksums, the begin of the bytes, and opens again as it is.
func FuzzRecover(f *testing.F) {
	const name = "00000000000000000000.log"
	data := seedLog(f)[name]
	f.Add(data)
	f.Add(data[:len(data)-7])
	f.Add(append(bytes.Clone(data), make([]byte, 300)...))
	for _, dir := range apacheDirs(f) {
		f.Add(logBytes(f, dir))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := fuzzDir(t, map[string][]byte{name: data})
		l, err := Open(o)
		if err != nil {
			return // messages of an old format
		}
		kept := segmentBytes(t, l)
		if !bytes.HasPrefix(data, kept) {
			t.Fatalf("%d bytes that are no begin of the %d", len(kept), len(data))
		}
		for v, err := range batch.All(kept) {
			if err != nil || v.CheckCRC() != nil {
				t.Fatalf("kept a batch: %v, %v", err, v.CheckCRC())
			}
		}
		end := l.LogEnd()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, clean := range []bool{true, false} {
			o.Clean, o.Files = clean, NewFiles(o.Files.fs, 4)
			again := mustOpen(t, o)
			if again.LogEnd() != end || !bytes.Equal(segmentBytes(t, again), kept) {
				t.Fatalf("clean %v: the end is %d, was %d", clean, again.LogEnd(), end)
			}
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// segmentBytes are the bytes of the log's one segment that count.
func segmentBytes(t testing.TB, l *Log) []byte {
	t.Helper()
	data, err := readFile(l.fs(), l.at("00000000000000000000.log"))
	if err != nil || int64(len(data)) != l.Size() {
		t.Fatalf("%d bytes, size %d: %v", len(data), l.Size(), err)
	}
	return data
}

// fuzzBeside opens a log in which one file beside the segment has whatever bytes:
// every batch is served, or nothing is.
func fuzzBeside(f *testing.F, name string) {
	files := seedLog(f)
	f.Add(files[name], true)
	f.Add([]byte{}, true)
	f.Add(make([]byte, 120), false)
	f.Add(append(bytes.Clone(files[name]), 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1), true)
	want := files["00000000000000000000.log"]
	f.Fuzz(func(t *testing.T, data []byte, clean bool) {
		mine := map[string][]byte{}
		for k, v := range files {
			mine[k] = v
		}
		mine[name] = data
		o := fuzzDir(t, mine)
		o.Clean = clean
		l, err := Open(o)
		if err != nil {
			t.Fatalf("a log whose segment is whole does not open: %v", err)
		}
		defer l.Close()
		for v := range batch.All(want) {
			s, err := l.Read(v.BaseOffset(), 1, 5, true)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.AppendTo(nil)
			s.Release()
			if err != nil || !bytes.Equal(got, v) {
				t.Fatalf("at %d: %d other bytes: %v", v.BaseOffset(), len(got), err)
			}
			if found, err := l.OffsetForTimestamp(v.MaxTimestamp()); err != nil || found.Offset != v.BaseOffset() {
				t.Fatalf("timestamp of %d: %+v, %v", v.BaseOffset(), found, err)
			}
		}
		if err := l.TruncateTo(2); err != nil || l.LogEnd() != 2 {
			t.Fatalf("truncated to %d: %v", l.LogEnd(), err)
		}
	})
}

func FuzzOffsetIndex(f *testing.F) { fuzzBeside(f, "00000000000000000000.index") }

func FuzzTimeIndex(f *testing.F) { fuzzBeside(f, "00000000000000000000.timeindex") }

// FuzzTransactionIndex: an index of aborted transactions is read whole or
// refused.
func FuzzTransactionIndex(f *testing.F) {
	f.Add(appendAborted(nil, AbortedTransaction{Producer: 3, First: 1, Last: 9, LastStable: 10}))
	f.Add(make([]byte, txnEntry))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseAborted(data, 0)
		if err != nil {
			return
		}
		var again []byte
		for _, a := range list {
			again = appendAborted(again, a)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("%x reads as %v", data, list)
		}
	})
}

// FuzzVerify reads whatever files there may be and never fails for their bytes.
func FuzzVerify(f *testing.F) {
	files := seedLog(f)
	f.Add(files["00000000000000000000.log"], files["00000000000000000000.index"], files["00000000000000000000.timeindex"])
	f.Fuzz(func(t *testing.T, log, index, times []byte) {
		o := fuzzDir(t, map[string][]byte{
			"00000000000000000000.log": log, "00000000000000000000.index": index, "00000000000000000000.timeindex": times,
		})
		if _, err := Verify(o.Files.fs, o.Dir); err != nil {
			t.Fatal(err)
		}
	})
}
