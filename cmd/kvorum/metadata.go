package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/internal/kafka"
)

func metadataCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "metadata", Short: "Read a metadata log, segment or checkpoint",
		Long: "Metadata reads what controllers keep on disk, kvorum's or Apache's, and changes nothing\n" +
			"in it. PATH is a controller's log directory (of a controller that is stopped), a .log\n" +
			"segment, or a .checkpoint, which can be read at any time. Secrets are not shown.",
		Args: cobra.NoArgs, RunE: needSubcommand,
	}
	cmd.AddCommand(metadataDump(), metadataCat(), metadataTree(), metadataExport())
	return cmd
}

// withMetadata opens path, and gives f a buffered writer to the command's output.
func withMetadata(cmd *cobra.Command, path string, f func(m *admin.Metadata, w io.Writer) error) (err error) {
	m, err := admin.OpenMetadata(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	defer func() { err = errors.Join(err, out.Flush(), m.Close()) }()
	return f(m, out)
}

func metadataDump() *cobra.Command {
	var format string
	var from, to int64
	cmd := &cobra.Command{
		Use: "dump PATH", Short: "Print batches and records, one record a line", Args: cobra.ExactArgs(1),
		Example: "  kvorum metadata dump /var/lib/kvorum/controller\n" +
			"  kvorum metadata dump 00000000000000000000.log --from 120 --to 130\n" +
			"  kvorum metadata dump /var/lib/kvorum/controller -o json | jq 'select(.type==\"TOPIC_RECORD\")'",
		RunE: func(cmd *cobra.Command, args []string) error {
			formats := map[string]admin.DumpFormat{"text": admin.DumpText, "json": admin.DumpJSON}
			as, ok := formats[format]
			if !ok {
				return usageError(fmt.Sprintf("--output %q is neither text nor json", format))
			}
			if from < 0 || to < from {
				return usageError("--from and --to are offsets from 0 on, and --to is not below --from")
			}
			return withMetadata(cmd, args[0], func(m *admin.Metadata, w io.Writer) error {
				return m.Dump(w, as, kafka.Offset(from), kafka.Offset(to))
			})
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text, or json for one object a line")
	cmd.Flags().Int64Var(&from, "from", 0, "first offset")
	cmd.Flags().Int64Var(&to, "to", int64(admin.EndOfLog), "offset to stop before (default: the end)")
	cmd.Flags().Lookup("to").DefValue = "0"
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// stateFlags choose a state and a place in it.
type stateFlags struct{ at int64 }

func (f *stateFlags) add(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&f.at, "at", -1, "the state after the batch with this offset (default: the newest)")
}

// node folds the metadata and finds a place in the tree.
func (f *stateFlags) node(cmd *cobra.Command, m *admin.Metadata, args []string) (admin.Node, string, error) {
	at := admin.EndOfLog
	if f.at >= 0 {
		at = kafka.Offset(f.at)
	}
	state, err := m.StateAt(at)
	if err != nil {
		return admin.Node{}, "", err
	}
	for _, d := range state.Damaged {
		fmt.Fprintln(cmd.ErrOrStderr(), "kvorum: passed over a damaged checkpoint:", d)
	}
	if state.OpenTransaction != kafka.NoOffset {
		fmt.Fprintln(cmd.ErrOrStderr(), "kvorum: a metadata transaction began at offset "+strconv.FormatInt(int64(state.OpenTransaction), 10)+" and has not ended: its records are not in this state")
	}
	path := "/"
	if len(args) > 1 {
		path = args[1]
	}
	node, err := state.Tree().Find(path)
	return node, path, err
}

func metadataCat() *cobra.Command {
	var flags stateFlags
	var out output
	cmd := &cobra.Command{
		Use: "cat PATH [NODE]", Short: "Print the state at or below one node of the tree", Args: cobra.RangeArgs(1, 2),
		Example: "  kvorum metadata cat /var/lib/kvorum/controller /topics/orders\n" +
			"  kvorum metadata cat 00000000000000000413-0000000001.checkpoint /configs --at 412",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMetadata(cmd, args[0], func(m *admin.Metadata, w io.Writer) error {
				node, path, err := flags.node(cmd, m, args)
				if err != nil {
					return err
				}
				return node.Leaves(path, func(path, value string) error { return out.leaf(w, path, value) })
			})
		},
	}
	flags.add(cmd)
	out.add(cmd)
	return cmd
}

// leaf writes one value: a line, an object on a line, or an item of a list.
func (o *output) leaf(w io.Writer, path, value string) error {
	var err error
	switch o.format {
	case "table":
		_, err = fmt.Fprintf(w, "%s = %s\n", path, value)
	case "json":
		_, err = fmt.Fprintf(w, "{\"path\":%s,\"value\":%s}\n", admin.JSONText(path), admin.JSONText(value))
	case "yaml":
		_, err = fmt.Fprintf(w, "- path: %s\n  value: %s\n", admin.JSONText(path), admin.JSONText(value))
	default:
		err = o.check()
	}
	return err
}

func metadataTree() *cobra.Command {
	var flags stateFlags
	var depth int
	cmd := &cobra.Command{
		Use: "tree PATH [NODE]", Short: "Print the state as a tree", Args: cobra.RangeArgs(1, 2),
		Example: "  kvorum metadata tree /var/lib/kvorum/controller --depth 2\n" +
			"  kvorum metadata tree /var/lib/kvorum/controller /topics/orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withMetadata(cmd, args[0], func(m *admin.Metadata, w io.Writer) error {
				node, _, err := flags.node(cmd, m, args)
				if err != nil {
					return err
				}
				return node.WriteTree(w, max(depth, 0))
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().IntVar(&depth, "depth", 0, "how many levels to print (default: all)")
	return cmd
}

func metadataExport() *cobra.Command {
	var e admin.Export
	var node int32
	var out output
	cmd := &cobra.Command{
		Use: "export DIR --to OUT --node-id N", Short: "Write a stopped controller's metadata as an Apache Kafka controller's directory", Args: cobra.ExactArgs(1),
		Long: "Export writes a log directory that an Apache Kafka controller starts on, under the id of\n" +
			"one of the quorum's controllers and its directory id. Of a quorum of three, export for at\n" +
			"least two from the same DIR: that of the controller with the longest log.",
		Example: "  kvorum metadata export /var/lib/kvorum/controller --to /var/lib/kafka/controller --node-id 1",
		RunE: func(cmd *cobra.Command, args []string) error {
			e.Source, e.NodeID = args[0], kafka.NodeID(node)
			r, err := e.Run()
			if err != nil {
				return err
			}
			return out.print(cmd, r, [][]string{
				{"DIRECTORY", "CLUSTER", "NODE", "DIRECTORY ID", "LOG", "LAST EPOCH", "CHECKPOINTS"},
				{e.To, r.ClusterID, fmt.Sprint(r.NodeID), r.DirectoryID.String(), fmt.Sprintf("%d to %d", r.LogStart, r.EndOffset), fmt.Sprint(r.LastEpoch), fmt.Sprint(len(r.Checkpoints))},
			})
		},
	}
	cmd.Flags().StringVar(&e.To, "to", "", "directory to write; it must be new or empty")
	cmd.Flags().Int32Var(&node, "node-id", -1, "controller whose directory it becomes")
	out.add(cmd)
	must(cmd.MarkFlagRequired("to"))
	must(cmd.MarkFlagRequired("node-id"))
	return cmd
}
