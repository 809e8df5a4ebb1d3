package replay

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/snapshot"
)

// logOf builds a log in the tests: batches one after the other.
type logOf struct {
	data []byte
	end  kafka.Offset
}

func (l *logOf) add(t testing.TB, records ...record.Record) {
	t.Helper()
	var values [][]byte
	for _, r := range records {
		v, err := record.Message{Record: r}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	l.data = batch.AppendData(l.data, l.end, 7, 1000+int64(l.end), values)
	l.end += kafka.Offset(len(records))
}

func (l *logOf) addControl(t testing.TB, controls ...record.Control) {
	t.Helper()
	var records []batch.ControlRecord
	for _, c := range controls {
		v, err := record.AppendControl(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, batch.ControlRecord{Key: record.AppendControlKey(nil, c.ControlType()), Value: v})
	}
	l.data = batch.AppendControl(l.data, l.end, 7, 1000+int64(l.end), records)
	l.end += kafka.Offset(len(records))
}

func topic(n int) *record.TopicRecord {
	return &record.TopicRecord{Name: fmt.Sprintf("t%d", n), TopicID: topicID(n)}
}

func topicID(n int) kafka.TopicID { return kafka.TopicID{1, byte(n >> 16), byte(n >> 8), byte(n)} }

func begin() *record.BeginTransactionRecord { return &record.BeginTransactionRecord{} }
func end() *record.EndTransactionRecord     { return &record.EndTransactionRecord{} }
func abort() *record.AbortTransactionRecord { return &record.AbortTransactionRecord{} }

// story is what steps show: per step the offset and the topics that it made.
func story(steps []Published) string {
	var lines []string
	for _, s := range steps {
		var names []string
		for c := range s.Changes.Topics() {
			switch {
			case c.Old == nil:
				names = append(names, "+"+c.New.Name)
			case c.New == nil:
				names = append(names, "-"+c.Old.Name)
			default:
				names = append(names, c.New.Name)
			}
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%d: %s", s.Image.At().Offset, strings.Join(names, " "))))
	}
	return strings.Join(lines, "; ")
}

// TestTransactions feeds logs batch by batch and as a whole.
func TestTransactions(t *testing.T) {
	type b = []record.Record
	for _, c := range []struct {
		name          string
		batches       []b
		single, whole string // the story by single batches, and in one Feed
		err           string
	}{
		{"plain", []b{{topic(1), topic(2)}, {topic(3)}}, "1: +t1 +t2; 2: +t3", "2: +t1 +t2 +t3", ""},
		{"nothing but position", []b{{&record.NoOpRecord{}}}, "0:", "0:", ""},
		{"in one batch", []b{{begin(), topic(1), end()}}, "2: +t1", "2: +t1", ""},
		{"over batches", []b{{begin(), topic(1)}, {topic(2)}, {topic(3), end()}}, "4: +t1 +t2 +t3", "4: +t1 +t2 +t3", ""},
		{"records before it in the batch", []b{{topic(1), begin(), topic(2)}, {end()}}, "0: +t1; 3: +t2", "0: +t1; 3: +t2", ""},
		{"records before it in a batch before", []b{{topic(1)}, {begin(), topic(2)}, {end()}}, "0: +t1; 3: +t2", "0: +t1; 3: +t2", ""},
		{"records after it", []b{{begin(), topic(1), end(), topic(2)}}, "3: +t1 +t2", "3: +t1 +t2", ""},
		{"two in one batch", []b{{begin(), topic(1), end(), begin(), topic(2), end()}}, "2: +t1; 5: +t2", "2: +t1; 5: +t2", ""},
		{"aborted", []b{{topic(1)}, {begin(), topic(2)}, {topic(3), abort()}}, "0: +t1; 4:", "0: +t1; 4:", ""},
		{"aborted, then more", []b{{begin(), topic(1), abort(), topic(2)}}, "3: +t2", "3: +t2", ""},
		{"aborted and made again", []b{{begin(), topic(1)}, {abort()}, {begin(), topic(1), end()}}, "2:; 5: +t1", "2:; 5: +t1", ""},
		{"still open", []b{{topic(1)}, {begin(), topic(2)}}, "0: +t1", "0: +t1", ""},
		{"nested", []b{{topic(1)}, {begin(), begin()}}, "0: +t1", "0: +t1", "BeginTransactionRecord at offset 2: the transaction that began at offset 1 is still open"},
		{"end of none", []b{{topic(1)}, {end()}}, "0: +t1", "0: +t1", "EndTransactionRecord at offset 1: no transaction is open"},
		{"abort of none", []b{{topic(1), abort()}}, "", "", "AbortTransactionRecord at offset 1: no transaction is open"},
		{"bad record after good ones", []b{{topic(1)}, {topic(2), topic(1)}}, "0: +t1", "0: +t1", "replay TopicRecord at offset 2: topic t1"},
		{"bad record in a transaction", []b{{begin(), topic(1)}, {topic(1)}}, "", "", "offset 2"},
		{"bad record after an end in the batch", []b{{begin(), topic(1)}, {end(), topic(2), begin(), topic(2)}}, "", "", "offset 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log logOf
			single := New(nil)
			var steps []Published
			var err error
			for _, records := range c.batches {
				from := len(log.data)
				log.add(t, records...)
				var more []Published
				more, err = single.Feed(log.data[from:])
				steps = append(steps, more...)
			}
			check := func(how string, r *Replayer, steps []Published, want string, err error) {
				if got := story(steps); got != want {
					t.Errorf("%s: %q, want %q", how, got, want)
				}
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s: error %v, want %q", how, err, c.err)
				}
				checkChain(t, steps)
				if len(steps) > 0 && steps[len(steps)-1].Image != r.Image() {
					t.Errorf("%s: the last step's image is not the Replayer's", how)
				}
			}
			check("batch by batch", single, steps, c.single, err)
			whole := New(nil)
			steps, err = whole.Feed(log.data)
			check("at once", whole, steps, c.whole, err)
			if !whole.Image().Equal(single.Image()) || whole.NextOffset() != single.NextOffset() {
				t.Errorf("at once and batch by batch differ: next offset %d and %d", whole.NextOffset(), single.NextOffset())
			}
			if err != nil { // the same batch gives the same error, and no step
				again, err2 := whole.Feed(log.data)
				if len(again) != 0 || err2 == nil || err2.Error() != err.Error() {
					t.Errorf("fed again: %d steps, %v instead of %v", len(again), err2, err)
				}
			}
		})
	}
}

// checkChain checks that each step begins where the one before ended.
func checkChain(t testing.TB, steps []Published) {
	t.Helper()
	for i, s := range steps {
		if s.Changes.New != s.Image || i > 0 && s.Changes.Old != steps[i-1].Image {
			t.Errorf("step %d does not lead from the step before to its image", i)
		}
	}
}

func TestControlRecordsMoveThePosition(t *testing.T) {
	var log logOf
	log.addControl(t, &record.LeaderChange{LeaderID: 3}, &record.KRaftVersion{KRaftVersion: 1})
	log.add(t, begin(), topic(1))
	log.addControl(t, &record.LeaderChange{LeaderID: 4})
	log.add(t, end())
	log.addControl(t, &record.LeaderChange{LeaderID: 5})
	var seen []string
	r := New(func(o kafka.Offset, e kafka.LeaderEpoch, c record.Control) {
		seen = append(seen, fmt.Sprintf("%d %d %s", o, e, c.RecordName()))
	})
	steps, err := r.Feed(log.data)
	if err != nil || story(steps) != "1:; 6: +t1" {
		t.Errorf("%q, %v", story(steps), err)
	}
	if want := []string{"0 7 LeaderChange", "1 7 KRaftVersion", "4 7 LeaderChange", "6 7 LeaderChange"}; !slices.Equal(seen, want) {
		t.Errorf("observed %q, want %q", seen, want)
	}
	if at := r.Image().At(); at != (image.Position{Offset: 6, Epoch: 7, TimestampMs: 1006}) {
		t.Errorf("position %+v", at)
	}
}

func TestFeedRefuses(t *testing.T) {
	var log logOf
	log.add(t, topic(1), topic(2))
	first := slices.Clone(log.data)
	log.add(t, topic(3))
	corrupt := slices.Clone(log.data)
	corrupt[len(corrupt)-3] ^= 1
	compressed := slices.Clone(first)
	compressed[22] |= 1
	for _, c := range []struct {
		name string
		data []byte
		want error
		text string
	}{
		{"a gap", log.data[len(first):], nil, "at offset 0: the next batch is from offset 2 to 2"},
		{"a cut batch", log.data[:len(log.data)-1], batch.ErrShort, "at offset 2"},
		{"a wrong checksum", corrupt, batch.ErrCorrupt, "at offset 2"},
		{"a compressed batch", compressed, nil, "at offset 0"},
	} {
		r := New(nil)
		_, err := r.Feed(c.data)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v and %q", c.name, err, c.want, c.text)
		}
	}
	r := New(nil)
	if _, err := r.Feed(first); err != nil {
		t.Fatal(err)
	}
	if steps, err := r.Feed(log.data); err != nil || story(steps) != "2: +t3" {
		t.Errorf("a batch that was applied is not skipped: %q, %v", story(steps), err)
	}
}

const goldenLogs = "../../protocol/batch/testdata/golden"

func readGolden(t testing.TB, pattern string) []byte {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %q, %v", pattern, files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// goldenSnapshots are Apache's checkpoints and the logs that they belong to.
func goldenSnapshots(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../image/testdata/golden/*/*-0000000001.checkpoint")
	if err != nil || len(files) < 8 {
		t.Fatalf("golden checkpoints: %q, %v", files, err)
	}
	return files
}

func snapshotID(t testing.TB, file string) (id kafka.EpochOffset) {
	t.Helper()
	if _, err := fmt.Sscanf(filepath.Base(file), "%d-%d.checkpoint", &id.Offset, &id.Epoch); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestGoldenLogFromAnySnapshot replays Apache's logs: cut anywhere they give
// the same images, and a checkpoint with the rest of the log gives them, too.
func TestGoldenLogFromAnySnapshot(t *testing.T) {
	for _, file := range goldenSnapshots(t) {
		run := filepath.Base(filepath.Dir(file))
		log := readGolden(t, filepath.Join(goldenLogs, run, "*.log"))
		id := snapshotID(t, file)
		whole := New(nil)
		if steps, err := whole.Feed(log); err != nil || len(steps) == 0 {
			t.Fatalf("%s: %d steps, %v", run, len(steps), err)
		}
		r, before, after := New(nil), []byte(nil), []byte(nil)
		for v, err := range batch.All(log) {
			if err != nil {
				t.Fatal(err)
			}
			if v.EndOffset() <= id.Offset {
				before = append(before, v...)
			} else {
				after = append(after, v...)
			}
		}
		if _, err := r.Feed(before); err != nil {
			t.Fatal(err)
		}
		step, err := load(r, id, readGolden(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if !step.Changes.Empty() {
			t.Errorf("%s: the snapshot is not the log up to it", file)
		}
		if at := step.Image.At(); at.Offset != id.Offset-1 || at.Epoch != id.Epoch || at.TimestampMs == 0 {
			t.Errorf("%s: position %+v", file, at)
		}
		if steps, err := r.Feed(after); err != nil {
			t.Fatal(err)
		} else {
			checkChain(t, steps)
		}
		if r.Image().Hash() != whole.Image().Hash() || r.Image().At() != whole.Image().At() {
			t.Errorf("%s: snapshot and rest give another image than the log", file)
		}
	}
}

func TestGoldenLogCutAnywhere(t *testing.T) {
	log := readGolden(t, filepath.Join(goldenLogs, "4.3.1-main", "*.log"))
	var batches [][]byte
	for v := range batch.All(log) {
		batches = append(batches, v)
	}
	whole := New(nil)
	if _, err := whole.Feed(log); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := New(nil)
		seen := image.Empty()
		for i := 0; i < len(batches); {
			n := rapid.IntRange(1, len(batches)-i).Draw(t, "batches")
			steps, err := r.Feed(slices.Concat(batches[i : i+n]...))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range steps {
				if s.Changes.Old.At() != seen.At() {
					t.Fatalf("step from %+v after %+v", s.Changes.Old.At(), seen.At())
				}
				checkChanges(t, s.Changes)
				seen = s.Image
			}
			i += n
		}
		if r.Image().Hash() != whole.Image().Hash() || r.Image().At() != whole.Image().At() {
			t.Fatal("another image")
		}
	})
}

// checkChanges compares what the log touched with what is different.
func checkChanges(t *rapid.T, c *image.Changes) {
	touched := map[kafka.TopicID]int{}
	for tc := range c.Topics() {
		for range tc.Partitions() {
			touched[topicIDOf(tc)]++
		}
	}
	for tc := range image.Diff(c.Old, c.New).Topics() {
		n := 0
		for range tc.Partitions() {
			n++
		}
		if touched[topicIDOf(tc)] != n {
			t.Fatalf("topic %s: %d changed partitions by the log, %d by comparison", topicIDOf(tc), touched[topicIDOf(tc)], n)
		}
		delete(touched, topicIDOf(tc))
	}
	for id, n := range touched {
		if n > 0 {
			t.Fatalf("topic %s: the log has %d changed partitions, comparison none", id, n)
		}
	}
}

func topicIDOf(c image.TopicChange) kafka.TopicID {
	if c.New != nil {
		return c.New.ID
	}
	return c.Old.ID
}

func TestLoadReaderRefuses(t *testing.T) {
	file := goldenSnapshots(t)[0]
	id := snapshotID(t, file)
	var parts [][]byte
	for v := range batch.All(readGolden(t, file)) {
		parts = append(parts, v)
	}
	if len(parts) != 3 {
		t.Fatalf("%d batches instead of header, data, footer", len(parts))
	}
	corrupt := slices.Clone(parts[1])
	corrupt[len(corrupt)-3] ^= 1
	for name, data := range map[string][]byte{
		"without a footer": slices.Concat(parts[0], parts[1]),
		"without a header": slices.Concat(parts[1], parts[2]),
		"with two headers": slices.Concat(parts[0], parts[0], parts[1], parts[2]),
		"beyond a footer":  slices.Concat(parts[0], parts[2], parts[1]),
		"with a bad batch": slices.Concat(parts[0], corrupt, parts[2]),
		"cut":              slices.Concat(parts[0], parts[1], parts[2][:20]),
		"empty":            nil,
	} {
		r := New(func(kafka.Offset, kafka.LeaderEpoch, record.Control) { t.Errorf("a snapshot %s was observed", name) })
		if _, err := load(r, id, data); err == nil {
			t.Errorf("a snapshot %s was loaded", name)
		}
		if r.NextOffset() != 0 || r.Image().At().Offset != -1 {
			t.Errorf("a snapshot %s has changed the state", name)
		}
	}
}

// FuzzFeed: whatever the bytes, there is an image or an error, and what was
// applied does not depend on how it was cut.
func FuzzFeed(f *testing.F) {
	for _, run := range []string{"3.9.2-main", "4.3.1-old"} {
		var head []byte // whole logs make slow seeds
		for v := range batch.All(readGolden(f, filepath.Join(goldenLogs, run, "*.log"))) {
			if head = append(head, v...); len(head) > 2_000 {
				break
			}
		}
		f.Add(head)
	}
	var log logOf
	log.add(f, begin(), topic(1))
	log.add(f, topic(2), abort(), topic(3))
	f.Add(log.data)
	f.Fuzz(func(t *testing.T, data []byte) {
		whole := New(nil)
		steps, err := whole.Feed(data)
		checkChain(t, steps)
		single := New(nil)
		for v, e := range batch.All(data) {
			if e != nil {
				break
			}
			if _, e := single.Feed(v); e != nil {
				break
			}
		}
		if whole.NextOffset() != single.NextOffset() || whole.Image().At() != single.Image().At() || !whole.Image().Equal(single.Image()) {
			t.Fatalf("cut differently: next offsets %d and %d (%v)", whole.NextOffset(), single.NextOffset(), err)
		}
	})
}

// TestLoadReader reads each checkpoint and tells the observer of the voters.
func TestLoadReader(t *testing.T) {
	voters := 0
	for _, file := range goldenSnapshots(t) {
		id := snapshotID(t, file)
		seen := map[string]int{}
		r := New(func(_ kafka.Offset, _ kafka.LeaderEpoch, c record.Control) { seen[c.RecordName()]++ })
		reader, err := snapshot.OpenFile(vfs.Default, file)
		if err != nil {
			t.Fatal(err)
		}
		step, err := r.LoadReader(id, reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
		if step.Image != r.Image() || r.NextOffset() != id.Offset || step.Manifest.Kind != FromSnapshot {
			t.Errorf("%s: loaded up to %d as %+v", file, r.NextOffset(), step.Manifest)
		}
		if voters += seen["KRaftVoters"]; seen["KRaftVoters"] > seen["KRaftVersion"] {
			t.Errorf("%s: observed %v", file, seen)
		}
	}
	if voters == 0 {
		t.Error("no voters were observed")
	}
}

// load loads a snapshot from memory.
func load(r *Replayer, id kafka.EpochOffset, data []byte) (Published, error) {
	file, err := snapshot.NewReader(bytes.NewReader(data))
	if err != nil {
		return Published{}, err
	}
	return r.LoadReader(id, file)
}
