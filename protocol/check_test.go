package protocol

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// TestCostBoundsDecoding measures what kmsg allocates for frames that pass the
// check: random ones, ones with unknown tags, and ones that are nothing but the
// smallest elements of one array.
func TestCostBoundsDecoding(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are measured without the race detector")
	}
	r := rand.New(rand.NewPCG(3, 4))
	for a := range APIs {
		for v := a.Min; v <= a.Max; v++ {
			req := kmsg.RequestForKey(int16(a.Key))
			fill(r, reflect.ValueOf(req), 0)
			req.SetVersion(v)
			measure(t, a, v, req.AppendTo(nil))
			for _, body := range smallest(a.shapes[v]) {
				measure(t, a, v, body)
			}
		}
	}
}

func measure(t *testing.T, a *API, v int16, body []byte) {
	t.Helper()
	cost, err := check(a.shapes[v], a.structSize, body)
	if err != nil {
		t.Fatalf("%s version %d: %v (%x)", a.Name, v, err, body[:min(len(body), 40)])
	}
	took := uint64(1 << 63) // of three runs the least: the runtime allocates too
	for range 3 {
		req := kmsg.RequestForKey(int16(a.Key))
		req.SetVersion(v)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err = req.ReadFrom(body)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatalf("%s version %d passed the check: %v", a.Name, v, err)
		}
		took = min(took, after.TotalAlloc-before.TotalAlloc)
	}
	if took > uint64(cost) {
		t.Errorf("%s version %d: %d bytes of frame cost %d, decoding took %d", a.Name, v, len(body), cost, took)
	}
}

// smallest makes, for each array of a shape, a body in which that array has
// 1,000 elements that are as small as they can be, with and without tags.
func smallest(s shape) (bodies [][]byte) {
	for n, total := 0, countArrays(s); n < total; n++ {
		for _, tags := range []int{0, 1, 9} {
			w := writer{big: n, tags: tags}
			w.shape(s)
			bodies = append(bodies, w.out)
		}
	}
	return bodies
}

func countArrays(s shape) (n int) {
	for i := range s {
		if s[i].kind == '[' || s[i].kind == '<' {
			n++
		}
		n += countArrays(s[i].inner)
	}
	return n
}

type writer struct {
	out       []byte
	big, tags int // index of the array with many elements; unknown tags per struct in it
	inBig     bool
}

func (w *writer) shape(s shape) {
	for i := range s {
		w.field(&s[i])
	}
}

func (w *writer) field(f *field) {
	switch f.kind {
	case 's':
		w.out = append(w.out, 0, 0)
	case 'c', 'd':
		w.out = append(w.out, 1)
	case '(':
		w.out = append(w.out, 1)
		w.shape(f.inner)
	case '[', '<':
		n := 1
		w.big--
		mine := w.big == -1
		if mine {
			n, w.inBig = 1000, true
		} else if w.inBig {
			n = 0
		}
		if f.kind == '[' {
			w.out = binary.BigEndian.AppendUint32(w.out, uint32(n))
		} else {
			w.out = binary.AppendUvarint(w.out, uint64(n)+1)
		}
		big := w.big
		for range n {
			w.big = big
			w.shape(f.inner)
		}
		w.inBig = w.inBig && !mine
	case 'T':
		tags := 0
		if w.inBig {
			tags = w.tags
		}
		w.out = append(w.out, byte(tags))
		for i := range tags {
			w.out = append(w.out, byte(100+i), 0)
		}
	default:
		w.out = append(w.out, make([]byte, f.min)...)
	}
}

func TestHostileBodiesAreRefused(t *testing.T) {
	head := func(k Key, v int16, rest ...byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(k))
		b = binary.BigEndian.AppendUint16(b, uint16(v))
		return append(append(b, 0, 0, 0, 1, 0xff, 0xff), rest...)
	}
	for name, tc := range map[string]struct {
		frame []byte
		code  errors.Code
	}{
		"empty":                    {nil, errors.InvalidRequest},
		"no client id":             {head(18, 0)[:8], errors.InvalidRequest},
		"long client id":           {append(head(18, 0)[:8], 0x7f, 0xff, 'a'), errors.InvalidRequest},
		"unknown key":              {head(999, 0), errors.UnsupportedVersion},
		"negative key":             {head(-5, 0), errors.UnsupportedVersion},
		"own key":                  {head(29999, 0), errors.UnsupportedVersion},
		"version above":            {head(18, 99), errors.UnsupportedVersion},
		"version below":            {head(1, 3), errors.UnsupportedVersion},
		"negative version":         {head(18, -1), errors.UnsupportedVersion},
		"zookeeper's request":      {head(4, 0), errors.UnsupportedVersion},
		"4 billion header tags":    {head(18, 3, 0xff, 0xff, 0xff, 0xff, 0x0f), errors.InvalidRequest},
		"4 billion body tags":      {head(18, 3, 0, 2, 'a', 2, 'b', 0xff, 0xff, 0xff, 0xff, 0x0f), errors.InvalidRequest},
		"varint of 33 bits":        {head(18, 3, 0, 2, 'a', 2, 'b', 0xff, 0xff, 0xff, 0xff, 0x1f), errors.InvalidRequest},
		"varint without end":       {head(18, 3, 0, 2, 'a', 2, 'b', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), errors.InvalidRequest},
		"null name":                {head(18, 3, 0, 0), errors.InvalidRequest},
		"tag larger than the body": {head(18, 3, 0, 2, 'a', 2, 'b', 1, 9, 0x7f), errors.InvalidRequest},
		"2 billion topics":         {head(19, 7, 0, 0xff, 0xff, 0xff, 0xff, 0x07), errors.InvalidRequest},
		"2 billion topics, v2":     {head(19, 2, 0x7f, 0xff, 0xff, 0xff), errors.InvalidRequest},
		"null topics":              {head(19, 2, 0xff, 0xff, 0xff, 0xff), errors.InvalidRequest},
		"a tag of version 1":       {head(63, 0, append(make([]byte, 23), 1, 0, 1, 0xff)...), errors.InvalidRequest},
		"cut short":                {head(63, 1, 0, 0, 0, 0, 1), errors.InvalidRequest},
	} {
		_, err := Decode(tc.frame)
		if errors.CodeOf(err) != tc.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDecode: no frame panics, and what passes the check decodes.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for a := range APIs {
		if a.Max >= a.Min {
			req := kmsg.RequestForKey(int16(a.Key))
			fill(r, reflect.ValueOf(req), 0)
			req.SetVersion(a.Max)
			f.Add(AppendRequest(nil, 1, nil, req)[4:])
		}
	}
	for _, req := range ownRequests() {
		f.Add(AppendRequest(nil, 1, nil, req)[4:])
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		c, err := Check(frame)
		if err != nil {
			if code := errors.CodeOf(err); code != errors.InvalidRequest && code != errors.UnsupportedVersion {
				t.Fatalf("not a wire error: %v", err)
			}
			return
		}
		req, err := c.Decode()
		if err != nil {
			t.Fatalf("passed the check: %v", err)
		}
		if env, ok := req.Body.(*kmsg.EnvelopeRequest); ok {
			if _, err := OpenEnvelope(env, func(Key, int16) error { return nil }); err != nil && errors.CodeOf(err) == errors.UnknownServerError {
				t.Fatalf("not a wire error: %v", err)
			}
		}
	})
}

// FuzzBody: whatever the bytes of a body, for every API and version that is
// served, they are refused or they decode, and the
// request can be failed as a whole.
func FuzzBody(f *testing.F) {
	r := rand.New(rand.NewPCG(13, 14))
	for a := range APIs {
		for _, v := range []int16{a.Min, a.Max} {
			if a.Served(v) {
				req := kmsg.RequestForKey(int16(a.Key))
				fillLists(r, reflect.ValueOf(req), 0, 1)
				req.SetVersion(v)
				f.Add(int16(a.Key), v, req.AppendTo(nil))
			}
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		api, ok := Lookup(Key(key))
		if !ok || !api.Served(version) {
			return
		}
		if _, err := check(api.shapes[version], api.structSize, body); err != nil {
			return
		}
		c := Checked{Header: Header{Key: Key(key), Version: version}, API: api, body: body}
		req, err := c.Decode()
		if err != nil {
			t.Fatalf("%s version %d passed the check: %v", api.Name, version, err)
		}
		if resp := Failure(req, errors.InvalidRequest.Err()); len(AppendResponse(nil, 1, resp)) < 8 {
			t.Fatalf("%s version %d fails with nothing", api.Name, version)
		}
	})
}

// FuzzPrincipal: no bytes panic, and what is read is written again.
func FuzzPrincipal(f *testing.F) {
	f.Add(AppendPrincipal(nil, Anonymous))
	f.Add(AppendPrincipal(nil, Principal{"User", "alice", true}))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodePrincipal(data)
		if err != nil {
			return
		}
		if again, err := decodePrincipal(AppendPrincipal(nil, p)); err != nil || again != p {
			t.Fatalf("%v came back as %v: %v", p, again, err)
		}
	})
}

// The check runs on every request, so it must not allocate.
func BenchmarkCheck(b *testing.B) {
	for _, k := range []Key{1, 63, 19} {
		r := rand.New(rand.NewPCG(7, 8))
		req := kmsg.RequestForKey(int16(k))
		fill(r, reflect.ValueOf(req), 0)
		req.SetVersion(table[k].Max)
		frame := AppendRequest(nil, 1, nil, req)[4:]
		b.Run(fmt.Sprintf("%s/%d", k, len(frame)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Check(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	req := kmsg.NewPtrFetchRequest()
	req.Version = 18
	frame := AppendRequest(nil, 1, nil, req)[4:]
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Check(frame); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
