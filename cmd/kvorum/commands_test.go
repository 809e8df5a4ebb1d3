package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"kvorum/internal/kafka"
)

// TestMain lets the test binary be kvorum, for tests of a whole process.
func TestMain(m *testing.M) {
	if os.Getenv("KVORUM_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestHelp wants an example in the help of every command that does something.
func TestHelp(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.HasSubCommands() {
			return
		}
		path := strings.Fields(c.CommandPath())[1:]
		r := kvorum(t, append(path, "--help")...)
		if r.code != exitOK || !strings.Contains(r.stdout, "Examples:\n  "+c.CommandPath()) {
			t.Errorf("%s --help: exit code %d, no example: %s", c.CommandPath(), r.code, r.stdout)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short help is %q", c.CommandPath(), c.Short)
		}
	}
	walk(rootCommand())
}

func TestCompletion(t *testing.T) {
	for shell, want := range map[string]string{"bash": "__start_kvorum", "zsh": "#compdef kvorum", "fish": "complete -c kvorum", "powershell": "Register-ArgumentCompleter"} {
		if r := kvorum(t, "completion", shell); r.code != exitOK || !strings.Contains(r.stdout, want) {
			t.Errorf("completion %s: exit code %d, %d bytes, %q", shell, r.code, len(r.stdout), r.stderr)
		}
	}
	if r := kvorum(t, "__complete", "quorum", "status", "-o", ""); !strings.HasPrefix(r.stdout, "table\njson\nyaml\n") {
		t.Errorf("values of -o are %q", r.stdout)
	}
}

func TestRandomUUID(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		r := kvorum(t, "storage", "random-uuid")
		text := strings.TrimSuffix(r.stdout, "\n")
		id, err := kafka.ParseUUID(text)
		if r.code != exitOK || err != nil || id.Reserved() || len(text) != 22 || strings.HasPrefix(text, "-") || seen[text] {
			t.Errorf("random-uuid said %+v: %v", r, err)
		}
		seen[text] = true
	}
}

// TestFormat formats with --dry-run, which writes nothing, and in earnest.
func TestFormat(t *testing.T) {
	file, dir := properties(t)
	args := []string{"storage", "format", "-t", someCluster, "-c", file, "--standalone", "--release-version", "3.9"}
	if r := kvorum(t, append(args, "--dry-run")...); r.code != exitOK || !strings.Contains(r.stdout, "would be formatted") {
		t.Errorf("dry run: %+v", r)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the dry run made %s: %v", dir, err)
	}
	var results []struct {
		Directory   string `json:"directory"`
		DirectoryID string `json:"directory_id"`
		Formatted   bool   `json:"formatted"`
	}
	r := kvorum(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(r.stdout), &results); err != nil || r.code != exitOK || len(results) != 1 || !results[0].Formatted || results[0].Directory != filepath.ToSlash(dir) {
		t.Fatalf("format: %+v: %v", r, err)
	}
	var infos []dirInfo
	r = kvorum(t, "storage", "info", "-c", file, "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &infos); err != nil || r.code != exitOK || len(infos) != 1 {
		t.Fatalf("info: %+v: %v", r, err)
	}
	if i := infos[0]; i.ClusterID != someCluster || i.NodeID != 1 || !i.Controller || i.DirectoryID != results[0].DirectoryID || i.Problem != "" {
		t.Errorf("info says %+v, format said %+v", i, results[0])
	}
	if r := kvorum(t, append(args, "--ignore-formatted")...); r.code != exitOK || !strings.Contains(r.stdout, "already formatted") {
		t.Errorf("again with --ignore-formatted: %+v", r)
	}
}

// freePort is an address on loopback that nobody listens on, and its port.
func freePort(t *testing.T) (address, port string) {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	address = socket.Addr().String()
	_, port, _ = strings.Cut(address, ":")
	return address, port
}

// TestDev runs `kvorum dev` as a process: it starts, its quorum is healthy, and
// SIGTERM ends it with exit code 0.
func TestDev(t *testing.T) {
	address, port := freePort(t)
	client, clientPort := freePort(t)
	dir := t.TempDir()
	dev := exec.Command(os.Args[0], "dev", "--port", clientPort, "--controller-port", port, "--dir", dir)
	dev.Env = append(os.Environ(), "KVORUM_TEST_MAIN=1")
	var out strings.Builder
	dev.Stdout, dev.Stderr = &out, &out
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	defer dev.Process.Kill() // it has ended unless the test failed
	var r said
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if r = kvorum(t, "quorum", "status", "--bootstrap-controller", address, "-o", "json"); r.code == exitOK {
			break
		}
	}
	var status struct {
		ClusterID string `json:"cluster_id"`
		Leader    int    `json:"leader"`
		Voters    []struct {
			ID           int    `json:"id"`
			LogEndOffset int64  `json:"log_end_offset"`
			Address      string `json:"address"`
		} `json:"voters"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &status); err != nil || r.code != exitOK {
		t.Fatalf("quorum status: %+v: %v", r, err)
	}
	if status.Leader != 1 || len(status.Voters) != 1 || status.Voters[0].Address != address || status.Voters[0].LogEndOffset < 1 {
		t.Errorf("quorum status says %+v", status)
	}
	if r := kvorum(t, "quorum", "status", "--bootstrap-controller", address); r.code != exitOK || !strings.Contains(r.stdout, "leader") {
		t.Errorf("quorum status: %+v", r)
	}
	data := filepath.Join(dir, "node-1")
	if r := kvorum(t, "metadata", "dump", data); r.code != exitError || !strings.Contains(r.stderr, "a controller runs on this directory") {
		t.Errorf("dump of a running controller: %+v", r)
	}
	if r := kvorumReads(t, "one\ntwo\n", "topic", "produce", "verified", "--allow-auto-topic-creation", "-b", client); r.code != exitOK {
		t.Errorf("produce: %+v", r)
	}
	if r := kvorum(t, "storage", "verify", data); r.code != exitOK || !strings.Contains(r.stdout, "2 records") || !strings.Contains(r.stdout, "a broker runs on it") {
		t.Errorf("verify while the broker runs: %+v", r)
	}
	if err := dev.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := dev.Wait(); err != nil {
		t.Errorf("dev ended with %v: %s", err, out.String())
	}
	for _, want := range []string{"connect to " + client, "cluster " + status.ClusterID} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("dev did not say %q: %s", want, out.String())
		}
	}
	stoppedMetadata(t, data)
	verifyStopped(t, data)
}

// verifyStopped verifies what a stopped broker left, and again with a bit flipped.
func verifyStopped(t *testing.T, data string) {
	t.Helper()
	if r := kvorum(t, "storage", "verify", data); r.code != exitOK || !strings.Contains(r.stdout, "2 records") || strings.Contains(r.stdout, "a broker runs on it") {
		t.Errorf("verify after the stop: %+v", r)
	}
	segments, err := filepath.Glob(filepath.Join(data, "verified-*", "*.log"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v: %v", segments, err)
	}
	for _, path := range segments {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 0 {
			text[len(text)-1] ^= 1
			write(t, path, string(text))
		}
	}
	r := kvorum(t, "storage", "verify", data, "-o", "json")
	if r.code != exitUnhealthy || !strings.Contains(r.stdout, "checksum") {
		t.Errorf("verify of a flipped bit: %+v", r)
	}
	if r := kvorum(t, "storage", "verify", filepath.Dir(segments[0])); !strings.Contains(r.stdout, "segments") {
		t.Errorf("verify of one partition: %+v", r)
	}
}

// stoppedMetadata reads what a stopped controller left, as JSON.
func stoppedMetadata(t *testing.T, dir string) {
	t.Helper()
	for _, args := range [][]string{{"metadata", "dump", dir, "-o", "json"}, {"metadata", "cat", dir, "-o", "json"}} {
		r := kvorum(t, args...)
		lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
		for i, line := range lines {
			if !json.Valid([]byte(line)) {
				t.Errorf("%v: line %d is no JSON: %s", args, i+1, line)
			}
		}
		if r.code != exitOK || len(lines) < 3 {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if r := kvorum(t, "metadata", "cat", dir, "/nothing"); r.code != exitError || !strings.Contains(r.stderr, "nothing") {
		t.Errorf("a node that is not there: %+v", r)
	}
}
