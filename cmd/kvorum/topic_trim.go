package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

func topicTrim(flags *brokerFlags) *cobra.Command {
	var before string
	var partitions []int32
	var dryRun bool
	var out output
	cmd := &cobra.Command{
		Use: "trim TOPIC --offset OFFSET", Short: "Delete the records of a topic before an offset", Args: cobra.ExactArgs(1),
		Long: "Trim deletes the records before OFFSET (DeleteRecords): N, end, -N (all but the last N) or\n" +
			"@TIMESTAMP. It cannot be undone. The files go when a whole segment lies before the offset.",
		Example: "  kvorum topic trim orders --offset 1000 --partitions 0 --dry-run\n" +
			"  kvorum topic trim orders --offset @2026-01-31\n" +
			"  kvorum topic trim orders --offset @-24h -o json\n" +
			"  kvorum topic trim orders --offset end",
		RunE: func(cmd *cobra.Command, names []string) error {
			at, err := admin.ParseOffsetAt(before, time.Now())
			if err != nil {
				return usageError("--offset: " + err.Error())
			}
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				plan, err := c.PlanTrim(ctx, names[0], partitions, at)
				if err != nil {
					return err
				}
				removed := "DELETED"
				if dryRun {
					removed = "WOULD DELETE"
				} else if err := c.Trim(ctx, plan); err != nil {
					return err
				}
				rows := [][]string{{"TOPIC", "PARTITION", "START", "NEW START", "END", removed}}
				for _, t := range plan {
					rows = append(rows, []string{t.Topic, strconv.Itoa(int(t.Partition)), decimal(t.Start), decimal(t.NewStart), decimal(t.End), decimal(t.NewStart - t.Start)})
				}
				return out.print(cmd, plan, rows)
			})
		},
	}
	cmd.Flags().StringVar(&before, "offset", "", "the first offset to keep: N, end, -N or @TIMESTAMP")
	cmd.Flags().Int32SliceVarP(&partitions, "partitions", "p", nil, "partitions, separated by commas (default: all)")
	must(cmd.MarkFlagRequired("offset"))
	addDryRun(cmd, &dryRun)
	out.add(cmd)
	return cmd
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
