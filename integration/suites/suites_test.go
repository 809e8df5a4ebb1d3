package suites

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// update runs the suites against Apache's node and records what passes.
var update = flag.Bool("update", false, "run the suites against Apache Kafka and record what passes there")

const (
	// patience bounds one suite, testPatience one of its tests.
	patience     = 20 * time.Minute
	testPatience = 2 * time.Minute
)

// suite is one module's tests.
type suite struct {
	name, module, dir string // dir is the package's, below the module's
	env               []string
	// left are the tests that are not run: of what the module does without a
	// broker, and of transactions, KIP-848 and KIP-932.
	left string
	// seeds are the addresses that are written in the sources.
	seeds []string
	// alone are calls in the sources with a host that has the port 9092 by default.
	alone      []string
	properties map[string]string
	// list is the name of the lists in testdata, where it is not the suite's.
	list string
	// brokers is how many there are, with as many controllers; 0 is one node.
	brokers int
}

var suites = []suite{
	{
		name: "kgo", module: "github.com/twmb/franz-go", dir: "pkg/kgo",
		env:  []string{"KGO_TEST_RF=1", "KGO_TEST_RECORDS=20000"},
		left: "Txn|848|Share|Transact|EOS",
	},
	{
		name: "kafka-go", module: "github.com/segmentio/kafka-go", dir: ".", seeds: []string{"localhost:9092", "127.0.0.1:9092"}, alone: []string{`TCP("localhost")`},
		env:        []string{"KAFKA_VERSION=3.9.0"},
		left:       "Txn|Transaction|SASL|Scram",
		properties: map[string]string{"auto.create.topics.enable": "true", "delete.topic.enable": "true"},
	},
}

// replicated is run with KVORUM_SUITES=replicated: it takes minutes more than the
// suite on one node, which has passed before.
var replicated = suite{
	name: "kgo-replicated", list: "kgo", module: "github.com/twmb/franz-go", dir: "pkg/kgo", brokers: 3,
	env:  []string{"KGO_TEST_RF=3", "KGO_TEST_RECORDS=20000"},
	left: "Txn|848|Share|Transact|EOS",
}

// TestReplicated runs franz-go's suite on three brokers with every topic on all of
// them.
func TestReplicated(t *testing.T) {
	if os.Getenv("KVORUM_SUITES") != "replicated" {
		t.Skip("set KVORUM_SUITES=replicated to run it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s := &replicated
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: s.brokers})
	var seeds []string
	for _, b := range q.StartKvorumBrokers(ctx, t, s.brokers, s.properties) {
		seeds = append(seeds, b.Client)
	}
	s.compare(t, s.run(ctx, t, strings.Join(seeds, ",")))
}

// TestSuites runs each suite against kvorum, or with -update against Apache.
func TestSuites(t *testing.T) {
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			kit := peer.Require(t, peer.V43) // a sign that real peers are wanted
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if *update {
				node := cluster.FormatSingleApache(ctx, t, kit, kit.StartDriver(t), s.properties)
				node.StartReady(ctx, t)
				s.record(t, s.run(ctx, t, node.Bootstrap))
				return
			}
			node := cluster.FormatSingleKvorum(ctx, t, s.properties)
			node.StartReady(ctx, t)
			s.compare(t, s.run(ctx, t, node.Bootstrap))
		})
	}
}

// outcome is how one test of a suite ended, and what it printed.
type outcome struct {
	action string
	output strings.Builder
}

// run compiles the suite's tests from a copy of the module and runs them one by
// one, since a test that panics ends its process.
func (s *suite) run(ctx context.Context, t *testing.T, bootstrap string) map[string]*outcome {
	t.Helper()
	dir := filepath.Join(s.copy(t, bootstrap), s.dir)
	binary := filepath.Join(dir, "suite.test")
	s.command(ctx, t, dir, "go", "test", "-c", "-o", binary, ".")
	list := s.command(ctx, t, dir, binary, "-test.list", "^Test")
	outcomes, left := map[string]*outcome{}, regexp.MustCompile(s.left)
	for _, name := range strings.Fields(string(list)) {
		if left.MatchString(name) {
			continue
		}
		cmd := exec.CommandContext(ctx, binary, "-test.v=test2json", "-test.timeout", testPatience.String(), "-test.run", "^"+name+"$", "-test.skip", s.left)
		cmd.Dir, cmd.Env = dir, s.environment(bootstrap)
		out, _ := cmd.CombinedOutput() // how it ended is in the output
		convert := exec.CommandContext(ctx, "go", "tool", "test2json")
		convert.Stdin = bytes.NewReader(out)
		events, err := convert.Output()
		if err != nil {
			t.Fatalf("test2json: %v", err)
		}
		collect(events, outcomes)
	}
	// A subtest is left out by its whole name; one that has the node's address in its
	// name is another one in every run.
	maps.DeleteFunc(outcomes, func(name string, _ *outcome) bool { return left.MatchString(name) || strings.Contains(name, bootstrap) })
	return outcomes
}

func (s *suite) environment(bootstrap string) []string {
	return append(os.Environ(), append(s.env, "KGO_SEEDS="+bootstrap, "GOFLAGS=-mod=mod")...)
}

func (s *suite) command(ctx context.Context, t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, s.environment("")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return out
}

// collect adds what test2json printed to the outcomes.
func collect(events []byte, outcomes map[string]*outcome) {
	for line := range bytes.Lines(events) {
		var event struct{ Action, Test, Output string }
		if json.Unmarshal(line, &event) != nil || event.Test == "" {
			continue
		}
		o := outcomes[event.Test]
		if o == nil {
			o = &outcome{}
			outcomes[event.Test] = o
		}
		switch event.Action {
		case "pass", "fail", "skip":
			o.action = event.Action
		case "output":
			if o.output.Len() < 8<<10 { // the beginning tells why
				o.output.WriteString(event.Output)
			}
		}
	}
}

// copy copies the module's sources, with the node's address in the place of the
// one that they name.
func (s *suite) copy(t *testing.T, bootstrap string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", s.module).Output()
	if err != nil {
		t.Fatalf("where is %s: %v", s.module, err)
	}
	from, to := strings.TrimSpace(string(out)), t.TempDir()
	if from == "" {
		t.Fatalf("%s is not in the module cache", s.module)
	}
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(name, 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".go") {
			text = s.point(text, bootstrap)
		}
		return os.WriteFile(name, text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// point writes the node's address in the place of those in a source.
func (s *suite) point(text []byte, bootstrap string) []byte {
	for _, seed := range s.seeds {
		text = bytes.ReplaceAll(text, []byte(seed), []byte(bootstrap))
	}
	for _, call := range s.alone {
		text = bytes.ReplaceAll(text, []byte(call), fmt.Appendf(nil, "TCP(%q)", bootstrap))
	}
	return text
}

func (s *suite) file() string { return filepath.Join("testdata", cmp.Or(s.list, s.name)+".txt") }

// record writes the names of the tests that pass.
func (s *suite) record(t *testing.T, outcomes map[string]*outcome) {
	t.Helper()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		if o := outcomes[name]; o.action == "pass" {
			fmt.Fprintln(&text, name)
		} else {
			t.Logf("not recorded: %s: %s\n%s", o.action, name, o.output.String())
		}
	}
	if err := os.WriteFile(s.file(), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// compare fails for each recorded test that did not pass, unless it is an
// exception; and for an exception that passes, since its reason is gone.
func (s *suite) compare(t *testing.T, outcomes map[string]*outcome) {
	t.Helper()
	text, err := os.ReadFile(s.file())
	if err != nil {
		t.Fatal(err)
	}
	exceptions, passed := s.exceptions(t), 0
	for _, name := range strings.Fields(string(text)) {
		o := outcomes[name]
		if o == nil {
			o = &outcome{action: "did not run"}
		}
		reason, excepted := exceptions[name]
		switch {
		case o.action == "pass" && !excepted:
			passed++
		case o.action == "pass":
			t.Errorf("%s passes, and is an exception because: %s", name, reason)
		case !excepted:
			t.Errorf("%s passes against Apache and here: %s\n%s", name, o.action, o.output.String())
		}
	}
	t.Logf("%d tests passed, %d are exceptions", passed, len(exceptions))
}

// exceptions reads testdata/NAME.exceptions: a test's name, a space and the
// reason on each line.
func (s *suite) exceptions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	text, err := os.ReadFile(filepath.Join("testdata", cmp.Or(s.list, s.name)+".exceptions"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, reason, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Fatalf("an exception without a reason: %q", line)
		}
		out[name] = reason
	}
	return out
}
