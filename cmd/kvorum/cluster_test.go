package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kvorum/admin"
	"kvorum/broker/kvorumtest"
)

// TestClusterInfoOfNodes: what each node says of itself stands beside what the
// brokers tell of the cluster; one that is gone, or is something else, is said to be.
func TestClusterInfoOfNodes(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	free := freeAddress(t)
	broker := kvorumtest.Start(t, kvorumtest.Property("kvorum.metrics.listener", free))
	gone := freeAddress(t)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	otherAddress := strings.TrimPrefix(other.URL, "http://")

	if r := kvorum(t, "profile", "create", "p", "--brokers", broker, "--metrics", free+","+gone+","+otherAddress); r.code != exitOK {
		t.Fatal(r)
	}
	r := kvorum(t, "cluster", "info")
	if r.code != exitOK {
		t.Fatal(r)
	}
	for _, want := range []string{"controller,broker", "ready, active", "unreachable", gone, "404 Not Found"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	var info struct {
		ClusterID string            `json:"cluster_id"`
		Nodes     []admin.NodeState `json:"nodes"`
	}
	if r = kvorum(t, "cluster", "info", "-o", "json", "--metrics", free+","+gone); r.code != exitOK {
		t.Fatal(r)
	}
	if err := json.Unmarshal([]byte(r.stdout), &info); err != nil || info.ClusterID == "" || len(info.Nodes) != 2 {
		t.Fatalf("%s: %v", r.stdout, err)
	}
	n := info.Nodes[0]
	if !n.Reached || !n.Alive || !n.Ready || !n.Active || n.MetadataOffset <= 0 || n.ResidentBytes < 1<<20 || n.OpenFiles <= 0 || n.Behind != 0 {
		t.Errorf("%+v", n)
	}
	if n := info.Nodes[1]; n.Reached || n.Error == "" || n.Address != gone {
		t.Errorf("%+v", n)
	}
}

// freeAddress is one at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
