package replay

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/metadatalog"
	"kvorum/metadatalog/image"
	"kvorum/protocol/batch"
	"kvorum/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a publisher that writes down what it is told.
type recorder struct {
	name string
	to   chan Published
}

func newRecorder(name string) *recorder { return &recorder{name, make(chan Published, 100)} }

func (r *recorder) Name() string { return r.name }
func (r *recorder) Publish(c *image.Changes, im *image.Image, m Manifest) {
	r.to <- Published{c, im, m}
}

// until returns the steps up to the one at an offset.
func (r *recorder) until(t *testing.T, offset kafka.Offset) (steps []Published) {
	t.Helper()
	for {
		select {
		case s := <-r.to:
			steps = append(steps, s)
			if s.Image.At().Offset == offset {
				checkChain(t, steps)
				return steps
			}
		case <-t.Context().Done():
			t.Fatalf("no step reaches offset %d", offset)
		}
	}
}

func openStore(t *testing.T) *metadatalog.Store {
	t.Helper()
	s, err := metadatalog.Open(t.TempDir(), metadatalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// run starts a loader; the returned function stops it and gives Run's error.
func runLoader(t *testing.T, o Options) (*Loader, func() error) {
	t.Helper()
	l := NewLoader(o)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- l.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-result })
	t.Cleanup(func() { _ = stop() })
	return l, stop
}

// grow appends what was built since the last call.
func (l *logOf) grow(t *testing.T, s *metadatalog.Store) {
	t.Helper()
	if err := s.Append(metadatalog.Append{Batches: l.data}); err != nil {
		t.Fatal(err)
	}
	l.data = nil
}

func TestLoaderFollows(t *testing.T) {
	store := openStore(t)
	var log logOf
	log.add(t, topic(1))
	log.add(t, topic(2))
	log.grow(t, store)
	first := newRecorder("first")
	l, stop := runLoader(t, Options{Log: store, Publishers: []Publisher{first}})
	steps := first.until(t, 1)
	if got := story(steps); got != "1: +t1 +t2" || steps[0].Manifest.Kind != FromSnapshot {
		t.Errorf("the first step is %q, %+v: want the whole state at once", got, steps[0].Manifest)
	}
	log.add(t, begin(), topic(3))
	log.grow(t, store)
	log.add(t, end())
	log.grow(t, store)
	steps = first.until(t, 4)
	if got := story(steps); got != "4: +t3" || steps[0].Manifest.Kind != FromLog || steps[0].Manifest.Batches != 2 {
		t.Errorf("then %q, %+v", got, steps[0].Manifest)
	}
	second := newRecorder("second")
	if err := l.AddPublisher(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if got := story(second.until(t, 4)); got != "4: +t1 +t2 +t3" {
		t.Errorf("a later publisher is given %q", got)
	}
	if err := l.RemovePublisher(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	log.add(t, topic(4))
	log.grow(t, store)
	if got := story(second.until(t, 5)); got != "5: +t4" {
		t.Errorf("the later publisher goes on with %q", got)
	}
	if len(first.to) != 0 {
		t.Error("a removed publisher is still called")
	}
	if l.Image().At().Offset != 5 {
		t.Errorf("image at %+v", l.Image().At())
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := l.AddPublisher(t.Context(), first); err != ErrStopped {
		t.Errorf("after the end: %v", err)
	}
}

// openDir makes a directory that holds the given checkpoint files.
func openDir(t *testing.T, files ...string) *snapshot.Dir {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), readGolden(t, f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := snapshot.OpenDir(vfs.Default, dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLoaderBeginsWithASnapshot(t *testing.T) {
	file := goldenSnapshots(t)[0]
	id := snapshotID(t, file)
	log := readGolden(t, filepath.Join(goldenLogs, filepath.Base(filepath.Dir(file)), "*.log"))
	store := openStore(t)
	if err := store.Reset(id, 0, nil); err != nil {
		t.Fatal(err)
	}
	r := newRecorder("it")
	_, stop := runLoader(t, Options{
		Log:        store,
		Snapshots:  openDir(t, file),
		Publishers: []Publisher{r},
	})
	last := id.Offset - 1
	if steps := r.until(t, last); len(steps) != 1 {
		t.Errorf("%d steps for a snapshot", len(steps))
	}
	for v := range batch.All(log) {
		if v.BaseOffset() >= id.Offset {
			if err := store.Append(metadatalog.Append{Batches: v}); err != nil {
				t.Fatal(err)
			}
			last = v.LastOffset()
		}
	}
	steps := r.until(t, last)
	whole := New(nil)
	if _, err := whole.Feed(log); err != nil {
		t.Fatal(err)
	}
	if im := steps[len(steps)-1].Image; im.Hash() != whole.Image().Hash() {
		t.Error("snapshot and rest give another image than the log")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// cutLog is a log that begins at an offset.
func cutLog(t *testing.T, at kafka.EpochOffset) *metadatalog.Store {
	t.Helper()
	s := openStore(t)
	if err := s.Reset(at, 0, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLoaderErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(t *testing.T) Options
		want  string
	}{
		{"a bad record", func(t *testing.T) Options {
			s := openStore(t)
			var log logOf
			log.add(t, topic(1))
			log.add(t, topic(1))
			log.grow(t, s)
			return Options{Log: s}
		}, "at offset 1: replay TopicRecord at offset 1: topic t1"},
		{"no snapshots", func(t *testing.T) Options {
			return Options{Log: cutLog(t, kafka.EpochOffset{Offset: 10, Epoch: 1})}
		}, "begins at offset 10, and there is no snapshot that reaches it (0 are there)"},
		{"a snapshot that is too old", func(t *testing.T) Options {
			file := goldenSnapshots(t)[0]
			at := snapshotID(t, file)
			at.Offset++
			return Options{Log: cutLog(t, at), Snapshots: openDir(t, file)}
		}, "no snapshot that reaches it (1 are there)"},
		{"a damaged snapshot", func(t *testing.T) Options {
			data := readGolden(t, goldenSnapshots(t)[0])
			file := filepath.Join(t.TempDir(), filepath.Base(goldenSnapshots(t)[0]))
			if err := os.WriteFile(file, data[:len(data)-80], 0o644); err != nil {
				t.Fatal(err)
			}
			return Options{Log: cutLog(t, snapshotID(t, file)), Snapshots: openDir(t, file)}
		}, "no snapshot of what was before can be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := NewLoader(c.build(t)).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
