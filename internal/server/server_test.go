package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"kvorum/admin"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/server"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/quorum/controller"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what takes a moment on a slow machine.
const patience = 20 * time.Second

// combined is the configuration of a node of both roles on ports of the system's
// choice, in a formatted directory.
func combined(t *testing.T) *config.Node {
	t.Helper()
	dir := t.TempDir()
	properties, err := config.Parse("process.roles=broker,controller\nnode.id=1\n" +
		"controller.quorum.bootstrap.servers=127.0.0.1:0\n" +
		"listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\ncontroller.listener.names=CONTROLLER\n" +
		"offsets.topic.replication.factor=1\noffsets.topic.num.partitions=3\ngroup.initial.rebalance.delay.ms=0\n" +
		"log.dirs=" + filepath.Join(dir, "node") + "\n")
	if err != nil {
		t.Fatal(err)
	}
	node, err := config.ParseNode(properties)
	if err != nil {
		t.Fatal(err)
	}
	format := &admin.Format{
		ClusterID: kafka.UUID{1, 2, 3}.String(), NodeID: node.ID, LogDirs: node.LogDirs, MetadataLogDir: node.MetadataLogDir, Controller: true,
		Voters: []nodedir.Voter{{ID: node.ID, Host: "127.0.0.1", Port: 1, Listener: "CONTROLLER"}},
	}
	if format.Bootstrap, err = controller.NewBootstrap(image.MaxMetadataVersion, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := format.Run(); err != nil {
		t.Fatal(err)
	}
	return node
}

// run runs a node until the function that it returns is called, which gives its
// error. The address is where clients connect.
func run(t *testing.T, node *config.Node) (address string, stop func() error) {
	t.Helper()
	serving, stop := runNode(t, node)
	return serving.Client.String(), stop
}

// runNode is run for a test that wants all addresses.
func runNode(t *testing.T, node *config.Node) (at server.Serving, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	serving, ended := make(chan server.Serving, 1), make(chan error, 1)
	var output io.Writer = io.Discard
	if testing.Verbose() {
		output = os.Stderr
	}
	go func() {
		ended <- server.Run(ctx, node, server.Options{
			Logger: slog.New(slog.NewTextHandler(output, nil)), ShutdownTimeout: 2 * time.Second,
			Ready: func(s server.Serving) { serving <- s },
		})
	}()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { stop() })
	select {
	case at = <-serving:
	case err := <-ended:
		stopped = true
		t.Fatalf("the node ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the node does not serve")
	}
	return at, stop
}

func client(t *testing.T, address string, o ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestNodeServes: records, groups and their offsets go through a node of both
// roles, and are there when it starts again.
func TestNodeServes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	node := combined(t)
	address, stop := run(t, node)
	produce(ctx, t, address, 0, 10)
	consume(ctx, t, address, 0, 10)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	address, stop = run(t, node)
	produce(ctx, t, address, 10, 15)
	consume(ctx, t, address, 10, 15)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func produce(ctx context.Context, t *testing.T, address string, from, to int) {
	t.Helper()
	c := client(t, address, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("orders"))
	for i := from; i < to; i++ {
		if err := c.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
}

// consume reads what the group has not read yet and commits it.
func consume(ctx context.Context, t *testing.T, address string, from, to int) {
	t.Helper()
	c := client(t, address, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	next := from
	for next < to {
		fetches := c.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if string(r.Value) != fmt.Sprint(next) {
				t.Fatalf("record %d is %q", next, r.Value)
			}
			next++
		})
	}
	if err := c.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestPortTaken: a node whose port somebody else has does not start, and gives
// back what it had opened.
func TestPortTaken(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	node := combined(t)
	node.Listeners[0].Bind.Port = uint16(other.Addr().(*net.TCPAddr).Port)
	err = server.Run(t.Context(), node, server.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the node ended with %v", err)
	}
}
