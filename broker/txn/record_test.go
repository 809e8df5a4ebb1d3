package txn

import (
	"bytes"
	"os"
	"testing"

	"kvorum/protocol/batch"
)

// records walks what Apache's brokers wrote.
func records(t testing.TB, version string, f func(key, value []byte)) {
	t.Helper()
	data, err := os.ReadFile("testdata/apache-" + version + ".log")
	if err != nil {
		t.Fatal(err)
	}
	for v, err := range batch.All(data) {
		if err != nil {
			t.Fatal(err)
		}
		it := v.Records()
		for it.Next() {
			f(it.Record().Key, it.Record().Value)
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// What Apache wrote comes out again byte for byte.
func TestApacheRecordsRoundTrip(t *testing.T) {
	for version, written := range map[string]int16{"4.3.1": V1, "3.9.2": V0} {
		seen := map[Status]int{}
		records(t, version, func(key, value []byte) {
			id, err := ParseKey(key)
			if err != nil {
				t.Fatal(err)
			}
			if got := Key(id); !bytes.Equal(got, key) {
				t.Errorf("%s: key %x, Apache wrote %x", version, got, key)
			}
			if value == nil {
				return
			}
			x, err := ParseValue(value)
			if err != nil {
				t.Fatal(err)
			}
			if got := x.Value(written); !bytes.Equal(got, value) {
				t.Errorf("%s: %+v is\n%x, Apache wrote\n%x", version, x, got, value)
			}
			seen[x.Status]++
		})
		for s := Empty; s <= CompleteAbort; s++ {
			if seen[s] == 0 {
				t.Errorf("%s: no record is %v", version, s)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, version := range []string{"4.3.1", "3.9.2"} {
		records(f, version, func(key, value []byte) { f.Add(key, value) })
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if id, err := ParseKey(key); err == nil && !bytes.Equal(Key(id), key) {
			t.Errorf("%x is read as %q", key, id)
		}
		x, err := ParseValue(value)
		if err != nil {
			return
		}
		again, err := ParseValue(x.Value(V1))
		if err != nil || !bytes.Equal(again.Value(V1), x.Value(V1)) {
			t.Errorf("%+v is read as %+v, %v", x, again, err)
		}
	})
}
