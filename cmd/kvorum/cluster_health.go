package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

// shownPartitions is how many partitions a table names for each problem; JSON has
// all of them.
const shownPartitions = 10

func clusterHealth(flags *brokerFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "health", Short: "Say what is wrong with the partitions, and what to do", Args: cobra.NoArgs,
		Long: "Health looks at every partition: offline, under or at its min.insync.replicas, or with fewer\n" +
			"replicas in sync than it has. It exits with 2 if something is wrong. Leaders that are not the\n" +
			"preferred ones are counted, which is no fault.",
		Example: "  kvorum cluster health\n  kvorum cluster health -o json\n  kvorum cluster health || page-somebody",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				h, err := c.Health(ctx)
				if err != nil {
					return err
				}
				if !out.table() {
					err = out.print(cmd, h, nil)
				} else {
					showHealth(cmd, h)
				}
				if err == nil && !h.Healthy {
					err = unhealthyError("the cluster is not healthy")
				}
				return err
			})
		},
	}
	out.add(cmd)
	return cmd
}

func showHealth(cmd *cobra.Command, h *admin.Health) {
	w := cmd.OutOrStdout()
	state := "healthy"
	if !h.Healthy {
		state = "not healthy"
	}
	fmt.Fprintf(w, "%s: %d partitions, brokers %s\n", state, h.Partitions, ids(h.Brokers))
	if len(h.Missing) > 0 {
		fmt.Fprintf(w, "\nbrokers %s have replicas and are not there\n", ids(h.Missing))
	}
	for _, f := range h.Findings {
		fmt.Fprintf(w, "\n%d partitions are %s: %s\n  to do: %s\n  %s\n", len(f.Partitions), f.Problem, f.Meaning, f.Remedy, some(f.Partitions))
	}
	if h.NotPreferred > 0 {
		fmt.Fprintf(w, "\n%d partitions are not led by their preferred replica: `kvorum partitions elect` moves them\n", h.NotPreferred)
	}
}

func some(names []string) string {
	if len(names) <= shownPartitions {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shownPartitions], " "), len(names)-shownPartitions)
}

func ids(list []int32) string {
	text := make([]string, len(list))
	for i, id := range list {
		text[i] = strconv.Itoa(int(id))
	}
	return orDash(strings.Join(text, ","))
}
