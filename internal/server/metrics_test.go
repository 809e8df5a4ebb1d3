package server_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"kvorum/config"
	"kvorum/internal/server"
)

// get asks the HTTP port of a node.
func get(ctx context.Context, t *testing.T, at net.Addr, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestObserved: what clients do to a node of both roles is seen on its HTTP port,
// in the metrics of all its parts.
func TestObserved(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	node := combined(t)
	node.MetricsListener = &config.Endpoint{Host: "127.0.0.1"}
	node.Broker.PartitionMetrics = true
	at, stop := runNode(t, node)
	produce(ctx, t, at.Client.String(), 0, 10)
	consume(ctx, t, at.Client.String(), 0, 10)
	status, text := get(ctx, t, at.HTTP, "/metrics")
	if status != http.StatusOK {
		t.Fatal(status, text)
	}
	for _, want := range []string{
		"\nkafka_broker_topic_messages_in_total{topic=\"orders\"} 10\n",
		"\nkafka_broker_topic_failed_produce_requests_total{topic=\"orders\"} 0\n",
		"\nkafka_request_errors_total{error=\"NONE\",request=\"Produce\"} 10\n",
		"\nkafka_request_errors_total{error=\"NONE\",request=\"BrokerHeartbeat\"}",
		"\nkafka_request_total_time_seconds_count{request=\"Produce\"} 10\n",
		"\nkafka_request_errors_total{error=\"NONE\",request=\"Fetch\"}",
		"\nkafka_replica_manager_leader_count 4\n", // orders and three of __consumer_offsets
		"\nkafka_replica_manager_under_replicated_partitions 0\n",
		"\nkafka_log_log_end_offset{partition=\"0\",topic=\"orders\"} 10\n",
		"\nkafka_log_cleaner_manager_uncleanable_partitions_count 0\n",
		"\nkafka_group_coordinator_group_count{protocol=\"classic\"} 1\n", "\nkafka_group_coordinator_group_count{protocol=\"consumer\"} 0\n",
		"\nkafka_group_metadata_manager_num_groups 1\n", "\nkafka_group_metadata_manager_num_groups_empty 1\n", "\nkafka_group_metadata_manager_num_groups_stable 0\n",
		"\nkafka_group_metadata_manager_num_offsets 1\n",
		"\nkafka_group_coordinator_offset_commit_total 1\n",
		"\nkafka_server_broker_state 3\n",
		"\nkvorum_broker_fenced 0\n",
		"\nkafka_controller_active_controller_count 1\n",
		"\nkafka_socket_server_connection_count ",
		"\nprocess_open_fds ", "\ngo_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the metrics", strings.TrimSpace(want))
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	for _, path := range []string{"/health", "/ready"} {
		status, text := get(ctx, t, at.HTTP, path)
		var h struct {
			Alive, Ready bool
			Reasons      []string
			Broker       struct{ State string }
			Controller   struct{ Active bool }
		}
		if err := json.Unmarshal([]byte(text), &h); err != nil || status != http.StatusOK || !h.Alive || !h.Ready || h.Reasons != nil || h.Broker.State != "RUNNING" || !h.Controller.Active {
			t.Errorf("%s: %d %s %v", path, status, text, err)
		}
	}
	if status, _ := get(ctx, t, at.HTTP, "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("another address: %d", status)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestNotReady: a broker that finds no controllers lives, and says why it is not
// ready.
func TestNotReady(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nobody.Close() }()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	node := combined(t)
	node.Controller, node.Listeners = false, nil
	node.BootstrapServers = []config.Endpoint{{Host: "127.0.0.1", Port: uint16(nobody.Addr().(*net.TCPAddr).Port)}}
	node.MetricsListener = &config.Endpoint{Host: "127.0.0.1", Port: uint16(at.(*net.TCPAddr).Port)}
	stop := runUnready(t, node)
	for { // until the port is open
		c, err := new(net.Dialer).DialContext(ctx, "tcp", at.String())
		if err == nil {
			_ = c.Close()
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if status, text := get(ctx, t, at, "/health"); status != http.StatusOK || !strings.Contains(text, `"alive":true`) {
		t.Errorf("/health: %d %s", status, text)
	}
	if status, text := get(ctx, t, at, "/ready"); status != http.StatusServiceUnavailable || !strings.Contains(text, "the broker is ") {
		t.Errorf("/ready: %d %s", status, text)
	}
	stop()
}

// runUnready runs a node that nobody expects to serve.
func runUnready(t *testing.T, node *config.Node) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- server.Run(ctx, node, server.Options{Logger: slog.New(slog.DiscardHandler), ShutdownTimeout: time.Second})
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Log("the node ended with", err)
		}
	}
}
