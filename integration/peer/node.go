package peer

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvorum/integration/process"
)

// Node is one Apache Kafka server. Its fields are set before Format and Start
// and not changed while it runs.
type Node struct {
	Kit       *Kit
	ID        int32
	ClusterID string
	Dir       string // properties, log and data go below it

	// Listener is the address for clients and brokers; a node with one is a broker.
	Listener string
	// Controller is the address of the controller's listener; a node with one is a
	// controller.
	Controller string
	// Bootstrap are the controllers' addresses (controller.quorum.bootstrap.servers).
	Bootstrap []string
	// InitialControllers is the value of --initial-controllers, id@host:port:directory
	// by commas; "" formats a lone controller with --standalone.
	InitialControllers string
	// ReleaseVersion is the value of --release-version, "" for the release's default.
	ReleaseVersion string
	// ZooKeeper is the value of zookeeper.connect: the node is a broker in ZooKeeper
	// mode (Kafka 3), which knows no formatting and none of the controllers above.
	ZooKeeper string
	// Properties are added to server.properties and win over the defaults. With
	// controller.quorum.voters among them the quorum is static (kraft.version 0),
	// and neither Bootstrap nor InitialControllers is used.
	Properties map[string]string
	// JVM are the options of heap, compiler and collector in place of the tests'
	// small ones: a benchmark runs a server as its own script does.
	JVM []string

	proc *process.Process
}

// readyPatience bounds the wait for a node; a JVM that shares two cores with
// five others needs half a minute.
const readyPatience = 2 * time.Minute

// stopPatience is what a broker gets for its controlled shutdown.
const stopPatience = time.Minute

// String names the node in failures.
func (n *Node) String() string {
	kind := "broker"
	if n.Controller != "" {
		kind = "controller"
	}
	return fmt.Sprintf("apache-%s-%s-%d", n.Kit.Version, kind, n.ID)
}

// properties is the text of server.properties: small topics for the coordinators
// and no waiting, as a test wants them.
func (n *Node) properties() string {
	p := map[string]string{
		"node.id":                             fmt.Sprint(n.ID),
		"controller.quorum.bootstrap.servers": strings.Join(n.Bootstrap, ","),
		"controller.listener.names":           "CONTROLLER",
		"log.dirs":                            n.DataDir(),
	}
	var roles, listeners []string
	if n.Listener != "" {
		roles = append(roles, "broker")
		listeners = append(listeners, "PLAINTEXT://"+n.Listener)
		p["inter.broker.listener.name"] = "PLAINTEXT"
		p["offsets.topic.num.partitions"] = "4"
		p["transaction.state.log.num.partitions"] = "4"
		p["offsets.topic.replication.factor"] = "3"
		p["transaction.state.log.replication.factor"] = "3"
		p["transaction.state.log.min.isr"] = "2"
		p["group.initial.rebalance.delay.ms"] = "0"
	}
	if n.Controller != "" {
		roles = append(roles, "controller")
		listeners = append(listeners, "CONTROLLER://"+n.Controller)
	}
	p["process.roles"] = strings.Join(roles, ",")
	p["listeners"] = strings.Join(listeners, ",")
	p["advertised.listeners"] = p["listeners"]
	p["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
	maps.Copy(p, n.Properties)
	if n.ZooKeeper != "" {
		n.zooKeeperMode(p)
	}
	if n.static() {
		delete(p, "controller.quorum.bootstrap.servers")
	}
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", key, p[key])
	}
	return text.String()
}

// zooKeeperMode turns the properties of a KRaft broker into those of a broker in
// ZooKeeper mode, but for what the test has set itself.
func (n *Node) zooKeeperMode(p map[string]string) {
	for _, key := range []string{"node.id", "process.roles", "controller.quorum.bootstrap.servers", "controller.listener.names", "listener.security.protocol.map"} {
		if _, set := n.Properties[key]; !set {
			delete(p, key)
		}
	}
	p["broker.id"] = fmt.Sprint(n.ID)
	p["zookeeper.connect"] = n.ZooKeeper
}

func (n *Node) static() bool { return n.Properties["controller.quorum.voters"] != "" }

// DataDir is the node's only log directory, unless Properties name others.
func (n *Node) DataDir() string { return filepath.Join(n.Dir, "data") }

// PropertiesFile is the path of the node's server.properties.
func (n *Node) PropertiesFile() string { return filepath.Join(n.Dir, "server.properties") }

// LogFile is the path of what the node printed.
func (n *Node) LogFile() string { return filepath.Join(n.Dir, "server.log") }

// Format writes server.properties and formats the data directory with Apache's
// own storage tool, run by d, which may be of another release.
func (n *Node) Format(ctx context.Context, t testing.TB, d *Driver) {
	t.Helper()
	n.Configure(t)
	args := []string{"format", "-t", n.ClusterID, "-c", n.PropertiesFile()}
	switch {
	case n.static():
	case n.Controller == "":
		args = append(args, "--no-initial-controllers") // a broker that finds its controllers by bootstrap servers
	case n.InitialControllers == "":
		args = append(args, "--standalone")
	default:
		args = append(args, "--initial-controllers", n.InitialControllers)
	}
	if n.ReleaseVersion != "" {
		args = append(args, "--release-version", n.ReleaseVersion)
	}
	out, err := d.Tool(ctx, Storage, args...)
	if err != nil || out.Exit != 0 {
		t.Fatalf("format %s: %v\n%v", n, err, out)
	}
}

// Configure writes server.properties: what Format does first, and all that a
// broker in ZooKeeper mode needs. The node takes what has changed when it starts.
func (n *Node) Configure(t testing.TB) {
	t.Helper()
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.PropertiesFile(), []byte(n.properties()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Start starts the server; WaitReady waits until it serves.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	if n.proc != nil && n.proc.Running() {
		t.Fatalf("%s runs already", n)
	}
	jvm := n.JVM
	if jvm == nil {
		jvm = smallJVM
	}
	n.proc = process.Start(t, process.Spec{
		Name: n.String(), Path: "java", Log: n.LogFile(),
		Args: n.Kit.javaArgsWith(jvm, "kafka.Kafka", n.PropertiesFile()),
	})
}

// WaitReady waits until a broker answers a Metadata request with itself in it,
// or a controller a DescribeQuorum request.
func (n *Node) WaitReady(ctx context.Context, t testing.TB) {
	t.Helper()
	WaitReady(ctx, t, n.String(), n.proc, func(ctx context.Context) error {
		if n.Listener == "" {
			_, err := Leads(ctx, n.Controller)
			return err
		}
		ids, err := Brokers(ctx, n.Listener)
		if err == nil && !slices.Contains(ids, n.ID) {
			err = fmt.Errorf("%s is not in its own metadata, which has the brokers %v", n, ids)
		}
		return err
	})
}

// WaitReady repeats a question until it has no error. The end of the process,
// or of the patience that a node gets, fails the test.
func WaitReady(ctx context.Context, t testing.TB, name string, p *process.Process, ready func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-p.Done():
			t.Fatalf("%s ended before it was ready: %v\n%s", name, p.Err(), p.Tail())
		case <-ctx.Done():
			t.Fatalf("%s is not ready after %v: %v\n%s", name, readyPatience, err, p.Tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Running reports whether the server's process has not ended.
func (n *Node) Running() bool { return n.proc != nil && n.proc.Running() }

// Process is the last process that Start started.
func (n *Node) Process() *process.Process { return n.proc }

// Kill ends the server as a crash does.
func (n *Node) Kill() { n.proc.Kill() }

// Stop ends the server by SIGTERM: a broker asks for a controlled shutdown. The
// JVM's exit code for it, 143, is no error.
func (n *Node) Stop(t testing.TB) {
	t.Helper()
	if err := n.proc.Stop(stopPatience); err != nil && !strings.Contains(err.Error(), "143") {
		t.Errorf("stop %s: %v", n, err)
	}
}

// Pause stops the server's threads where they are; Resume lets them go on.
func (n *Node) Pause() { n.proc.Signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (n *Node) Resume() { n.proc.Signal(syscall.SIGCONT) }
