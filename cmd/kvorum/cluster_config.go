package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

// anyBroker stands for all brokers, where one could be named.
const anyBroker = -1

func clusterConfig(flags *brokerFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show and change configs of brokers", Args: cobra.NoArgs, RunE: needSubcommand}
	cmd.AddCommand(configDescribe(flags), configSet(flags), configDelete(flags))
	return cmd
}

func addBroker(cmd *cobra.Command, broker *int32) {
	cmd.Flags().Int32Var(broker, "broker", anyBroker, "id of one broker (default: what is set for all of them)")
}

func configDescribe(flags *brokerFlags) *cobra.Command {
	var broker int32
	var all bool
	var out output
	cmd := &cobra.Command{
		Use: "describe", Short: "Show the configs that were set, with where and Kafka's default", Args: cobra.NoArgs,
		Example: "  kvorum cluster config describe\n  kvorum cluster config describe --broker 1\n  kvorum cluster config describe --broker 1 --all -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				configs, err := c.BrokerConfigs(ctx, broker)
				if err != nil {
					return err
				}
				shown := []admin.BrokerConfig{}
				rows := [][]string{{"KEY", "VALUE", "SOURCE", "DEFAULT"}}
				for _, f := range configs {
					if !all && f.Source == "DEFAULT_CONFIG" {
						continue
					}
					shown = append(shown, f)
					value := f.Value
					if f.Sensitive {
						value = "(hidden)"
					}
					rows = append(rows, []string{f.Key, orDash(value), f.Source, orDash(f.Default)})
				}
				return out.print(cmd, shown, rows)
			})
		},
	}
	addBroker(cmd, &broker)
	cmd.Flags().BoolVar(&all, "all", false, "those with Kafka's default too")
	out.add(cmd)
	return cmd
}

func configSet(flags *brokerFlags) *cobra.Command {
	var broker int32
	var dryRun bool
	cmd := &cobra.Command{
		Use: "set KEY=VALUE...", Short: "Set configs while brokers run, for one of them or all", Args: cobra.MinimumNArgs(1),
		Example: "  kvorum cluster config set log.retention.ms=86400000 --dry-run\n  kvorum cluster config set log.cleaner.threads=2 --broker 1",
		RunE: func(cmd *cobra.Command, items []string) error {
			values, err := keyValues(items)
			if err != nil {
				return err
			}
			return alterBrokers(cmd, flags, broker, values, nil, dryRun)
		},
	}
	addBroker(cmd, &broker)
	addDryRun(cmd, &dryRun)
	return cmd
}

func configDelete(flags *brokerFlags) *cobra.Command {
	var broker int32
	var dryRun bool
	cmd := &cobra.Command{
		Use: "delete KEY...", Short: "Remove what was set while brokers ran, back to server.properties", Args: cobra.MinimumNArgs(1),
		Example: "  kvorum cluster config delete log.retention.ms\n  kvorum cluster config delete log.cleaner.threads --broker 1 --dry-run",
		RunE: func(cmd *cobra.Command, keys []string) error {
			return alterBrokers(cmd, flags, broker, nil, keys, dryRun)
		},
	}
	addBroker(cmd, &broker)
	addDryRun(cmd, &dryRun)
	return cmd
}

func alterBrokers(cmd *cobra.Command, flags *brokerFlags, broker int32, set map[string]string, remove []string, dryRun bool) error {
	return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
		if err := c.AlterBrokerConfigs(ctx, broker, set, remove, dryRun); err != nil {
			return err
		}
		name := "all brokers"
		if broker >= 0 {
			name = fmt.Sprintf("broker %d", broker)
		}
		return say(cmd, dryRun, "alter", "altered", []string{name})
	})
}
