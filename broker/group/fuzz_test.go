package group

import (
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// Any record is folded in or refused; what was folded in can be listed, described,
// fetched, expired and folded again to the same.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"apache-4.3.1/offsets-0.log", "apache-4.3.1/offsets-1.log", "apache-3.9.2/offsets-0.log"} {
		golden(f, name, func(v batch.View) {
			it := v.Records()
			for !v.Control() && it.Next() {
				r := it.Record()
				f.Add(r.Key, r.Value, r.Value == nil, int64(-1))
				f.Add(r.Key, r.Value, r.Value == nil, int64(v.ProducerID()))
			}
		})
	}
	f.Add(binary.BigEndian.AppendUint32([]byte{0, 2}, 0x7fffffff), []byte{0, 3, 0, 0}, false, int64(-1))
	f.Fuzz(func(t *testing.T, key, value []byte, tombstone bool, producer int64) {
		if tombstone {
			value = nil
		}
		s := load(t, "apache-4.3.1/offsets-0.log")
		before := s.describe(nil)
		if err := s.Load(s.End(), kafka.ProducerID(producer), key, value); err != nil {
			if after := s.describe(nil); after != before {
				t.Fatalf("refused (%v), but changed:\n%s\n%s", err, before, after)
			}
			return
		}
		for _, g := range s.List(nil, nil) {
			s.Describe(6, g.Group)
			s.FetchOffsets(&kmsg.OffsetFetchRequestGroup{Group: g.Group}, true)
		}
		env := Env{NowMs: 1 << 60, WallMs: 1 << 60, Config: &Defaults}
		s.Step(env, Loaded{})
		again := s.Clone()
		out := s.Step(env, Expire{Limit: 1000})
		for _, r := range out.Records {
			if err := again.Load(again.End(), -1, r.Key, r.Value); err != nil {
				t.Fatal(err)
			}
		}
		if live, replayed := s.describe(nil), again.describe(nil); live != replayed {
			t.Fatalf("live:\n%s\nreplayed:\n%s", live, replayed)
		}
		// What a group is survives being written and read.
		for _, g := range s.groups.Values() {
			r := g.record()
			if read, err := parseGroup(g.id, r.Value); err != nil || string(read.record().Value) != string(r.Value) {
				t.Fatalf("%x is read as %v, %v", r.Value, read, err)
			}
		}
	})
}
