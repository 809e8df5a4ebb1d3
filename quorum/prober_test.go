package quorum

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol"
)

// probedPeer is a listener that answers probes as a script says.
type probedPeer struct {
	net.Listener
	mu          sync.Mutex
	connections int
	serving     sync.WaitGroup
}

// newProbedPeer answers each request by what serve writes; serve says whether
// the connection goes on.
func newProbedPeer(t *testing.T, serve func(conn net.Conn, request []byte) bool) *probedPeer {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &probedPeer{Listener: l}
	p.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.connections++
			p.mu.Unlock()
			p.serving.Go(func() {
				defer conn.Close()
				for {
					request, err := readFrame(conn)
					if err != nil || !serve(conn, request) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); p.serving.Wait() })
	return p
}

func readFrame(conn net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(conn, frame)
	return frame, err
}

func (p *probedPeer) endpoint(protocol int16) image.Endpoint {
	return image.Endpoint{Name: "PLAINTEXT", Host: "127.0.0.1", Port: uint16(p.Addr().(*net.TCPAddr).Port), SecurityProtocol: protocol}
}

func (p *probedPeer) accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connections
}

// probeAnswer is a response frame of a Kafka broker, with its length.
func probeAnswer(id int32, epoch int64) []byte {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = probeVersion
	for key := range int16(70) {
		resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: 12})
	}
	resp.SupportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{{Name: "metadata.version", MinVersion: 7, MaxVersion: 29}}
	resp.FinalizedFeatures = []kmsg.ApiVersionsResponseFinalizedFeature{{Name: "metadata.version", MaxVersionLevel: 29, MinVersionLevel: 29}}
	resp.FinalizedFeaturesEpoch = epoch
	return protocol.AppendResponse(nil, id, resp)
}

func requestID(request []byte) int32 { return int32(binary.BigEndian.Uint32(request[4:])) }

// probing runs a prober; ask makes a probe and waits for what is reported.
func probing(t *testing.T, end kafka.Offset) (ask func(Probe) Probed) {
	t.Helper()
	reports := make(chan Probed)
	p := newProber(func() kafka.Offset { return end }, func(ctx context.Context, ev Probed) {
		select {
		case reports <- ev:
		case <-ctx.Done():
		}
	})
	p.timeout = 300 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return func(probe Probe) Probed {
		t.Helper()
		p.ask([]Probe{probe})
		select {
		case ev := <-reports:
			if ev.Broker != probe.Broker || ev.Epoch != probe.Epoch || ev.Leader != probe.Leader {
				t.Fatalf("%+v is reported as %+v", probe, ev)
			}
			return ev
		case <-time.After(20 * time.Second):
			t.Fatal("nothing is reported")
			return Probed{}
		}
	}
}

// TestProber asks a broker that answers well: over one connection, over another
// when the broker has closed it, and over one each on a SASL listener.
func TestProber(t *testing.T) {
	var epoch atomic.Int64
	peer := newProbedPeer(t, func(conn net.Conn, request []byte) bool {
		if key, version := binary.BigEndian.Uint16(request), binary.BigEndian.Uint16(request[2:]); key != 18 || version != probeVersion {
			t.Errorf("a probe is version %d of API %d", version, key)
		}
		n := epoch.Add(1)
		conn.Write(probeAnswer(requestID(request), n))
		return n != 3
	})
	ask := probing(t, 1000)
	for i := range 5 {
		ev := ask(Probe{Broker: 1, Epoch: 2, Leader: 3, Endpoint: peer.endpoint(plaintext)})
		if ev.Problem != "" || ev.Applied != kafka.Offset(i+1) {
			t.Fatalf("probe %d: %+v", i, ev)
		}
	}
	if n := peer.accepted(); n != 2 {
		t.Errorf("%d connections, want one, and one after it was closed", n)
	}
	ask(Probe{Broker: 1, Epoch: 9, Endpoint: peer.endpoint(saslPlaintext)})
	ask(Probe{Broker: 1, Epoch: 9, Endpoint: peer.endpoint(saslPlaintext)})
	if n := peer.accepted(); n != 4 {
		t.Errorf("%d connections, want one more for each answer of a SASL listener", n)
	}
}

// TestProberHostile meets peers that are no brokers.
func TestProberHostile(t *testing.T) {
	frame := func(body []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	for _, c := range []struct {
		name, problem string
		answer        func(id int32) []byte
	}{
		{"garbage", "announces 1213486160 bytes", func(int32) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }},
		{"a huge length", "announces 4294967295 bytes", func(int32) []byte { return bytes.Repeat([]byte{0xff}, 100) }},
		{"a length and nothing", "i/o timeout", func(int32) []byte { return []byte{0, 0, 1, 0} }},
		{"silence", "i/o timeout", func(int32) []byte { return nil }},
		{"drips", "cut off", func(id int32) []byte { return frame(binary.BigEndian.AppendUint32(nil, uint32(id))) }},
		{"another request", "belongs to request", func(id int32) []byte { return probeAnswer(id+1, 5) }},
		{"no features", "no broker of a KRaft cluster", func(id int32) []byte { return probeAnswer(id, -1) }},
		{"beyond the log", "the log ends at 1000", func(id int32) []byte { return probeAnswer(id, 1000) }},
		{"an error", "UNSUPPORTED_VERSION", func(id int32) []byte {
			return frame(append(binary.BigEndian.AppendUint32(nil, uint32(id)), 0, 35, 0, 0, 0, 0))
		}},
		{"a million keys", "cut off", func(id int32) []byte {
			return frame(append(binary.BigEndian.AppendUint32(nil, uint32(id)), 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := newProbedPeer(t, func(conn net.Conn, request []byte) bool {
				conn.Write(c.answer(requestID(request)))
				return true
			})
			ask := probing(t, 1000)
			ev := ask(Probe{Broker: 1, Endpoint: peer.endpoint(plaintext)})
			if !strings.Contains(ev.Problem, c.problem) || ev.Applied != 0 {
				t.Errorf("the outcome is %+v, want a problem with %q", ev, c.problem)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		peer := newProbedPeer(t, nil)
		peer.Close()
		ask := probing(t, 1000)
		if ev := ask(Probe{Broker: 1, Endpoint: peer.endpoint(plaintext)}); !strings.Contains(ev.Problem, "refused") {
			t.Errorf("the outcome is %+v", ev)
		}
	})
}

// TestProberStops ends a prober while brokers are silent, one in the middle of
// an exchange, one that is replaced by its next process.
func TestProberStops(t *testing.T) {
	asked := make(chan bool, 10)
	peer := newProbedPeer(t, func(net.Conn, []byte) bool { asked <- true; return true })
	p := newProber(func() kafka.Offset { return 9 }, func(ctx context.Context, _ Probed) { <-ctx.Done() })
	p.timeout = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx) })
	for _, epoch := range []kafka.BrokerEpoch{1, 2} {
		for id := range kafka.BrokerID(3) {
			p.ask([]Probe{{Broker: id, Epoch: epoch, Endpoint: peer.endpoint(plaintext)}})
			<-asked
		}
	}
	cancel()
	running.Wait()
	p.ask([]Probe{{Broker: 1}}) // the loop may still ask
}

// FuzzReadProbe compares with kmsg's decoder where that one is content.
func FuzzReadProbe(f *testing.F) {
	f.Add(probeAnswer(1, 4711)[4:])
	f.Add(probeAnswer(1, -1)[4:])
	f.Add([]byte{0, 0, 0, 1, 0, 35, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 8, 0, 0, 0, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, frame []byte) {
		applied, err := readProbe(frame, 1)
		if err != nil {
			return
		}
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.Version = probeVersion
		if id, err := protocol.ReadResponse(frame, resp); err == nil && (id != 1 || resp.FinalizedFeaturesEpoch != int64(applied)) {
			t.Errorf("%x is read as %d, by kmsg as %d", frame, applied, resp.FinalizedFeaturesEpoch)
		}
	})
}
