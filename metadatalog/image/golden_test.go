package image

import (
	"os"
	"path/filepath"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// located is one record of a log or snapshot with its place.
type located struct {
	record.Message
	offset kafka.Offset
	value  []byte
}

// readRecords decodes the data records of batches, a log or a checkpoint.
func readRecords(t testing.TB, data []byte) (records []located) {
	t.Helper()
	for v, err := range batch.All(data) {
		if err != nil {
			t.Fatal(err)
		}
		if v.Control() {
			continue
		}
		for it := v.MetadataRecords(); it.Next(); {
			m, err := record.Decode(it.Value())
			if err != nil {
				t.Fatalf("offset %d: %v", it.Offset(), err)
			}
			records = append(records, located{m, it.Offset(), it.Value()})
		}
	}
	return records
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const goldenLogs = "../../protocol/batch/testdata/golden"

// goldenRuns are the controllers whose logs begin at offset 0.
var goldenRuns = []string{"3.9.2-main", "3.9.2-old", "4.3.1-main", "4.3.1-old", "4.3.1-small"}

func goldenLog(t testing.TB, run string) []located {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(goldenLogs, run, "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden log of %s: %v", run, err)
	}
	var records []located
	for _, f := range files {
		records = append(records, readRecords(t, readFile(t, f))...)
	}
	return records
}

// foldLog folds the records below end. It leaves out the transaction markers:
// no golden log aborts one.
func foldLog(t testing.TB, base *Image, records []located, end kafka.Offset) *Image {
	t.Helper()
	d := NewDelta(base)
	last := base.At().Offset
	for _, r := range records {
		if r.offset >= end {
			break
		}
		last = r.offset
		switch r.Record.(type) {
		case *record.BeginTransactionRecord, *record.EndTransactionRecord:
			continue
		}
		if err := d.ReplayAt(r.offset, r.Record); err != nil {
			t.Fatal(err)
		}
	}
	return d.Apply(Position{Offset: last})
}

func foldSnapshot(t testing.TB, records []located) *Image {
	t.Helper()
	d := NewSnapshotDelta()
	for _, r := range records {
		if err := d.Replay(r.Record); err != nil {
			t.Fatal(err)
		}
	}
	return d.Apply(Position{})
}

func TestGoldenLogsFold(t *testing.T) {
	for _, run := range goldenRuns {
		records := goldenLog(t, run)
		im := foldLog(t, Empty(), records, 1<<62)
		t.Logf("%s: offset %d, %s, %d brokers, %d topics, %d partitions, %d ACLs", run,
			im.At().Offset, im.MetadataVersion(), im.BrokerCount(), im.TopicCount(), im.PartitionCount(), im.ACLCount())
		if im.TopicCount() == 0 || im.BrokerCount() == 0 {
			t.Errorf("%s: the image is empty", run)
		}
	}
}
