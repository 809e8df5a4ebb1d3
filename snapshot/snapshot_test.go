package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func goldenFiles(t testing.TB) (files []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/golden/*/*.checkpoint")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	return files
}

func TestName(t *testing.T) {
	id := kafka.EpochOffset{Offset: 413, Epoch: 7}
	const name = "00000000000000000413-0000000007.checkpoint"
	if Name(id) != name {
		t.Fatal(Name(id))
	}
	if got, ok := ParseName(name); !ok || got != id {
		t.Fatalf("%+v, %v", got, ok)
	}
	for _, bad := range []string{
		"", "bootstrap.checkpoint", name + ".part", name + ".deleted", "413-7.checkpoint", "x" + name,
		"00000000000000000413-0000000007", "-0000000000000000413-0000000007.checkpoint", "0000000000000000041a-0000000007.checkpoint",
		"00000000000000000413-9999999999.checkpoint", "99999999999999999999-0000000007.checkpoint",
	} {
		if id, ok := ParseName(bad); ok {
			t.Errorf("%q is %+v", bad, id)
		}
	}
}

// TestGoldenRewrite takes every snapshot that Apache wrote apart and writes it
// again: the bytes are the same.
func TestGoldenRewrite(t *testing.T) {
	withVoters, records := 0, 0
	for _, path := range goldenFiles(t) {
		want, err := os.ReadFile(path)
		must(t, err)
		r, err := OpenFile(vfs.Default, path)
		must(t, err)
		if id, ok := ParseName(filepath.Base(path)); ok && r.Epoch() != id.Epoch {
			t.Errorf("%s: epoch %d", path, r.Epoch())
		}
		if r.Header().Voters != nil {
			withVoters++
		}
		fs, first, last := vfs.NewMem(), timestamps(t, want)[0], timestamps(t, want)
		w, err := CreateFile(fs, "/x", r.Epoch(), r.Header(), first)
		must(t, err)
		for i := 1; r.NextBatch(); i++ {
			w.SetTimestamp(last[i])
			for it := r.Batch().MetadataRecords(); it.Next(); records++ {
				must(t, w.Append(it.Value()))
			}
			must(t, w.Flush())
		}
		must(t, r.Err())
		must(t, r.Close())
		w.SetTimestamp(last[len(last)-1])
		must(t, w.Finish())
		if got := readFile(t, fs, "/x"); !bytes.Equal(got, want) {
			t.Errorf("%s: rewritten bytes differ", path)
		}
	}
	if withVoters < 8 || records < 500 {
		t.Fatalf("%d files with voters, %d records", withVoters, records)
	}
}

// timestamps are those of the batches.
func timestamps(t testing.TB, data []byte) (ms []int64) {
	for v, err := range batch.All(data) {
		must(t, err)
		ms = append(ms, v.BaseTimestamp())
	}
	return ms
}

func readFile(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	must(t, err)
	defer f.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	must(t, err)
	return b.Bytes()
}

func someHeader() Header {
	return Header{
		LastContainedLogTimestampMs: 1000,
		KRaftVersion:                &record.KRaftVersion{KRaftVersion: 1},
		Voters:                      &record.KRaftVoters{Voters: []record.QuorumVoter{{VoterID: 1}}},
	}
}

func save(t testing.TB, d *Dir, id kafka.EpochOffset, timestampMs int64, values ...string) {
	t.Helper()
	h := someHeader()
	h.LastContainedLogTimestampMs = timestampMs
	w, err := d.Create(id, h, timestampMs)
	must(t, err)
	for _, v := range values {
		must(t, w.Append([]byte(v)))
	}
	must(t, w.Finish())
}

func openDir(t testing.TB, fs vfs.FS) *Dir {
	t.Helper()
	must(t, fs.MkdirAll("/d", 0o755))
	root, err := fs.OpenDir("/")
	must(t, err)
	must(t, errors.Join(root.Sync(), root.Close()))
	d, err := OpenDir(fs, "/d")
	must(t, err)
	return d
}

func at(o kafka.Offset, e kafka.LeaderEpoch) kafka.EpochOffset {
	return kafka.EpochOffset{Offset: o, Epoch: e}
}

func TestWriteThenRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 1, 10, 100, 1000, 400 << 10}), 0, 30).Draw(t, "sizes")
		repeat := rapid.SampledFrom([]int{1, 1, 100}).Draw(t, "repeat")
		w, err := CreateFile(fs, "/x", 3, someHeader(), 5)
		if err != nil {
			t.Fatal(err)
		}
		var want [][]byte
		for i, size := range sizes {
			for range min(repeat, 1+1000/size) {
				value := bytes.Repeat([]byte{byte(i + 1)}, size)
				want = append(want, value)
				if err := w.Append(value); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		r, err := OpenFile(fs, "/x")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; r.Next(); n++ {
			if !bytes.Equal(r.Value(), want[n]) {
				t.Fatalf("record %d differs", n)
			}
			if b := r.Batch(); b.Count() > maxBatchRecords || b.Size() > maxBatchBytes+batch.HeaderSize {
				t.Fatalf("batch of %d records and %d bytes", b.Count(), b.Size())
			}
		}
		if r.Err() != nil || n != len(want) || r.Close() != nil {
			t.Fatalf("%d of %d records: %v", n, len(want), r.Err())
		}
	})
}

func TestWriterRefuses(t *testing.T) {
	fs := vfs.NewMem()
	h := someHeader()
	h.KRaftVersion = nil
	if _, err := CreateFile(fs, "/x", 1, h, 0); err == nil {
		t.Fatal("voters without kraft.version")
	}
	for name, value := range map[string][]byte{"empty": nil, "huge": make([]byte, batch.MaxMetadataSize)} {
		w, err := CreateFile(fs, "/x", 1, someHeader(), 0)
		must(t, err)
		if w.Append(value) == nil {
			t.Errorf("%s: appended", name)
		}
		if w.Append([]byte{1}) == nil || w.Finish() == nil {
			t.Errorf("%s: went on after an error", name)
		}
		if names, _ := fs.List("/"); len(names) != 0 {
			t.Errorf("%s: left %v", name, names)
		}
	}
}

// TestReaderRefuses gives the reader snapshots with something wrong.
func TestReaderRefuses(t *testing.T) {
	fs := vfs.NewMem()
	d := openDir(t, fs)
	save(t, d, at(10, 2), 5, "one", "two")
	good := readFile(t, fs, "/d/"+Name(at(10, 2)))
	verify := func(data []byte) error {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return err
		}
		return r.Verify()
	}
	must(t, verify(good))
	for i := range good {
		if err := verify(good[:i]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("first %d bytes: %v", i, err)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x08
		// The epoch of the first batch is only known to be wrong by the next one's.
		if err := verify(bad); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	var parts []batch.View
	for v, err := range batch.All(good) {
		must(t, err)
		parts = append(parts, v)
	}
	header, data, footer := parts[0], parts[1], parts[2]
	join := func(list ...batch.View) (out []byte) {
		next := kafka.Offset(0)
		for _, v := range list {
			v = bytes.Clone(v)
			batch.Restamp(v, next, 2)
			next = v.EndOffset()
			out = append(out, v...)
		}
		return out
	}
	for name, bad := range map[string][]byte{
		"no header":      join(data, footer),
		"footer first":   join(footer, data, footer),
		"no footer":      join(header, data),
		"two footers":    join(header, data, footer, footer),
		"two headers":    join(header, header, data, footer),
		"after footer":   append(bytes.Clone(good), 0),
		"leader change":  join(header, control(t, &record.LeaderChange{LeaderID: 1}), footer),
		"odd header":     join(control(t, &record.SnapshotHeader{}, &record.LeaderChange{}), footer),
		"unknown type":   join(batch.AppendControl(nil, 0, 2, 0, []batch.ControlRecord{{Key: []byte{0, 0, 0, 99}, Value: []byte{0}}}), footer),
		"offsets repeat": append(bytes.Clone(header), append(bytes.Clone(data), data...)...),
	} {
		if err := verify(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, verify(join(header, data, data, footer)))
	must(t, verify(join(header, footer)))
}

func control(t *testing.T, list ...record.Control) batch.View {
	records, err := metadatalog.EncodeControls(list...)
	must(t, err)
	return batch.AppendControl(nil, 0, 2, 0, records)
}

func TestCrashWhileWriting(t *testing.T) {
	for percent := 0; percent <= 100; percent += 50 {
		mem := vfs.NewCrashableMem()
		d := openDir(t, mem)
		save(t, d, at(10, 1), 5, "old")
		w, err := d.Create(at(20, 1), someHeader(), 6)
		must(t, err)
		must(t, w.Append([]byte("new")))
		crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng()})
		must(t, w.Finish())
		after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0})
		if got := newest(t, crashed); got != "10-1: [old]" {
			t.Errorf("crash before Finish: %s", got)
		}
		if got := newest(t, after); got != "20-1: [new]" {
			t.Errorf("crash after Finish: %s", got)
		}
	}
}

func newest(t *testing.T, fs vfs.FS) string {
	d, err := OpenDir(fs, "/d")
	must(t, err)
	var got []string
	id, ok, _, err := d.LoadNewest(0, func(_ kafka.EpochOffset, r *Reader) error {
		got = nil
		for r.Next() {
			got = append(got, string(r.Value()))
		}
		return r.Err()
	})
	must(t, err)
	if !ok {
		return "none"
	}
	return fmt.Sprintf("%d-%d: %v", id.Offset, id.Epoch, got)
}

func TestAbortAndBusy(t *testing.T) {
	fs := vfs.NewMem()
	d := openDir(t, fs)
	w, err := d.Create(at(10, 1), someHeader(), 0)
	must(t, err)
	if _, err := d.Create(at(10, 1), someHeader(), 0); !errors.Is(err, ErrBusy) {
		t.Fatalf("second writer: %v", err)
	}
	if err := d.Install(at(10, 1), strings.NewReader("")); !errors.Is(err, ErrBusy) {
		t.Fatalf("install beside a writer: %v", err)
	}
	must(t, w.Abort())
	must(t, w.Abort())
	if names, _ := fs.List("/d"); len(names) != 0 || len(d.List()) != 0 {
		t.Fatalf("left %v, %v", names, d.List())
	}
	save(t, d, at(10, 1), 0, "again")
	if got := newest(t, fs); got != "10-1: [again]" {
		t.Fatal(got)
	}
}

func FuzzReader(f *testing.F) {
	for _, path := range goldenFiles(f)[:4] {
		data, err := os.ReadFile(path)
		must(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		n := 0
		for r.Next() {
			if n++; n > len(data) {
				t.Fatal("more records than bytes")
			}
		}
		if r.Err() != nil && !errors.Is(r.Err(), ErrDamaged) {
			t.Fatal(r.Err())
		}
	})
}

func FuzzParseName(f *testing.F) {
	f.Add("00000000000000000413-0000000007.checkpoint")
	f.Fuzz(func(t *testing.T, name string) {
		if id, ok := ParseName(name); ok && Name(id) != name {
			t.Fatalf("%q reads as %+v", name, id)
		}
	})
}
