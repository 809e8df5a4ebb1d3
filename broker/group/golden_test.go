package group

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// golden walks the batches of a segment of __consumer_offsets that an Apache
// broker wrote.
func golden(t testing.TB, name string, f func(batch.View)) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for v, err := range batch.All(data) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := v.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		f(v)
		n++
	}
	if n == 0 {
		t.Fatalf("%s has no batch", name)
	}
}

func load(t testing.TB, name string) *State {
	t.Helper()
	s := new(State)
	var scratch []byte
	golden(t, name, func(v batch.View) {
		var err error
		if scratch, err = s.LoadBatch(v, scratch); err != nil {
			t.Fatal(err)
		}
	})
	return s
}

// Every record that Apache 4.3.1 wrote for classic groups comes out of our
// encoder byte for byte.
func TestApacheRecordsRoundTrip(t *testing.T) {
	offsets, groups := 0, 0
	golden(t, "apache-4.3.1/offsets-0.log", func(v batch.View) {
		if v.Control() {
			return
		}
		it := v.Records()
		for it.Next() {
			r := it.Record()
			switch kind := binary.BigEndian.Uint16(r.Key); {
			case kind == keyOffset:
				ref := parseOffsetKey(string(r.Key))
				if got := ref.key(); !bytes.Equal(got, r.Key) {
					t.Errorf("offset %d: key %x, Apache wrote %x", it.Offset(), got, r.Key)
				}
				if r.Value == nil {
					continue
				}
				c, err := parseCommitted(r.Value, it.Offset())
				if err != nil {
					t.Fatal(err)
				}
				if got := c.value(); !bytes.Equal(got, r.Value) {
					t.Errorf("offset %d: value %x, Apache wrote %x", it.Offset(), got, r.Value)
				}
				offsets++
			case kind == keyGroup:
				id, _, err := readString(r.Key[2:])
				if err != nil {
					t.Fatal(err)
				}
				g, err := parseGroup(id, r.Value)
				if err != nil {
					t.Fatal(err)
				}
				if got := g.record(); !bytes.Equal(got.Key, r.Key) || !bytes.Equal(got.Value, r.Value) {
					t.Errorf("offset %d: group %x %x, Apache wrote %x %x", it.Offset(), got.Key, got.Value, r.Key, r.Value)
				}
				groups++
			}
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
	})
	if offsets != 4 || groups != 3 {
		t.Errorf("%d offsets and %d groups", offsets, groups)
	}
}

// The times to expire of old clients need version 1 of the value.
func TestExpiringOffsetIsVersion1(t *testing.T) {
	c := Committed{Offset: 5, LeaderEpoch: 3, Metadata: "m", CommitMs: 7, ExpireMs: 9}
	value := c.value()
	if value[1] != 1 {
		t.Fatalf("version %d", value[1])
	}
	got, err := parseCommitted(value, 0)
	if err != nil || got.ExpireMs != 9 || got.LeaderEpoch != kafka.NoEpoch {
		t.Errorf("%+v %v", got, err)
	}
}

func TestApacheLogs(t *testing.T) {
	for _, name := range []string{"apache-4.3.1/offsets-0.log", "apache-3.9.2/offsets-0.log"} {
		s := load(t, name)
		fetched := s.FetchOffsets(&kmsg.OffsetFetchRequestGroup{Group: "golden-classic"}, true)
		if len(fetched.Topics) != 1 || fetched.Topics[0].Topic != "t-log" {
			t.Fatalf("%s: %+v", name, fetched)
		}
		p := fetched.Topics[0].Partitions[0]
		if p.Offset != 46 || p.LeaderEpoch != 0 || *p.Metadata != "golden metadata" || p.ErrorCode != 0 {
			t.Errorf("%s: %+v", name, p)
		}
		d := s.Describe(6, "golden-classic")
		if d.State != "Empty" || d.ProtocolType != "consumer" || d.ErrorCode != 0 {
			t.Errorf("%s: %+v", name, d)
		}
		if g, _ := s.groups.Get("golden-classic"); g.generation != 2 {
			t.Errorf("%s: generation %d", name, g.generation)
		}
		// Committed at 7, aborted at 9, deleted.
		if f := s.FetchOffsets(&kmsg.OffsetFetchRequestGroup{Group: "txn-group"}, true); len(f.Topics) != 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// Groups of other protocols are known, listed, and left alone; their offsets are
// served.
func TestForeignGroups(t *testing.T) {
	s := load(t, "apache-4.3.1/offsets-0.log")
	f := s.FetchOffsets(&kmsg.OffsetFetchRequestGroup{Group: "golden-consumer"}, false)
	if len(f.Topics) != 1 || f.Topics[0].Partitions[0].Offset != 46 {
		t.Errorf("%+v", f)
	}
	if d := s.Describe(6, "golden-consumer"); d.ErrorCode == 0 {
		t.Errorf("%+v", d)
	}
	kinds := map[string]string{}
	for _, g := range append(s.List(nil, nil), load(t, "apache-4.3.1/offsets-1.log").List(nil, nil)...) {
		kinds[g.Group] = g.GroupType + " " + g.GroupState
	}
	want := map[string]string{"golden-classic": "Classic Empty", "txn-group": "Classic Empty", "golden-consumer": "Consumer Empty", "golden-share": "Share Empty"}
	for id, k := range want {
		if kinds[id] != k {
			t.Errorf("%s is %q, not %q", id, kinds[id], k)
		}
	}
	counts := Counts{Kept: map[string]int{}}
	s.Count(&counts)
	load(t, "apache-4.3.1/offsets-1.log").Count(&counts)
	if counts.ClassicGroups() != 2 || counts.Classic[Empty] != 2 || counts.Kept["consumer"] != 1 || counts.Kept["share"] != 1 || counts.Offsets != 2 {
		t.Errorf("counted %+v", counts)
	}
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.SessionTimeoutMillis, join.ProtocolType = "golden-consumer", 10000, "consumer"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	out := s.Step(Env{Config: &Defaults}, Request{Token: 1, Body: join})
	if a := out.Answers[0].Response.(*kmsg.JoinGroupResponse); a.ErrorCode != 23 || len(out.Records) != 0 {
		t.Errorf("%+v", out)
	}
	far := int64(1) << 60
	if out := s.Step(Env{NowMs: far, WallMs: far, Config: &Defaults}, Expire{Limit: 1000}); len(out.Records) != 3 {
		t.Errorf("%d tombstones instead of those of golden-classic's offset and group and of txn-group: %q", len(out.Records), out.Records)
	}
}
