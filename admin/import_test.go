package admin

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

const oldCluster = "oldOldOldOldOldOldOldA"

func directoryID(n int) kafka.DirectoryID { return kafka.UUID{0: 1, 15: byte(n)} }

// oldController writes the directory of one controller of Apache's: a log of the
// batches that grow makes, and a quorum-state of the epoch given.
func oldController(t *testing.T, node int, epoch int, grow func(l *oldLog)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprintf("controller-%d", node))
	metadata := filepath.Join(dir, nodedir.MetadataDir)
	if err := os.MkdirAll(metadata, 0o755); err != nil {
		t.Fatal(err)
	}
	meta := &nodedir.MetaProperties{Version: 1, ClusterID: oldCluster, NodeID: kafka.NodeID(node), DirectoryID: directoryID(node)}
	if err := nodedir.WriteMeta(dir, meta); err != nil {
		t.Fatal(err)
	}
	l := &oldLog{t: t}
	grow(l)
	write(t, filepath.Join(metadata, "00000000000000000000.log"), l.data)
	write(t, filepath.Join(metadata, quorumStateFile),
		fmt.Appendf(nil, `{"leaderId":-1,"leaderEpoch":%d,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}`, epoch))
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// oldLog is a log being made.
type oldLog struct {
	t    *testing.T
	data []byte
	end  kafka.Offset
}

// begin writes what the first leader of a dynamic quorum of nodes 1 to 3 writes.
func (l *oldLog) begin() *oldLog {
	voters := record.KRaftVoters{}
	for n := 1; n <= 3; n++ {
		voters.Voters = append(voters.Voters, record.QuorumVoter{
			VoterID: kafka.NodeID(n), VoterDirectoryID: directoryID(n),
			Endpoints:           []record.VoterEndpoint{{Name: "CONTROLLER", Host: "localhost", Port: uint16(9090 + n)}},
			KRaftVersionFeature: record.KRaftVersionRange{MaxSupportedVersion: 1},
		})
	}
	data, err := batchAfter(0, 1, 1000, &record.LeaderChange{LeaderID: 1}, &record.KRaftVersion{KRaftVersion: 1}, &voters)
	if err != nil {
		l.t.Fatal(err)
	}
	l.data, l.end = append(l.data, data...), l.end+3
	return l.records(1, featureRecord(image.FeatureMetadataVersion, 30))
}

func (l *oldLog) records(epoch kafka.LeaderEpoch, messages ...record.Message) *oldLog {
	var values [][]byte
	for _, m := range messages {
		v, err := m.Append(nil)
		if err != nil {
			l.t.Fatal(err)
		}
		values = append(values, v)
	}
	l.data = batch.AppendData(l.data, l.end, epoch, 1000+int64(l.end), values)
	l.end += kafka.Offset(len(values))
	return l
}

func topic(name string) record.Message {
	return record.Message{Record: &record.TopicRecord{Name: name, TopicID: kafka.UUID{0: 9, 1: name[0]}}}
}

// importer imports sources into a new directory of a node.
func importer(t *testing.T, node int, sources ...string) *Import {
	dir := filepath.Join(t.TempDir(), "new")
	return &Import{Sources: sources, NodeID: kafka.NodeID(node), LogDirs: []string{dir}, MetadataLogDir: dir, Listener: "CONTROLLER"}
}

// threeControllers are logs that an election decides between: 1 has the longest
// log of an old epoch, 2 and 3 are in the last epoch, 3 with an uncommitted record
// more. Controller 1 has heard of a higher epoch.
func threeControllers(t *testing.T) []string {
	old := func(l *oldLog) *oldLog { return l.begin().records(1, topic("a")) }
	return []string{
		oldController(t, 1, 9, func(l *oldLog) { old(l).records(1, topic("x")).records(1, topic("y")).records(1, topic("z")) }),
		oldController(t, 2, 7, func(l *oldLog) { old(l).records(4, topic("b")) }),
		oldController(t, 3, 7, func(l *oldLog) { old(l).records(4, topic("b")).records(4, topic("c")) }),
	}
}

func TestImportTakesTheElectionsLog(t *testing.T) {
	dirs := threeControllers(t)
	for _, c := range []struct {
		name   string
		of     []int
		taken  int
		end    kafka.Offset
		topics string
		base   kafka.LeaderEpoch
	}{
		{"all", []int{0, 1, 2}, 2, 7, "a b c", 1009},
		{"in another order", []int{2, 1, 0}, 2, 7, "a b c", 1009},
		{"a majority with the old log", []int{0, 1}, 1, 6, "a b", 1009},
		{"a majority without it", []int{1, 2}, 2, 7, "a b c", 1007},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sources []string
			for _, n := range c.of {
				sources = append(sources, dirs[n])
			}
			i := importer(t, 1, sources...)
			plan, err := i.Run()
			if err != nil {
				t.Fatal(err)
			}
			if plan.TakenFrom != dirs[c.taken] || plan.EndOffset != c.end || plan.EpochBase != c.base || len(plan.Voters) != 3 {
				t.Errorf("%+v", plan)
			}
			state, err := openMetadata(t, i.MetadataLogDir).StateAt(EndOfLog)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for topic := range state.Image.TopicsByName("") {
				names = append(names, topic.Name)
			}
			if got := strings.Join(names, " "); got != c.topics {
				t.Errorf("topics %s, want %s", got, c.topics)
			}
		})
	}
}

// TestImportIsTheSameEverywhere: each controller comes to the same bytes under
// its own name, and the sources are as they were.
func TestImportIsTheSameEverywhere(t *testing.T) {
	dirs := threeControllers(t)
	before := contents(t, dirs...)
	var first string
	for node := 1; node <= 3; node++ {
		i := importer(t, node, dirs...)
		i.LogDirs = append(i.LogDirs, filepath.Join(t.TempDir(), "second"))
		plan, err := i.Run()
		if err != nil {
			t.Fatal(err)
		}
		for n, dir := range i.LogDirs {
			meta, err := nodedir.ReadMeta(dir)
			if err != nil || meta.ClusterID != oldCluster || meta.NodeID != kafka.NodeID(node) || (meta.DirectoryID == directoryID(node)) != (n == 0) {
				t.Errorf("node %d: %+v, %v", node, meta, err)
			}
		}
		id, err := nodedir.ReadIdentity(filepath.Join(i.MetadataLogDir, nodedir.MetadataDir))
		if err != nil || id.EpochBase != plan.EpochBase || !slices.Equal(id.Voters, plan.Voters) || id.Voters[node-1].DirectoryID != directoryID(node) {
			t.Errorf("node %d: %+v, %v", node, id, err)
		}
		got := plan.Digest + dumped(t, openMetadata(t, i.MetadataLogDir), DumpText, 0, EndOfLog)
		if first == "" {
			first = got
		}
		if got != first {
			t.Errorf("node %d has\n%s\nand node 1\n%s", node, got, first)
		}
		if _, err := i.Run(); err == nil || !strings.Contains(err.Error(), "already formatted") {
			t.Errorf("imported twice: %v", err)
		}
	}
	if contents(t, dirs...) != before {
		t.Error("a source was changed")
	}
}

func contents(t *testing.T, dirs ...string) string {
	t.Helper()
	var out strings.Builder
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			fmt.Fprintf(&out, "%s %x\n", path, content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestImportRefusals(t *testing.T) {
	dirs := threeControllers(t)
	foreign := oldController(t, 2, 1, func(l *oldLog) { l.begin() })
	if err := nodedir.WriteMeta(foreign, &nodedir.MetaProperties{Version: 1, ClusterID: "another", NodeID: 2, DirectoryID: directoryID(2)}); err != nil {
		t.Fatal(err)
	}
	replaced := oldController(t, 2, 1, func(l *oldLog) { l.begin() })
	if err := nodedir.WriteMeta(replaced, &nodedir.MetaProperties{Version: 1, ClusterID: oldCluster, NodeID: 2, DirectoryID: directoryID(22)}); err != nil {
		t.Fatal(err)
	}
	damaged := oldController(t, 2, 7, func(l *oldLog) {
		l.begin().records(4, topic("b"))
		l.data[200] ^= 1
	})
	odd := oldController(t, 2, 7, func(l *oldLog) { l.begin() })
	write(t, filepath.Join(odd, nodedir.MetadataDir, quorumStateFile), []byte(`{"leaderEpoch":3,"data_version":2}`))
	level := func(mv int16) func(l *oldLog) {
		return func(l *oldLog) { l.begin().records(1, featureRecord(image.FeatureMetadataVersion, mv)) }
	}
	for _, c := range []struct {
		name    string
		node    int
		sources []string
		want    string
	}{
		{"none", 1, nil, "no directory"},
		{"a minority", 1, dirs[:1], "not a majority"},
		{"one twice", 1, []string{dirs[0], dirs[0]}, "both of node 1"},
		{"of two clusters", 1, []string{dirs[0], foreign}, "of cluster another"},
		{"a stranger", 7, dirs, "node 7 is not a controller"},
		{"a fourth", 1, append(slices.Clone(dirs), oldController(t, 4, 1, func(l *oldLog) { l.begin() })), "of node 4, which is not among"},
		{"a replaced disk", 1, []string{dirs[0], replaced}, "was replaced"},
		{"damage", 1, []string{dirs[0], damaged}, "batch is corrupt"},
		{"a quorum-state of the future", 1, []string{dirs[0], odd}, "quorum-state cannot be understood"},
		{"nothing", 1, []string{oldController(t, 1, 0, func(*oldLog) {}), oldController(t, 2, 0, func(*oldLog) {})}, "nothing to import"},
		{"too old", 1, []string{oldController(t, 1, 0, level(4)), oldController(t, 2, 0, level(4))}, "metadata.version is 3.3-IV0"},
		{"too new", 1, []string{oldController(t, 1, 0, level(31)), oldController(t, 2, 0, level(31))}, "metadata.version 31"},
		{"migrating", 1, []string{oldController(t, 1, 0, migrating), oldController(t, 2, 0, migrating)}, "migration from ZooKeeper"},
		{"no directory at all", 1, []string{t.TempDir()}, "not formatted"},
	} {
		i := importer(t, c.node, c.sources...)
		if _, err := i.Run(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if _, err := os.Stat(i.MetadataLogDir); err == nil {
			t.Errorf("%s: something was written", c.name)
		}
	}
}

func migrating(l *oldLog) {
	l.begin().records(1, record.Message{Record: &record.ZkMigrationStateRecord{ZkMigrationState: 1}})
}

// TestImportTornTail: what Apache would cut off is left out, and said.
func TestImportTornTail(t *testing.T) {
	whole := oldController(t, 1, 4, func(l *oldLog) { l.begin() })
	torn := oldController(t, 2, 4, func(l *oldLog) {
		l.begin().records(3, topic("a")).records(3, topic("b"))
		l.data = l.data[:len(l.data)-5]
	})
	i := importer(t, 2, whole, torn)
	plan, err := i.Run()
	if err != nil || plan.TakenFrom != torn || plan.EndOffset != 5 || !strings.Contains(strings.Join(plan.Notes, " "), "torn at offset 5") {
		t.Fatalf("%+v, %v", plan, err)
	}
	if got := dumped(t, openMetadata(t, i.MetadataLogDir), DumpText, 4, EndOfLog); strings.Count(got, "| offset") != 1 {
		t.Errorf("imported\n%s", got)
	}
}

// TestImportStartsAtACheckpoint: a log whose start has moved, and one that a
// checkpoint from a leader has overtaken.
func TestImportStartsAtACheckpoint(t *testing.T) {
	golden := apacheDir(t, "4.3.1-small") // logs from 0 and checkpoints up to 497
	meta := &nodedir.MetaProperties{Version: 1, ClusterID: oldCluster, NodeID: 1, DirectoryID: directoryID(1)}
	if err := nodedir.WriteMeta(golden, meta); err != nil {
		t.Fatal(err)
	}
	s, err := readSource(golden)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(golden, nodedir.MetadataDir, "00000000000000000000.log")
	cut := int64(0)
	for v, err := range fileBatches(log, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if v.BaseOffset() >= 20 {
			break
		}
		cut += int64(v.Size())
	}
	if err := os.Truncate(log, cut); err != nil {
		t.Fatal(err)
	}
	overtaken, err := readSource(golden)
	newest := s.checkpoints[len(s.checkpoints)-1].id
	if err != nil || overtaken.end != newest || overtaken.start != newest.Offset || len(overtaken.checkpoints) != 1 || overtaken.segments != nil {
		t.Errorf("overtaken by %v: %+v, %v", newest, overtaken, err)
	}
}

// TestImportOfStaticQuorum imports a log that Apache wrote with kraft.version 0.
func TestImportOfStaticQuorum(t *testing.T) {
	golden := apacheDir(t, "3.9.2-old")
	meta := &nodedir.MetaProperties{Version: 1, ClusterID: oldCluster, NodeID: 1, DirectoryID: directoryID(1)}
	if err := nodedir.WriteMeta(golden, meta); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(golden, nodedir.MetadataDir, quorumStateFile),
		[]byte(`{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}`))
	i := importer(t, 1, golden)
	if _, err := i.Plan(); err == nil || !strings.Contains(err.Error(), "kraft.version 0") {
		t.Errorf("without voters: %v", err)
	}
	i.StaticVoters = []config.Voter{{ID: 1, Endpoint: config.Endpoint{Host: "localhost", Port: 9093}}, {ID: 2, Endpoint: config.Endpoint{Host: "localhost", Port: 9094}}}
	if _, err := i.Plan(); err == nil || !strings.Contains(err.Error(), "[1]") {
		t.Errorf("with other voters: %v", err)
	}
	i.StaticVoters = i.StaticVoters[:1]
	if _, err := i.Run(); err != nil {
		t.Fatal(err)
	}
	m := openMetadata(t, i.MetadataLogDir)
	state, err := m.StateAt(EndOfLog)
	if err != nil || state.KRaftVersion != 1 || state.Voters == nil || state.Voters.Voters[0].VoterDirectoryID != directoryID(1) {
		t.Errorf("%+v, %v", state, err)
	}
	if got := dumped(t, m, DumpText, 343, EndOfLog); !strings.Contains(got, "epoch: 1002 isControl: true") {
		t.Errorf("the log's end is\n%s", got)
	}
	var imported, original bytes.Buffer
	if err := openMetadata(t, golden).Dump(&original, DumpText, 0, 343); err != nil {
		t.Fatal(err)
	}
	if err := m.Dump(&imported, DumpText, 0, 343); err != nil || imported.String() != original.String() {
		t.Errorf("the imported log is not the old one: %v", err)
	}
	i.Controllers = []nodedir.Voter{{ID: 1, DirectoryID: directoryID(5), Host: "h", Port: 1, Listener: "C"}}
	i.LogDirs, i.MetadataLogDir = []string{t.TempDir()}, t.TempDir()
	if _, err := i.Plan(); err == nil || !strings.Contains(err.Error(), "knows controller 1 by") {
		t.Errorf("with another directory id: %v", err)
	}
}

func featureRecord(name string, level int16) record.Message {
	return record.Message{Record: &record.FeatureLevelRecord{Name: name, FeatureLevel: level}}
}
