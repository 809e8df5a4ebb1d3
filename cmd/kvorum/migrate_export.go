package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvorum/migration/export"
)

func migrateExport() *cobra.Command {
	var f migrateFlags
	var out output
	var file string
	cmd := &cobra.Command{
		Use: "export --out FILE", Short: "Keep what ZooKeeper holds in a file", Args: cobra.NoArgs,
		Long: "Export writes every node that Kafka keeps in ZooKeeper to a new file, one JSON object\n" +
			"a line (docs/formats/zookeeper-export.md). The file holds secrets, and only you may read\n" +
			"it. Nothing in ZooKeeper is changed. finalize does the same before it ends a migration.",
		Example: "  kvorum migrate export --zookeeper zk1:2181,zk2:2181/kafka --out zookeeper.jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := f.export(cmd, file)
			if err != nil {
				return err
			}
			if !out.table() {
				return out.print(cmd, e, nil)
			}
			printExport(cmd, e)
			return nil
		},
	}
	f.addZooKeeper(cmd)
	cmd.Flags().StringVar(&file, "out", "", "file to write; it must not exist")
	must(cmd.MarkFlagRequired("out"))
	out.add(cmd)
	return cmd
}

func (f *migrateFlags) export(cmd *cobra.Command, file string) (*export.Export, error) {
	if err := f.load(); err != nil {
		return nil, err
	}
	defer f.watch(cmd)()
	return f.Export(cmd.Context(), file)
}

func printExport(cmd *cobra.Command, e *export.Export) {
	fmt.Fprintf(cmd.OutOrStdout(), "%d nodes of ZooKeeper are in %s.\n", e.Nodes, e.File)
	if e.Offset != e.OffsetAfter {
		fmt.Fprintf(cmd.OutOrStdout(), "Controllers wrote meanwhile: what they changed between the offsets %d and %d may be in it or not.\n", e.Offset, e.OffsetAfter)
	}
}
