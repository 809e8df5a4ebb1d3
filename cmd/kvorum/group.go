package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

func groupCommand() *cobra.Command {
	var flags brokerFlags
	cmd := &cobra.Command{Use: "group", Short: "List, describe, move and delete consumer groups", Args: cobra.NoArgs, RunE: needSubcommand}
	flags.add(cmd)
	cmd.AddCommand(groupList(&flags), groupDescribe(&flags), groupDelete(&flags), groupSeek(&flags))
	return cmd
}

func groupList(flags *brokerFlags) *cobra.Command {
	var states []string
	var out output
	cmd := &cobra.Command{
		Use: "list", Short: "List groups", Args: cobra.NoArgs,
		Example: "  kvorum group list\n  kvorum group list --states Empty,Stable -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				groups, err := c.ListGroups(ctx, states...)
				if err != nil {
					return err
				}
				rows := [][]string{{"GROUP", "COORDINATOR", "STATE", "PROTOCOL TYPE"}}
				for _, g := range groups {
					rows = append(rows, []string{g.Name, strconv.Itoa(int(g.Coordinator)), g.State, orDash(g.Type)})
				}
				return out.print(cmd, groups, rows)
			})
		},
	}
	cmd.Flags().StringSliceVarP(&states, "states", "s", nil, "only groups in these states: Empty, Stable, PreparingRebalance, CompletingRebalance")
	out.add(cmd)
	return cmd
}

func groupDescribe(flags *brokerFlags) *cobra.Command {
	var summary bool
	var out output
	cmd := &cobra.Command{
		Use: "describe GROUP...", Short: "Describe groups: members, committed offsets and lag", Args: cobra.MinimumNArgs(1),
		Example: "  kvorum group describe billing\n  kvorum group describe billing audit --summary\n  kvorum group describe billing -o json",
		RunE: func(cmd *cobra.Command, names []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				groups, err := c.DescribeGroups(ctx, names...)
				if err != nil {
					return err
				}
				heads, offsets := groupTables(groups)
				if summary {
					return out.tables(cmd, groups, heads)
				}
				return out.tables(cmd, groups, heads, offsets)
			})
		},
	}
	cmd.Flags().BoolVar(&summary, "summary", false, "leave the partitions out of the table")
	out.add(cmd)
	return cmd
}

func groupTables(groups []admin.Group) (heads, offsets [][]string) {
	heads = [][]string{{"GROUP", "COORDINATOR", "STATE", "ASSIGNOR", "MEMBERS", "TOTAL LAG"}}
	offsets = [][]string{{"GROUP", "TOPIC", "PARTITION", "COMMITTED", "START", "END", "LAG", "MEMBER", "CLIENT", "HOST"}}
	for _, g := range groups {
		heads = append(heads, []string{g.Name, strconv.Itoa(int(g.Coordinator)), g.State, orDash(g.Assignor), strconv.Itoa(len(g.Members)), decimal(g.TotalLag)})
		for _, o := range g.Offsets {
			offsets = append(offsets, []string{g.Name, o.Topic, strconv.Itoa(int(o.Partition)), known(o.Committed), known(o.Start), known(o.End), known(o.Lag), orDash(o.Member), orDash(o.ClientID), orDash(o.Host)})
		}
	}
	return heads, offsets
}

// known is a number, or a dash where there is none.
func known(n int64) string {
	if n < 0 {
		return "-"
	}
	return decimal(n)
}

func groupDelete(flags *brokerFlags) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "delete GROUP...", Short: "Delete groups without members, and their offsets", Args: cobra.MinimumNArgs(1),
		Example: "  kvorum group delete billing --dry-run\n  kvorum group delete billing",
		RunE: func(cmd *cobra.Command, names []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				if !dryRun {
					if err := c.DeleteGroups(ctx, names...); err != nil {
						return err
					}
					return say(cmd, false, "", "deleted", names)
				}
				groups, err := c.DescribeGroups(ctx, names...)
				if err != nil {
					return err
				}
				for _, g := range groups {
					if len(g.Members) > 0 {
						return fmt.Errorf("group %s has %d members and is %s: it cannot be deleted before they leave", g.Name, len(g.Members), g.State)
					}
				}
				return say(cmd, true, "delete", "", names)
			})
		},
	}
	addDryRun(cmd, &dryRun)
	return cmd
}
