package protocol

import (
	"bytes"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// memory is a source in memory.
type memory []byte

func (m memory) Len() int                            { return len(m) }
func (m memory) AppendTo(dst []byte) ([]byte, error) { return append(dst, m...), nil }
func (m memory) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(m)
	return int64(n), err
}

// flat is the body with its sources in place.
func flat(b *Body) (out []byte) {
	at := 0
	for _, in := range b.Inserts {
		out = append(out, b.Bytes[at:in.At]...)
		out, _ = in.Source.AppendTo(out)
		at = in.At
	}
	return append(out, b.Bytes[at:]...)
}

// randomFetch is a response and its records as sources.
func randomFetch(r *rand.Rand, version int16) (*kmsg.FetchResponse, []Source) {
	resp := kmsg.NewPtrFetchResponse()
	fill(r, reflect.ValueOf(resp), 0)
	resp.SetVersion(version)
	var sources []Source
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			p := &resp.Topics[i].Partitions[j]
			if r.IntN(2) == 0 { // most partitions have no tags
				p.DivergingEpoch.Default()
				p.CurrentLeader.Default()
			}
			if r.IntN(2) == 0 {
				p.SnapshotID.Default()
			}
			if p.RecordBatches == nil {
				p.RecordBatches = []byte{}
			}
			if r.IntN(3) == 0 {
				sources = append(sources, nil)
			} else {
				sources = append(sources, memory(p.RecordBatches))
			}
		}
	}
	return resp, sources
}

// kmsg is the oracle, over every version that is served.
func TestAppendFetchAgreesWithKmsg(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	api, _ := Lookup(1)
	var body Body
	inserts := 0
	for version := api.Min; version <= api.Max; version++ {
		for range 300 {
			resp, sources := randomFetch(r, version)
			body.Reset()
			AppendFetch(&body, resp, sources)
			want := resp.AppendTo(nil)
			if got := flat(&body); !bytes.Equal(got, want) || body.Size() != len(want) {
				t.Fatalf("version %d, size %d:\n%x\n%x\n%+v", version, body.Size(), got, want, resp)
			}
			inserts += len(body.Inserts)
		}
	}
	if inserts == 0 {
		t.Error("nothing was inserted")
	}
}

// Where there are no records a client gets an empty field, not a null one.
func TestAppendFetchEmptyRecords(t *testing.T) {
	for _, version := range []int16{4, 12, 18} {
		resp := kmsg.NewPtrFetchResponse()
		resp.SetVersion(version)
		p := kmsg.NewFetchResponseTopicPartition()
		resp.Topics = []kmsg.FetchResponseTopic{{Topic: "t", Partitions: []kmsg.FetchResponseTopicPartition{p, p}}}
		var body Body
		AppendFetch(&body, resp, []Source{nil, memory(nil)})
		got := kmsg.NewPtrFetchResponse()
		got.SetVersion(version)
		if err := got.ReadFrom(flat(&body)); err != nil || got.Topics[0].Partitions[0].RecordBatches == nil || got.Topics[0].Partitions[1].RecordBatches == nil {
			t.Errorf("version %d: %v, %+v", version, err, got)
		}
	}
}

func BenchmarkAppendFetch(b *testing.B) {
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(17)
	var sources []Source
	data := make(memory, 1000)
	for range 10 {
		t := kmsg.NewFetchResponseTopic()
		for i := range int32(10) {
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.RecordBatches = i, data
			t.Partitions = append(t.Partitions, p)
			sources = append(sources, &data)
		}
		resp.Topics = append(resp.Topics, t)
	}
	b.Run("ours", func(b *testing.B) {
		var body Body
		b.ReportAllocs()
		for b.Loop() {
			body.Reset()
			AppendFetch(&body, resp, sources)
		}
	})
	b.Run("kmsg", func(b *testing.B) {
		var dst []byte
		b.ReportAllocs()
		for b.Loop() {
			dst = resp.AppendTo(dst[:0])
		}
	})
}
