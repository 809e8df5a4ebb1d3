package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvorum/admin"
)

func topicCommand() *cobra.Command {
	var flags brokerFlags
	cmd := &cobra.Command{Use: "topic", Short: "Create, list, describe, change and delete topics; write and read their records", Args: cobra.NoArgs, RunE: needSubcommand}
	flags.add(cmd)
	cmd.AddCommand(topicCreate(&flags), topicList(&flags), topicDescribe(&flags), topicDelete(&flags), topicAddPartitions(&flags), topicAlterConfig(&flags),
		topicTrim(&flags), topicProduce(&flags), topicConsume(&flags))
	return cmd
}

func topicCreate(flags *brokerFlags) *cobra.Command {
	var partitions, replicas int
	var configs []string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "create TOPIC...",
		Short: "Create topics",
		Example: "  kvorum topic create orders\n" +
			"  kvorum topic create orders payments --partitions 12 --replicas 3 -c retention.ms=86400000\n" +
			"  kvorum topic create orders --partitions 12 --dry-run",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			values, err := keyValues(configs)
			if err != nil {
				return err
			}
			var topics []admin.NewTopic
			for _, name := range names {
				topics = append(topics, admin.NewTopic{Name: name, Partitions: partitions, ReplicationFactor: replicas, Configs: values})
			}
			return flags.topics(cmd, func(ctx context.Context, t *admin.Topics) error {
				if err := t.Create(ctx, topics, dryRun); err != nil {
					return err
				}
				return say(cmd, dryRun, "create", "created", names)
			})
		},
	}
	cmd.Flags().IntVarP(&partitions, "partitions", "p", -1, "number of partitions; -1 is the cluster's default")
	cmd.Flags().IntVarP(&replicas, "replicas", "r", -1, "replicas of each partition; -1 is the cluster's default")
	cmd.Flags().StringArrayVarP(&configs, "topic-config", "c", nil, "KEY=VALUE of the topic; may be given more than once")
	addDryRun(cmd, &dryRun)
	return cmd
}

func topicList(flags *brokerFlags) *cobra.Command {
	var internal bool
	var out output
	cmd := &cobra.Command{
		Use: "list", Short: "List topics", Args: cobra.NoArgs,
		Example: "  kvorum topic list\n  kvorum topic list --internal -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.topics(cmd, func(ctx context.Context, t *admin.Topics) error {
				topics, err := t.List(ctx, internal)
				if err != nil {
					return err
				}
				rows := [][]string{{"NAME", "PARTITIONS", "REPLICAS"}}
				for _, topic := range topics {
					replicas := "-"
					if len(topic.Partitions) > 0 {
						replicas = strconv.Itoa(len(topic.Partitions[0].Replicas))
					}
					rows = append(rows, []string{topic.Name, strconv.Itoa(len(topic.Partitions)), replicas})
				}
				return out.print(cmd, topics, rows)
			})
		},
	}
	cmd.Flags().BoolVarP(&internal, "internal", "i", false, "list internal topics too")
	out.add(cmd)
	return cmd
}

func topicDescribe(flags *brokerFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "describe TOPIC...", Short: "Describe topics: their partitions and the configs that were set", Args: cobra.MinimumNArgs(1),
		Example: "  kvorum topic describe orders\n  kvorum topic describe orders payments -o json",
		RunE: func(cmd *cobra.Command, names []string) error {
			return flags.topics(cmd, func(ctx context.Context, t *admin.Topics) error {
				topics, err := t.Describe(ctx, names)
				if err != nil {
					return err
				}
				rows := [][]string{{"TOPIC", "PARTITION", "LEADER", "REPLICAS", "ISR", "OFFLINE"}}
				for _, topic := range topics {
					for _, p := range topic.Partitions {
						rows = append(rows, []string{topic.Name, strconv.Itoa(p.ID), strconv.Itoa(p.Leader), intList(p.Replicas), intList(p.ISR), intList(p.Offline)})
					}
				}
				configs := [][]string{{"TOPIC", "CONFIG", "VALUE"}}
				for _, topic := range topics {
					for _, key := range slices.Sorted(maps.Keys(topic.Configs)) {
						configs = append(configs, []string{topic.Name, key, topic.Configs[key]})
					}
				}
				return out.tables(cmd, topics, rows, configs)
			})
		},
	}
	out.add(cmd)
	return cmd
}

func topicDelete(flags *brokerFlags) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "delete TOPIC...", Short: "Delete topics and all their records", Args: cobra.MinimumNArgs(1),
		Example: "  kvorum topic delete orders --dry-run\n  kvorum topic delete orders",
		RunE: func(cmd *cobra.Command, names []string) error {
			return flags.topics(cmd, func(ctx context.Context, t *admin.Topics) error {
				if dryRun {
					// There is no validate-only deletion: what can be said is whether they exist.
					if _, err := t.Describe(ctx, names); err != nil {
						return err
					}
				} else if err := t.Delete(ctx, names); err != nil {
					return err
				}
				return say(cmd, dryRun, "delete", "deleted", names)
			})
		},
	}
	addDryRun(cmd, &dryRun)
	return cmd
}

func topicAddPartitions(flags *brokerFlags) *cobra.Command {
	var total int32
	var dryRun bool
	cmd := &cobra.Command{
		Use: "add-partitions TOPIC", Short: "Raise a topic's number of partitions", Args: cobra.ExactArgs(1),
		Example: "  kvorum topic add-partitions orders --total 24 --dry-run\n  kvorum topic add-partitions orders --total 24",
		RunE: func(cmd *cobra.Command, names []string) error {
			return flags.topics(cmd, func(ctx context.Context, t *admin.Topics) error {
				if err := t.AddPartitions(ctx, names[0], total, dryRun); err != nil {
					return err
				}
				return say(cmd, dryRun, fmt.Sprintf("raise to %d partitions", total), fmt.Sprintf("raised to %d partitions", total), names)
			})
		},
	}
	cmd.Flags().Int32Var(&total, "total", 0, "the number of partitions afterwards")
	must(cmd.MarkFlagRequired("total"))
	addDryRun(cmd, &dryRun)
	return cmd
}

func topicAlterConfig(flags *brokerFlags) *cobra.Command {
	var set, remove []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "alter-config TOPIC", Short: "Set or remove configs of a topic", Args: cobra.ExactArgs(1),
		Example: "  kvorum topic alter-config orders --set retention.ms=86400000 --delete segment.bytes",
		RunE: func(cmd *cobra.Command, names []string) error {
			values, err := keyValues(set)
			if err != nil {
				return err
			}
			if len(values)+len(remove) == 0 {
				return usageError("nothing to change: use --set KEY=VALUE or --delete KEY")
			}
			return flags.topics(cmd, func(ctx context.Context, t *admin.Topics) error {
				if err := t.AlterConfigs(ctx, names[0], values, remove, dryRun); err != nil {
					return err
				}
				return say(cmd, dryRun, "alter", "altered", names)
			})
		},
	}
	cmd.Flags().StringArrayVarP(&set, "set", "s", nil, "KEY=VALUE to set; may be given more than once")
	cmd.Flags().StringArrayVarP(&remove, "delete", "d", nil, "KEY to remove, back to its default; may be given more than once")
	addDryRun(cmd, &dryRun)
	return cmd
}

// say tells what was done to each topic, or would be.
func say(cmd *cobra.Command, dryRun bool, would, did string, names []string) error {
	for _, name := range names {
		if dryRun {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: would %s\n", name, would)
		} else {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, did)
		}
	}
	return nil
}

// keyValues reads KEY=VALUE flags.
func keyValues(items []string) (map[string]string, error) {
	values := map[string]string{}
	for _, item := range items {
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			return nil, usageError(fmt.Sprintf("%q is not KEY=VALUE", item))
		}
		values[key] = value
	}
	return values, nil
}

func intList(ids []int) string {
	if len(ids) == 0 {
		return "-"
	}
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = strconv.Itoa(id)
	}
	return strings.Join(text, ",")
}
