package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// The forms of output that every command that shows something has.
const (
	tableForm = "table"
	jsonForm  = "json"
	yamlForm  = "yaml"
)

// output prints a result as a table for people, or as JSON or YAML for programs.
type output struct{ format string }

// add gives the command the flag; a wrong value is refused before anything is done.
func (o *output) add(cmd *cobra.Command) {
	cmd.PreRunE = func(*cobra.Command, []string) error { return o.check() }
	cmd.Flags().StringVarP(&o.format, "output", "o", tableForm, "table, json or yaml")
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{tableForm, jsonForm, yamlForm}, cobra.ShellCompDirectiveNoFileComp)))
}

// table reports whether people read the result.
func (o *output) table() bool { return o.format == tableForm }

// print writes value as JSON or YAML, or rows (the first is the heading) as a
// table.
func (o *output) print(cmd *cobra.Command, value any, rows [][]string) error {
	switch o.format {
	case jsonForm:
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(value)
	case yamlForm:
		return writeYAML(cmd.OutOrStdout(), value)
	case tableForm:
		return writeTable(cmd.OutOrStdout(), rows)
	}
	return o.check()
}

// printOr is print, with a sentence in the place of a table that has a heading
// alone.
func (o *output) printOr(cmd *cobra.Command, nothing string, value any, rows [][]string) error {
	if o.table() && len(rows) < 2 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), nothing)
		return err
	}
	return o.print(cmd, value, rows)
}

// tables writes several tables with an empty line between them, leaving out those
// that have a heading alone; or value, where a program reads it.
func (o *output) tables(cmd *cobra.Command, value any, tables ...[][]string) error {
	if !o.table() {
		return o.print(cmd, value, nil)
	}
	first := true
	for _, rows := range tables {
		if len(rows) < 2 {
			continue
		}
		if !first {
			fmt.Fprintln(cmd.OutOrStdout())
		}
		first = false
		if err := writeTable(cmd.OutOrStdout(), rows); err != nil {
			return err
		}
	}
	return nil
}

func writeTable(to io.Writer, rows [][]string) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
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

// writeYAML goes by way of JSON, so that both forms have the same names in the
// same order. JSON is YAML; only its style is changed.
func writeYAML(to io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return err
	}
	plain(&root)
	e := yaml.NewEncoder(to)
	e.SetIndent(2)
	if err := e.Encode(&root); err != nil {
		return err
	}
	return e.Close()
}

// plain takes JSON's brackets and quotes from a node and all below it. The
// encoder quotes again what would not be a text otherwise.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}

func (o *output) check() error {
	switch o.format {
	case tableForm, jsonForm, yamlForm:
		return nil
	}
	return usageError(fmt.Sprintf("--output %q is neither table, json nor yaml", o.format))
}
