package batch

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

// apacheBuilder holds the records of testdata/codecs.bin: kind 0 are 100 that
// compress well and fill more than one block of snappy and lz4, kind 1 are 3 of
// noise, in a transaction.
func apacheBuilder(c Compression, kind int) *Builder {
	b := NewBuilder(c)
	n, size := 100, 900
	if kind == 1 {
		n, size = 3, 1500
	}
	b.SetProducer(77, 3, 12, kind == 1)
	for i := range n {
		var key, value []byte
		if i%3 != 0 {
			key = fmt.Appendf(nil, "key%d", i)
		}
		if i%7 != 0 {
			value = apacheValue(i, size, kind)
		}
		var headers []Header
		if i%5 == 0 {
			headers = []Header{{"h", []byte{1, 2}}, {"n", nil}}
		}
		b.Add(1_700_000_000_000+int64(i*37%500), key, value, headers...)
	}
	return b
}

func apacheValue(i, size, kind int) []byte {
	v := make([]byte, size)
	s := uint64(i)*7919 + 1
	for j := range v {
		s = s*6364136223846793005 + 1442695040888963407
		if v[j] = byte(s >> 56); kind == 0 {
			v[j] = "a record of a topic; "[j%21]
		}
	}
	return v
}

// TestApachesBuilder: what Apache's own builder made with every codec and level
// passes validation and inflates to the bytes that ours makes of the same records;
// without compression the two make the same batch.
func TestApachesBuilder(t *testing.T) {
	data, err := os.ReadFile("testdata/codecs.bin")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for v, err := range All(data) {
		if err != nil {
			t.Fatal(err)
		}
		want := apacheBuilder(Compression{}, n%2).AppendTo(nil, 0, 5)
		if n < 2 && !bytes.Equal(v, want) {
			t.Errorf("batch %d is\n%x, we make\n%x", n, v[:200], want[:200])
		}
		got, err := v.AppendInflated(nil, 1<<20)
		if err != nil || !bytes.Equal(got, want[HeaderSize:]) {
			t.Errorf("batch %d (%s): %v", n, v.Codec(), err)
		}
		if p, err := lenient().Validate(bytes.Clone(v), testNow); err != nil || p.MaxTimestampMs != v.MaxTimestamp() {
			t.Errorf("batch %d (%s): %v", n, v.Codec(), err)
		}
		n++
	}
	if n != 20 {
		t.Errorf("%d batches", n)
	}
}
