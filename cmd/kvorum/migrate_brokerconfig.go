package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"kvorum/internal/kafka"
	"kvorum/migration/brokerconfig"
)

const brokerConfigLong = `Converts the server.properties of a broker for the next step of a migration:

  migration     ZooKeeper mode that also registers with the controllers
  apache-kraft  KRaft mode of Apache's broker, on the same log directories
  kvorum        kvorum's broker, on the same log directories

Comments and order stay. Each key that is changed, added, dropped or refused is
explained, and each that stays and means something else. Where something is refused
nothing is written, and the exit code is 2; --allow KEY passes over a refusal that
says so: Apache's brokers then keep the line, kvorum's do without it.

Keep the old file: it is the way back.`

// brokerConfigFlags are those of migrate broker-config.
type brokerConfigFlags struct {
	brokerconfig.Options
	to        string
	id        int32
	out       string
	overwrite bool
	all       bool
}

func migrateBrokerConfig() *cobra.Command {
	var f brokerConfigFlags
	var out output
	cmd := &cobra.Command{
		Use: "broker-config FILE", Short: "Convert a broker's server.properties for the next step", Args: cobra.ExactArgs(1), Long: brokerConfigLong,
		Example: "  kvorum migrate broker-config server.properties --to migration --controllers 3001@c1:9093,3002@c2:9093,3003@c3:9093 --out migration.properties\n" +
			"  kvorum migrate broker-config migration.properties --to apache-kraft --out kraft.properties\n" +
			"  kvorum migrate broker-config kraft.properties --to kvorum --allow authorizer.class.name --out kvorum.properties\n" +
			"  kvorum migrate broker-config server.properties --to kvorum --controllers c1:9093,c2:9093 -o json",
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, &out, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "migration, apache-kraft or kvorum")
	flags.StringVar(&f.Controllers, "controllers", "", "the controllers, ID@HOST:PORT or HOST:PORT separated by commas (default: as in the file)")
	flags.Int32Var(&f.id, "id", -1, "the broker's id, if the file has none: broker.id of meta.properties in its log directory")
	flags.StringSliceVar(&f.Allow, "allow", nil, "keys whose refusal is passed over, separated by commas; a name that ends in * stands for all that begin so")
	flags.StringVar(&f.out, "out", "", "where to write the new file, - for stdout (default: nowhere)")
	flags.BoolVar(&f.overwrite, "overwrite", false, "write over a file that exists")
	flags.BoolVar(&f.all, "all", false, "also show keys that stay as they are")
	must(cmd.MarkFlagRequired("to"))
	must(cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"migration", "apache-kraft", "kvorum"}, cobra.ShellCompDirectiveNoFileComp)))
	out.add(cmd)
	return cmd
}

func (f *brokerConfigFlags) run(cmd *cobra.Command, out *output, name string) error {
	f.Target, f.ID = brokerconfig.Target(f.to), kafka.BrokerID(f.id)
	if !slices.Contains(brokerconfig.Targets, f.Target) {
		return usageError(fmt.Sprintf("--to %q is neither migration, apache-kraft nor kvorum", f.to))
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	result, err := brokerconfig.Convert(string(text), f.Options)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	stdout := cmd.OutOrStdout()
	if f.out == "-" { // the file is the result, and what is said of it is not
		cmd.SetOut(cmd.ErrOrStderr())
	}
	if err := f.explain(cmd, out, result); err != nil {
		return err
	}
	if n := len(result.Refused()); n > 0 {
		return unhealthyError(fmt.Sprintf("%d keys of %s are refused, and nothing is written", n, name))
	}
	return f.write(stdout, name, result.Text)
}

// explain prints the notes.
func (f *brokerConfigFlags) explain(cmd *cobra.Command, out *output, r *brokerconfig.Result) error {
	if !out.table() {
		return out.print(cmd, struct {
			Target  brokerconfig.Target `json:"target"`
			Refused bool                `json:"refused"`
			Notes   []brokerconfig.Note `json:"notes"`
		}{f.Target, len(r.Refused()) > 0, r.Notes}, nil)
	}
	same := 0
	for _, n := range r.Notes {
		if n.Action == brokerconfig.Kept && n.Why == "" && !f.all {
			same++
			continue
		}
		printNote(cmd.OutOrStdout(), &n)
	}
	if same > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "%d more keys stay as they are\n", same)
	}
	return nil
}

// printNote prints a note in a paragraph: the reasons are too long for a table.
func printNote(w io.Writer, n *brokerconfig.Note) {
	line := ""
	if n.Line > 0 {
		line = " (line " + strconv.Itoa(n.Line) + ")"
	}
	value := n.To
	if n.Action == brokerconfig.Dropped || n.Action == brokerconfig.Refused {
		value = n.From
	}
	fmt.Fprintf(w, "%-8s %s=%s%s\n", n.Action, n.Key, value, line)
	if n.Action == brokerconfig.Changed {
		fmt.Fprintf(w, "         it was %s\n", n.From)
	}
	if n.Why != "" {
		fmt.Fprintf(w, "         %s\n", n.Why)
	}
	if n.Allowable {
		fmt.Fprintf(w, "         -> --allow %s\n", n.Key)
	}
}

// write writes the new file with the permissions of the old one, which may hold
// passwords. What is there is replaced whole.
func (f *brokerConfigFlags) write(stdout io.Writer, from, text string) error {
	switch f.out {
	case "":
		return nil
	case "-":
		_, err := io.WriteString(stdout, text)
		return err
	}
	old, err := os.Stat(from)
	if err != nil {
		return err
	}
	switch there, err := os.Stat(f.out); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case os.SameFile(old, there):
		return usageError(fmt.Sprintf("--out is %s itself: keep the old file, it is the way back", from))
	case !f.overwrite:
		return usageError(fmt.Sprintf("the file %s exists; --overwrite writes over it", f.out))
	}
	temporary, err := os.CreateTemp(filepath.Dir(f.out), filepath.Base(f.out)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.WriteString(text)
	if err = errors.Join(err, temporary.Chmod(old.Mode().Perm()), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), f.out)
}
