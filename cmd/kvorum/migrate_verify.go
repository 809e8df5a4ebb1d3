package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvorum/migration/mirror"
)

const migrateVerifyLong = `Verify compares ZooKeeper with the metadata log while controllers write both (dual
write), item by item, at the offset that ZooKeeper's /migration names. It exits with
2 if anything differs. Secrets are compared and not shown. Nothing is changed.

--bootstrap-controller names controllers that run: their log is fetched. If what they
write changes meanwhile, verify looks again, and says so after five looks.
--metadata is the log directory of a controller that is stopped, or a .checkpoint
that ends at that offset.`

func migrateVerify() *cobra.Command {
	var f migrateFlags
	var out output
	var path string
	cmd := &cobra.Command{
		Use: "verify", Short: "Compare what ZooKeeper holds with the metadata log, item by item", Args: cobra.NoArgs, Long: migrateVerifyLong,
		Example: "  kvorum migrate verify --zookeeper zk1:2181/kafka --bootstrap-controller c1:9093,c2:9093,c3:9093\n" +
			"  kvorum migrate verify --zookeeper zk1:2181/kafka --metadata /var/lib/kvorum/controller\n" +
			"  kvorum migrate verify --zookeeper zk1:2181 --metadata DIR --password-encoder-secret-file secret -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (path == "") == (f.Controllers == "") {
				return usageError("one of --bootstrap-controller and --metadata is needed")
			}
			if err := f.load(); err != nil {
				return err
			}
			c, err := f.verify(cmd, path)
			if err != nil {
				return err
			}
			if err := printComparison(cmd, &out, c); err != nil {
				return err
			}
			if !c.Equal() {
				return unhealthyError(fmt.Sprintf("ZooKeeper and the metadata log differ in %d of %d nodes at offset %d", len(c.Differences), c.Items, c.Offset))
			}
			return nil
		},
	}
	f.addZooKeeper(cmd)
	cmd.Flags().StringVar(&f.Controllers, "bootstrap-controller", "", "controllers that run, HOST:PORT separated by commas")
	cmd.Flags().StringVar(&path, "metadata", "", "log directory of a controller that is stopped, or a .checkpoint")
	out.add(cmd)
	return cmd
}

func (f *migrateFlags) verify(cmd *cobra.Command, path string) (*mirror.Comparison, error) {
	defer f.watch(cmd)()
	return f.Verify(cmd.Context(), path)
}

// printComparison prints the hashes, and each difference in a paragraph: the texts
// are too long for a table.
func printComparison(cmd *cobra.Command, out *output, c *mirror.Comparison) error {
	if !out.table() {
		return out.print(cmd, c, nil)
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "offset %d, epoch %d: %d nodes compared\nZooKeeper     %s\nmetadata log  %s\n", c.Offset, c.Epoch, c.Items, c.ZooKeeperHash, c.ImageHash)
	for _, d := range c.Differences {
		fmt.Fprintf(w, "\n%-9s %s\n", d.Kind, d.Path)
		for _, side := range [][2]string{{"ZooKeeper", d.ZooKeeper}, {"metadata log", d.Image}} {
			if side[1] != "" {
				fmt.Fprintf(w, "          %-12s  %s\n", side[0], side[1])
			}
		}
	}
	for _, text := range c.OnlyInLog {
		fmt.Fprintf(w, "\nonly in the log: %s\n", text)
	}
	return nil
}
