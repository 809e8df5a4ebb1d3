package meter

import (
	"context"
	"io"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"kvorum/listener"
	"kvorum/protocol"
)

var nowhere netip.AddrPort

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape is what Prometheus would read.
func scrape(t testing.TB, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatal(w.Code, string(text), err)
	}
	return string(text)
}

func expect(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

// Every API and version of the table has a place.
func TestTableFits(t *testing.T) {
	for api := range protocol.APIs {
		if api.Key >= maxKey || api.Max >= maxVersion {
			t.Errorf("%s %d v%d has no place", api.Name, api.Key, api.Max)
		}
	}
	for k := protocol.FirstOwnKey; ; k++ {
		if _, ok := protocol.Lookup(k); !ok {
			break
		}
		if s := slot(k); s < maxKey || s >= maxKey+maxOwn || keyOf(s) != k {
			t.Errorf("%s has slot %d, which is %d's", k, s, keyOf(s))
		}
	}
	if last := listener.TooFast; int(last) >= maxReason {
		t.Error("no place for the reason", last)
	}
}

func TestWhatIsCounted(t *testing.T) {
	m := New()
	res := kmsg.NewPtrMetadataResponse()
	res.Topics = []kmsg.MetadataResponseTopic{
		{ErrorCode: 3},
		{Partitions: []kmsg.MetadataResponseTopicPartition{{ErrorCode: 5}, {}, {ErrorCode: 9999}}},
	}
	m.served(listener.Served{
		Key: protocol.Key(3), Version: 12, RequestBytes: 30, ResponseBytes: 400,
		Waited: 100 * time.Microsecond, Handled: 3 * time.Millisecond, Remote: time.Millisecond, Wrote: time.Hour, Throttled: time.Second, Response: res,
	})
	m.served(listener.Served{Key: protocol.KeyProduce, Version: 9, Handled: -1})
	m.closed[listener.Idle].Add(1)
	m.opened.Add(3)
	m.refusedBy(nowhere, listener.TooMany)
	expect(t, scrape(t, m),
		`kafka_request_requests_total{request="Metadata",version="12"} 1`,
		`kafka_request_requests_total{request="Produce",version="9"} 1`,
		`kafka_request_errors_total{error="NONE",request="Metadata"} 3`,
		`kafka_request_errors_total{error="UNKNOWN_TOPIC_OR_PARTITION",request="Metadata"} 1`,
		`kafka_request_errors_total{error="LEADER_NOT_AVAILABLE",request="Metadata"} 1`,
		`kafka_request_errors_total{error="UNKNOWN_SERVER_ERROR",request="Metadata"} 1`,
		`kafka_request_request_bytes_total{request="Metadata"} 30`,
		`kafka_request_response_bytes_total{request="Metadata"} 400`,
		`kafka_request_request_queue_time_seconds_bucket{request="Metadata",le="6.4e-05"} 0`,
		`kafka_request_request_queue_time_seconds_bucket{request="Metadata",le="0.000128"} 1`,
		`kafka_request_local_time_seconds_sum{request="Metadata"} 0.002`,
		`kafka_request_remote_time_seconds_sum{request="Metadata"} 0.001`,
		`kafka_request_throttle_time_seconds_sum{request="Metadata"} 1`,
		`kafka_request_response_send_time_seconds_bucket{request="Metadata",le="67.108864"} 0`,
		`kafka_request_response_send_time_seconds_bucket{request="Metadata",le="+Inf"} 1`,
		`kafka_socket_server_connection_count 2`,
		`kafka_socket_server_connection_creation_total 3`,
		`kafka_socket_server_connection_close_total{reason="idle"} 1`,
		`kvorum_listener_refused_connections_total{reason="too-many"} 1`,
	)
}

// A client of other people's is counted through a real listener.
func TestBehindAListener(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m := New()
	handlers := protocol.NewHandlers[listener.Handler](protocol.Broker)
	handlers.Bind(protocol.Key(3), func(_ context.Context, r *listener.Request) (listener.Response, error) {
		return listener.Reply(kmsg.NewPtrMetadataResponse()), nil
	})
	l, err := listener.New(ctx, listener.Config{Name: "PLAINTEXT", Addr: "127.0.0.1:0", Handlers: handlers, Budget: listener.NewBudget(listener.DefaultBudget), Events: m.Events()})
	if err != nil {
		t.Fatal(err)
	}
	l.Serve(ctx)
	client, err := kgo.NewClient(kgo.SeedBrokers(l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	expect(t, scrape(t, m),
		`kafka_request_errors_total{error="NONE",request="ApiVersions"} 1`,
		`kafka_request_total_time_seconds_count{request="ApiVersions"} 1`,
		`kafka_socket_server_connection_count 0`,
	)
}

func BenchmarkServed(b *testing.B) {
	m := New()
	res := kmsg.NewPtrProduceResponse()
	res.Topics = []kmsg.ProduceResponseTopic{{Partitions: make([]kmsg.ProduceResponseTopicPartition, 1)}}
	served := m.Events().Served
	b.ReportAllocs()
	for b.Loop() {
		served(listener.Served{Key: protocol.KeyProduce, Version: 9, RequestBytes: 1000, Waited: 3000, Handled: 200_000, Wrote: 9000, Response: res})
	}
}

// TestServedAllocatesNothing holds the benchmark's claim.
func TestServedAllocatesNothing(t *testing.T) {
	m := New()
	var res kmsg.Response = &kmsg.ProduceResponse{Topics: []kmsg.ProduceResponseTopic{{Partitions: make([]kmsg.ProduceResponseTopicPartition, 3)}}}
	served := m.Events().Served
	if n := testing.AllocsPerRun(100, func() {
		served(listener.Served{Key: protocol.KeyProduce, Version: 9, Response: res})
	}); n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
}
