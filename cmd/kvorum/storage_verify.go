package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

func storageVerify() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "verify DIR", Short: "Read every record, index and checkpoint of partitions, and report damage", Args: cobra.ExactArgs(1),
		Long: "Verify reads a log directory, or the directory of one partition, down to the records, and\n" +
			"changes nothing. It exits with 2 if something is wrong. Where a broker runs on the\n" +
			"directory, what it is writing, the last segments' indexes and last batches, is not judged.",
		Example: "  kvorum storage verify /var/lib/kvorum/data\n  kvorum storage verify /var/lib/kvorum/data/orders-0 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			p := newProgress(cmd)
			v, err := admin.Verify(cmd.Context(), args[0], func(v *admin.Verification, of int) {
				p.say("%d of %d partitions, %s, %d findings", v.Partitions, of, bytesText(v.Bytes), len(v.Findings))
			})
			p.end()
			if err != nil {
				return err
			}
			rows := [][]string{{"FILE", "POSITION", "OFFSET", "PROBLEM"}}
			for _, f := range v.Findings {
				rows = append(rows, []string{f.File, decimal(f.Position), known(f.Offset), f.Problem})
			}
			if err := out.tables(cmd, v, rows); err != nil {
				return err
			}
			if out.table() {
				fmt.Fprintf(cmd.OutOrStdout(), "%d partitions, %d segments, %d batches, %d records, %s: %d findings\n", v.Partitions, v.Segments, v.Batches, v.Records, bytesText(v.Bytes), len(v.Findings))
			}
			if out.table() && v.Running {
				fmt.Fprintln(cmd.OutOrStdout(), "a broker runs on it: what it is writing was not judged")
			}
			if len(v.Findings) > 0 {
				return unhealthyError(fmt.Sprintf("%d findings in %s: a broker cuts damage off the end of a log by itself when it starts; what is elsewhere comes back from another replica, by deleting the partition's directory while the broker is stopped", len(v.Findings), args[0]))
			}
			return nil
		},
	}
	out.add(cmd)
	return cmd
}
