package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/internal/clock"
)

func clusterMaintenance(flags *brokerFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "maintenance", Short: "Take leadership from a broker before work on it, and give it back", Args: cobra.NoArgs, RunE: needSubcommand,
		Long: "Maintenance makes a broker the last replica of its partitions and lets others lead them. The\n" +
			"broker goes on as a follower, may be stopped and started, and leads nothing as long as another\n" +
			"replica is in sync. No data moves. It is kept as the order of replicas alone: a topic that is\n" +
			"created meanwhile may name the broker first (status says so; start again), and `partitions\n" +
			"balance` gives it leaders again.",
	}
	cmd.AddCommand(maintenanceChange(flags, true), maintenanceChange(flags, false), maintenanceStatus(flags))
	return cmd
}

// addMaintained gives the command the flag that names the broker.
func addMaintained(cmd *cobra.Command, broker *int32) {
	cmd.Flags().Int32Var(broker, "broker", -1, "id of the broker")
	must(cmd.MarkFlagRequired("broker"))
}

func maintenanceChange(flags *brokerFlags, start bool) *cobra.Command {
	var broker int32
	var dryRun bool
	var out output
	cmd := &cobra.Command{
		Use: "start", Short: "Let other replicas lead what a broker leads", Args: cobra.NoArgs,
		Long: "Start puts the broker last among the replicas of each partition, elects the first ones, and\n" +
			"waits until the broker leads nothing that another one could. It exits with 2 if it still leads\n" +
			"something, or if partitions would be offline or refuse acks=all without it: they are named.",
		Example: "  kvorum cluster maintenance start --broker 3 --dry-run\n  kvorum cluster maintenance start --broker 3 && systemctl restart kvorum",
	}
	if !start {
		cmd.Use, cmd.Short = "stop", "Let a broker lead its share again"
		cmd.Long = "Stop makes the broker the first replica of as many of its partitions as makes the preferred\n" +
			"leaders even, and elects it where it is in sync. Where it is not yet, auto.leader.rebalance.enable\n" +
			"or `partitions elect` does it later."
		cmd.Example = "  kvorum cluster maintenance stop --broker 3 --dry-run\n  kvorum cluster maintenance stop --broker 3"
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
			m, err := c.Maintenance(ctx, broker, start)
			if err != nil {
				return err
			}
			if !dryRun {
				if m, err = carryOut(ctx, cmd, c, m, start, flags.timeout); err != nil {
					return err
				}
			}
			return showMaintenance(cmd, &out, m, start && !dryRun, dryRun)
		})
	}
	addMaintained(cmd, &broker)
	addDryRun(cmd, &dryRun)
	out.add(cmd)
	return cmd
}

func maintenanceStatus(flags *brokerFlags) *cobra.Command {
	var broker int32
	var out output
	cmd := &cobra.Command{
		Use: "status", Short: "Show whether a broker can be taken away", Args: cobra.NoArgs,
		Long: "Status exits with 2 if the broker leads something, would lead something again, or if partitions\n" +
			"would be offline or refuse acks=all without it.",
		Example: "  kvorum cluster maintenance status --broker 3\n  kvorum cluster maintenance status --broker 3 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				m, err := c.Maintenance(ctx, broker, true)
				if err != nil {
					return err
				}
				return showMaintenance(cmd, &out, m, true, false)
			})
		},
	}
	addMaintained(cmd, &broker)
	out.add(cmd)
	return cmd
}

// lookEvery is the pause between two looks. More than one is needed, since a broker
// that is asked may not have heard of the change yet.
const lookEvery = 100 * time.Millisecond

// carryOut reorders and elects until a look finds nothing to do, or for so long as
// an answer may take; what is left then is in the result.
func carryOut(ctx context.Context, cmd *cobra.Command, c *admin.Cluster, m *admin.Maintenance, start bool, atMost time.Duration) (*admin.Maintenance, error) {
	p := newProgress(cmd)
	defer p.end()
	made := m.Reordered
	err := c.Reorder(ctx, m, func(done int) {
		p.say("%s %d of %d partitions reordered", bar(done, len(made)), done, len(made))
	})
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(atMost); ; {
		held, failed := c.ElectFor(ctx, m.Broker, !start)
		if m, err = c.Maintenance(ctx, m.Broker, start); err != nil {
			return nil, err
		}
		done := held == 0 && failed == nil && len(m.Reordered) == 0 && (!start || m.Leads <= len(m.Alone))
		if done || time.Now().After(deadline) {
			m.Reordered = made
			return m, failed
		}
		p.say("%d leaders to move, broker %d leads %d partitions", held, m.Broker, m.Leads)
		if !clock.Rest(ctx, lookEvery) {
			return nil, fmt.Errorf("%d leaders were not moved yet: %w", held, ctx.Err())
		}
	}
}

// showMaintenance prints m; with judge it ends with 2 where the broker cannot be
// taken away.
func showMaintenance(cmd *cobra.Command, out *output, m *admin.Maintenance, judge, dryRun bool) error {
	heading := "REORDERED"
	if dryRun {
		heading = "WOULD REORDER"
	}
	rows := [][]string{{"BROKER", "LIVE", "REPLICAS", "LEADS", "FIRST REPLICA OF", "OFFLINE WITHOUT IT", "NO ACKS=ALL WITHOUT IT", heading}}
	rows = append(rows, []string{strconv.Itoa(int(m.Broker)), strconv.FormatBool(m.Live), strconv.Itoa(m.Replicas), strconv.Itoa(m.Leads), strconv.Itoa(m.Preferred),
		orDash(some(m.Alone)), orDash(some(m.Short)), strconv.Itoa(len(m.Reordered))})
	if err := out.print(cmd, m, rows); err != nil {
		return err
	}
	switch {
	case !judge:
		return nil
	case len(m.Alone) > 0:
		return unhealthyError(fmt.Sprintf("%d partitions would be offline without broker %d: give them another replica (`kvorum partitions move`), or wait until one is in sync", len(m.Alone), m.Broker))
	case !m.Off():
		return unhealthyError(fmt.Sprintf("broker %d leads %d partitions and is the first replica of %d: `kvorum cluster maintenance start` moves them", m.Broker, m.Leads, m.Preferred))
	case len(m.Short) > 0:
		return unhealthyError(fmt.Sprintf("%d partitions would refuse acks=all without broker %d: wait until their other replicas are in sync (`kvorum cluster health`)", len(m.Short), m.Broker))
	}
	return nil
}
