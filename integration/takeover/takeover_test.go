package takeover

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/broker/storage"
	"kvorum/config"
	"kvorum/integration/loopback"
	"kvorum/integration/peer"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// row is a record as clients see it.
type row struct {
	offset     int64
	ms         int64
	key, value string
	tombstone  bool
}

// content is every record of every partition, by topic-partition.
type content map[string][]row

var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// TestApacheAndBack: Apache writes, kvorum reads it and writes, Apache reads it
// all and writes, is killed, and kvorum recovers it.
func TestApacheAndBack(t *testing.T) {
	kit := peer.Require(t, peer.V43)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	driver := kit.StartDriver(t)
	node := format(ctx, t, kit, driver)
	start(ctx, t, node)
	produce(ctx, t, node.Listener, "first")
	transactions(ctx, t, node.Listener)
	before := consume(ctx, t, node.Listener)
	node.Stop(t)

	dirs := open(t, node)
	compare(t, "kvorum on Apache's directory", before, read(t, dirs))
	extend(t, dirs)
	ours := read(t, dirs)
	compacted(t, dirs)
	renew(t, dirs, "bare")
	if err := dirs.Close(dirs.PreviousEpoch()); err != nil {
		t.Fatal(err)
	}
	dump(ctx, t, driver, node.DataDir())
	if names, err := os.ReadDir(filepath.Join(node.DataDir(), "bare-0")); err != nil || len(names) != 1 {
		t.Fatalf("in the directory of a new log: %v, %v", names, err)
	}

	start(ctx, t, node)
	after := consume(ctx, t, node.Listener)
	for name := range ours {
		if strings.HasPrefix(name, "compacted") {
			ours[name] = fold(ours[name])
			after[name] = fold(after[name])
		}
	}
	compare(t, "Apache on kvorum's directory", ours, after)
	complaints(t, node)
	produce(ctx, t, node.Listener, "second")
	last := consume(ctx, t, node.Listener)
	node.Kill()

	dirs = open(t, node)
	compare(t, "kvorum after a kill of Apache", last, read(t, dirs))
	if l, err := dirs.Get(kafka.TopicPartition{Topic: "bare"}); err != nil || len(readLog(t, l)) != 1 {
		t.Fatalf("the log that Apache began in our directory: %v", err)
	}
	if err := dirs.Close(kafka.NoBrokerEpoch); err != nil {
		t.Fatal(err)
	}
	dump(ctx, t, driver, node.DataDir())
}

// format makes a node of Apache's that is controller and broker. It compacts
// nothing, so that what is compacted is kvorum's work.
func format(ctx context.Context, t *testing.T, kit *peer.Kit, driver *peer.Driver) *peer.Node {
	t.Helper()
	cluster, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	addresses := loopback.Addresses(t, 2)
	node := &peer.Node{
		Kit: kit, ID: 1, ClusterID: cluster.String(), Dir: filepath.Join(t.TempDir(), "node"),
		Listener: addresses[0], Controller: addresses[1], Bootstrap: addresses[1:],
		Properties: map[string]string{
			"log.cleaner.enable": "false", "offsets.topic.replication.factor": "1",
			"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
		},
	}
	node.Format(ctx, t, driver)
	return node
}

func start(ctx context.Context, t *testing.T, node *peer.Node) {
	t.Helper()
	node.Start(t)
	node.WaitReady(ctx, t)
}

// produce makes the topics, if they are not there, and writes with every codec.
func produce(ctx context.Context, t *testing.T, bootstrap, round string) {
	t.Helper()
	bare := newClient(t, bootstrap)
	defer bare.Close()
	if _, err := kadm.NewClient(bare).CreateTopic(ctx, 1, 1, nil, "bare"); err != nil && round == "first" {
		t.Fatal(err)
	}
	if r := bare.ProduceSync(ctx, &kgo.Record{Topic: "bare", Value: []byte(round)}); r.FirstErr() != nil || r[0].Record.Offset != 0 {
		t.Fatalf("the first record of a new log is at %d, %v", r[0].Record.Offset, r.FirstErr())
	}
	for _, codec := range codecs {
		client := newClient(t, bootstrap, kgo.ProducerBatchCompression(compression(codec)))
		admin := kadm.NewClient(client)
		small := map[string]*string{"segment.bytes": kadm.StringPtr("1048576")}
		if _, err := admin.CreateTopic(ctx, 2, 1, small, codec); err != nil && round == "first" {
			t.Fatal(err)
		}
		policy := map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "segment.bytes": kadm.StringPtr("1048576")}
		if _, err := admin.CreateTopic(ctx, 1, 1, policy, "compacted-"+codec); err != nil && round == "first" {
			t.Fatal(err)
		}
		for i := range 600 {
			value := []byte(fmt.Sprintf("%s-%d-%s", round, i, strings.Repeat("x", 3000+i)))
			send(ctx, client, &kgo.Record{Topic: codec, Partition: int32(i % 2), Key: fmt.Appendf(nil, "k%d", i), Value: value, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(round)}}})
			r := &kgo.Record{Topic: "compacted-" + codec, Key: fmt.Appendf(nil, "k%d", i%50), Value: value}
			if i%7 == 3 {
				r.Value = nil
			}
			send(ctx, client, r)
		}
		if err := client.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
}

// send produces without waiting; Flush tells of errors that matter.
func send(ctx context.Context, client *kgo.Client, r *kgo.Record) {
	client.Produce(ctx, r, nil)
}

func newClient(t *testing.T, bootstrap string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func compression(codec string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[codec]
}

// renew takes the log of a topic's only partition out and makes it anew: nothing is
// in its directory but partition.metadata.
func renew(t *testing.T, dirs *storage.Dirs, topic string) {
	t.Helper()
	p := kafka.TopicPartition{Topic: topic}
	l, err := dirs.Get(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := dirs.Delete(p); err != nil {
		t.Fatal(err)
	}
	if _, err := dirs.Create(p, l.TopicID(), storage.NewLogConfig(config.Layers{}, nil), kafka.DirectoryUnassigned); err != nil {
		t.Fatal(err)
	}
}

// transactions commits one and aborts one, and commits offsets of a group.
func transactions(ctx context.Context, t *testing.T, bootstrap string) {
	t.Helper()
	client := newClient(t, bootstrap, kgo.TransactionalID("takeover"))
	defer client.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			send(ctx, client, &kgo.Record{Topic: "none", Partition: 0, Key: []byte("t"), Value: fmt.Appendf(nil, "transaction %d", i)})
		}
		if err := client.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	admin := kadm.NewClient(client)
	offsets := kadm.OffsetsFromRecords(kgo.Record{Topic: "none", Partition: 1, Offset: 41})
	if err := admin.CommitAllOffsets(ctx, "a-group", offsets); err != nil {
		t.Fatal(err)
	}
}

// consume reads every partition of every topic to its end.
func consume(ctx context.Context, t *testing.T, bootstrap string) content {
	t.Helper()
	client := newClient(t, bootstrap)
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, names()...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if from[o.Topic] == nil {
			from[o.Topic] = map[int32]kgo.Offset{}
		}
		from[o.Topic][o.Partition] = kgo.NewOffset().AtStart()
	})
	reader := newClient(t, bootstrap, kgo.ConsumePartitions(from), kgo.KeepControlRecords(), kgo.FetchMaxWait(500*time.Millisecond))
	defer reader.Close()
	all, at := content{}, map[string]int64{}
	for !finished(ends, at) {
		fetches := reader.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			t.Fatalf("consume, at %v: %v", at, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			name := fmt.Sprintf("%s-%d", r.Topic, r.Partition)
			at[name] = r.Offset + 1
			if !r.Attrs.IsControl() {
				all[name] = append(all[name], row{r.Offset, r.Timestamp.UnixMilli(), string(r.Key), string(r.Value), r.Value == nil})
			}
		})
	}
	return all
}

func finished(ends kadm.ListedOffsets, at map[string]int64) bool {
	done := true
	ends.Each(func(o kadm.ListedOffset) {
		done = done && at[fmt.Sprintf("%s-%d", o.Topic, o.Partition)] >= o.Offset
	})
	return done
}

func names() []string {
	list := slices.Clone(codecs)
	for _, codec := range codecs {
		list = append(list, "compacted-"+codec)
	}
	return list
}

// open opens the node's data directory as a broker of ours does.
func open(t *testing.T, node *peer.Node) *storage.Dirs {
	t.Helper()
	directories, err := storage.Identify([]string{node.DataDir()}, 1, node.ClusterID, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := storage.OpenDirs(storage.DirsOptions{
		FS: vfs.Default, Directories: directories, OpenFiles: 100, RecoveryThreads: 2, ProducerExpirationMs: 86_400_000,
		Config: func(topic string) storage.LogConfig {
			overrides := map[string]string{"segment.bytes": "1048576"}
			if strings.HasPrefix(topic, "compacted") {
				overrides["cleanup.policy"] = "compact"
			}
			return storage.NewLogConfig(config.Layers{}, overrides)
		},
		Times: storage.DefaultDirsTimes, Clock: clock.System, Random: rand.Reader,
		Cleaner: storage.CleanerOptions{Threads: 1, KeyMemory: 1 << 20, Backoff: 10 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// read reads every log of the topics, past the high watermark too.
func read(t *testing.T, dirs *storage.Dirs) content {
	t.Helper()
	all := content{}
	for _, s := range dirs.All() {
		if !slices.Contains(names(), s.Partition.Topic) {
			continue
		}
		l, err := dirs.Get(s.Partition)
		if err != nil {
			t.Fatal(err)
		}
		if rows := readLog(t, l); len(rows) > 0 {
			all[s.Partition.String()] = rows
		}
	}
	return all
}

func readLog(t *testing.T, l *storage.Log) []row {
	t.Helper()
	var rows []row
	var data []byte
	for at := l.LogStart(); at < l.LogEnd(); {
		s, err := l.Read(at, 1<<20, l.LogEnd(), true)
		if err != nil {
			t.Fatal(err)
		}
		data, err = s.AppendTo(data[:0])
		s.Release()
		if err != nil || len(data) == 0 {
			t.Fatalf("nothing to read at offset %d of %s: %v", at, l.Partition(), err)
		}
		for v, err := range batch.All(data) {
			if err == nil {
				err = v.CheckCRC()
			}
			if err != nil {
				t.Fatal(err)
			}
			at = v.EndOffset()
			rows = appendRows(t, rows, v)
		}
	}
	return rows
}

func appendRows(t *testing.T, rows []row, v batch.View) []row {
	t.Helper()
	if v.Control() {
		return rows
	}
	inflated, err := v.AppendInflated(nil, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	it := v.RecordsIn(inflated)
	for it.Next() {
		r := it.Record()
		rows = append(rows, row{int64(it.Offset()), v.BaseTimestamp() + r.TimestampDelta, string(r.Key), string(r.Value), r.Value == nil})
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return rows
}

// extend appends to every log as a leader does.
func extend(t *testing.T, dirs *storage.Dirs) {
	t.Helper()
	for _, s := range dirs.All() {
		if !slices.Contains(names(), s.Partition.Topic) {
			continue
		}
		l, err := dirs.Get(s.Partition)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		for i := range 300 {
			b := batch.NewBuilder(batch.Compression{})
			for k := range 3 {
				b.Add(now, fmt.Appendf(nil, "k%d", (i+k)%40), fmt.Appendf(nil, "ours-%d-%s", i, strings.Repeat("y", 2000)))
			}
			if _, err := l.AppendLeader(b.AppendTo(nil, 0, 0), l.LatestEpoch(), storage.AppendOptions{NowMs: now}); err != nil {
				t.Fatal(err)
			}
		}
		l.SetHighWatermark(l.LogEnd())
	}
}

// compacted lets the cleaner run until the compacted logs are small.
func compacted(t *testing.T, dirs *storage.Dirs) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); dirs.Run(ctx) }()
	defer func() { cancel(); <-done }()
	deadline := time.Now().Add(20 * time.Second)
	for _, codec := range codecs {
		l, err := dirs.Get(kafka.TopicPartition{Topic: "compacted-" + codec})
		if err != nil {
			t.Fatal(err)
		}
		for len(readLog(t, l)) >= 1500 {
			if time.Now().After(deadline) {
				t.Fatalf("%s was not compacted", l.Partition())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// fold is what a compacted topic means: the last value of each key.
func fold(rows []row) []row {
	last := map[string]row{}
	for _, r := range rows {
		if delete(last, r.key); !r.tombstone {
			last[r.key] = r
		}
	}
	return slices.SortedFunc(maps.Values(last), func(a, b row) int { return int(a.offset - b.offset) })
}

func compare(t *testing.T, what string, want, got content) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if len(got[name]) != len(want[name]) {
			t.Fatalf("%s: %s has %d records, want %d", what, name, len(got[name]), len(want[name]))
		}
		for i := range want[name] {
			if got[name][i] != want[name][i] {
				t.Fatalf("%s: %s has %.200v at place %d, want %.200v", what, name, got[name][i], i, want[name][i])
			}
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d partitions, want %d", what, len(got), len(want))
	}
}

// dump lets Apache's tool read every file of the topics.
func dump(ctx context.Context, t *testing.T, driver *peer.Driver, dir string) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.log", "*.index", "*.timeindex", "*.txnindex", "*.snapshot"} {
		found, err := filepath.Glob(filepath.Join(dir, "*-*", pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	// Logs of other topics are as Apache left them; the tool fails on those after a
	// kill, whose indexes are still of their full size.
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasPrefix(filepath.Base(filepath.Dir(f)), "__") })
	if len(files) < 100 {
		t.Fatalf("only %d files in %s", len(files), dir)
	}
	out, err := driver.Tool(ctx, peer.DumpLog, "--deep-iteration", "--files", strings.Join(files, ","))
	if err != nil || out.Exit != 0 {
		t.Fatalf("dump-log: %v\n%.4000s", err, out.Stderr)
	}
	file := ""
	for line := range strings.Lines(out.Stdout + out.Stderr) {
		if _, after, found := strings.Cut(line, "Non-consecutive offsets in "); found {
			file = after
		}
		// The first record of a segment that does not begin at 0 follows -1, it says.
		if strings.Contains(line, "is followed by") && !strings.Contains(line, "-1 is") && !strings.Contains(file, "compacted") {
			t.Errorf("dump-log says of %s: %.400s", file, line)
		}
		for _, bad := range []string{"isvalid: false", "Mismatches in", "orrupt", "timestamp mismatch", "out of order", "Index entry", "Exception"} {
			if strings.Contains(line, bad) {
				t.Errorf("dump-log says: %.400s", line)
			}
		}
	}
}

// complaints looks for what Apache's broker says of files that it had to repair.
func complaints(t *testing.T, node *peer.Node) {
	t.Helper()
	text, err := os.ReadFile(node.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		for _, bad := range []string{"orrupt", "stray", "Rebuilding", "rebuilding", "Failed to load producer snapshot"} {
			if strings.Contains(line, bad) {
				t.Errorf("the broker says: %.400s", line)
			}
		}
	}
}
