// Package kvorumtest gives a Go test a real Kafka cluster of one node, in the
// test's own process and on loopback: controller, metadata log, broker and files,
// nothing of it a fake.
//
//	func TestOrders(t *testing.T) {
//		client, err := kgo.NewClient(kgo.SeedBrokers(kvorumtest.Start(t)), kgo.AllowAutoTopicCreation())
//		...
//
// It stands beside the broker and uses internal/server, as the command line does.
package kvorumtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvorum/admin"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/server"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/quorum/controller"
)

const (
	// patience is how long a node may take to serve, on a machine that does many
	// other things.
	patience = time.Minute
	// shutdownTimeout bounds the controlled shutdown at the end of a test.
	shutdownTimeout = 2 * time.Second
)

// Option changes what Start starts.
type Option func(*options)

type options struct {
	properties []string
}

// Property sets one key of server.properties; it wins over Start's own.
func Property(key, value string) Option {
	return func(o *options) { o.properties = append(o.properties, key+"="+value) }
}

// Start starts a node that is controller and broker on ports that are free, and
// returns the address that clients bootstrap from. It serves when Start returns,
// and stops when the test ends; its files are in a directory of the test's. What
// goes wrong fails the test.
func Start(t testing.TB, opts ...Option) (bootstrap string) {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	node, err := o.node(t.TempDir())
	if err == nil {
		err = format(node)
	}
	if err != nil {
		t.Fatalf("kvorumtest: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	serving, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- server.Run(ctx, node, server.Options{
			Logger: logger, ShutdownTimeout: shutdownTimeout, Ready: func(s server.Serving) { serving <- s.Client.String() },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("kvorumtest: the node ended: %v", err)
		}
	})
	select {
	case bootstrap = <-serving:
		return bootstrap
	case err := <-ended:
		ended <- nil // for the cleanup
		t.Fatalf("kvorumtest: the node did not start: %v", err)
	case <-time.After(patience):
		t.Fatalf("kvorumtest: the node does not serve after %v", patience)
	}
	return ""
}

// node is the node's server.properties.
func (o *options) node(dir string) (*config.Node, error) {
	own := map[string]string{
		"process.roles": "broker,controller", "node.id": "1", "controller.quorum.bootstrap.servers": "127.0.0.1:0",
		"listeners": "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0", "controller.listener.names": "CONTROLLER",
		"offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "4", "group.initial.rebalance.delay.ms": "0",
		"log.dirs": filepath.ToSlash(filepath.Join(dir, "node")),
	}
	var text strings.Builder
	for _, p := range o.properties {
		key, _, _ := strings.Cut(p, "=")
		delete(own, key)
		fmt.Fprintln(&text, p)
	}
	for key, value := range own {
		fmt.Fprintf(&text, "%s=%s\n", key, value)
	}
	properties, err := config.Parse(text.String())
	if err != nil {
		return nil, err
	}
	return config.ParseNode(properties)
}

// format makes a new cluster of the node.
func format(node *config.Node) error {
	id, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		return err
	}
	f := &admin.Format{
		ClusterID: id.String(), NodeID: node.ID, LogDirs: node.LogDirs, MetadataLogDir: node.MetadataLogDir, Controller: true,
		// The port is known when the node runs; it says so in the metadata log.
		Voters: []nodedir.Voter{{ID: node.ID, Host: "127.0.0.1", Port: 1, Listener: node.Listeners[0].Name}},
	}
	if f.Bootstrap, err = controller.NewBootstrap(image.MaxMetadataVersion, nil, nil); err != nil {
		return err
	}
	_, err = f.Run()
	return err
}
