package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"kvorum/internal/kafka"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// kgoCodec is the codec as franz-go numbers it.
func kgoCodec(c Codec) kgo.CompressionCodecType { return kgo.CompressionCodecType(c) }

func TestCompressionTypes(t *testing.T) {
	for name, want := range map[string]Codec{"uncompressed": None, "gzip": Gzip, "snappy": Snappy, "lz4": LZ4, "zstd": Zstd} {
		if c, keep, err := ParseCompressionType(name); c != want || keep || err != nil {
			t.Errorf("%s: %v, %v, %v", name, c, keep, err)
		}
	}
	if c, keep, err := ParseCompressionType("producer"); c != None || !keep || err != nil {
		t.Error(c, keep, err)
	}
	for _, bad := range []string{"", "none", "GZIP", "lz5"} {
		if _, _, err := ParseCompressionType(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if s := fmt.Sprint(None, Zstd, Codec(5), Codec(-1)); s != "none zstd codec(5) codec(-1)" {
		t.Error(s)
	}
}

// Every batch of Apache's segment inflates to as many records as it declares,
// and the same records compressed by us inflate to themselves again.
func TestGoldenInflates(t *testing.T) {
	seen := map[Codec]int{}
	for name, data := range goldenFiles(t, "*-topic") {
		for v, err := range All(data) {
			if err != nil {
				t.Fatal(err)
			}
			inflated, err := v.AppendInflated(nil, 1<<20)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if n := countRecords(t, v, inflated); n != v.Count() {
				t.Fatalf("%s: batch at %d has %d records, declares %d", name, v.BaseOffset(), n, v.Count())
			}
			again, err := inflate(v.Codec(), nil, v.Codec().Default().AppendCompressed(nil, inflated), len(inflated))
			if err != nil || !bytes.Equal(again, inflated) {
				t.Fatalf("%s: batch at %d does not come back: %v", name, v.BaseOffset(), err)
			}
			seen[v.Codec()]++
		}
	}
	for _, c := range codecs {
		if seen[c] == 0 {
			t.Errorf("no batch of Apache's is compressed with %s", c)
		}
	}
}

func countRecords(t testing.TB, v View, inflated []byte) (n int32) {
	t.Helper()
	it := v.RecordsIn(inflated)
	for it.Next() {
		n++
	}
	if it.Err() != nil {
		t.Fatal(it.Err())
	}
	return n
}

// payloads are of the sizes at which the framings begin another block.
func payloads() map[string][]byte {
	random := make([]byte, 200<<10)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(random)
	text := []byte(strings.Repeat("a record of a topic, much like the one before it; ", 6<<10))
	return map[string][]byte{
		"empty": {}, "one byte": {7}, "noise": random, "text": text, "zeroes": make([]byte, 5<<20),
		"a block of snappy": text[:xerialBlock], "a byte more": text[:xerialBlock+1],
		"a block of lz4": text[:lz4BlockSize], "and a byte more": text[:lz4BlockSize+1],
	}
}

// What we compress, franz-go decompresses, and the other way round: an oracle
// with another snappy framing, another lz4 reader and other gzip streams.
func TestCodecsAgreeWithFranzGo(t *testing.T) {
	un := kgo.DefaultDecompressor()
	for name, data := range payloads() {
		if len(data) == 0 {
			continue // a batch has records
		}
		for _, c := range codecs[1:] {
			ours := c.Default().AppendCompressed([]byte("head"), data)
			if !bytes.HasPrefix(ours, []byte("head")) {
				t.Fatalf("%s of %s lost what dst had", c, name)
			}
			theirs, err := un.Decompress(ours[4:], kgoCodec(c))
			if err != nil || !bytes.Equal(theirs, data) {
				t.Errorf("franz-go reads our %s of %s: %v", c, name, err)
			}
			cc, err := kgo.DefaultCompressor(map[Codec]kgo.CompressionCodec{Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(), LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression()}[c])
			if err != nil {
				t.Fatal(err)
			}
			out, got := cc.Compress(new(bytes.Buffer), data)
			if got != kgoCodec(c) {
				t.Fatalf("franz-go compressed with %d", got)
			}
			back, err := inflate(c, []byte("head"), out, len(data))
			if err != nil || !bytes.Equal(back[4:], data) || string(back[:4]) != "head" {
				t.Errorf("we read franz-go's %s of %s: %v", c, name, err)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	data := payloads()["text"]
	for _, c := range codecs {
		for _, level := range []int{DefaultLevel, -200000, -1, 0, 1, 3, 9, 12, 17, 22, 100} {
			out := Compression{c, level}.AppendCompressed(nil, data)
			back, err := inflate(c, nil, out, len(data))
			if err != nil || !bytes.Equal(back, data) {
				t.Errorf("%s at level %d: %v", c, level, err)
			}
			if c != None && len(out) > len(data)/5 {
				t.Errorf("%s at level %d makes %d of %d bytes", c, level, len(out), len(data))
			}
		}
	}
}

// The limit holds to the byte, for streams of one part and of many.
func TestInflateLimit(t *testing.T) {
	for name, data := range payloads() {
		for _, c := range codecs {
			out := c.Default().AppendCompressed(nil, data)
			if _, err := inflate(c, nil, out, len(data)); err != nil {
				t.Errorf("%s of %s at its own size: %v", c, name, err)
			}
			if len(data) == 0 {
				continue
			}
			for _, limit := range []int{0, len(data) / 2, len(data) - 1} {
				if _, err := inflate(c, nil, out, limit); !errors.Is(err, ErrTooLarge) {
					t.Errorf("%s of %s with a limit of %d: %v", c, name, limit, err)
				}
			}
		}
	}
}

// Parts that are concatenated inflate as one, up to the limit.
func TestConcatenated(t *testing.T) {
	data := payloads()["text"]
	for _, c := range []Codec{Gzip, Snappy, Zstd} {
		one := c.Default().AppendCompressed(nil, data)
		two := append(bytes.Clone(one), one...)
		if back, err := inflate(c, nil, two, 2*len(data)); err != nil || !bytes.Equal(back, append(bytes.Clone(data), data...)) {
			t.Errorf("%s: %v", c, err)
		}
		if _, err := inflate(c, nil, two, 2*len(data)-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s beyond the limit: %v", c, err)
		}
	}
}

func TestSnappyRawBlock(t *testing.T) {
	data := payloads()["text"][:20_000]
	framed := Snappy.Default().AppendCompressed(nil, data)
	raw := framed[xerialHeader+4:]
	if back, err := inflate(Snappy, nil, raw, len(data)); err != nil || !bytes.Equal(back, data) {
		t.Errorf("a raw block: %v", err)
	}
}

func TestLZ4Frames(t *testing.T) {
	data := payloads()["text"]
	frame := func(o ...lz4.Option) []byte {
		var buf bytes.Buffer
		w := lz4.NewWriter(&buf)
		if err := w.Apply(o...); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(data)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	every := []lz4.Option{lz4.ChecksumOption(true), lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(data))), lz4.BlockSizeOption(lz4.Block256Kb)}
	good := frame(every...)
	for name, f := range map[string][]byte{
		"plain": frame(lz4.ChecksumOption(false)), "with everything": good, "large blocks": frame(lz4.BlockSizeOption(lz4.Block4Mb)),
		"bytes after the end": append(frame(lz4.ChecksumOption(false)), 1, 2, 3), // Apache ignores them
	} {
		if back, err := inflate(LZ4, nil, f, len(data)); err != nil || !bytes.Equal(back, data) {
			t.Errorf("%s: %v", name, err)
		}
	}
	edit := func(at int, x byte) []byte {
		b := bytes.Clone(good)
		b[at] = x
		// A header of which only the flags are wrong.
		b[14] = byte(xxh32(b[4:14]) >> 8)
		return b
	}
	for name, f := range map[string][]byte{
		"no bytes": nil, "magic": edit(0, 5), "version 2": edit(4, good[4]&^lz4VersionMask|2<<6), "dependent blocks": edit(4, good[4]&^lz4Independent),
		"dictionary": edit(4, good[4]|1), "reserved flag": edit(4, good[4]|2), "block size 3": edit(5, 3<<4), "reserved size": edit(5, good[5]|1),
		"header checksum": func() []byte { b := bytes.Clone(good); b[14]++; return b }(),
		"block length":    edit(18, 0x7f), "block checksum": edit(30, good[30]+1), "content checksum": edit(len(good)-1, good[len(good)-1]+1),
		"no end": good[:len(good)-8], "no content checksum": good[:len(good)-4], "cut": good[:40],
	} {
		if _, err := inflate(LZ4, nil, f, len(data)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Bytes that are cut or turned are an error or other bytes, never a panic; and
// a cut is always an error.
func TestDamagedStreams(t *testing.T) {
	data := payloads()["text"][:3000]
	for _, c := range codecs[1:] {
		out := c.Default().AppendCompressed(nil, data)
		for n := 1; n < len(out); n++ {
			if _, err := inflate(c, nil, out[:n], 1<<20); err == nil && !(c == Snappy && n == xerialHeader) && !(c == Zstd && n < 4) {
				t.Errorf("%s cut at %d of %d is taken", c, n, len(out))
			}
		}
		for i := range out {
			bad := bytes.Clone(out)
			bad[i] ^= 0x41
			_, _ = inflate(c, nil, bad, 1<<20)
		}
	}
	if _, err := inflate(Codec(5), nil, data, 1<<20); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

func TestXXH32(t *testing.T) { // vectors of the reference implementation
	for text, want := range map[string]uint32{"": 0x02cc5d05, "a": 0x550d7456, "abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f} {
		if got := xxh32([]byte(text)); got != want {
			t.Errorf("%q: %08x, want %08x", text, got, want)
		}
	}
}

// FuzzInflate: no bytes panic, hang or exceed the limit, whatever the codec.
func FuzzInflate(f *testing.F) {
	data := payloads()["text"][:40<<10]
	for _, c := range codecs {
		f.Add(int8(c), c.Default().AppendCompressed(nil, data))
		f.Add(int8(c), c.Default().AppendCompressed(nil, make([]byte, 2<<20)))
	}
	f.Add(int8(Snappy), binary.AppendUvarint(nil, 1<<31))
	f.Fuzz(func(t *testing.T, codec int8, src []byte) {
		const limit = 1 << 20
		out, err := inflate(Codec(codec), make([]byte, 3, 100), src, limit)
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("an error of no kind: %v", err)
		}
		if err == nil && len(out)-3 > limit {
			t.Fatalf("%d bytes beyond the limit", len(out)-3)
		}
		if cap(out) > 4*limit+8<<20 {
			t.Fatalf("%d bytes were allocated", cap(out))
		}
	})
}

// build draws a batch and returns what was put in.
func drawBatch(t *rapid.T, c Compression) (b *Builder, want []Record, times []int64) {
	b = NewBuilder(c)
	first := rapid.Int64Range(-1, 1<<41).Draw(t, "first")
	null := func(name string) []byte {
		if rapid.Bool().Draw(t, "null "+name) {
			return nil
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, name)
	}
	for i := range rapid.IntRange(1, 20).Draw(t, "records") {
		r := Record{OffsetDelta: int32(i), Key: null("key"), Value: null("value")}
		var headers []Header
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			headers = append(headers, Header{rapid.String().Draw(t, "header"), null("header value")})
		}
		ts := first + rapid.Int64Range(-1000, 1000).Draw(t, "delta")
		r.HeaderCount = int32(len(headers))
		b.Add(ts, r.Key, r.Value, headers...)
		want, times = append(want, r), append(times, ts)
	}
	return b, want, times
}

// What is built comes back: records, timestamps, producer and flags.
func TestBuilderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(codecs).Draw(t, "codec").Default()
		b, want, times := drawBatch(t, c)
		b.SetProducer(77, 3, 12, true)
		data := b.AppendTo(nil, 1000, 9)
		v, rest, err := Next(data)
		if err != nil || len(rest) > 0 {
			t.Fatal(err, rest)
		}
		if err := v.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		newest := times[0]
		inflated, err := v.AppendInflated(nil, b.Size())
		if err != nil {
			t.Fatal(err)
		}
		it := v.RecordsIn(inflated)
		for i := 0; it.Next(); i++ {
			r := it.Record()
			newest = max(newest, times[i])
			if r.OffsetDelta != want[i].OffsetDelta || !same(r.Key, want[i].Key) || !same(r.Value, want[i].Value) ||
				r.HeaderCount != want[i].HeaderCount || v.BaseTimestamp()+r.TimestampDelta != times[i] {
				t.Fatalf("record %d is %+v, was %+v", i, r, want[i])
			}
		}
		if it.Err() != nil || v.Count() != int32(len(want)) || v.Codec() != c.Codec || v.MaxTimestamp() != newest ||
			v.ProducerID() != 77 || v.ProducerEpoch() != 3 || v.BaseSequence() != 12 || !v.Transactional() || v.Control() ||
			v.LogAppendTime() || v.BaseOffset() != 1000 || v.Epoch() != 9 {
			t.Fatalf("%v: %+v", it.Err(), v[:HeaderSize])
		}
		if c.Codec == None && b.Size() != len(data) {
			t.Fatalf("Size %d, %d bytes", b.Size(), len(data))
		}
		b.Reset()
		b.Add(5, nil, nil)
		if v, _, err := Next(b.AppendTo(nil, 0, 0)); err != nil || v.ProducerID() != -1 || v.Transactional() || v.Count() != 1 {
			t.Fatal(err, v)
		}
	})
}

// same tells null from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// The markers in Apache's segment are read and rebuilt byte for byte.
func TestGoldenEndTxn(t *testing.T) {
	commits, aborts := 0, 0
	for name, data := range goldenFiles(t, "*-topic") {
		for v := range All(data) {
			m, ok, err := v.EndTxn()
			if err != nil || ok != v.Control() {
				t.Fatalf("%s at %d: %v, %v", name, v.BaseOffset(), ok, err)
			}
			if !ok {
				continue
			}
			if again := AppendEndTxn(nil, v.BaseOffset(), v.Epoch(), v.BaseTimestamp(), m); !bytes.Equal(again, v) {
				t.Errorf("%s at %d:\n%x rebuilt as\n%x", name, v.BaseOffset(), []byte(v), again)
			}
			if m.Commit {
				commits++
			} else {
				aborts++
			}
		}
	}
	if commits == 0 || aborts == 0 {
		t.Errorf("%d commits, %d aborts", commits, aborts)
	}
}

func TestEndTxnOfOthers(t *testing.T) {
	one := func(key, value []byte) View {
		v, _, err := Next(AppendControl(nil, 5, 0, 0, []ControlRecord{{key, value}}))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if _, ok, err := one([]byte{0, 0, 0, 2}, []byte{0, 0}).EndTxn(); ok || err != nil {
		t.Error("a leader change:", ok, err)
	}
	for name, v := range map[string]View{
		"short key":        one([]byte{0, 0, 0}, []byte{0, 0, 0, 0, 0, 1}),
		"negative version": one([]byte{0xff, 0xff, 0, 1}, []byte{0, 0, 0, 0, 0, 1}),
		"short value":      one([]byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 1}),
	} {
		if _, ok, err := v.EndTxn(); ok || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}

func BenchmarkInflate(b *testing.B) {
	data := payloads()["text"]
	for _, c := range codecs {
		out := c.Default().AppendCompressed(nil, data)
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				var err error
				if dst, err = inflate(c, dst[:0], out, len(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBuilder(b *testing.B) {
	for _, c := range codecs {
		b.Run(c.String(), func(b *testing.B) {
			builder, key, value := NewBuilder(c.Default()), []byte("a key"), bytes.Repeat([]byte("value "), 20)
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				builder.Reset()
				for range 100 {
					builder.Add(1700000000000, key, value)
				}
				dst = builder.AppendTo(dst[:0], kafka.Offset(0), 0)
			}
			b.SetBytes(int64(builder.Size()))
		})
	}
}
