package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// output prints a result as a table for people or as JSON for programs.
type output struct{ format string }

// add gives the command the flag; a wrong value is refused before anything is done.
func (o *output) add(cmd *cobra.Command) {
	cmd.PreRunE = func(*cobra.Command, []string) error { return o.check() }
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", "table or json")
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)))
}

// print writes value as JSON, or rows (the first is the heading) as a table.
func (o *output) print(cmd *cobra.Command, value any, rows [][]string) error {
	switch o.format {
	case "json":
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(value)
	case "table":
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, row := range rows {
			for i, cell := range row {
				if i > 0 {
					fmt.Fprint(w, "\t")
				}
				fmt.Fprint(w, cell)
			}
			fmt.Fprintln(w)
		}
		return w.Flush()
	}
	return o.check()
}

func (o *output) check() error {
	if o.format != "table" && o.format != "json" {
		return usageError(fmt.Sprintf("--output %q is neither table nor json", o.format))
	}
	return nil
}
