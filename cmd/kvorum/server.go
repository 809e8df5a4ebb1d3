package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"kvorum/internal/server"
)

func serverCommand() *cobra.Command {
	var configFile, level string
	cmd := &cobra.Command{
		Use:   "server --config server.properties",
		Short: "Run a node of a cluster",
		Long: "Server runs the node that server.properties describes, with Kafka's keys. Its directories\n" +
			"must have been formatted (`kvorum storage format`).",
		Example: "  kvorum server --config server.properties",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(level)
			if err != nil {
				return err
			}
			node, err := readNode(configFile)
			if err != nil {
				return err
			}
			logger = logger.With("node", int32(node.ID))
			for _, key := range node.WithoutEffect {
				logger.Warn("a key has no effect on this node", "key", key)
			}
			return server.Run(cmd.Context(), node, server.Options{
				Logger: logger, Ready: func(server.Serving) { logger.Info("serving") },
			})
		},
	}
	cmd.Flags().StringVarP(&configFile, "config", "c", "", "the node's server.properties")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	must(cmd.MarkFlagRequired("config"))
	return cmd
}

func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError("--log-level is neither debug, info, warn nor error")
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}
