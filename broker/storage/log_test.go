package storage

import (
	"bytes"
	stderrors "errors"
	"io"
	"net"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// testNow is the broker's clock in tests, in ms.
const testNow = 1_700_000_000_000

// testOptions is a log of default configuration in dir.
func testOptions(t testing.TB, fsys vfs.FS, dir string) Options {
	t.Helper()
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return Options{
		Partition: kafka.TopicPartition{Topic: "orders", Partition: 3}, Dir: dir,
		Files:  NewFiles(fsys, 8),
		Config: defaultConfig(), ProducerExpirationMs: 86_400_000, NowMs: testNow,
	}
}

func defaultConfig() LogConfig { return NewLogConfig(config.Layers{}, nil) }

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// records builds a batch of n records of size bytes each.
func records(n, size int, timestampMs int64) []byte {
	b := batch.NewBuilder(batch.Compression{})
	value := bytes.Repeat([]byte{'v'}, size)
	for i := range n {
		b.Add(timestampMs+int64(i), nil, value)
	}
	return b.AppendTo(nil, 0, 0)
}

// appendN appends batches and returns the log's bytes as they have to be.
func appendN(t testing.TB, l *Log, batches, perBatch, size int, epoch kafka.LeaderEpoch) []byte {
	t.Helper()
	var all []byte
	for i := range batches {
		data := records(perBatch, size, testNow+int64(i))
		want := l.LogEnd()
		a, err := l.AppendLeader(data, epoch, AppendOptions{NowMs: testNow})
		if err != nil {
			t.Fatal(err)
		}
		if a.First != want || a.Last != want+kafka.Offset(perBatch)-1 {
			t.Fatalf("appended %d to %d, wanted to begin at %d", a.First, a.Last, want)
		}
		all = append(all, data...)
	}
	return all
}

// removeOld takes the segments out of a log that lie before its start, and removes
// their files as the chores of Dirs do.
func removeOld(l *Log) error {
	paths, err := l.deleteOld(testNow)
	for _, path := range paths {
		err = stderrors.Join(err, l.fs().Remove(path))
	}
	return err
}

// readAll reads the whole log in pieces of maxBytes.
func readAll(t testing.TB, l *Log, maxBytes int) []byte {
	t.Helper()
	var all []byte
	for at := l.LogStart(); at < l.LogEnd(); {
		s, err := l.Read(at, maxBytes, l.LogEnd(), true)
		if err != nil {
			t.Fatal(err)
		}
		if s.Len() == 0 {
			t.Fatalf("nothing at offset %d before the end %d", at, l.LogEnd())
		}
		before := len(all)
		all, err = s.AppendTo(all)
		s.Release()
		if err != nil {
			t.Fatal(err)
		}
		for v, err := range batch.All(all[before:]) {
			if err != nil {
				t.Fatal(err)
			}
			at = v.EndOffset()
		}
	}
	return all
}

func TestAppendReadReopen(t *testing.T) {
	o := testOptions(t, vfs.Default, t.TempDir())
	l := mustOpen(t, o)
	want := appendN(t, l, 20, 5, 1000, 0)
	for _, maxBytes := range []int{1, 6000, 20_000, 1 << 20} {
		if got := readAll(t, l, maxBytes); !bytes.Equal(got, want) {
			t.Fatalf("read by %d: %d bytes, appended %d", maxBytes, len(got), len(want))
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if open := o.Files.Open(); open != 0 {
		t.Fatalf("%d files are open after Close", open)
	}
	for _, clean := range []bool{true, false} {
		o.Clean = clean
		l = mustOpen(t, o)
		want = append(want, appendN(t, l, 3, 2, 3000, 7)...)
		if got := readAll(t, l, 30_000); !bytes.Equal(got, want) {
			t.Fatalf("clean %v: read %d bytes, appended %d", clean, len(got), len(want))
		}
		if end := l.LogEnd(); l.LatestEpoch() != 7 || end < 106 {
			t.Fatalf("clean %v: epoch %d, end %d", clean, l.LatestEpoch(), end)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadBounds(t *testing.T) {
	l := mustOpen(t, testOptions(t, vfs.Default, t.TempDir()))
	defer l.Close()
	data := appendN(t, l, 10, 10, 500, 0) // batches at 0, 10, ... 90
	size := len(data) / 10
	for _, tc := range []struct {
		name     string
		from     kafka.Offset
		maxBytes int
		upTo     kafka.Offset
		minOne   bool
		batches  int
		base     kafka.Offset
		code     errors.Code
	}{
		{name: "all", from: 0, maxBytes: 1 << 20, upTo: 100, batches: 10},
		{name: "inside a batch", from: 25, maxBytes: 1 << 20, upTo: 100, batches: 8, base: 20},
		{name: "the end", from: 100, maxBytes: 1 << 20, upTo: 100},
		{name: "after the end", from: 101, maxBytes: 1 << 20, upTo: 100, code: errors.OffsetOutOfRange},
		{name: "before the start", from: -1, maxBytes: 1 << 20, upTo: 100, code: errors.OffsetOutOfRange},
		{name: "up to the begin of a batch", from: 0, maxBytes: 1 << 20, upTo: 30, batches: 3},
		{name: "up to the middle of a batch", from: 0, maxBytes: 1 << 20, upTo: 31, batches: 4},
		{name: "beyond the high watermark", from: 40, maxBytes: 1 << 20, upTo: 40},
		{name: "too few bytes", from: 0, maxBytes: size - 1, upTo: 100},
		{name: "too few bytes but one", from: 0, maxBytes: size - 1, upTo: 100, minOne: true, batches: 1},
		{name: "no bytes but one", from: 55, maxBytes: 0, upTo: 100, minOne: true, batches: 1, base: 50},
		{name: "two and a half", from: 0, maxBytes: size*5/2 + 1, upTo: 100, batches: 2},
		{name: "exactly two", from: 10, maxBytes: size * 2, upTo: 100, batches: 2, base: 10},
		{name: "two of three", from: 10, maxBytes: size * 2, upTo: 40, batches: 2, base: 10},
	} {
		s, err := l.Read(tc.from, tc.maxBytes, tc.upTo, tc.minOne)
		if errors.CodeOf(err) != tc.code {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if s.Len() != tc.batches*size || (tc.batches > 0 && s.Base != tc.base) {
			t.Errorf("%s: %d bytes from %d, want %d batches of %d from %d", tc.name, s.Len(), s.Base, tc.batches, size, tc.base)
		}
		s.Release()
	}
}

func TestRollsBySize(t *testing.T) {
	o := testOptions(t, vfs.Default, t.TempDir())
	o.Config.SegmentBytes = 10_000
	l := mustOpen(t, o)
	want := appendN(t, l, 12, 3, 1000, 0)
	if n := len(*l.segments.Load()); n < 4 {
		t.Fatalf("%d segments", n)
	}
	if got := readAll(t, l, 1<<20); !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, appended %d", len(got), len(want))
	}
	if _, err := l.AppendLeader(records(20, 1000, testNow), 0, AppendOptions{NowMs: testNow}); errors.CodeOf(err) != errors.RecordListTooLarge {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, o)
	defer l.Close()
	if got := readAll(t, l, 1<<20); !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes after opening, appended %d", len(got), len(want))
	}
}

func TestSendsToConnections(t *testing.T) {
	l := mustOpen(t, testOptions(t, vfs.Default, t.TempDir()))
	want := appendN(t, l, 40, 10, 10_000, 0)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	received := make(chan []byte)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			close(received)
			return
		}
		defer conn.Close()
		data, _ := io.ReadAll(conn)
		received <- data
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Read(0, 1<<30, l.LogEnd(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // the slice keeps its file
		t.Fatal(err)
	}
	if n, err := s.WriteTo(conn); err != nil || n != int64(len(want)) {
		t.Fatalf("sent %d of %d bytes: %v", n, len(want), err)
	}
	var copied bytes.Buffer
	if n, err := s.WriteTo(&copied); err != nil || n != int64(len(want)) {
		t.Fatalf("copied %d of %d bytes: %v", n, len(want), err)
	}
	s.Release()
	conn.Close()
	if got := <-received; !bytes.Equal(got, want) || !bytes.Equal(copied.Bytes(), want) {
		t.Fatalf("received %d, copied %d of %d bytes", len(got), copied.Len(), len(want))
	}
	if open := l.files.Open(); open != 0 {
		t.Fatalf("%d files are open", open)
	}
}

// TestFlushMessages: where flush.messages is 1, a batch is on the disk when its append
// returns, on the leader and on a follower, and so is the log's directory.
func TestFlushMessages(t *testing.T) {
	for name, add := range map[string]func(*Log, []byte) error{
		"leader": func(l *Log, data []byte) error {
			_, err := l.AppendLeader(data, 0, AppendOptions{NowMs: testNow})
			return err
		},
		"follower": func(l *Log, data []byte) error {
			v, _, err := batch.Next(data)
			if err != nil {
				return err
			}
			batch.Restamp(v, l.LogEnd(), 0)
			_, err = l.AppendFollower(data, testNow)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			mem := pebblevfs.NewCrashableMem()
			o := testOptions(t, mem, "/log")
			o.Config.FlushMessages = 1
			o.SyncParent = func() error { return vfs.SyncDir(mem, "/") }
			l := mustOpen(t, o)
			for i := range 3 {
				if err := add(l, records(2, 100, testNow)); err != nil {
					t.Fatal(err)
				}
				after := testOptions(t, mem.CrashClone(pebblevfs.CrashCloneCfg{}), "/log")
				if end := mustOpen(t, after).LogEnd(); end != kafka.Offset(2*i+2) {
					t.Errorf("after batch %d a loss of power leaves %d records, want %d", i, end, 2*i+2)
				}
			}
		})
	}
}
