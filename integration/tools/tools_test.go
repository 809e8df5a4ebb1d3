package tools

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/integration/printed"
)

// update writes what the tools print on Apache's node to testdata.
var update = flag.Bool("update", false, "write what the tools print on a node of Apache's into testdata")

const (
	golden = "testdata/apache-4.3.1.txt"
	// patience bounds the wait for something that takes a moment.
	patience = 20 * time.Second
)

// TestTools tells the story on kvorum's node and compares it with the one that is
// on record; -update, or KVORUM_APACHE=all, tells it on Apache's node.
func TestTools(t *testing.T) {
	kit := peer.Require(t, peer.V43)
	ctx := context.Background()
	driver := kit.StartDriver(t)
	properties := map[string]string{"num.partitions": "1", "offsets.topic.num.partitions": "3", "auto.create.topics.enable": "false",
		"transaction.state.log.num.partitions": "4"}
	t.Run("apache", func(t *testing.T) {
		if !*update && os.Getenv("KVORUM_APACHE") != "all" {
			t.Skip("skipped: what the tools print on Apache's node is recorded; KVORUM_APACHE=all runs it again")
		}
		said := tell(ctx, t, kit, driver, cluster.FormatSingleApache(ctx, t, kit, driver, properties))
		if !*update {
			compare(t, said, nil)
		} else if err := os.WriteFile(golden, []byte(said), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("kvorum", func(t *testing.T) {
		compare(t, tell(ctx, t, kit, driver, cluster.FormatSingleKvorum(ctx, t, properties)), differences)
	})
}

// tell starts a node and runs the steps in order; each builds on those before it.
func tell(ctx context.Context, t *testing.T, kit *peer.Kit, driver *peer.Driver, node *cluster.Single) string {
	t.Helper()
	node.StartReady(ctx, t)
	s := &story{T: t, ctx: ctx, kit: kit, driver: driver, bootstrap: node.Bootstrap}
	for _, step := range []struct {
		name string
		run  func(*story)
	}{
		{"topics", (*story).topics},
		{"clients", (*story).clients},
		{"offsets", (*story).offsets},
		{"groups", (*story).groups},
		{"reset", (*story).reset},
		{"configs", (*story).configs},
		{"node", (*story).node},
		{"reassign", (*story).reassign},
		{"transactions", (*story).transactions},
		{"end", (*story).end},
	} {
		began := time.Now()
		s.part, s.count = step.name, 0
		step.run(s)
		s.Logf("%s: %v", step.name, time.Since(began).Round(time.Millisecond))
	}
	node.Stop(t)
	return s.said.String()
}

// difference is one that is known: the lines of printed.Difference, and why.
type difference struct{ why, lines string }

// compare compares command by command. What is known to differ must differ in
// just those lines.
func compare(t *testing.T, said string, known map[string]difference) {
	t.Helper()
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want, got := commands(string(text)), commands(said)
	for name, recorded := range want {
		lines := ""
		if got[name] != recorded {
			lines = strings.TrimSpace(printed.Difference(recorded, got[name]))
			_, lines, _ = strings.Cut(lines, "\n") // the first line is the command
		}
		if allowed := strings.TrimSpace(known[name].lines); lines != allowed {
			t.Errorf("%s: %s\nnot (-) or only (+) what Apache's node leads to:\n%s\nknown:\n%s", name, firstLine(recorded), lines, allowed)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is not on record", name)
	}
	for name := range known {
		if want[name] == "" {
			t.Errorf("the list of differences names %s, which is no command of the story", name)
		}
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// commands returns what each command printed, its own line included, by its name.
func commands(text string) map[string]string {
	out := map[string]string{}
	for _, part := range strings.Split(text, "=== ")[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		out[name] = rest
	}
	return out
}

// story is one run: a node, and what the tools printed.
type story struct {
	*testing.T
	ctx       context.Context
	kit       *peer.Kit
	driver    *peer.Driver
	bootstrap string
	part      string // the name of the step
	count     int    // of the commands in it
	said      strings.Builder
}

func (s *story) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// command is one call of a tool.
type command struct {
	tool    peer.Tool
	args    string              // by blanks
	file    string              // what FILE in the arguments holds
	stdin   string              // what the tool reads
	arrange func(string) string // makes what it printed comparable, besides normalise
	sorted  bool                // the lines come in any order
	until   string              // repeat it until it prints this: the node knows of a change a moment after the answer
}

// run runs a command and adds what it printed to the story.
func (s *story) run(c command) {
	s.Helper()
	began := time.Now()
	out := s.attempt(c)
	for deadline := time.Now().Add(patience); c.until != "" && !strings.Contains(out.Stdout, c.until) && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond) // between two questions
		out = s.attempt(c)
	}
	if c.until != "" && !strings.Contains(out.Stdout, c.until) {
		s.Errorf("%s %s did not print %q within %v:\n%v", c.tool, c.args, c.until, patience, out)
	}
	if took := time.Since(began); took > 3*time.Second {
		s.Logf("%s %s took %v", c.tool, c.args, took.Round(time.Millisecond))
	}
	s.count++
	fmt.Fprintf(&s.said, "=== %s %d\n$ %s %s\n", s.part, s.count, c.tool, c.args)
	stdout := out.Stdout
	if c.arrange != nil {
		stdout = c.arrange(stdout)
	}
	stdout = strings.TrimSpace(s.normalise(stdout))
	if c.sorted {
		stdout = strings.TrimSpace(printed.Sorted(stdout))
	}
	fmt.Fprintln(&s.said, stdout)
	if stderr := strings.TrimSpace(out.Stderr); stderr != "" || out.Exit != 0 {
		fmt.Fprintf(&s.said, "exit %d, stderr: %s\n", out.Exit, s.normalise(stderr))
	}
}

// attempt runs a command once. --bootstrap-server goes where the tool wants it.
func (s *story) attempt(c command) peer.Output {
	s.Helper()
	args := strings.Fields(c.args)
	for i, a := range args {
		if a == "FILE" {
			args[i] = s.TempDir() + "/file.json"
			s.must(os.WriteFile(args[i], []byte(c.file), 0o644))
		}
	}
	at := []string{"--bootstrap-server", s.bootstrap}
	switch c.tool {
	case peer.Cluster: // after its command
		args = append(args[:1:1], append(at, args[1:]...)...)
	default:
		args = append(at, args...)
	}
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	var out peer.Output
	var err error
	if c.tool == peer.VerifiableProducer { // it says what became of the records when its JVM ends
		out, err = s.kit.Run(ctx, c.tool, args...)
	} else {
		out, err = s.driver.ToolWithInput(ctx, c.stdin, c.tool, args...)
	}
	if err != nil {
		s.Fatalf("%s %s: %v", c.tool, c.args, err)
	}
	return out
}
