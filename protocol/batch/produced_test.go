package batch

import (
	"bytes"
	"encoding/binary"
	stderrors "errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kvorum/protocol/errors"
)

const testNow = 1_700_000_000_000

// lenient is a topic's rules as Kafka's defaults make them.
func lenient() *Rules {
	return &Rules{KeepCodec: true, MaxSize: 1 << 20, MaxBeforeMs: math.MaxInt64, MaxAfterMs: 3_600_000}
}

// three is a batch of three records with keys, a second apart.
func three(c Codec) []byte {
	b := NewBuilder(c.Default())
	for i := range int64(3) {
		b.Add(testNow+1000*i, []byte("key"), []byte(strings.Repeat("value ", 20)), Header{"h", nil})
	}
	return b.AppendTo(nil, 0, -1)
}

// resealed changes a batch and makes its length and checksum right again.
func resealed(b []byte, change func([]byte)) []byte {
	b = bytes.Clone(b)
	change(b)
	return seal(b, 0)
}

func put32(at int, x int32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[at:], uint32(x)) }
}

// records makes an uncompressed batch of raw records.
func rawRecords(count int, records ...byte) []byte {
	return seal(append(appendHeader(nil, 0, -1, 0, count, testNow), records...), 0)
}

func TestValidateAcceptsInPlace(t *testing.T) {
	for _, c := range codecs {
		sent := three(c)
		was := bytes.Clone(sent)
		p, err := lenient().Validate(sent, testNow)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if p.Rebuilt || &p.Batch[0] != &sent[0] || !bytes.Equal(sent, was) {
			t.Errorf("%s: a good batch was changed", c)
		}
		if p.MaxTimestampMs != testNow+2000 || p.MaxTimestampDelta != 2 || p.LogAppendTimeMs != -1 {
			t.Errorf("%s: %+v", c, p)
		}
	}
}

func TestValidateLogAppendTime(t *testing.T) {
	r := lenient()
	r.LogAppendTime = true
	for _, c := range codecs {
		p, err := r.Validate(three(c), 42)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := Next(p.Batch)
		if err != nil || v.CheckCRC() != nil || !v.LogAppendTime() || v.MaxTimestamp() != 42 || v.Codec() != c {
			t.Errorf("%s: %v, %v", c, err, v.CheckCRC())
		}
		if p.MaxTimestampMs != 42 || p.MaxTimestampDelta != 0 || p.LogAppendTimeMs != 42 {
			t.Errorf("%s: %+v", c, p)
		}
	}
}

// A producer may lie about the largest timestamp; the log may not.
func TestValidateCorrectsMaxTimestamp(t *testing.T) {
	for _, c := range codecs {
		p, err := lenient().Validate(resealed(three(c), func(b []byte) { binary.BigEndian.PutUint64(b[offMaxTimestamp:], 7) }), testNow)
		if err != nil || p.Batch.MaxTimestamp() != testNow+2000 || p.Batch.CheckCRC() != nil {
			t.Errorf("%s: %v, %+v", c, err, p)
		}
	}
}

// Whatever a producer compresses with, what is stored is as the topic wants it
// and holds the same records.
func TestValidateRecompresses(t *testing.T) {
	plain := three(None)[HeaderSize:]
	for _, from := range codecs {
		for _, to := range codecs {
			r := lenient()
			r.KeepCodec, r.Compression = false, to.Default()
			sent := three(from)
			was := bytes.Clone(sent)
			p, err := r.Validate(sent, testNow)
			if err != nil {
				t.Fatalf("%s to %s: %v", from, to, err)
			}
			if p.Rebuilt != (from != to) || p.Rebuilt && !bytes.Equal(sent, was) {
				t.Errorf("%s to %s: rebuilt %v", from, to, p.Rebuilt)
			}
			v, rest, err := Next(p.Batch)
			if err != nil || len(rest) > 0 || v.CheckCRC() != nil || v.Codec() != to || v.Count() != 3 || v.MaxTimestamp() != testNow+2000 {
				t.Fatalf("%s to %s: %v %v", from, to, err, v.CheckCRC())
			}
			if got, err := v.AppendInflated(nil, 1<<20); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s to %s: other records, %v", from, to, err)
			}
		}
	}
	r := lenient()
	r.KeepCodec, r.MaxSize = false, 400
	if _, err := r.Validate(three(Zstd), testNow); errors.CodeOf(err) != errors.MessageTooLarge {
		t.Error("a batch that outgrows the limit when it is rebuilt:", err)
	}
}

func TestValidateRefuses(t *testing.T) {
	good := three(None)
	control := NewBuilder(Compression{})
	control.SetControl()
	control.Add(testNow, []byte{0, 0, 0, 0}, []byte{0})
	producer := NewBuilder(Compression{})
	producer.SetProducer(5, 0, -1, false)
	producer.Add(testNow, nil, nil)
	stamped := NewBuilder(Compression{})
	stamped.SetLogAppendTime()
	stamped.Add(testNow, nil, nil)
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b }
	one := []byte{14, 0, 0, 0, 1, 2, 7, 0} // a record with a null key and one byte
	for _, tc := range []struct {
		name    string
		records []byte
		want    errors.Code
	}{
		{"nothing", nil, errors.InvalidRecord},
		{"a few bytes", good[:5], errors.InvalidRecord},
		{"a cut batch", good[:len(good)-1], errors.InvalidRecord},
		{"two batches", append(bytes.Clone(good), good...), errors.InvalidRecord},
		{"bytes behind it", append(bytes.Clone(good), 0), errors.InvalidRecord},
		{"format 0", append(make([]byte, 16), make([]byte, 50)...), errors.InvalidRecord},
		{"format 1", resealed(good, func(b []byte) { b[offMagic] = 1 }), errors.InvalidRecord},
		{"format 3", resealed(good, func(b []byte) { b[offMagic] = 3 }), errors.InvalidRecord},
		{"too short a length", func() []byte { b := bytes.Clone(good); put32(offLength, 5)(b); return b }(), errors.CorruptMessage},
		{"negative length", func() []byte { b := bytes.Clone(good); put32(offLength, -5)(b); return b }(), errors.CorruptMessage},
		{"checksum", flip(good), errors.CorruptMessage},
		{"base offset 1", resealed(good, func(b []byte) { b[7] = 1 }), errors.InvalidRecord},
		{"count 0", resealed(good, put32(offCount, 0)), errors.InvalidRecord},
		{"count -1", resealed(good, put32(offCount, -1)), errors.InvalidRecord},
		{"count 2 of 3", resealed(good, put32(offCount, 2)), errors.InvalidRecord},
		{"count 4 and delta 3 of 3", resealed(good, func(b []byte) { put32(offCount, 4)(b); put32(offLastDelta, 3)(b) }), errors.InvalidRecord},
		{"count 2 and delta 1 of 3", resealed(good, func(b []byte) { put32(offCount, 2)(b); put32(offLastDelta, 1)(b) }), errors.InvalidRecord},
		{"count 2 billion", resealed(good, func(b []byte) { put32(offCount, math.MaxInt32)(b); put32(offLastDelta, math.MaxInt32-1)(b) }), errors.InvalidRecord},
		{"delta at the end", resealed(good, func(b []byte) { put32(offCount, math.MinInt32)(b); put32(offLastDelta, math.MaxInt32)(b) }), errors.InvalidRecord},
		{"control batch", control.AppendTo(nil, 0, -1), errors.InvalidRecord},
		{"producer without sequence", producer.AppendTo(nil, 0, -1), errors.InvalidRecord},
		{"LogAppendTime", stamped.AppendTo(nil, 0, -1), errors.InvalidTimestamp},
		{"codec 5", resealed(good, func(b []byte) { b[offAttributes+1] = 5 }), errors.UnsupportedCompressionType},
		{"not gzip", resealed(good, func(b []byte) { b[offAttributes+1] = 1 }), errors.CorruptMessage},
		{"not zstd", resealed(good, func(b []byte) { b[offAttributes+1] = 4 }), errors.CorruptMessage},
		{"one good record", rawRecords(1, one...), errors.None},
		{"offset delta 1 first", rawRecords(1, 14, 0, 0, 2, 1, 2, 7, 0), errors.InvalidRecord},
		{"record length 0", rawRecords(1, 0), errors.InvalidRecord},
		{"record length -1", rawRecords(1, 1), errors.InvalidRecord},
		{"record length beyond", rawRecords(1, 16, 0, 0, 0, 1, 2, 7, 0), errors.InvalidRecord},
		{"null value", rawRecords(1, 12, 0, 0, 0, 1, 1, 0), errors.None},
		{"short record", rawRecords(1, 10, 0, 0, 0, 1, 1), errors.InvalidRecord},
		{"key length -2", rawRecords(1, 14, 0, 0, 0, 3, 2, 7, 0), errors.InvalidRecord},
		{"key length beyond", rawRecords(1, 14, 0, 0, 0, 100, 2, 7, 0), errors.InvalidRecord},
		{"value length beyond", rawRecords(1, 14, 0, 0, 0, 1, 100, 7, 0), errors.InvalidRecord},
		{"header count -1", rawRecords(1, 14, 0, 0, 0, 1, 2, 7, 1), errors.InvalidRecord},
		{"header count beyond", rawRecords(1, 14, 0, 0, 0, 1, 2, 7, 2), errors.InvalidRecord},
		{"null header key", rawRecords(1, 18, 0, 0, 0, 1, 2, 7, 2, 1, 1), errors.InvalidRecord},
		{"a header", rawRecords(1, 18, 0, 0, 0, 1, 2, 7, 2, 0, 1), errors.None},
		{"a byte after the headers", rawRecords(1, 20, 0, 0, 0, 1, 2, 7, 2, 0, 1, 0), errors.InvalidRecord},
		{"a byte after no headers", rawRecords(1, 16, 0, 0, 0, 1, 2, 7, 0, 0), errors.InvalidRecord},
		{"varint without end", rawRecords(1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), errors.InvalidRecord},
	} {
		_, err := lenient().Validate(tc.records, testNow)
		if errors.CodeOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
		var r *Refusal
		if err != nil && !stderrors.As(err, &r) {
			t.Errorf("%s: %T", tc.name, err)
		}
	}
}

func TestValidateSize(t *testing.T) {
	b := three(LZ4)
	r := lenient()
	r.MaxSize = len(b)
	if _, err := r.Validate(b, testNow); err != nil {
		t.Error(err)
	}
	r.MaxSize--
	if _, err := r.Validate(b, testNow); errors.CodeOf(err) != errors.MessageTooLarge {
		t.Error(err)
	}
	// A bomb is refused as too large, so that an honest client would split it.
	bomb := NewBuilder(Zstd.Default())
	bomb.Add(testNow, nil, make([]byte, 3<<20))
	r = lenient()
	r.InflateLimit = 2 << 20
	if _, err := r.Validate(bomb.AppendTo(nil, 0, -1), testNow); errors.CodeOf(err) != errors.MessageTooLarge {
		t.Error(err)
	}
}

func TestRecordErrors(t *testing.T) {
	b := NewBuilder(Gzip.Default())
	for i := range 2500 {
		key := []byte("key")
		if i%2 == 1 {
			key = nil
		}
		b.Add(testNow, key, nil)
	}
	r := lenient()
	r.Compacted = true
	_, err := r.Validate(b.AppendTo(nil, 0, -1), testNow)
	var refusal *Refusal
	if !stderrors.As(err, &refusal) || refusal.Wire.Code != errors.InvalidRecord || len(refusal.Records) != maxRecordErrors ||
		refusal.Records[1].Index != 3 || !strings.Contains(refusal.Wire.Message, "1250 of 2500") {
		t.Fatalf("%v", err)
	}

	times := NewBuilder(Compression{})
	for _, at := range []int64{testNow - 1001, testNow - 1000, testNow, testNow + 500, testNow + 501, -1} {
		times.Add(at, nil, nil)
	}
	data := times.AppendTo(nil, 0, -1)
	r.MaxBeforeMs, r.MaxAfterMs = 1000, 500
	_, err = r.Validate(bytes.Clone(data), testNow)
	if errors.CodeOf(err) != errors.InvalidRecord {
		t.Fatal(err) // of one record the key comes first
	}
	mixed := NewBuilder(Compression{})
	mixed.Add(testNow, nil, nil)
	mixed.Add(testNow+501, []byte("key"), nil)
	mixed.Add(testNow, nil, nil)
	if _, err := r.Validate(mixed.AppendTo(nil, 0, -1), testNow); errors.CodeOf(err) != errors.InvalidTimestamp {
		t.Fatal(err) // of all records the timestamp decides
	}
	r.Compacted = false
	_, err = r.Validate(bytes.Clone(data), testNow)
	if !stderrors.As(err, &refusal) || refusal.Wire.Code != errors.InvalidTimestamp || len(refusal.Records) != 2 ||
		refusal.Records[0].Index != 0 || refusal.Records[1].Index != 4 {
		t.Fatalf("%+v", refusal)
	}
	r.LogAppendTime = true
	if _, err := r.Validate(bytes.Clone(data), testNow); err != nil {
		t.Error("the log's own time takes any:", err)
	}
}

// Without a timestamp a record has -1, and so has its batch.
func TestNoTimestamps(t *testing.T) {
	b := NewBuilder(Compression{})
	b.Add(-1, nil, nil)
	b.Add(-1, nil, nil)
	r := lenient()
	r.MaxBeforeMs = 1000
	if p, err := r.Validate(b.AppendTo(nil, 0, -1), testNow); err != nil || p.MaxTimestampMs != -1 || p.MaxTimestampDelta != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestSingleBatch(t *testing.T) {
	if v, err := SingleBatch(three(Zstd), 7); err != nil || v.Codec() != Zstd {
		t.Error(err)
	}
	if _, err := SingleBatch(three(Zstd), 6); errors.CodeOf(err) != errors.UnsupportedCompressionType {
		t.Error(err)
	}
	if _, err := SingleBatch(nil, 7); errors.CodeOf(err) != errors.InvalidRecord {
		t.Error(err)
	}
}

// RecordIter is the oracle: what it takes, with deltas in order and at least one
// record, Validate takes, and nothing else.
func TestValidateAgreesWithRecordIter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, _, times := drawBatch(t, Compression{})
		data := b.AppendTo(nil, 0, -1)
		for range rapid.IntRange(0, 2).Draw(t, "edits") {
			at := rapid.IntRange(HeaderSize, len(data)-1).Draw(t, "at")
			data[at] ^= byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		data = seal(data, 0)
		agree(t, data)
		if _, err := lenient().Validate(b.AppendTo(nil, 0, -1), slices.Max(times)); err != nil {
			t.Fatal(err)
		}
	})
}

// agree compares Validate with RecordIter on a batch with a good header.
func agree(t interface{ Fatalf(string, ...any) }, data []byte) {
	r := lenient()
	r.LogAppendTime = true // takes every timestamp
	p, err := r.Validate(bytes.Clone(data), testNow)
	it, want, newest := View(data).Records(), int32(0), int64(-1)
	for it.Next() {
		if it.Record().OffsetDelta != want {
			break
		}
		newest = max(newest, View(data).BaseTimestamp()+it.Record().TimestampDelta)
		want++
	}
	ok := it.Err() == nil && want == View(data).Count()
	if ok != (err == nil) {
		t.Fatalf("RecordIter: %d of %d records, %v; Validate: %v", want, View(data).Count(), it.Err(), err)
	}
	if !ok {
		return
	}
	if p, err = (&Rules{KeepCodec: true, MaxSize: 1 << 30, MaxBeforeMs: math.MaxInt64, MaxAfterMs: math.MaxInt64}).Validate(data, testNow); err != nil || p.MaxTimestampMs != newest {
		t.Fatalf("%+v, %v, newest is %d", p, err, newest)
	}
}

// FuzzValidate: no bytes panic; what is refused is not changed, what is accepted
// is a batch with the records that it declares.
func FuzzValidate(f *testing.F) {
	for _, c := range codecs {
		f.Add(three(c), false)
		f.Add(three(c), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, seal1 bool) {
		if seal1 && len(data) >= HeaderSize {
			data = seal(bytes.Clone(data), 0)
		}
		was := bytes.Clone(data)
		r := lenient()
		r.InflateLimit = 1 << 20
		p, err := r.Validate(data, testNow)
		if err != nil {
			if errors.CodeOf(err) == errors.UnknownServerError || !bytes.Equal(data, was) {
				t.Fatalf("%v; changed %v", err, !bytes.Equal(data, was))
			}
			return
		}
		v, rest, err := Next(p.Batch)
		if err != nil || len(rest) > 0 || v.CheckCRC() != nil {
			t.Fatal(err, rest, v.CheckCRC())
		}
		inflated, err := v.AppendInflated(nil, 1<<20)
		if err != nil || countRecords(t, v, inflated) != v.Count() {
			t.Fatal(err)
		}
	})
}

// The quick walk takes nothing that the full one refuses, and says the same of what
// it takes.
func FuzzPlainRecord(f *testing.F) {
	for _, index := range []int32{0, 1, 63, 64, 8191, 8192, 1<<20 - 1} {
		b := NewBuilder(None.Default())
		b.Add(testNow, []byte("key"), []byte("value"))
		record := bytes.Clone(b.AppendTo(nil, 0, -1)[HeaderSize:])
		f.Add(append(record[:3:3], append(binary.AppendVarint(nil, int64(index)), record[4:]...)...), index)
		f.Add(append(record, 0, 0, 0, 0), int32(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, index int32) {
		if index < 0 {
			return
		}
		size, delta, hasKey := plainRecord(data, index)
		if size == 0 {
			return
		}
		size1, delta1, hasKey1 := anyRecord(data, index)
		if size != size1 || delta != delta1 || hasKey != hasKey1 {
			t.Fatalf("%x at %d: %d bytes, timestamp %d, key %v; the full walk says %d, %d, %v", data, index, size, delta, hasKey, size1, delta1, hasKey1)
		}
	})
}

// What producers send is for the quick walk, up to the last record but one.
func TestPlainRecords(t *testing.T) {
	b := NewBuilder(None.Default())
	for i := range 10_000 {
		b.Add(testNow+int64(i)/10, nil, make([]byte, 100))
	}
	data := View(b.AppendTo(nil, 0, -1))
	rest := []byte(data[HeaderSize:])
	for i := range data.Count() {
		size, _, _ := plainRecord(rest, i)
		if size == 0 && i < data.Count()-1 {
			t.Fatalf("record %d is not walked quickly", i)
		}
		if size == 0 {
			size, _, _ = anyRecord(rest, i)
		}
		rest = rest[size:]
	}
	if len(rest) > 0 {
		t.Errorf("%d bytes are left", len(rest))
	}
}

func benchmarkBatch(c Codec, n, size int) []byte {
	b := NewBuilder(c.Default())
	value := make([]byte, size)
	rnd := rand.NewChaCha8([32]byte{})
	_, _ = rnd.Read(value)
	for i := range n {
		b.Add(testNow+int64(i), nil, value)
	}
	return b.AppendTo(nil, 0, -1)
}

func BenchmarkValidate(b *testing.B) {
	for _, c := range codecs {
		for _, shape := range []struct {
			name    string
			n, size int
		}{{"1000x100", 1000, 100}, {"100x1024", 100, 1024}} {
			data := benchmarkBatch(c, shape.n, shape.size)
			b.Run(c.String()+"/"+shape.name, func(b *testing.B) {
				r := lenient()
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Validate(data, testNow); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// The path of an honest batch allocates nothing, compressed or not.
func TestValidateDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("pools drop what they hold under the race detector")
	}
	for _, c := range codecs {
		data, r := benchmarkBatch(c, 100, 100), lenient()
		if n := testing.AllocsPerRun(100, func() {
			if _, err := r.Validate(data, testNow); err != nil {
				t.Fatal(err)
			}
		}); n >= 1 {
			t.Errorf("%s: %v allocations", c, n)
		}
	}
}
