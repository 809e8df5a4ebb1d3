// Package partition proves with Apache's own tools that the files of a partition
// are Apache's: dump-log reads what the broker's storage wrote.
package partition

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/config"
	"kvorum/integration/peer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

const nowMs = 1_700_000_000_000

// write fills a log with every codec, an idempotent producer and transactions,
// over several segments.
func write(t *testing.T, dir string) {
	t.Helper()
	c := storage.NewLogConfig(config.Layers{}, nil)
	c.SegmentBytes, c.IndexIntervalBytes = 40_000, 1000
	l, err := storage.Open(storage.Options{
		Partition: kafka.TopicPartition{Topic: "orders"}, Dir: dir, Files: storage.NewFiles(vfs.Default, 8),
		Config: c, ProducerExpirationMs: 86_400_000, NowMs: nowMs,
	})
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte, origin producer.Origin) {
		if _, err := l.AppendLeader(data, 3, storage.AppendOptions{Origin: origin, NowMs: nowMs}); err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(l.LogEnd())
	}
	for i := range int32(60) {
		b := batch.NewBuilder(batch.Codec(i % 5).Default())
		if i%2 == 0 {
			b.SetProducer(9, 0, i/2*20, false)
		}
		for n := range 20 {
			b.Add(nowMs+int64(i)*100+int64(n), []byte{byte(n)}, bytes.Repeat([]byte{byte(i), byte(n)}, 80), batch.Header{Key: "h", Value: []byte("v")})
		}
		put(b.AppendTo(nil, 0, 0), producer.Client)
		b = batch.NewBuilder(batch.Compression{})
		b.SetProducer(10, 0, i, true)
		b.Add(nowMs+int64(i)*100+50, nil, []byte("in a transaction"))
		put(b.AppendTo(nil, 0, 0), producer.Client)
		put(batch.AppendEndTxn(nil, 0, 0, nowMs+int64(i)*100+60, batch.EndTxn{ProducerID: 10, Commit: i%3 == 0}), producer.Coordinator)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

var complaint = regexp.MustCompile(`(?i).*(exception|error|isvalid: false|corrupt|mismatch|non-consecutive|could not).*`)

// ownLines are what 4.3.1's dump-log says of every segment that does not begin at
// offset 0, also of Apache's.
var ownLines = regexp.MustCompile(`(?m)^Non-consecutive offsets in .*\n\s*-1 is followed by \d+$`)

// TestDumpLog: dump-log of both releases reads segments down to their records,
// indexes, transaction indexes and producer snapshots, and finds nothing wrong.
func TestDumpLog(t *testing.T) {
	dir := t.TempDir()
	write(t, dir)
	files := func(pattern string) []string {
		list, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(list) < 2 {
			t.Fatalf("%d files %s: %v", len(list), pattern, err)
		}
		return list
	}
	for _, v := range peer.Versions {
		t.Run(string(v), func(t *testing.T) {
			kit := peer.Require(t, v)
			for _, run := range []struct {
				args  []string
				files []string
				want  string
			}{
				{[]string{"--deep-iteration", "--print-data-log"}, files("*.log"), "in a transaction"},
				{[]string{"--verify-index-only"}, files("*index"), ""},
				{nil, append(files("*.txnindex"), files("*.snapshot")...), "producerId: 10"},
			} {
				out, err := kit.Run(t.Context(), peer.DumpLog, append(run.args, "--files", strings.Join(run.files, ","))...)
				wrong := complaint.FindString(ownLines.ReplaceAllString(out.Stdout+"\n"+out.Stderr, ""))
				if err != nil || out.Exit != 0 || wrong != "" || !strings.Contains(out.Stdout, run.want) {
					t.Errorf("dump-log %v: %v, exit %d, %d bytes: %q\n%.1000s", run.args, err, out.Exit, len(out.Stdout), wrong, out.Stderr)
				}
			}
		})
	}
}
