package producer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

var versions = []string{"3.9.2", "4.3.1"}

func golden(t testing.TB, version, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "apache-"+version, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestApachesLogGivesApachesFiles replays a partition that Apache wrote (five
// codecs, idempotent producers, committed and aborted transactions, a fenced
// epoch), and compares with the snapshots and the transaction index beside it.
func TestApachesLogGivesApachesFiles(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			s := New(0, 1<<60)
			var index []byte
			for _, segment := range []string{"00000000000000000000.log", "00000000000000000046.log"} {
				for v, err := range batch.All(golden(t, version, segment)) {
					if err != nil {
						t.Fatal(err)
					}
					if v.BaseOffset() == 46 && !bytes.Equal(s.Snapshot(), golden(t, version, "00000000000000000046.snapshot")) {
						t.Errorf("another snapshot at 46: %+v", s.Entries())
					}
					for _, c := range must(t, s, Replication, v) {
						if c.Aborted {
							index = appendIndex(index, c)
						}
					}
				}
			}
			if !bytes.Equal(s.Snapshot(), golden(t, version, "00000000000000000058.snapshot")) {
				t.Errorf("another snapshot at 58: %+v", s.Entries())
			}
			if !bytes.Equal(index, golden(t, version, "00000000000000000046.txnindex")) {
				t.Errorf("another transaction index: %x", index)
			}
		})
	}
}

// appendIndex is an entry of a .txnindex file.
func appendIndex(dst []byte, c Completed) []byte {
	dst = append(dst, 0, 0)
	for _, n := range []int64{int64(c.Producer), int64(c.First), int64(c.Last), int64(c.LastStable)} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return dst
}

func TestDamagedSnapshots(t *testing.T) {
	good := golden(t, "4.3.1", "00000000000000000058.snapshot")
	for i := range good {
		if _, err := ParseSnapshot(good[:i]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
		damaged := bytes.Clone(good)
		damaged[i] ^= 0x40
		if _, err := ParseSnapshot(damaged); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	one := Entry{ID: 1, TransactionFirst: 5}
	for name, entries := range map[string][]Entry{
		"one producer twice":          {one, {ID: 1, TransactionFirst: -1}},
		"two transactions, one start": {one, {ID: 2, TransactionFirst: 5}},
		"no producer":                 {{ID: -1, TransactionFirst: -1}},
	} {
		if _, err := ParseSnapshot(AppendSnapshot(nil, entries)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseSnapshot(f *testing.F) {
	for _, version := range versions {
		f.Add(golden(f, version, "00000000000000000046.snapshot"))
		f.Add(golden(f, version, "00000000000000000058.snapshot"))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ParseSnapshot(b)
		if err != nil {
			// With the right checksum the rest of the parser is reached.
			if len(b) < snapshotHeader {
				return
			}
			b = bytes.Clone(b)
			binary.BigEndian.PutUint16(b, snapshotVersion)
			binary.BigEndian.PutUint32(b[2:], checksum(b))
			if entries, err = ParseSnapshot(b); err != nil {
				return
			}
		}
		again, err := ParseSnapshot(AppendSnapshot(nil, entries))
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%d entries come back as %d: %v", len(entries), len(again), err)
		}
		for i := range again {
			if again[i] != entries[i] {
				t.Fatalf("%+v comes back as %+v", entries[i], again[i])
			}
		}
		s := New(0, 1000)
		s.Load(entries, 1<<40, 0)
		for i := range entries {
			if e := &entries[i]; e.TransactionFirst != kafka.NoOffset {
				must(t, s, Replication, end{id: e.ID, offset: s.End()}.view())
			}
		}
		if _, ok := s.FirstUndecided(); ok {
			t.Fatal("a transaction stays open after its marker")
		}
	})
}
