package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	someCluster  = "4L6g3nShT-eMCtK--X86sw"
	otherCluster = "jqPON8XWRBCl5gNCld2bOw"
)

// said is what a command did.
type said struct {
	code           int
	stdout, stderr string
}

// kvorum runs the command in this process.
func kvorum(t *testing.T, args ...string) said {
	t.Helper()
	return kvorumReads(t, "", args...)
}

// kvorumReads runs the command in this process with an input.
func kvorumReads(t *testing.T, stdin string, args ...string) said {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	return said{code, stdout.String(), stderr.String()}
}

// properties writes a server.properties of controller 1 with a directory of its
// own, and lines that come on top.
func properties(t *testing.T, lines ...string) (file, dir string) {
	t.Helper()
	base := t.TempDir()
	file, dir = filepath.Join(base, "server.properties"), filepath.Join(base, "data")
	text := "process.roles=controller\nnode.id=1\nlisteners=CONTROLLER://127.0.0.1:19091\ncontroller.listener.names=CONTROLLER\n" +
		"controller.quorum.bootstrap.servers=127.0.0.1:19091\nlog.dirs=" + filepath.ToSlash(dir) + "\n" + strings.Join(lines, "\n")
	write(t, file, text)
	return file, dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// formatted is properties with a directory that is formatted.
func formatted(t *testing.T) (file, dir string) {
	t.Helper()
	file, dir = properties(t)
	if r := kvorum(t, "storage", "format", "-t", someCluster, "-c", file, "--standalone"); r.code != 0 {
		t.Fatalf("format: %+v", r)
	}
	return file, dir
}

// TestMistakes makes one mistake after the other: each ends with exit code 1 and
// a line that says what is wrong.
func TestMistakes(t *testing.T) {
	fresh, _ := properties(t)
	typo, _ := properties(t, "log.dir.s=x")
	twice, _ := properties(t, "node.id=2")
	done, dir := formatted(t)
	otherNode := filepath.Join(t.TempDir(), "server.properties")
	text, err := os.ReadFile(done)
	if err != nil {
		t.Fatal(err)
	}
	write(t, otherNode, strings.Replace(string(text), "node.id=1", "node.id=2", 1))
	format := func(more ...string) []string {
		return append([]string{"storage", "format", "-t", someCluster, "-c", fresh}, more...)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"statsu"}, `unknown command "statsu" for "kvorum"`},
		{"unknown command of a group", []string{"storage", "fromat"}, `unknown command "fromat" for "kvorum storage"`},
		{"group alone", []string{"quorum"}, "a command is missing"},
		{"unknown flag", []string{"quorum", "status", "--bootstrap"}, "unknown flag: --bootstrap"},
		{"too many words", []string{"quorum", "status", "now"}, `unknown command "now" for "kvorum quorum status"`},
		{"no topic", []string{"topic", "create"}, "requires at least 1 arg(s)"},
		{"no total", []string{"topic", "add-partitions", "orders"}, `required flag(s) "total" not set`},
		{"nothing to change", []string{"topic", "alter-config", "orders"}, "nothing to change: use --set KEY=VALUE or --delete KEY"},
		{"config without value", []string{"topic", "create", "orders", "-c", "retention.ms"}, `"retention.ms" is not KEY=VALUE`},
		{"no brokers there", []string{"topic", "list", "-b", "127.0.0.1:1", "--timeout", "1s"}, "127.0.0.1:1"},
		{"unknown output", []string{"quorum", "status", "-o", "xml"}, `--output "xml" is neither table, json nor yaml`},
		{"unknown output of format", format("--standalone", "-o", "xml"), `--output "xml" is neither table, json nor yaml`},
		{"log level", []string{"server", "-c", done, "--log-level", "loud"}, "--log-level is neither debug, info, warn nor error"},
		{"server without config", []string{"server"}, `required flag(s) "config" not set`},
		{"no such file", []string{"server", "-c", filepath.Join(dir, "none.properties")}, "none.properties: no such file"},
		{"unknown key", []string{"server", "-c", typo}, "unknown key log.dir.s; did you mean log.dirs?"},
		{"key twice", []string{"server", "-c", twice}, "node.id"},
		{"unformatted", []string{"server", "-c", fresh}, "not formatted"},
		{"wrong node", []string{"server", "-c", otherNode}, "belongs to node 1, but node.id is 2"},
		{"no cluster id", []string{"storage", "format", "-c", fresh, "--standalone"}, "cluster-id"},
		{"bad cluster id", []string{"storage", "format", "-t", "mine", "-c", fresh, "--standalone"}, `cluster id "mine" must be a random id: make one with`},
		{"no controllers", format(), "standalone"},
		{"two kinds of controllers", format("--standalone", "--initial-controllers", "1@h:1:"+otherCluster), "standalone"},
		{"nonsense controllers", format("--initial-controllers", "one"), "one"},
		{"not among the controllers", format("--initial-controllers", "2@h:1:"+otherCluster), "node.id 1 is not among the initial controllers"},
		{"nonsense release", format("--standalone", "--release-version", "nonsense"), "nonsense"},
		{"release too old", format("--standalone", "--release-version", "2.8"), "2.8"},
		{"nonsense feature", format("--standalone", "--feature", "group.version"), `--feature "group.version" is not NAME=LEVEL`},
		{"release twice", format("--standalone", "--release-version", "4.3", "--feature", "metadata.version=7"), "use one"},
		{"nonsense scram", format("--standalone", "--add-scram", "SCRAM-SHA-1=[name=a,password=b]"), "--add-scram"},
		{"formatted already", []string{"storage", "format", "-t", someCluster, "-c", done, "--standalone"}, "is already formatted: use --ignore-formatted"},
		{"foreign cluster", []string{"storage", "format", "-t", otherCluster, "-c", done, "--standalone", "--ignore-formatted"}, "is formatted for node 1 of cluster " + someCluster},
		{"wrong node to format", []string{"storage", "format", "-t", someCluster, "-c", otherNode, "--standalone", "--ignore-formatted"}, "is formatted for node 1"},
		{"no metadata", []string{"metadata", "dump", t.TempDir()}, "holds no metadata log"},
		{"offsets", []string{"metadata", "dump", dir, "--from", "5", "--to", "4"}, "--to is not below --from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := kvorum(t, c.args...)
			if r.code != exitError || !strings.Contains(r.stderr, c.want) || !strings.HasPrefix(r.stderr, "kvorum: ") {
				t.Errorf("kvorum %s: exit code %d, want 1; it said %q, want %q in it", strings.Join(c.args, " "), r.code, r.stderr, c.want)
			}
		})
	}
	if entries, err := os.ReadDir(filepath.Join(filepath.Dir(fresh), "data")); err == nil {
		t.Errorf("a refused formatting left %v", entries)
	}
}

// TestUnhealthy shows what ends with exit code 2: the question was understood,
// and the answer is bad.
func TestUnhealthy(t *testing.T) {
	if r := kvorum(t, "quorum", "status", "--bootstrap-controller", "127.0.0.1:1", "--timeout", "1s"); r.code != exitUnhealthy || !strings.Contains(r.stderr, "127.0.0.1:1") {
		t.Errorf("no controller: %+v", r)
	}
	file, _ := properties(t)
	if r := kvorum(t, "storage", "info", "-c", file); r.code != exitUnhealthy || !strings.Contains(r.stdout, "not formatted") {
		t.Errorf("not formatted: %+v", r)
	}
}
