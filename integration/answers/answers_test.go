package answers

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// update writes what Apache's node answers to testdata.
var update = flag.Bool("update", false, "write what a node of Apache's answers into testdata")

const golden = "testdata/apache-4.3.1.txt"

// properties are given to both nodes.
var properties = map[string]string{"auto.create.topics.enable": "true", "num.partitions": "2", "log.message.timestamp.before.max.ms": "9223372036854775807"}

// TestAnswers asks kvorum's node and compares its answers with those of Apache's
// that are on record; -update, or KVORUM_APACHE=all, asks Apache's.
func TestAnswers(t *testing.T) {
	ctx := context.Background()
	t.Run("apache", func(t *testing.T) {
		if !*update && os.Getenv("KVORUM_APACHE") != "all" {
			t.Skip("skipped: what Apache's node answers is recorded; KVORUM_APACHE=all asks it again")
		}
		kit := peer.Require(t, peer.V43)
		node := cluster.FormatSingleApache(ctx, t, kit, kit.StartDriver(t), properties)
		said := tell(ctx, t, node)
		if *update {
			if err := os.WriteFile(golden, []byte(said), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		compare(t, said, nil)
	})
	t.Run("kvorum", func(t *testing.T) {
		compare(t, tell(ctx, t, cluster.FormatSingleKvorum(ctx, t, properties)), differences)
	})
}

// tell starts a node and asks it everything.
func tell(ctx context.Context, t *testing.T, node *cluster.Single) string {
	t.Helper()
	node.StartReady(ctx, t)
	host, port, err := net.SplitHostPort(node.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{T: t, address: node.Bootstrap, seen: map[string]bool{}}
	a.hide = []string{fmt.Sprintf("Host: %q", host), `Host: <host>`, "Port: " + port + "\n", "Port: <port>\n", port, "<port>", node.ClusterID, "<cluster>"}
	a.story()
	if a.conn != nil {
		a.conn.Close()
	}
	return a.said.String()
}

// compare compares answer by answer. known says which may differ, and why; one
// that does not differ any more must go from it.
func compare(t *testing.T, said string, known map[string]string) {
	t.Helper()
	recorded, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want, got := answersOf(string(recorded)), answersOf(said)
	for name, text := range want {
		why := reason(known, name)
		switch {
		case got[name] == text && why != "" && known[name] != "":
			t.Errorf("%s no longer differs: take it from the list", name)
		case got[name] != text && why == "":
			t.Errorf("%s\n%s", name, difference(text, got[name]))
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is not on record", name)
	}
}

// reason is why an answer differs: of its version, or of all versions of a step.
func reason(known map[string]string, name string) string {
	step, _, _ := strings.Cut(name, ", v")
	if why := known[name]; why != "" {
		return why
	}
	return known[step]
}

func answersOf(text string) map[string]string {
	out := map[string]string{}
	for _, part := range strings.Split(text, "# ")[1:] {
		name, answer, _ := strings.Cut(part, "\n")
		out[name] = answer
	}
	return out
}

// difference shows the lines from the first that differs.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	show := func(lines []string) string {
		return strings.Join(lines[min(i, len(lines)):min(i+12, len(lines))], "\n")
	}
	return fmt.Sprintf("line %d, Apache:\n%s\nkvorum:\n%s", i+1, show(w), show(g))
}
