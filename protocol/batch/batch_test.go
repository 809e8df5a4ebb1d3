package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
)

// goldenFiles are segment files that Apache Kafka wrote.
func goldenFiles(t testing.TB, pattern string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata/golden", pattern, "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no golden files for %s: %v", pattern, err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	return files
}

func TestGoldenWalk(t *testing.T) {
	for name, data := range goldenFiles(t, "*") {
		var next kafka.Offset
		if strings.HasSuffix(name, "46.log") {
			next = 46
		}
		size, compressed := 0, 0
		for v, err := range All(data) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := v.CheckCRC(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if v.BaseOffset() != next {
				t.Fatalf("%s: batch at %d instead of %d", name, v.BaseOffset(), next)
			}
			next = v.EndOffset()
			size += v.Size()
			it, n := v.Records(), int32(0)
			for it.Next() {
				n++
			}
			switch {
			case v.Compression() != 0:
				compressed++
				if !errors.Is(it.Err(), ErrCompressed) {
					t.Fatalf("%s: compressed batch at %d: %v", name, v.BaseOffset(), it.Err())
				}
			case it.Err() != nil || n != v.Count():
				t.Fatalf("%s: %d of %d records: %v", name, n, v.Count(), it.Err())
			}
		}
		if size != len(data) {
			t.Fatalf("%s: walked %d of %d bytes", name, size, len(data))
		}
		if topic := strings.Contains(name, "-topic") && next < 50; topic && compressed == 0 {
			t.Fatalf("%s: has no compressed batch", name)
		}
	}
}

// TestGoldenRebuild builds every metadata batch of Apache's again from its
// parts and wants the same bytes.
func TestGoldenRebuild(t *testing.T) {
	for _, dirs := range []string{"*-main", "*-old", "*-small"} {
		for name, data := range goldenFiles(t, dirs) {
			var rebuilt []byte
			for v, err := range All(data) {
				if err != nil {
					t.Fatal(err)
				}
				rebuilt = rebuild(t, rebuilt, v)
			}
			if !bytes.Equal(rebuilt, data) {
				t.Errorf("%s: rebuilt bytes differ", name)
			}
		}
	}
}

func rebuild(t testing.TB, dst []byte, v View) []byte {
	t.Helper()
	var values [][]byte
	var controls []ControlRecord
	it := v.MetadataRecords()
	for want := v.BaseOffset(); it.Next(); want++ {
		if it.Offset() != want {
			t.Fatalf("record offset %d, want %d", it.Offset(), want)
		}
		values = append(values, it.Value())
		controls = append(controls, ControlRecord{it.Key(), it.Value()})
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	if v.Control() {
		return AppendControl(dst, v.BaseOffset(), v.Epoch(), v.BaseTimestamp(), controls)
	}
	if got := DataSize(values); got != v.Size() {
		t.Fatalf("DataSize %d, batch at %d has %d", got, v.BaseOffset(), v.Size())
	}
	return AppendData(dst, v.BaseOffset(), v.Epoch(), v.BaseTimestamp(), values)
}

func TestGoldenTopicRecords(t *testing.T) {
	headers, nullValues, nullKeys := 0, 0, 0
	for _, data := range goldenFiles(t, "4.3.1-topic") {
		for v := range All(data) {
			it := v.Records()
			for it.Next() {
				r := it.Record()
				for key := range r.Headers() {
					if len(key) > 0 {
						headers++
					}
				}
				if r.Value == nil {
					nullValues++
				}
				if r.Key == nil {
					nullKeys++
				}
			}
		}
	}
	if headers == 0 || nullValues == 0 || nullKeys == 0 {
		t.Fatalf("headers %d, null values %d, null keys %d", headers, nullValues, nullKeys)
	}
}

func TestRestampKeepsChecksum(t *testing.T) {
	b := AppendData(nil, 0, 0, 1234, [][]byte{{1, 2}, {3}})
	want := AppendData(nil, 77, 9, 1234, [][]byte{{1, 2}, {3}})
	v, _, err := Next(b)
	if err != nil {
		t.Fatal(err)
	}
	Restamp(v, 77, 9)
	if !bytes.Equal(b, want) {
		t.Fatalf("restamped\n%x, built\n%x", b, want)
	}
	if err := v.CheckCRC(); err != nil {
		t.Fatal(err)
	}
}

func TestNextErrors(t *testing.T) {
	good := AppendData(nil, 10, 3, 5, [][]byte{{1, 2, 3}})
	edit := func(f func(b []byte)) []byte { b := bytes.Clone(good); f(b); return b }
	put32 := func(at int, x int32) []byte {
		return edit(func(b []byte) { binary.BigEndian.PutUint32(b[at:], uint32(x)) })
	}
	for _, tc := range []struct {
		name string
		data []byte
		want error
	}{
		{"empty", nil, ErrShort},
		{"half a length", good[:11], ErrShort},
		{"header only", good[:HeaderSize], ErrShort},
		{"last byte gone", good[:len(good)-1], ErrShort},
		{"zeroes", make([]byte, 200), ErrMagic},
		{"magic 1", edit(func(b []byte) { b[offMagic] = 1 }), ErrMagic},
		{"magic 3", edit(func(b []byte) { b[offMagic] = 3 }), ErrMagic},
		{"length 48", put32(offLength, 48), ErrCorrupt},
		{"negative length", put32(offLength, -1), ErrCorrupt},
		{"huge length", put32(offLength, 1<<31-1), ErrShort},
		{"negative delta", put32(offLastDelta, -1), ErrCorrupt},
		{"negative count", put32(offCount, -1), ErrCorrupt},
		{"count above delta", put32(offCount, 2), ErrCorrupt},
		{"negative base", edit(func(b []byte) { b[0] = 0x80 }), ErrCorrupt},
		{"base at the end", edit(func(b []byte) {
			binary.BigEndian.PutUint64(b, 1<<63-1)
		}), ErrCorrupt},
	} {
		if _, _, err := Next(tc.data); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	for i := offAttributes; i < len(good); i++ {
		bad := edit(func(b []byte) { b[i] ^= 0x10 })
		if err := View(bad).CheckCRC(); !errors.Is(err, ErrCorrupt) {
			t.Errorf("flipped bit in byte %d: %v", i, err)
		}
	}
}

// TestMetadataRules breaks one rule at a time. The raw record bodies here are
// written out by hand on purpose: no builder makes them.
func TestMetadataRules(t *testing.T) {
	raw := func(control bool, count int, records ...byte) View {
		attributes := uint16(0)
		if control {
			attributes = attrControl
		}
		b := appendHeader(nil, 100, 1, attributes, count, 0)
		b = seal(append(b, records...), 0)
		v, _, err := Next(b)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	compressed := raw(false, 1, 14, 0, 0, 0, 1, 2, 7, 0)
	compressed[offAttributes+1] = 1
	gap := raw(false, 1, 14, 0, 0, 0, 1, 2, 7, 0)
	binary.BigEndian.PutUint32(gap[offLastDelta:], 1)
	for _, tc := range []struct {
		name string
		view View
		want string // a part of the error
	}{
		{"good", raw(false, 1, 14, 0, 0, 0, 1, 2, 7, 0), ""},
		{"good control", raw(true, 1, 16, 0, 0, 0, 2, 7, 2, 7, 0), ""},
		{"key in data", raw(false, 1, 16, 0, 0, 0, 2, 7, 2, 7, 0), "a key in a data record"},
		{"empty key in data", raw(false, 1, 14, 0, 0, 0, 0, 2, 7, 0), "a key in a data record"},
		{"null value", raw(false, 1, 12, 0, 0, 0, 1, 1, 0), "no value"},
		{"empty value", raw(false, 1, 12, 0, 0, 0, 1, 0, 0), "no value"},
		{"no key in control", raw(true, 1, 14, 0, 0, 0, 1, 2, 7, 0), "no key"},
		{"timestamp delta", raw(false, 1, 14, 0, 2, 0, 1, 2, 7, 0), "timestamp delta 1"},
		{"headers", raw(false, 1, 18, 0, 0, 0, 1, 2, 7, 2, 0, 1), "1 headers"},
		{"length 0", raw(false, 1, 0), "record length 0"},
		{"length over the end", raw(false, 1, 100, 0, 0), "record length 50"},
		{"value over the end", raw(false, 1, 14, 0, 0, 0, 1, 100, 7, 0), "over the record's end"},
		{"value length -2", raw(false, 1, 14, 0, 0, 0, 1, 3, 7, 0), "over the record's end"},
		{"byte after headers", raw(false, 1, 16, 0, 0, 0, 1, 2, 7, 0, 0), "1 bytes after the record's headers"},
		{"byte after records", raw(false, 1, 14, 0, 0, 0, 1, 2, 7, 0, 0), "1 bytes after the last record"},
		{"missing record", raw(false, 2, 14, 0, 0, 0, 1, 2, 7, 0), "record length 0"},
		{"offset delta", raw(false, 1, 14, 0, 0, 2, 1, 2, 7, 0), "offset delta 1"},
		{"compressed", compressed, "compressed"},
		{"gap", gap, "1 records over 2 offsets"},
	} {
		it := tc.view.MetadataRecords()
		for it.Next() {
		}
		switch err := it.Err(); {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		case err != nil && !strings.Contains(err.Error(), "offset 100"):
			t.Errorf("%s: %v does not name the offset", tc.name, err)
		}
	}
}

func TestBuildersRefuseEmpty(t *testing.T) {
	for name, build := range map[string]func(){
		"no values":     func() { AppendData(nil, 0, 0, 0, nil) },
		"empty value":   func() { AppendData(nil, 0, 0, 0, [][]byte{{}}) },
		"no controls":   func() { AppendControl(nil, 0, 0, 0, nil) },
		"empty control": func() { AppendControl(nil, 0, 0, 0, []ControlRecord{{Key: []byte{1}}}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			build()
		}()
	}
}

func TestBuildThenRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := kafka.Offset(rapid.Int64Range(0, 1<<60).Draw(t, "base"))
		epoch := kafka.LeaderEpoch(rapid.Int32Range(0, 1<<30).Draw(t, "epoch"))
		values := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 200), 1, 150).Draw(t, "values")
		prefix := []byte("before")
		b := AppendData(prefix, base, epoch, 42, values)
		if !bytes.HasPrefix(b, prefix) || len(b)-len(prefix) != DataSize(values) {
			t.Fatalf("size %d, DataSize %d", len(b)-len(prefix), DataSize(values))
		}
		v, rest, err := Next(b[len(prefix):])
		if err != nil || len(rest) != 0 || v.CheckCRC() != nil {
			t.Fatalf("next: %v, %d bytes left, crc %v", err, len(rest), v.CheckCRC())
		}
		if v.BaseOffset() != base || v.Epoch() != epoch || v.EndOffset() != base+kafka.Offset(len(values)) {
			t.Fatalf("base %d epoch %d end %d", v.BaseOffset(), v.Epoch(), v.EndOffset())
		}
		it := v.MetadataRecords()
		for i := range values {
			if !it.Next() || !bytes.Equal(it.Value(), values[i]) || it.Offset() != base+kafka.Offset(i) {
				t.Fatalf("record %d: %x at %d: %v", i, it.Value(), it.Offset(), it.Err())
			}
		}
		if it.Next() || it.Err() != nil {
			t.Fatalf("end: %v", it.Err())
		}
	})
}

func FuzzWalk(f *testing.F) {
	for _, data := range goldenFiles(f, "*-topic") {
		f.Add(data)
	}
	f.Add(AppendControl(nil, 0, 1, 5, []ControlRecord{{[]byte{0, 0, 0, 2}, []byte{0, 0, 0}}}))
	f.Add(AppendData(nil, 7, 1, 5, [][]byte{{1, 20, 0, 0}, {1}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		walked := 0
		for v, err := range All(data) {
			if err != nil {
				break
			}
			walked += v.Size()
			_ = v.CheckCRC()
			it := v.Records()
			for it.Next() {
				for range it.Record().Headers() {
				}
			}
			checkMetadataRebuild(t, v)
		}
		if walked > len(data) {
			t.Fatalf("walked %d bytes of %d", walked, len(data))
		}
	})
}

// checkMetadataRebuild rebuilds a batch that reads as a metadata batch; where
// its header is of the form that Apache writes and its varints are the
// shortest, the bytes are the same.
func checkMetadataRebuild(t *testing.T, v View) {
	var values [][]byte
	it := v.MetadataRecords()
	for it.Next() {
		values = append(values, it.Value())
	}
	if it.Err() != nil || v.Attributes() != 0 || v.Count() == 0 || DataSize(values) != v.Size() {
		return
	}
	b := AppendData(nil, v.BaseOffset(), v.Epoch(), v.BaseTimestamp(), values)
	if got, _, err := Next(b); err != nil || got.CheckCRC() != nil || got.Count() != v.Count() {
		t.Fatalf("rebuilt batch does not read: %v", err)
	}
}

func BenchmarkWalk(b *testing.B) {
	data := goldenFiles(b, "4.3.1-main")["testdata/golden/4.3.1-main/00000000000000000000.log"]
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if n := walkAll(data); n == 0 {
			b.Fatal("no records")
		}
	}
}

func walkAll(data []byte) (records int) {
	for len(data) > 0 {
		v, rest, err := Next(data)
		if err != nil || v.CheckCRC() != nil {
			return 0
		}
		it := v.MetadataRecords()
		for it.Next() {
			records++
		}
		data = rest
	}
	return records
}

func TestWalkDoesNotAllocate(t *testing.T) {
	data := goldenFiles(t, "4.3.1-main")["testdata/golden/4.3.1-main/00000000000000000000.log"]
	if n := testing.AllocsPerRun(10, func() { walkAll(data) }); n != 0 {
		t.Fatalf("%v allocations per walk", n)
	}
	byRange := func() {
		for v, err := range All(data) {
			if err != nil || v.Size() == 0 {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(10, byRange); n != 0 {
		t.Fatalf("%v allocations per range", n)
	}
}

func BenchmarkAppendData(b *testing.B) {
	values := make([][]byte, 100)
	for i := range values {
		values[i] = bytes.Repeat([]byte{byte(i + 1)}, 60)
	}
	dst := make([]byte, 0, DataSize(values))
	b.SetBytes(int64(DataSize(values)))
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendData(dst[:0], 1, 1, 1, values)
	}
	if crc32.Checksum(dst[offAttributes:], castagnoli) != View(dst).CRC() {
		b.Fatal("bad batch")
	}
}
