package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/protocol/batch"
	"kvorum/snapshot"
)

// Logs and checkpoints that Apache Kafka wrote lie in the packages that read them.
const (
	goldenLogs        = "../protocol/batch/testdata/golden"
	goldenCheckpoints = "../metadatalog/image/testdata/golden"
)

// apacheDir lays the golden files of one run out as Apache's controller had them.
func apacheDir(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	metadata := filepath.Join(dir, nodedir.MetadataDir)
	if err := os.Mkdir(metadata, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{filepath.Join(goldenLogs, name, "*.log"), filepath.Join(goldenCheckpoints, name, "0*.checkpoint")} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		for _, f := range files {
			copyFile(t, f, filepath.Join(metadata, filepath.Base(f)))
		}
	}
	return dir
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func openMetadata(t testing.TB, path string) *Metadata {
	t.Helper()
	m, err := OpenMetadata(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func dumped(t testing.TB, m *Metadata, format DumpFormat, from, to kafka.Offset) string {
	t.Helper()
	var out strings.Builder
	if err := m.Dump(&out, format, from, to); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDumpRange(t *testing.T) {
	m := openMetadata(t, apacheDir(t, "4.3.1-main"))
	got := dumped(t, m, DumpText, 12, 15)
	want := `baseOffset: 3 lastOffset: 13 count: 11 epoch: 1 isControl: false CreateTime: 1795350157635 size: 623 crc: 82196960
| offset: 12 {"type":"CONFIG_RECORD","version":0,"data":{"resourceType":4,"resourceName":"","name":"min.insync.replicas","value":"1"}}
| offset: 13 {"type":"END_TRANSACTION_RECORD","version":0,"data":{}}
baseOffset: 14 `
	if !strings.HasPrefix(got, want) || !strings.Contains(got, "| offset: 14 ") || strings.Contains(got, "| offset: 15 ") {
		t.Errorf("got\n%s", got)
	}
}

// TestDumpJSON: each line is an object of one record, every record is there, and
// no secret of the golden logs is.
func TestDumpJSON(t *testing.T) {
	for _, name := range []string{"3.9.2-main", "3.9.2-old", "4.3.1-main", "4.3.1-old", "4.3.1-small"} {
		m := openMetadata(t, apacheDir(t, name))
		next, types := kafka.NoOffset, map[string]bool{}
		for _, line := range strings.Split(strings.TrimSpace(dumped(t, m, DumpJSON, 0, EndOfLog)), "\n") {
			var r struct {
				Offset kafka.Offset
				Type   string
				Data   map[string]any
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if next != kafka.NoOffset && r.Offset != next {
				t.Errorf("%s: offset %d follows %d", name, r.Offset, next-1)
			}
			next, types[r.Type] = r.Offset+1, true
			for _, field := range []string{"salt", "storedKey", "serverKey", "tokenId"} {
				if v, ok := r.Data[field]; ok && v != "(redacted)" {
					t.Errorf("%s offset %d shows %s", name, r.Offset, field)
				}
			}
		}
		if !types["LeaderChange"] && name != "4.3.1-small" || len(types) < 5 {
			t.Errorf("%s: only %v", name, types)
		}
	}
}

func TestSecretConfigs(t *testing.T) {
	for _, c := range []struct {
		kind   int8
		name   string
		secret bool
	}{
		{2, "retention.ms", false}, {2, "made.up", true}, {4, "ssl.keystore.password", true}, {4, "min.insync.replicas", false},
		{4, "listener.name.internal.ssl.keystore.password", true}, {4, "my.own.plugin.token", true}, {16, "interval.ms", false}, {99, "x", true},
	} {
		if got := secretConfig(image.ResourceType(c.kind), c.name); got != c.secret {
			t.Errorf("config %s of type %d: secret %t", c.name, c.kind, got)
		}
	}
}

// TestStateFromLogOrCheckpoint: the state at an offset is the same by the log
// alone and by a checkpoint and the rest.
func TestStateFromLogOrCheckpoint(t *testing.T) {
	for _, name := range []string{"3.9.2-main", "3.9.2-old", "4.3.1-main", "4.3.1-old"} {
		dir := apacheDir(t, name)
		log := openMetadata(t, filepath.Join(dir, nodedir.MetadataDir, "00000000000000000000.log"))
		whole := openMetadata(t, dir)
		for _, at := range []kafka.Offset{20, 141, 300, EndOfLog} {
			var trees [2]string
			for i, m := range []*Metadata{log, whole} {
				s, err := m.StateAt(at)
				if err != nil {
					t.Fatal(err)
				}
				var out strings.Builder
				if err := s.Tree().WriteTree(&out, 0); err != nil {
					t.Fatal(err)
				}
				trees[i] = out.String()
			}
			// A snapshot does not say who got the last block of producer ids.
			if cut := cutProducer(trees[0]); cut != cutProducer(trees[1]) || len(cut) < 500 {
				t.Errorf("%s at %d: by the log\n%s\nby a checkpoint\n%s", name, at, trees[0], trees[1])
			}
		}
	}
}

func cutProducer(tree string) string {
	before, rest, _ := strings.Cut(tree, "    lastBlockBrokerId")
	_, after, _ := strings.Cut(rest, "position/")
	return before + after
}

func TestTreeFind(t *testing.T) {
	m := openMetadata(t, apacheDir(t, "4.3.1-main"))
	s, err := m.StateAt(31)
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Tree().Find("/topics/t-plain/1/")
	if err != nil || !strings.Contains(n.Value, `"replicas":[12,11]`) {
		t.Errorf("%v, %v", n, err)
	}
	if _, err := s.Tree().Find("/topics/none"); err == nil || !strings.Contains(err.Error(), "/topics has no none") {
		t.Errorf("a topic that is not there: %v", err)
	}
	leaves := 0
	if err := s.Tree().Leaves("/", func(path, _ string) error {
		if _, err := s.Tree().Find(path); err != nil {
			t.Error(err)
		}
		leaves++
		return nil
	}); err != nil || leaves < 20 {
		t.Errorf("%d leaves, %v", leaves, err)
	}
}

// TestOneCheckpoint: a checkpoint can be dumped and folded by itself.
func TestOneCheckpoint(t *testing.T) {
	m := openMetadata(t, filepath.Join(goldenCheckpoints, "4.3.1-main", "00000000000000000267-0000000001.checkpoint"))
	got := dumped(t, m, DumpText, 0, EndOfLog)
	if !strings.Contains(got, `"type":"SnapshotHeader"`) || !strings.Contains(got, `"type":"SnapshotFooter"`) {
		t.Errorf("a checkpoint without its ends:\n%s", got)
	}
	s, err := m.StateAt(EndOfLog)
	if err != nil || s.Image.At().Offset != 266 || s.Voters == nil || s.Image.TopicByName("t-plain") == nil {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestStoreOfAController: a kvorum store is read like a log, and refused while
// its controller runs.
func TestStoreOfAController(t *testing.T) {
	dir, source := t.TempDir(), filepath.Join(goldenLogs, "4.3.1-main")
	metadata := filepath.Join(dir, nodedir.MetadataDir)
	store, err := metadatalog.Open(filepath.Join(metadata, nodedir.StoreDir), metadatalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.ImportDir(nil, source); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMetadata(dir); !errors.Is(err, metadatalog.ErrLocked) || !strings.Contains(err.Error(), "stop it") {
		t.Errorf("a running controller's store: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	m, want := openMetadata(t, dir), openMetadata(t, filepath.Join(source, "00000000000000000000.log"))
	if dumped(t, m, DumpText, 0, EndOfLog) != dumped(t, want, DumpText, 0, EndOfLog) {
		t.Error("the store's dump is not the segment's")
	}
	if got := dumped(t, m, DumpText, 31, 32); !strings.Contains(got, "| offset: 31 ") || strings.Contains(got, "| offset: 30 ") {
		t.Errorf("a part of the store:\n%s", got)
	}
}

// TestBadMetadata: each error names the file and says where.
func TestBadMetadata(t *testing.T) {
	log, err := os.ReadFile(filepath.Join(goldenLogs, "4.3.1-main", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(log)
	broken[300] ^= 1 // in the batch from offset 3 on
	gap := append(bytes.Clone(log[:174]), log[797:]...)
	dir := t.TempDir()
	for _, c := range []struct {
		name, want string
		content    []byte
	}{
		{"00000000000000000000.log", "offset 3, byte 174", broken},
		{"00000000000000000000.log", "torn at offset 3, byte 174", log[:500]},
		{"00000000000000000000.log", "the batch after offset 2 begins at 14", gap},
		{"00000000000000000007.log", "begins at 0", log},
		{"x.checkpoint", "size of 2147483646 bytes", append(make([]byte, 8), append([]byte{0x7f, 0xff, 0xff, 0xf2}, make([]byte, 100)...)...)},
		{"x.txt", "neither a directory nor", log},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := OpenMetadata(path)
		if err == nil {
			err = m.Dump(&bytes.Buffer{}, DumpText, 0, EndOfLog)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := OpenMetadata(t.TempDir()); err == nil || !strings.Contains(err.Error(), "holds no metadata log") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := openMetadata(t, filepath.Join(dir, "00000000000000000007.log")).StateAt(EndOfLog); err == nil {
		t.Error("a state came of a log with a false name")
	}
}

// TestDamagedCheckpointIsPassedOver: the state comes from an older one.
func TestDamagedCheckpointIsPassedOver(t *testing.T) {
	dir := apacheDir(t, "4.3.1-main")
	newest := filepath.Join(dir, nodedir.MetadataDir, "00000000000000000267-0000000001.checkpoint")
	if err := os.Truncate(newest, 3000); err != nil {
		t.Fatal(err)
	}
	s, err := openMetadata(t, dir).StateAt(EndOfLog)
	if err != nil || len(s.Damaged) != 1 || !errors.Is(s.Damaged[0], snapshot.ErrDamaged) || s.Image.TopicByName("t-unclean") == nil {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSegmentsMustBeWhole(t *testing.T) {
	dir := t.TempDir()
	first := batch.AppendData(nil, 0, 1, 5, [][]byte{{1, 20, 0, 0}})
	third := batch.AppendData(nil, 2, 1, 5, [][]byte{{1, 20, 0, 0}})
	for name, content := range map[string][]byte{"00000000000000000000.log": first, "00000000000000000002.log": third} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := openMetadata(t, dir)
	if err := m.Dump(&bytes.Buffer{}, DumpText, 0, EndOfLog); err == nil || !strings.Contains(err.Error(), "begins at offset 2, but the segment before it ends at 1") {
		t.Errorf("a missing segment: %v", err)
	}
	if got := dumped(t, m, DumpText, 2, 3); !strings.Contains(got, "| offset: 2 ") {
		t.Errorf("the last segment alone: %s", got)
	}
}
