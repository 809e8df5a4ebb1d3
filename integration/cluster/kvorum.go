package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvorum/integration/peer"
	"kvorum/integration/process"
)

// Node is one node of kvorum: a controller, and a broker too if it has a listener
// for clients. Its fields are set before Format and Start.
type Node struct {
	ID         int32
	Binary     string // the kvorum program; another one may be set between two starts
	Dir        string // properties, log and data go below it
	Address    string // the controller's Kafka listener
	Client     string // the broker's listener; empty for a controller alone
	Properties map[string]string
	Wrap       []string // the command that runs the server, before its own; empty for none

	proc *process.Process
}

// stopPatience is what a controller gets to end after SIGTERM.
const stopPatience = 30 * time.Second

// program is a binary of this test run.
type program struct {
	once sync.Once
	path string
	err  error
}

var built, planted program

// Binary builds ./cmd/kvorum once for each test binary, into .cache of the
// module, and returns its path; KVORUM_BINARY names a ready one instead. While
// the command does not exist, the test is skipped.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("KVORUM_BINARY"); path != "" {
		return path
	}
	root := moduleRoot(t)
	if _, err := os.Stat(filepath.Join(root, "cmd", "kvorum", "main.go")); errors.Is(err, fs.ErrNotExist) {
		t.Skip("skipped: cmd/kvorum does not exist yet")
	}
	return built.build(t, root, "kvorum")
}

// PlantedBinary is Binary of the program with the tag planted, which can be told to have
// a bug and a disk that loses what was not synced; KVORUM_BINARY_PLANTED names a ready one.
func PlantedBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("KVORUM_BINARY_PLANTED"); path != "" {
		return path
	}
	return planted.build(t, moduleRoot(t), "kvorum-planted", "-tags", "planted")
}

func (p *program) build(t testing.TB, root, name string, flags ...string) string {
	t.Helper()
	p.once.Do(func() { p.path, p.err = build(root, name, flags...) })
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path
}

// moduleRoot is the directory of go.mod, above the directory of the test.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			t.Fatalf("no go.mod above %s", dir)
		}
	}
}

// build runs go build under a lock: the suites of two packages may want it at once.
// What is at the path is replaced whole and only when it is another program: the nodes
// of a suite that runs beside this one are started from there at any moment.
func build(root, name string, flags ...string) (string, error) {
	path := filepath.Join(root, ".cache", "integration", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	fresh := path + ".fresh" // kept, so that go need not link it again
	cmd := exec.Command("go", slices.Concat([]string{"build"}, flags, []string{"-o", fresh, "./cmd/kvorum"})...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ./cmd/kvorum: %w\n%s", err, out)
	}
	return path, replace(path, fresh)
}

// replace makes the file at path what fresh is, in one step.
func replace(path, fresh string) error {
	want, err := os.ReadFile(fresh)
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err := os.WriteFile(path+".new", want, 0o755); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// StartKvorum formats and starts a quorum of kvorum controllers.
func StartKvorum(ctx context.Context, t testing.TB, o Options) *Quorum {
	t.Helper()
	q := FormatKvorum(ctx, t, o)
	q.Start(ctx, t)
	return q
}

// FormatKvorum formats a quorum of kvorum controllers.
func FormatKvorum(ctx context.Context, t testing.TB, o Options) *Quorum {
	t.Helper()
	return formatKvorum(ctx, t, o, func(int, map[string]string) string { return "" })
}

// formatKvorum formats a quorum. change may change the properties of each node, and
// returns the address of its listener for clients, if it has one.
func formatKvorum(ctx context.Context, t testing.TB, o Options, change func(i int, properties map[string]string) (client string)) *Quorum {
	t.Helper()
	binary := o.Binary
	if binary == "" {
		binary = Binary(t)
	}
	q, initial := plan(t, o)
	dir := t.TempDir()
	raft := o.addresses(t, 0, o.Size, raftPort)
	var secured map[string]string
	if o.Places != nil {
		secured = raftTLS(t, dir, o.Places[:o.Size])
	}
	var voters []string
	for i, address := range raft {
		voters = append(voters, fmt.Sprintf("%d@%s", o.id(i), address))
	}
	for i, address := range q.Addresses {
		p := map[string]string{
			"process.roles":                       "controller",
			"node.id":                             fmt.Sprint(o.id(i)),
			"controller.quorum.bootstrap.servers": strings.Join(q.Addresses, ","),
			"listeners":                           "CONTROLLER://" + address,
			"advertised.listeners":                "CONTROLLER://" + address,
			"controller.listener.names":           "CONTROLLER",
			"kvorum.raft.listener":                raft[i],
			"kvorum.raft.voters":                  strings.Join(voters, ","),
		}
		maps.Copy(p, secured)
		maps.Copy(p, o.Properties)
		client := change(i, p)
		n := &Node{ID: o.id(i), Binary: binary, Dir: filepath.Join(dir, fmt.Sprintf("controller-%d", i+1)), Address: address, Client: client, Properties: p, Wrap: o.wrap(i)}
		n.Format(ctx, t, q.ClusterID, "--initial-controllers", initial, "--release-version", o.ReleaseVersion)
		q.Controllers = append(q.Controllers, n)
	}
	return q
}

// String names the node in failures.
func (n *Node) String() string { return fmt.Sprintf("kvorum-node-%d", n.ID) }

// DataDir is the node's only log directory, unless Properties name others.
func (n *Node) DataDir() string { return filepath.Join(n.Dir, "data") }

// PropertiesFile is the path of the node's server.properties.
func (n *Node) PropertiesFile() string { return filepath.Join(n.Dir, "server.properties") }

// Format writes server.properties and runs `kvorum storage format` with the
// options, which come in pairs; a pair with an empty value is left out, unless it
// is "--standalone", which takes none.
func (n *Node) Format(ctx context.Context, t testing.TB, clusterID string, options ...string) {
	t.Helper()
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if n.Properties["log.dirs"] == "" {
		fmt.Fprintf(&text, "log.dirs=%s\n", n.DataDir())
	}
	for _, key := range slices.Sorted(maps.Keys(n.Properties)) {
		fmt.Fprintf(&text, "%s=%s\n", key, n.Properties[key])
	}
	if err := os.WriteFile(n.PropertiesFile(), []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"storage", "format", "-t", clusterID, "-c", n.PropertiesFile()}
	for pair := range slices.Chunk(options, 2) {
		switch {
		case pair[0] == "--standalone":
			args = append(args, pair[0])
		case pair[1] != "":
			args = append(args, pair...)
		}
	}
	if out, err := exec.CommandContext(ctx, n.Binary, args...).CombinedOutput(); err != nil {
		t.Fatalf("format %s: %v\n%s", n, err, out)
	}
}

// Start starts `kvorum server`; WaitReady waits until it serves.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	if n.Running() {
		t.Fatalf("%s runs already", n)
	}
	command := slices.Concat(n.Wrap, []string{n.Binary, "server", "--config", n.PropertiesFile()})
	n.proc = process.Start(t, process.Spec{
		Name: n.String(), Path: command[0], Log: filepath.Join(n.Dir, "server.log"), Args: command[1:],
	})
}

// WaitReady waits until the controller answers a DescribeQuorum request, and the
// broker a Metadata request with itself in it.
func (n *Node) WaitReady(ctx context.Context, t testing.TB) {
	t.Helper()
	peer.WaitReady(ctx, t, n.String(), n.proc, func(ctx context.Context) error {
		if n.Client == "" {
			_, err := peer.Leads(ctx, n.Address)
			return err
		}
		ids, err := peer.Brokers(ctx, n.Client)
		if err == nil && !slices.Contains(ids, n.ID) {
			err = fmt.Errorf("%s is not in its own metadata, which has the brokers %v", n, ids)
		}
		return err
	})
}

// Running reports whether the controller's process has not ended.
func (n *Node) Running() bool { return n.proc != nil && n.proc.Running() }

// Process is the last process that Start started.
func (n *Node) Process() *process.Process { return n.proc }

// Kill ends the controller as a crash does.
func (n *Node) Kill() { n.proc.Kill() }

// Stop ends the controller by SIGTERM; it must end with exit code 0.
func (n *Node) Stop(t testing.TB) {
	t.Helper()
	if err := n.proc.Stop(stopPatience); err != nil {
		t.Errorf("stop %s: %v", n, err)
	}
}

// Pause stops the controller's threads where they are; Resume lets them go on.
func (n *Node) Pause() { n.proc.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (n *Node) Resume() { n.proc.Signal(syscall.SIGCONT) }
