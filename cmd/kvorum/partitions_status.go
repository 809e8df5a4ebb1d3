package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

func partitionsStatus(flags *brokerFlags) *cobra.Command {
	var unthrottle []string
	var out output
	cmd := &cobra.Command{
		Use: "status", Short: "Show the moves under way", Args: cobra.NoArgs,
		Long: "Status lists the partitions whose replicas are being moved. --unthrottle takes the throttle\n" +
			"of topics away, which a move with --no-wait left, once none of them moves.",
		Example: "  kvorum partitions status\n  kvorum partitions status -o json\n  kvorum partitions status --unthrottle orders",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				moving, err := c.Moves(ctx)
				if err != nil {
					return err
				}
				for _, topic := range unthrottle {
					if slices.ContainsFunc(moving, func(m admin.Moving) bool { return m.Topic == topic }) {
						return fmt.Errorf("partitions of topic %s are still moving: its throttle stays", topic)
					}
				}
				if len(unthrottle) > 0 {
					if err := c.Unthrottle(ctx, unthrottle); err != nil {
						return err
					}
				}
				return showMoving(cmd, &out, moving)
			})
		},
	}
	cmd.Flags().StringSliceVar(&unthrottle, "unthrottle", nil, "topics whose throttles are taken away, with those of all brokers")
	out.add(cmd)
	return cmd
}

func showMoving(cmd *cobra.Command, out *output, moving []admin.Moving) error {
	rows := [][]string{{"PARTITION", "REPLICAS", "ADDING", "REMOVING", "CAUGHT UP"}}
	for _, m := range moving {
		rows = append(rows, []string{m.Topic + "-" + strconv.Itoa(int(m.Partition)), ids(m.Replicas), ids(m.Adding), ids(m.Removing), ids(m.CaughtUp)})
	}
	return out.printOr(cmd, "nothing is moving", moving, rows)
}

func partitionsCancel(flags *brokerFlags) *cobra.Command {
	var topics []string
	var dryRun bool
	var out output
	cmd := &cobra.Command{
		Use: "cancel", Short: "Take moves back that are under way", Args: cobra.NoArgs,
		Example: "  kvorum partitions cancel --dry-run\n  kvorum partitions cancel --topics orders",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				moving, err := c.Moves(ctx)
				if err != nil {
					return err
				}
				if len(topics) > 0 {
					moving = slices.DeleteFunc(moving, func(m admin.Moving) bool { return !slices.Contains(topics, m.Topic) })
				}
				if !dryRun && len(moving) > 0 {
					if err := c.CancelMoves(ctx, moving); err != nil {
						return err
					}
				}
				return showMoving(cmd, &out, moving)
			})
		},
	}
	cmd.Flags().StringSliceVar(&topics, "topics", nil, "only those of topics, separated by commas")
	addDryRun(cmd, &dryRun)
	out.add(cmd)
	return cmd
}

func partitionsElect(flags *brokerFlags) *cobra.Command {
	var topics []string
	var unclean, dryRun bool
	var out output
	cmd := &cobra.Command{
		Use: "elect", Short: "Give leadership to the preferred replicas", Args: cobra.NoArgs,
		Long: "Elect moves leadership to the first replica of each partition, where that is in sync. With\n" +
			"--unclean it gives partitions without a leader to any replica that lives: records that only\n" +
			"the others have are lost.",
		Example: "  kvorum partitions elect --dry-run\n  kvorum partitions elect --topics orders\n  kvorum partitions elect --unclean --topics orders --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if unclean && len(topics) == 0 && !dryRun {
				return usageError("--unclean loses records: name the topics with --topics")
			}
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				plan, err := c.PlanElect(ctx, topics, unclean)
				if err != nil {
					return err
				}
				if !dryRun && len(plan) > 0 {
					if err := c.Elect(ctx, plan, unclean); err != nil {
						return err
					}
				}
				rows := [][]string{{"PARTITION", "LEADER", "PREFERRED"}}
				for _, e := range plan {
					rows = append(rows, []string{e.Topic + "-" + strconv.Itoa(int(e.Partition)), known(int64(e.Leader)), strconv.Itoa(int(e.Preferred))})
				}
				return out.printOr(cmd, "no leader would change", plan, rows)
			})
		},
	}
	cmd.Flags().StringSliceVar(&topics, "topics", nil, "topics, separated by commas (default: all)")
	cmd.Flags().BoolVar(&unclean, "unclean", false, "elect a replica that may lack records, where there is no leader")
	addDryRun(cmd, &dryRun)
	out.add(cmd)
	return cmd
}
