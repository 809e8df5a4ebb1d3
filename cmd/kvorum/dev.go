package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/nodedir"
)

// devFlags are the flags of dev.
type devFlags struct {
	dir     string
	port    uint16
	release string
	level   string
}

func devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster's controller on this machine, for development",
		Long: "Dev formats a directory if it is new, runs one controller in it and prints how to\n" +
			"start an Apache Kafka broker that joins it. It listens on loopback only.",
		Example: "  kvorum dev\n  kvorum dev --dir ./data --release-version 3.9",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	cmd.Flags().StringVar(&f.dir, "dir", "", "directory to keep everything in (default: a temporary one that is removed at the end)")
	cmd.Flags().Uint16Var(&f.port, "port", 9093, "port of the controller on 127.0.0.1")
	cmd.Flags().StringVarP(&f.release, "release-version", "r", "", "Kafka release or metadata.version of a new cluster (default: the newest)")
	cmd.Flags().StringVar(&f.level, "log-level", "warn", "debug, info, warn or error")
	return cmd
}

func (f *devFlags) run(cmd *cobra.Command) error {
	logger, err := newLogger(f.level)
	if err != nil {
		return err
	}
	if f.dir == "" {
		if f.dir, err = os.MkdirTemp("", "kvorum-dev-"); err != nil {
			return fmt.Errorf("make a temporary directory: %w", err)
		}
		defer os.RemoveAll(f.dir)
	}
	node, err := f.node()
	if err != nil {
		return err
	}
	clusterID, err := f.format(node)
	if err != nil {
		return err
	}
	return runController(cmd.Context(), node, logger, func() { f.explain(cmd, clusterID) })
}

// node is what a server.properties of this controller would say.
func (f *devFlags) node() (*config.Node, error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(f.port)))
	properties, err := config.Parse("process.roles=controller\nnode.id=1\n" +
		"controller.quorum.bootstrap.servers=" + address + "\n" +
		"listeners=CONTROLLER://" + address + "\ncontroller.listener.names=CONTROLLER\n" +
		"log.dirs=" + filepath.ToSlash(filepath.Join(f.dir, "controller-1")) + "\n")
	if err != nil {
		return nil, err
	}
	return config.ParseNode(properties)
}

// format formats the directory unless it is formatted, and returns its cluster.
func (f *devFlags) format(node *config.Node) (string, error) {
	if meta, err := nodedir.ReadMeta(node.MetadataLogDir); err == nil {
		return meta.ClusterID, nil
	}
	id, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		return "", err
	}
	format := &admin.Format{
		ClusterID: id.String(), NodeID: node.ID, LogDirs: node.LogDirs, MetadataLogDir: node.MetadataLogDir, Controller: true,
		Voters: []nodedir.Voter{{ID: node.ID, Host: "127.0.0.1", Port: f.port, Listener: node.Listeners[0].Name}},
	}
	flags := formatFlags{releaseVersion: f.release}
	if format.Bootstrap, err = flags.bootstrap(); err != nil {
		return "", err
	}
	_, err = format.Run()
	return id.String(), err
}

// explain prints how an Apache broker joins.
func (f *devFlags) explain(cmd *cobra.Command, clusterID string) {
	fmt.Fprintf(cmd.OutOrStdout(), `A controller is running: 127.0.0.1:%d, cluster %s, data in %s

To let an Apache Kafka broker join it, write broker.properties:

  process.roles=broker
  node.id=11
  controller.quorum.bootstrap.servers=127.0.0.1:%d
  controller.listener.names=CONTROLLER
  listeners=PLAINTEXT://127.0.0.1:9092
  log.dirs=./broker-11
  offsets.topic.replication.factor=1
  transaction.state.log.replication.factor=1
  transaction.state.log.min.isr=1

and in Kafka's directory:

  bin/kafka-storage.sh format -t %s -c broker.properties --no-initial-controllers
  bin/kafka-server-start.sh broker.properties

Then any Kafka client finds the cluster at 127.0.0.1:9092, and so does
  kvorum topic create hello && kvorum topic list

Stop with Ctrl-C.
`, f.port, clusterID, f.dir, f.port, clusterID)
}
