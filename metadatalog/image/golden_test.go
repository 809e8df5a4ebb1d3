package image

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// group is the place of a record in the order of a snapshot; the records of a
// topic are one group, so that only their order among topics is free.
func group(r record.Record) int {
	order := []record.APIKey{record.KeyFeatureLevel, record.KeyZkMigrationState, record.KeyRegisterBroker,
		record.KeyRegisterController, record.KeyTopic, record.KeyConfig, record.KeyClientQuota, record.KeyProducerIDs,
		record.KeyAccessControlEntry, record.KeyUserScramCredential, record.KeyDelegationToken}
	key := r.APIKey()
	if key == record.KeyPartition {
		key = record.KeyTopic
	}
	return slices.Index(order, key)
}

// normal sorts what Apache writes in the order of a hash map.
func normal(m record.Message) record.Message {
	byName := func(a, b record.FeatureRange) int { return strings.Compare(a.Name, b.Name) }
	endpoints := func(a, b record.Endpoint) int { return strings.Compare(a.Name, b.Name) }
	switch r := m.Record.(type) {
	case *record.RegisterBrokerRecord:
		c := *r
		c.Features, c.EndPoints = slices.SortedFunc(slices.Values(c.Features), byName), slices.SortedFunc(slices.Values(c.EndPoints), endpoints)
		c.LogDirs = slices.SortedFunc(slices.Values(c.LogDirs), kafka.UUID.Compare)
		m.Record = &c
	case *record.RegisterControllerRecord:
		c := *r
		c.Features, c.EndPoints = slices.SortedFunc(slices.Values(c.Features), byName), slices.SortedFunc(slices.Values(c.EndPoints), endpoints)
		m.Record = &c
	}
	return m
}

// encoded is the bytes of every record, as text, in order.
func encoded(t testing.TB, messages []record.Message) []string {
	t.Helper()
	out := make([]string, 0, len(messages))
	for _, m := range messages {
		b, err := normal(m).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%02d %s v%d %x", group(m.Record), m.Record.RecordName(), m.Version, b))
	}
	return out
}

// TestGoldenCheckpoints compares three ways to one state: the log folded up to
// a checkpoint's offset, the checkpoint folded, and the checkpoint's own bytes.
func TestGoldenCheckpoints(t *testing.T) {
	for _, run := range goldenRuns {
		files, err := filepath.Glob(filepath.Join("testdata/golden", run, "0*.checkpoint"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no golden checkpoint of %s: %v", run, err)
		}
		for _, file := range files {
			var end kafka.Offset
			if _, err := fmt.Sscanf(filepath.Base(file), "%020d-", &end); err != nil {
				t.Fatal(err)
			}
			if end > 0 { // 0-0 holds the voters only
				t.Run(run+"/"+filepath.Base(file), func(t *testing.T) { checkCheckpoint(t, run, file, end) })
			}
		}
	}
}

func checkCheckpoint(t *testing.T, run, file string, end kafka.Offset) {
	records := readRecords(t, readFile(t, file))
	snapshot := foldSnapshot(t, records)
	log := goldenLog(t, run)
	if log[0].offset > 10 {
		t.Fatal("the log does not begin at offset 0")
	}
	im := foldLog(t, Empty(), log, end)
	for c := range Diff(snapshot, im).Topics() {
		t.Errorf("topic differs: %+v %+v", c.Old, c.New)
	}
	if !im.Equal(snapshot) || im.Hash() != snapshot.Hash() {
		t.Error("the fold of the log is not the fold of the checkpoint")
	}
	var want []record.Message
	for _, r := range records {
		if _, zk := r.Record.(*record.ZkMigrationStateRecord); zk && !im.hasZk {
			continue // Apache 3.9 writes NONE whether the log has said so or not
		}
		want = append(want, r.Message)
	}
	got := slices.Collect(im.Records(0))
	if !slices.IsSortedFunc(got, func(a, b record.Message) int { return group(a.Record) - group(b.Record) }) {
		t.Error("our records are not in the order of Apache's snapshots")
	}
	if !slices.IsSortedFunc(want, func(a, b record.Message) int { return group(a.Record) - group(b.Record) }) {
		t.Error("Apache's records are not in the order that we take for theirs")
	}
	a, b := slices.Sorted(slices.Values(encoded(t, got))), slices.Sorted(slices.Values(encoded(t, want)))
	if !slices.Equal(a, b) {
		t.Errorf("%d records, Apache has %d", len(a), len(b))
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("first difference:\n%s\n%s", a[i], b[i])
			}
		}
	}
}
