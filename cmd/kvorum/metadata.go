package main

import (
	"github.com/spf13/cobra"
)

func metadataCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "metadata", Short: "Read a metadata log, segment or checkpoint", Args: cobra.NoArgs, RunE: needSubcommand}
	return cmd
}
