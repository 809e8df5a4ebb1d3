package main

import (
	"bufio"
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/admin"
)

// consumeFlags are those of topic consume; their names are rpk's.
type consumeFlags struct {
	consume admin.Consume
	offset  string
	format  string
}

func topicConsume(flags *brokerFlags) *cobra.Command {
	var f consumeFlags
	cmd := &cobra.Command{
		Use: "consume TOPIC...", Short: "Read records of topics", Args: cobra.MinimumNArgs(1),
		Long: "Consume prints records until Ctrl-C, or until what was asked for was read (-n, or an offset\n" +
			"range). OFFSET is start, end, N, +N after the start, -N before the end, @TIMESTAMP\n" +
			"(milliseconds, 2006-01-02, 2006-01-02T15:04:05Z, -1h), or a range A:B of two of them, B\n" +
			"exclusive; :end reads what is there. Formats are those of rpk:\n" + formatHelp + ";\n" +
			"%e leader epoch, %x producer, %y its epoch, %a{compression} attributes.",
		Example: "  kvorum topic consume orders\n" +
			"  kvorum topic consume orders -o :end -f '%p %o %k %v\\n'\n" +
			"  kvorum topic consume orders -p 0 -o 100:110 -f json\n" +
			"  kvorum topic consume orders -o @-1h -n 10\n" +
			"  kvorum topic consume --regex 'orders-.*' -g audit",
		RunE: func(cmd *cobra.Command, names []string) error {
			f.consume.Topics = names
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error { return f.run(ctx, cmd, c) })
		},
	}
	cmd.Flags().StringVarP(&f.offset, "offset", "o", "start", "where to begin, or what range to read")
	cmd.Flags().StringVarP(&f.format, "format", "f", jsonForm, "how records are printed; json is one object a line")
	cmd.Flags().Int32SliceVarP(&f.consume.Partitions, "partitions", "p", nil, "partitions, separated by commas (default: all)")
	cmd.Flags().IntVarP(&f.consume.Count, "num", "n", 0, "stop after so many records; 0 is no limit")
	cmd.Flags().StringVarP(&f.consume.Group, "group", "g", "", "group to read in and to commit for")
	cmd.Flags().BoolVarP(&f.consume.Regex, "regex", "r", false, "the names of topics are patterns that match a whole name")
	cmd.Flags().BoolVar(&f.consume.ReadCommitted, "read-committed", false, "leave out records of transactions that are open or aborted")
	cmd.Flags().BoolVar(&f.consume.Control, "print-control-records", false, "print the markers of transactions too")
	cmd.MarkFlagsMutuallyExclusive("group", "partitions")
	return cmd
}

func (f *consumeFlags) run(ctx context.Context, cmd *cobra.Command, c *admin.Cluster) (err error) {
	if f.consume.Span, err = admin.ParseSpan(f.offset, time.Now()); err != nil {
		return usageError("--offset: " + err.Error())
	}
	if f.consume.Span.To != nil && f.consume.Group != "" {
		return usageError("--offset: a range cannot be read in a group, whose committed offsets say where it is")
	}
	format, err := recordFormat("--format", f.format)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	defer func() { err = errors.Join(err, out.Flush()) }()
	var line []byte
	return c.Consume(ctx, &f.consume, func(p *kgo.FetchPartition, r *kgo.Record) error {
		if line, err = format(line[:0], p, r); err != nil {
			return err
		}
		_, err := out.Write(line)
		return err
	}, out.Flush)
}
