package listener

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol"
)

// fileSource is a piece of a file, as a log's records are.
type fileSource struct {
	f      *os.File
	at, n  int64
	direct *atomic.Int64 // bytes that went to a TCP connection itself
	short  int64         // so many bytes are not written
}

func (s fileSource) Len() int { return int(s.n) }

func (s fileSource) AppendTo(dst []byte) ([]byte, error) {
	b := make([]byte, s.n-s.short)
	_, err := s.f.ReadAt(b, s.at)
	return append(dst, b...), err
}

func (s fileSource) WriteTo(w io.Writer) (int64, error) {
	if _, ok := w.(*net.TCPConn); ok {
		s.direct.Add(s.n)
	}
	return io.Copy(w, io.NewSectionReader(s.f, s.at, s.n-s.short))
}

func testFile(t testing.TB, size int) (*os.File, []byte) {
	t.Helper()
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{9})
	_, _ = r.Read(data)
	name := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, data
}

func fetchRequest(version int16) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version = version
	return req
}

// A response of bytes and of pieces of a file, small and large, arrives as if it
// had been encoded whole; large pieces go to the connection itself, and what the
// response holds is given back once.
func TestRawReply(t *testing.T) {
	f, data := testFile(t, 4<<20)
	var direct, released atomic.Int64
	want := make(chan *kmsg.FetchResponse, 1)
	l := start(t, nil, func(h *protocol.Handlers[Handler]) {
		r := rand.New(rand.NewPCG(1, 2))
		h.Bind(1, func(_ context.Context, req *Request) (Response, error) {
			resp := kmsg.NewPtrFetchResponse()
			resp.Version = req.Version
			var sources []protocol.Source
			for range 1 + r.IntN(4) {
				topic := kmsg.NewFetchResponseTopic()
				for range r.IntN(20) {
					n := r.Int64N(100)
					if r.IntN(3) == 0 {
						n = r.Int64N(200 << 10)
					}
					p := kmsg.NewFetchResponseTopicPartition()
					at := r.Int64N(int64(len(data)) - n)
					p.RecordBatches = data[at : at+n]
					topic.Partitions = append(topic.Partitions, p)
					sources = append(sources, fileSource{f: f, at: at, n: n, direct: &direct})
				}
				resp.Topics = append(resp.Topics, topic)
			}
			var body protocol.Body
			protocol.AppendFetch(&body, resp, sources)
			want <- resp
			return RawReply(&body, func() { released.Add(1) }), nil
		})
	})
	c := dial(t, l)
	for i := range int64(60) {
		sent := c.send(fetchRequest(12 + int16(i%6)))
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 12 + int16(i%6)
		id := c.receive(resp)
		whole := <-want
		if got := resp.AppendTo(nil); id != sent || !bytes.Equal(got, whole.AppendTo(nil)) {
			t.Fatalf("response %d to %d differs", id, sent)
		}
	}
	if direct.Load() == 0 {
		t.Error("nothing went to the connection itself")
	}
	c.send(fetchRequest(12)) // its answer comes after the 60th was released
	c.receive(&kmsg.FetchResponse{Version: 12})
	if n := released.Load(); n < 60 {
		t.Errorf("%d of 60 responses were released", n)
	}
}

// Bytes beyond what is gathered for one write are sent all the same.
func TestRawReplyLongBytes(t *testing.T) {
	for _, size := range []int{0, writeChunk - 1, writeChunk, writeChunk + 1, 1 << 20} {
		f, data := testFile(t, size+1)
		l := start(t, nil, func(h *protocol.Handlers[Handler]) {
			h.Bind(1, func(context.Context, *Request) (Response, error) {
				body := protocol.Body{Bytes: data[:size]}
				body.Inserts = []protocol.Insert{{At: size, Source: fileSource{f: f, at: int64(size), n: 1, direct: new(atomic.Int64)}}}
				return RawReply(&body, nil), nil
			})
		})
		c := dial(t, l)
		c.send(fetchRequest(4))
		if frame, err := c.frame(); err != nil || !bytes.Equal(frame[4:], data) {
			t.Errorf("%d bytes: %d came, %v", size, len(frame), err)
		}
	}
}

// A source that fails or ends early ends the connection: its length was said.
func TestFailingSource(t *testing.T) {
	f, _ := testFile(t, 100<<10)
	for _, n := range []int64{100, 100 << 10} {
		var ends *closes
		l := start(t, func(c *Config) { ends = watch(c) }, func(h *protocol.Handlers[Handler]) {
			h.Bind(1, func(context.Context, *Request) (Response, error) {
				body := protocol.Body{Inserts: []protocol.Insert{{Source: fileSource{f: f, n: n, short: 1, direct: new(atomic.Int64)}}}}
				return RawReply(&body, nil), nil
			})
		})
		c := dial(t, l)
		c.send(fetchRequest(4))
		if _, err := c.frame(); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", n, err)
		}
		ends.want(t, HandlerFailed)
	}
}

// produce is a request with one partition of so many bytes, all alike.
func produce(fill byte, size int) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks = 9, 1
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: "t", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: bytes.Repeat([]byte{fill}, size)}}}}
	return req
}

func onBroker(bind func(*protocol.Handlers[Handler])) func(*Config) {
	return func(c *Config) {
		c.Handlers = protocol.NewHandlers[Handler](protocol.Broker)
		bind(c.Handlers)
	}
}

// Frames are used again, but never while somebody reads them: pipelined requests
// of two connections, of every class of size.
func TestFramesAreUsedAgain(t *testing.T) {
	l := start(t, onBroker(func(h *protocol.Handlers[Handler]) {
		h.BindVersions(protocol.KeyProduce, 3, 13, func(_ context.Context, r *Request) (Response, error) {
			records := r.Body.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records
			if n := bytes.Count(records, records[:1]); n != len(records) {
				t.Errorf("%d of %d bytes are of this request", n, len(records))
			}
			resp := kmsg.NewPtrProduceResponse()
			resp.ThrottleMillis = int32(len(records))
			return Reply(resp), nil
		})
	}), nil)
	a, b := dial(t, l), dial(t, l)
	for i := range 20 {
		size := 1 << (i % 20)
		for fill := range byte(3) {
			a.send(produce(fill, size))
			b.send(produce(100+fill, size+int(fill)))
		}
		for range 3 {
			for _, c := range []*client{a, b} {
				resp := kmsg.NewPtrProduceResponse()
				resp.Version = 9
				if c.receive(resp); resp.ThrottleMillis < int32(size) {
					t.Fatalf("an answer of %d for %d bytes", resp.ThrottleMillis, size)
				}
			}
		}
	}
}

func BenchmarkProduce(b *testing.B) {
	l := start(b, onBroker(func(h *protocol.Handlers[Handler]) {
		h.BindVersions(protocol.KeyProduce, 3, 13, func(context.Context, *Request) (Response, error) {
			return Reply(kmsg.NewPtrProduceResponse()), nil
		})
	}), nil)
	c := dial(b, l)
	frame := protocol.AppendRequest(nil, 1, nil, produce(1, 1_000_000))
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		c.sendBytes(frame)
		if _, err := c.frame(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetch(b *testing.B) {
	f, _ := testFile(b, 1<<20)
	direct := new(atomic.Int64)
	l := start(b, nil, func(h *protocol.Handlers[Handler]) {
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 17
		resp.Topics = []kmsg.FetchResponseTopic{{Partitions: []kmsg.FetchResponseTopicPartition{kmsg.NewFetchResponseTopicPartition()}}}
		sources := []protocol.Source{fileSource{f: f, n: 1 << 20, direct: direct}}
		var body protocol.Body
		h.Bind(1, func(context.Context, *Request) (Response, error) {
			body.Reset()
			protocol.AppendFetch(&body, resp, sources)
			return RawReply(&body, nil), nil
		})
	})
	c := dial(b, l)
	frame := protocol.AppendRequest(nil, 1, nil, fetchRequest(17))
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	buf := make([]byte, 2<<20)
	for b.Loop() {
		c.sendBytes(frame)
		if _, err := io.ReadFull(c, buf[:4+5+1<<20+45]); err != nil {
			b.Fatal(err)
		}
	}
}
