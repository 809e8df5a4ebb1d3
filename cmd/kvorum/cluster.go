package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

func clusterCommand() *cobra.Command {
	var flags brokerFlags
	cmd := &cobra.Command{Use: "cluster", Short: "Look at a cluster: brokers, health, configs, disks, maintenance", Args: cobra.NoArgs, RunE: needSubcommand}
	flags.add(cmd)
	cmd.AddCommand(clusterInfo(&flags), clusterBrokers(&flags), clusterHealth(&flags), clusterConfig(&flags), clusterLogDirs(&flags), clusterMaintenance(&flags))
	return cmd
}

func clusterInfo(flags *brokerFlags) *cobra.Command {
	var out output
	var metrics []string
	cmd := &cobra.Command{
		Use: "info", Short: "Show the cluster at a glance: id, brokers, features, how much it holds, how its nodes are", Args: cobra.NoArgs,
		Long: "Info shows what the cluster holds, as its brokers tell. With the nodes' kvorum.metrics.listener\n" +
			"(--metrics, or those of the profile) it also shows each node, controllers too: whether it can be\n" +
			"reached, is alive and ready, how far it is in the metadata log, and its memory.",
		Example: "  kvorum cluster info\n  kvorum cluster info -b broker1:9092 -o json\n  kvorum cluster info --metrics node1:9400,node2:9400,node3:9400",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				info, err := c.Info(ctx)
				if err != nil {
					return err
				}
				asked, err := flags.metrics(cmd, metrics)
				if err != nil {
					return err
				}
				shown := struct {
					*admin.ClusterInfo
					Nodes []admin.NodeState `json:"nodes,omitempty"`
				}{info, admin.Nodes(ctx, asked, nodePatience)}
				if out.table() {
					fmt.Fprintf(cmd.OutOrStdout(), "cluster %s: %d brokers, %d topics, %d partitions, %d replicas\n\n",
						info.ClusterID, len(info.Brokers), info.Topics, info.Partitions, info.Replicas)
				}
				features := [][]string{{"FEATURE", "LEVEL", "SUPPORTED"}}
				for _, f := range info.Features {
					features = append(features, []string{f.Name, strconv.Itoa(int(f.Level)), fmt.Sprintf("%d to %d", f.Min, f.Max)})
				}
				return out.tables(cmd, shown, brokerRows(info.Brokers), nodeRows(shown.Nodes), features)
			})
		},
	}
	cmd.Flags().StringSliceVar(&metrics, "metrics", nil, "the nodes' kvorum.metrics.listener, HOST:PORT separated by commas (default: the profile's)")
	out.add(cmd)
	return cmd
}

// nodePatience bounds the answers of one node: what is at a glance does not wait
// for one that is gone.
const nodePatience = 5 * time.Second

// nodeRows is nil where no node was asked.
func nodeRows(nodes []admin.NodeState) [][]string {
	if len(nodes) == 0 {
		return nil
	}
	rows := [][]string{{"NODE", "METRICS", "ROLES", "STATE", "METADATA", "BEHIND", "RESIDENT", "UP", "WHY"}}
	for _, n := range nodes {
		if !n.Reached {
			rows = append(rows, []string{"-", n.Address, "-", "unreachable", "-", "-", "-", "-", n.Error})
			continue
		}
		state := "ready"
		switch {
		case !n.Alive:
			state = "not alive"
		case !n.Ready:
			state = "not ready"
		case n.Active:
			state = "ready, active"
		}
		rows = append(rows, []string{strconv.Itoa(int(n.ID)), n.Address, strings.Join(n.Roles, ","), state, decimal(int64(n.MetadataOffset)), decimal(n.Behind),
			bytesText(n.ResidentBytes), (time.Duration(n.UpSeconds) * time.Second).String(), orDash(strings.Join(n.Reasons, "; "))})
	}
	return rows
}

func brokerRows(brokers []admin.BrokerInfo) [][]string {
	rows := [][]string{{"BROKER", "HOST", "PORT", "RACK", "LEADERS", "REPLICAS"}}
	for _, b := range brokers {
		rows = append(rows, []string{strconv.Itoa(int(b.ID)), b.Host, strconv.Itoa(int(b.Port)), orDash(b.Rack), strconv.Itoa(b.Leaders), strconv.Itoa(b.Replicas)})
	}
	return rows
}

func clusterBrokers(flags *brokerFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "brokers", Short: "List the live brokers and what each leads and keeps", Args: cobra.NoArgs,
		Example: "  kvorum cluster brokers\n  kvorum cluster brokers -o yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				info, err := c.Info(ctx)
				if err != nil {
					return err
				}
				return out.print(cmd, info.Brokers, brokerRows(info.Brokers))
			})
		},
	}
	out.add(cmd)
	return cmd
}

func clusterLogDirs(flags *brokerFlags) *cobra.Command {
	var brokers []int32
	var topics bool
	var out output
	cmd := &cobra.Command{
		Use: "log-dirs", Short: "Show the brokers' log directories and how full they are", Args: cobra.NoArgs,
		Example: "  kvorum cluster log-dirs\n  kvorum cluster log-dirs --of 1,2 --topics",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				dirs, err := c.LogDirs(ctx, brokers)
				if err != nil {
					return err
				}
				rows := [][]string{{"BROKER", "DIRECTORY", "PARTITIONS", "BYTES", "DISK FREE", "DISK", "ERROR"}}
				each := [][]string{{"BROKER", "DIRECTORY", "TOPIC", "PARTITIONS", "BYTES", "MOVING IN"}}
				for _, d := range dirs {
					id := strconv.Itoa(int(d.Broker))
					rows = append(rows, []string{id, d.Dir, strconv.Itoa(d.Partitions), bytesText(d.Bytes), bytesText(d.UsableBytes), bytesText(d.TotalBytes), orDash(d.Error)})
					for _, t := range d.Topics {
						each = append(each, []string{id, d.Dir, t.Topic, strconv.Itoa(t.Partitions), bytesText(t.Bytes), strconv.Itoa(t.Moving)})
					}
				}
				if !topics {
					each = nil
				}
				return out.tables(cmd, dirs, rows, each)
			})
		},
	}
	cmd.Flags().Int32SliceVar(&brokers, "of", nil, "ids of brokers, separated by commas (default: all)")
	cmd.Flags().BoolVar(&topics, "topics", false, "show what each topic takes")
	out.add(cmd)
	return cmd
}

// bytesText is a size for people.
func bytesText(n int64) string {
	if n < 0 {
		return "-"
	}
	units, size, unit := []string{"KiB", "MiB", "GiB", "TiB", "PiB"}, float64(n), "B"
	for _, u := range units {
		if size < 1024 {
			break
		}
		size, unit = size/1024, u
	}
	if unit == "B" {
		return decimal(n) + " B"
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}
