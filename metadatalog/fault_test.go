package metadatalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// failWAL injects an error into writes of pebble's write-ahead log.
type failWAL struct {
	on  atomic.Bool
	err error
}

func (f *failWAL) String() string { return "write-ahead log" }

func (f *failWAL) MaybeError(op errorfs.Op) error {
	if f.on.Load() && strings.HasSuffix(op.Path, ".log") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		return f.err
	}
	return nil
}

func TestFullDisk(t *testing.T) {
	mem := vfs.NewCrashableMem()
	full := &failWAL{err: syscall.ENOSPC}
	s, err := Open("/store", Options{FS: errorfs.Wrap(mem, full)})
	must(t, err)
	fill(t, s, 1, 3, 3)
	must(t, s.Sync())
	full.on.Store(true)
	err = s.Append(Append{Batches: someBatch(6, 1, 1), Sync: true})
	if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "offset 6") {
		t.Fatalf("append on a full disk: %v", err)
	}
	wantEnds(t, s, 0, 6, 1)
	full.on.Store(false)
	for name, again := range map[string]error{
		"append": s.Append(Append{Batches: someBatch(6, 1, 1)}), "sync": s.Sync(), "trim": s.TrimTo(3),
	} {
		if again == nil || !strings.Contains(again.Error(), "no space left") {
			t.Errorf("%s after the error: %v", name, again)
		}
	}
	if b, err := s.Read(0, 1<<20); err != nil || len(b) == 0 {
		t.Fatalf("read after the error: %v", err)
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	must(t, s.Close())
	leftByFullDisk = append(leftByFullDisk, goleak.IgnoreCurrent())
	wantEnds(t, open(t, crashed, "/store"), 0, 6, 1)
}

// TestReadBesideWrite: what is being written can be read only when it is on the disk,
// and never before EndOffset has it: the loader of a restarted broker, whose cache is
// empty, once took the difference for a lost record.
func TestReadBesideWrite(t *testing.T) {
	var slow atomic.Bool
	syncing, goOn := make(chan struct{}), make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && slow.CompareAndSwap(true, false) {
			close(syncing)
			<-goOn
		}
		return nil
	}))
	s, err := Open("/store", Options{FS: fs, CacheBytes: -1})
	must(t, err)
	fill(t, s, 1, 3)
	must(t, s.Sync())
	slow.Store(true)
	written := make(chan error)
	go func() { written <- s.Append(Append{Batches: someBatch(3, 1, 2), Sync: true}) }()
	<-syncing
	before, err := s.Read(0, 1<<20)
	end := s.EndOffset()
	close(goOn)
	must(t, err)
	must(t, <-written)
	if want := someBatch(0, 1, 3); end != 3 || !bytes.Equal(before, want) {
		t.Errorf("the log ended at %d, and %d bytes were read of a log of %d", end, len(before), len(want))
	}
	after, err := s.Read(0, 1<<20)
	must(t, err)
	if len(after) <= len(before) {
		t.Errorf("%d bytes after the write, %d before", len(after), len(before))
	}
	must(t, s.Close())
}

func TestRestoreCrash(t *testing.T) {
	// Whatever moment of a Restore the power fails in, the store is the old one or
	// the new one.
	for at := range 60 {
		mem := vfs.NewCrashableMem()
		var crashed *vfs.MemFS
		var ops atomic.Int32
		armed := atomic.Bool{}
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if armed.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && int(ops.Add(1)) == at+1 {
				crashed = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng(uint64(at))})
			}
			return nil
		}))
		s, err := Open("/store", Options{FS: fs})
		must(t, err)
		fill(t, s, 4, 2, 2)
		must(t, s.Sync())
		v, err := s.View()
		must(t, err)
		var stream bytes.Buffer
		must(t, v.Export(&stream))
		must(t, v.Close())
		must(t, s.Reset(kafka.EpochOffset{Offset: 100, Epoch: 9}, 0, nil))
		armed.Store(true)
		must(t, s.Restore(&stream))
		armed.Store(false)
		wantEnds(t, s, 0, 4, 4)
		must(t, s.Close())
		if crashed == nil {
			if at < 10 {
				t.Fatalf("a restore of only %d writes", at)
			}
			return
		}
		c := open(t, crashed, "/store")
		if end := c.EndOffset(); end != 4 && end != 100 {
			t.Fatalf("crash at write %d: end %d", at, end)
		}
		names, err := databases(crashed, "/store")
		if err != nil || len(names) != 1 {
			t.Fatalf("crash at write %d: databases %v, %v", at, names, err)
		}
	}
}

// TestRestoreRefuses gives Restore streams with something wrong, one at a time.
func TestRestoreRefuses(t *testing.T) {
	s := open(t, vfs.NewMem(), "/store")
	fill(t, s, 4, 2, 2)
	must(t, s.Append(Append{AppliedIndex: 5, Private: map[string][]byte{"key": {1, 2, 3}}}))
	v, err := s.View()
	must(t, err)
	defer v.Close()
	var stream bytes.Buffer
	must(t, v.Export(&stream))
	good := stream.Bytes()
	for i := range good {
		if s.Restore(bytes.NewReader(good[:i])) == nil {
			t.Fatalf("restored from the first %d bytes", i)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if s.Restore(bytes.NewReader(bad)) == nil {
			t.Fatalf("restored with byte %d changed", i)
		}
	}
	newer := bytes.Clone(good)
	newer[7] = FormatVersion + 1
	if err := s.Restore(bytes.NewReader(newer)); err == nil || !strings.Contains(err.Error(), "newer kvorum") {
		t.Fatalf("newer stream: %v", err)
	}
	wantEnds(t, s, 0, 4, 4)
	must(t, s.Restore(bytes.NewReader(good)))
	wantEnds(t, s, 0, 4, 4)
	if s.AppliedIndex() != 5 {
		t.Fatalf("applied %d", s.AppliedIndex())
	}
}

// TestConcurrentUse runs readers, waiters and views beside writes, a trim and
// restores; the race detector and the checks in the readers watch.
func TestConcurrentUse(t *testing.T) {
	s := open(t, vfs.NewMem(), "/store")
	fill(t, s, 1, 1)
	const writes = 300
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { followTail(t, s, writes) })
	}
	wg.Go(func() {
		for range 20 {
			v, err := s.View()
			if err != nil {
				t.Error(err)
				return
			}
			if err := v.Export(io.Discard); err != nil {
				t.Error(err)
			}
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for i := 1; i < writes; i++ {
		fill(t, s, 1, 1)
		if i%100 == 0 {
			v, err := s.View()
			must(t, err)
			var stream bytes.Buffer
			must(t, v.Export(&stream))
			must(t, v.Close())
			must(t, s.Restore(&stream))
		}
	}
	wg.Wait()
}

// followTail reads like a broker that has caught up: it waits, and reads on.
func followTail(t *testing.T, s *Store, end kafka.Offset) {
	for at := kafka.Offset(0); at < end; {
		changed := s.WaitChanged()
		b, err := s.Read(at, 1<<20)
		if err != nil {
			t.Error(err)
			return
		}
		for v, err := range batch.All(b) {
			if err != nil || v.BaseOffset() != at {
				t.Errorf("at %d: batch at %d, %v", at, v.BaseOffset(), err)
				return
			}
			at = v.EndOffset()
		}
		if len(b) == 0 {
			<-changed
		}
	}
}

func FuzzRestore(f *testing.F) {
	s := open(f, vfs.NewMem(), "/store")
	fill(f, s, 4, 2, 2)
	must(f, s.Append(Append{AppliedIndex: 5, Private: map[string][]byte{"key": {1, 2, 3}}}))
	v, err := s.View()
	must(f, err)
	var stream bytes.Buffer
	must(f, v.Export(&stream))
	must(f, v.Close())
	f.Add(stream.Bytes())
	f.Add(binary.BigEndian.AppendUint64([]byte(streamMagic+"\x01"), 7))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, private, err := readHead(bytes.NewReader(data))
		if err == nil && len(private) > maxPrivateCount {
			t.Fatal("too many private values")
		}
		var dst bytes.Buffer
		if err := readBatch(bytes.NewReader(data), &dst); err == nil && dst.Len() > len(data) {
			t.Fatal("batch longer than its bytes")
		} else if err != nil && errors.Is(err, io.EOF) && len(data) > 0 {
			t.Fatalf("end of a stream with %d bytes: %v", len(data), err)
		}
	})
}

func FuzzCurrentFile(f *testing.F) {
	f.Add("format=1\ndatabase=db-000001\n")
	f.Add("format=2\n")
	f.Fuzz(func(t *testing.T, text string) {
		name, err := parseCurrent(text, "file")
		if err == nil && (strings.ContainsAny(name, "/\\") || !strings.HasPrefix(name, dbPrefix)) {
			t.Fatalf("database %q", name)
		}
	})
}
