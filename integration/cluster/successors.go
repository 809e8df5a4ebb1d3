package cluster

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvorum/integration/loopback"
)

// Successors are controllers of kvorum's that are to replace this quorum's, at the
// same endpoints and with the ids 1, 2, 3. Their server.properties are written; the
// directories are made by an import.
func (q *Quorum) Successors(t testing.TB) []*Node {
	t.Helper()
	raft := loopback.Addresses(t, len(q.Addresses))
	var voters []string
	for i, address := range raft {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, address))
	}
	dir := t.TempDir()
	var nodes []*Node
	for i, address := range q.Addresses {
		n := &Node{ID: int32(i + 1), Binary: Binary(t), Dir: filepath.Join(dir, fmt.Sprint("kvorum-", i+1)), Address: address}
		properties := map[string]string{
			"process.roles": "controller", "node.id": fmt.Sprint(i + 1), "log.dirs": n.DataDir(),
			"controller.quorum.bootstrap.servers": strings.Join(q.Addresses, ","), "controller.listener.names": "CONTROLLER",
			"listeners": "CONTROLLER://" + address, "advertised.listeners": "CONTROLLER://" + address,
			"kvorum.raft.listener": raft[i], "kvorum.raft.voters": strings.Join(voters, ","),
		}
		var text strings.Builder
		for _, key := range slices.Sorted(maps.Keys(properties)) {
			fmt.Fprintf(&text, "%s=%s\n", key, properties[key])
		}
		if err := os.MkdirAll(n.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.PropertiesFile(), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	return nodes
}
