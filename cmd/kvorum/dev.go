package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/server"
	"kvorum/metadatalog/nodedir"
)

// devFlags are the flags of dev.
type devFlags struct {
	dir            string
	ephemeral      bool
	port           uint16
	controllerPort uint16
	release        string
	level          string
}

// devShutdownTimeout bounds dev's controlled shutdown: its only controller is in
// the same process and answers at once or never.
const devShutdownTimeout = 2 * time.Second

func devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster of one node on this machine, for development",
		Long: "Dev formats a directory if it is new, and runs controller and broker in it as one\n" +
			"process. Any Kafka client can use it at once; topics are made when they are first\n" +
			"asked for. It listens on loopback only.",
		Example: "  kvorum dev\n  kvorum dev --ephemeral\n  kvorum dev --dir ./data --port 9192 --controller-port 9193",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	cmd.Flags().StringVar(&f.dir, "dir", "", "directory to keep everything in (default: kvorum/dev in the user's data directory)")
	cmd.Flags().BoolVar(&f.ephemeral, "ephemeral", false, "keep everything in a temporary directory that is removed at the end")
	cmd.Flags().Uint16Var(&f.port, "port", 9092, "port of the broker on 127.0.0.1")
	cmd.Flags().Uint16Var(&f.controllerPort, "controller-port", 9093, "port of the controller on 127.0.0.1")
	cmd.Flags().StringVarP(&f.release, "release-version", "r", "", "Kafka release or metadata.version of a new cluster (default: the newest)")
	cmd.Flags().StringVar(&f.level, "log-level", "warn", "debug, info, warn or error")
	cmd.MarkFlagsMutuallyExclusive("dir", "ephemeral")
	return cmd
}

func (f *devFlags) run(cmd *cobra.Command) (err error) {
	logger, err := newLogger(f.level)
	if err != nil {
		return err
	}
	switch {
	case f.ephemeral:
		if f.dir, err = os.MkdirTemp("", "kvorum-dev-"); err != nil {
			return fmt.Errorf("make a temporary directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(f.dir)) }()
	case f.dir == "":
		if f.dir, err = dataDirectory(); err != nil {
			return err
		}
	}
	node, err := f.node()
	if err != nil {
		return err
	}
	if err := f.format(node); err != nil {
		return err
	}
	return server.Run(cmd.Context(), node, server.Options{
		Logger: logger, ShutdownTimeout: devShutdownTimeout,
		Ready: func(s server.Serving) {
			fmt.Fprintf(cmd.OutOrStdout(), "Kafka clients connect to %s (cluster %s, data in %s); Ctrl-C stops it.\n", s.Client, s.ClusterID, f.dir)
		},
	})
}

// dataDirectory is where dev keeps its cluster unless it is told.
func dataDirectory() (string, error) {
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the user's data directory: %w: use --dir or --ephemeral", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "kvorum", "dev"), nil
}

// node is what a server.properties of this node would say.
func (f *devFlags) node() (*config.Node, error) {
	address := func(port uint16) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))) }
	properties, err := config.Parse("process.roles=broker,controller\nnode.id=1\n" +
		"controller.quorum.bootstrap.servers=" + address(f.controllerPort) + "\n" +
		"listeners=PLAINTEXT://" + address(f.port) + ",CONTROLLER://" + address(f.controllerPort) + "\n" +
		"controller.listener.names=CONTROLLER\n" +
		"offsets.topic.replication.factor=1\ngroup.initial.rebalance.delay.ms=0\n" +
		"log.dirs=" + filepath.ToSlash(filepath.Join(f.dir, "node-1")) + "\n")
	if err != nil {
		return nil, err
	}
	return config.ParseNode(properties)
}

// format formats the directory unless it is formatted.
func (f *devFlags) format(node *config.Node) error {
	if _, err := nodedir.ReadMeta(node.MetadataLogDir); err == nil || !errors.Is(err, nodedir.ErrNotFormatted) {
		return err
	}
	id, err := kafka.RandomUUID(rand.Reader)
	if err != nil {
		return err
	}
	format := &admin.Format{
		ClusterID: id.String(), NodeID: node.ID, LogDirs: node.LogDirs, MetadataLogDir: node.MetadataLogDir, Controller: true,
		Voters: []nodedir.Voter{{ID: node.ID, Host: "127.0.0.1", Port: f.controllerPort, Listener: node.Listeners[0].Name}},
	}
	flags := formatFlags{releaseVersion: f.release}
	if format.Bootstrap, err = flags.bootstrap(false); err != nil {
		return err
	}
	_, err = format.Run()
	return err
}
