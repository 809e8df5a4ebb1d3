package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

const migrateRestoreLong = `Restore is the way back after finalize: it brings ZooKeeper to the end of the metadata
log, so that the brokers can start in ZooKeeper mode again. It begins with what ZooKeeper
still holds or, if that is gone, with the file that finalize has kept (--export), and
writes what was changed since. Without --execute it says what it would write, what would
be lost, and changes nothing.

Nobody may run meanwhile: stop the brokers in order, then the controllers, and name the
log directory of the controller that was active last. Afterwards start the brokers with
their files of ZooKeeper mode.`

func migrateRestore() *cobra.Command {
	var f migrateFlags
	var out output
	var path, export string
	var execute bool
	cmd := &cobra.Command{
		Use: "restore --metadata DIR", Short: "Bring ZooKeeper to the metadata log after finalize, to go back", Args: cobra.NoArgs, Long: migrateRestoreLong,
		Example: "  kvorum migrate restore --zookeeper zk1:2181/kafka --metadata /var/lib/kvorum/controller\n" +
			"  kvorum migrate restore --zookeeper zk1:2181/kafka --metadata DIR --export zookeeper.jsonl --execute",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.load(); err != nil {
				return err
			}
			r, err := f.restore(cmd, path, export, execute)
			if err != nil {
				return err
			}
			if !out.table() {
				return out.print(cmd, r, nil)
			}
			printRestore(cmd, r, execute)
			return nil
		},
	}
	f.addZooKeeper(cmd)
	cmd.Flags().StringVar(&path, "metadata", "", "log directory of a controller that is stopped, the one that was active last, or a .checkpoint")
	must(cmd.MarkFlagRequired("metadata"))
	cmd.Flags().StringVar(&export, "export", "", "what finalize has kept, for a ZooKeeper that has no cluster any more")
	cmd.Flags().BoolVar(&execute, "execute", false, "do it")
	out.add(cmd)
	return cmd
}

func (f *migrateFlags) restore(cmd *cobra.Command, path, export string, execute bool) (*admin.ZooKeeperRestore, error) {
	defer f.watch(cmd)()
	return f.Restore(cmd.Context(), path, export, execute)
}

func printRestore(cmd *cobra.Command, r *admin.ZooKeeperRestore, executed bool) {
	w := cmd.OutOrStdout()
	from := "what ZooKeeper holds"
	if r.FromExport {
		from = "the export"
	}
	fmt.Fprintf(w, "From %s to the metadata log's end, offset %d: %d nodes differ.\n", from, r.Offset, len(r.Changed))
	for _, d := range r.Changed {
		fmt.Fprintf(w, "  %-9s %s\n", d.Kind, d.Path)
	}
	fmt.Fprintln(w, "Not kept:")
	for _, text := range r.Lost {
		fmt.Fprintf(w, "  %s\n", text)
	}
	if !executed {
		fmt.Fprintln(w, "Nothing was changed: --execute does it.")
		return
	}
	fmt.Fprintf(w, "%d nodes were created from the export, %d writes made since. The turn is yours: start the brokers in ZooKeeper mode.\n", r.Created, r.Written)
}
