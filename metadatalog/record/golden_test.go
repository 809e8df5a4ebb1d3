package record_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

// goldenFiles are logs and checkpoints of controllers of Apache Kafka.
func goldenFiles(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, pattern := range []string{
		"../../protocol/batch/testdata/golden/*-main/*.log",
		"../../protocol/batch/testdata/golden/*-old/*.log",
		"../../protocol/batch/testdata/golden/*-small/*.log",
		"../image/testdata/golden/*/*.checkpoint",
	} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = data
		}
	}
	return files
}

// eachGolden calls f with key (nil for data records) and value of every record.
func eachGolden(t testing.TB, f func(where string, offset kafka.Offset, key, value []byte)) {
	t.Helper()
	for name, data := range goldenFiles(t) {
		for v, err := range batch.All(data) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			it := v.MetadataRecords()
			for it.Next() {
				f(name, it.Offset(), it.Key(), it.Value())
			}
			if it.Err() != nil {
				t.Fatalf("%s: %v", name, it.Err())
			}
		}
	}
}

// TestGoldenRecords decodes every record that Apache wrote and encodes it again
// to the same bytes.
func TestGoldenRecords(t *testing.T) {
	type kind struct {
		name    string
		version int16
	}
	seen := map[kind]int{}
	eachGolden(t, func(where string, offset kafka.Offset, key, value []byte) {
		var again []byte
		var err error
		if key != nil {
			var c record.Control
			if c, err = record.DecodeControl(key, value); err != nil {
				t.Fatalf("%s offset %d: %v", where, offset, err)
			}
			if k := record.AppendControlKey(nil, c.ControlType()); !bytes.Equal(k, key) {
				t.Errorf("%s offset %d: key %x instead of %x", where, offset, k, key)
			}
			again, err = record.AppendControl(nil, c)
			seen[kind{c.RecordName(), -1}]++
		} else {
			var m record.Message
			if m, err = record.Decode(value); err != nil {
				t.Fatalf("%s offset %d: %v", where, offset, err)
			}
			again, err = m.Append([]byte{1, 2})
			again = bytes.TrimPrefix(again, []byte{1, 2})
			seen[kind{m.Record.RecordName(), m.Version}]++
		}
		if err != nil || !bytes.Equal(again, value) {
			t.Errorf("%s offset %d: %x instead of %x (%v)", where, offset, again, value, err)
		}
	})
	for _, want := range []kind{{"RegisterBrokerRecord", 1}, {"RegisterBrokerRecord", 2}, {"RegisterBrokerRecord", 3}, {"RegisterBrokerRecord", 4},
		{"PartitionRecord", 0}, {"PartitionRecord", 1}, {"PartitionRecord", 2}, {"PartitionChangeRecord", 0}, {"PartitionChangeRecord", 1},
		{"PartitionChangeRecord", 2}, {"BrokerRegistrationChangeRecord", 0}, {"BrokerRegistrationChangeRecord", 1},
		{"BrokerRegistrationChangeRecord", 2}, {"BrokerRegistrationChangeRecord", 3}, {"ClearElrRecord", 0}, {"FenceBrokerRecord", 0},
		{"BeginTransactionRecord", 0}, {"RegisterControllerRecord", 0}, {"LeaderChange", -1}, {"SnapshotHeader", -1}, {"SnapshotFooter", -1},
		{"KRaftVersion", -1}, {"KRaftVoters", -1}} {
		if seen[want] == 0 {
			t.Errorf("no golden %s of version %d", want.name, want.version)
		}
	}
}
