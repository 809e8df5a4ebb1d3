package answers

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// update writes what Apache's node answers to testdata.
var update = flag.Bool("update", false, "write what a node of Apache's answers into testdata")

// story is what is asked of a node of each make.
type story struct {
	properties  map[string]string
	directories int               // of log.dirs, which answers call <dir>, <dir 2> and so on
	ask         func(*asker)      // the directories are in asker.dirs
	golden      string            // where Apache's answers are on record
	differences map[string]string // see differences
}

// TestAnswers asks kvorum's node and compares its answers with those of Apache's
// that are on record; -update, or KVORUM_APACHE=all, asks Apache's.
func TestAnswers(t *testing.T) {
	story{
		properties: map[string]string{
			"auto.create.topics.enable": "true", "num.partitions": "2", "log.message.timestamp.before.max.ms": "9223372036854775807",
			"offsets.topic.num.partitions": "4", "transaction.state.log.num.partitions": "4",
		},
		directories: 1, ask: (*asker).story, golden: "testdata/apache-4.3.1.txt", differences: differences,
	}.compare(t)
}

func (s story) compare(t *testing.T) {
	ctx := context.Background()
	t.Run("apache", func(t *testing.T) {
		if !*update && os.Getenv("KVORUM_APACHE") != "all" {
			t.Skip("skipped: what Apache's node answers is recorded; KVORUM_APACHE=all asks it again")
		}
		kit := peer.Require(t, peer.V43)
		said := s.tell(ctx, t, func(p map[string]string) *cluster.Single {
			return cluster.FormatSingleApache(ctx, t, kit, kit.StartDriver(t), p)
		})
		if *update {
			if err := os.WriteFile(s.golden, []byte(said), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		compare(t, s.golden, said, nil)
	})
	t.Run("kvorum", func(t *testing.T) {
		said := s.tell(ctx, t, func(p map[string]string) *cluster.Single { return cluster.FormatSingleKvorum(ctx, t, p) })
		compare(t, s.golden, said, s.differences)
	})
}

// tell starts a node and asks it everything.
func (s story) tell(ctx context.Context, t *testing.T, format func(map[string]string) *cluster.Single) string {
	t.Helper()
	a := &asker{T: t, seen: map[string]bool{}}
	for i := range s.directories {
		dir, called := filepath.Join(t.TempDir(), "data"), "<dir>"
		if i > 0 {
			called = fmt.Sprintf("<dir %d>", i+1)
		}
		a.dirs, a.hide = append(a.dirs, dir), append(a.hide, strconv.Quote(dir), called)
	}
	properties := maps.Clone(s.properties)
	properties["log.dirs"] = strings.Join(a.dirs, ",")
	node := format(properties)
	node.StartReady(ctx, t)
	host, port, err := net.SplitHostPort(node.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	a.address = node.Bootstrap
	_, other, err := net.SplitHostPort(node.ControllerListener)
	if err != nil {
		t.Fatal(err)
	}
	a.hide = append(a.hide, fmt.Sprintf("Host: %q", host), `Host: <host>`, "Port: "+port+"\n", "Port: <port>\n", port, "<port>", "Port: "+other+"\n", "Port: <port>\n", other, "<port>", node.ClusterID, "<cluster>")
	s.ask(a)
	if a.conn != nil {
		a.conn.Close()
	}
	return a.said.String()
}

// compare compares answer by answer. known says which may differ, and why; one
// that does not differ any more must go from it.
func compare(t *testing.T, golden, said string, known map[string]string) {
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
