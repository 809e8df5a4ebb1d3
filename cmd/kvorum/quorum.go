package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/internal/kafka"
)

func quorumCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "quorum", Short: "Look at the controllers", Args: cobra.NoArgs, RunE: needSubcommand}
	cmd.AddCommand(quorumStatus())
	return cmd
}

func quorumStatus() *cobra.Command {
	var from controllerFlags
	var out output
	cmd := &cobra.Command{
		Use: "status", Short: "Show the active controller and how far each copy of the metadata log is", Args: cobra.NoArgs,
		Long:    "Status exits with 2 if no controller is active or one of them is behind or gone.",
		Example: "  kvorum quorum status\n  kvorum quorum status --bootstrap-controller host1:9093,host2:9093 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := from.resolve(cmd); err != nil {
				return err
			}
			status, err := admin.Quorum(cmd.Context(), from.bootstrap, from.timeout)
			if err != nil {
				return unhealthyError(err.Error())
			}
			if out.table() {
				fmt.Fprintf(cmd.OutOrStdout(), "cluster %s, active controller %d, epoch %d, high watermark %d\n\n",
					status.ClusterID, status.Leader, status.Epoch, status.HighWatermark)
			}
			rows := [][]string{{"NODE", "ROLE", "LOG END", "LAG", "LAST CAUGHT UP", "ADDRESS", "DIRECTORY ID"}}
			now := time.Now()
			for _, r := range status.Voters {
				role := "follower"
				if r.ID == status.Leader {
					role = "leader"
				}
				rows = append(rows, replicaRow(r, role, now))
			}
			for _, r := range status.Observers {
				rows = append(rows, replicaRow(r, "observer", now))
			}
			if err := out.print(cmd, status, rows); err != nil {
				return err
			}
			if err := status.Healthy(now); err != nil {
				return unhealthyError(err.Error())
			}
			return nil
		},
	}
	from.add(cmd, 5*time.Second)
	out.add(cmd)
	return cmd
}

func replicaRow(r admin.QuorumReplica, role string, now time.Time) []string {
	caughtUp := "never"
	if r.CaughtUpMs >= 0 {
		caughtUp = now.Sub(time.UnixMilli(r.CaughtUpMs)).Round(time.Millisecond).String() + " ago"
	}
	return []string{strconv.Itoa(int(r.ID)), role, offsetText(r.LogEndOffset), offsetText(r.Lag), caughtUp, orDash(r.Address), r.DirectoryID.String()}
}

func offsetText(o kafka.Offset) string {
	if o < 0 {
		return "-"
	}
	return strconv.FormatInt(int64(o), 10)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
