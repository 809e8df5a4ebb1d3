package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// configsTool is kafka-configs.sh (ConfigCommand), for topics and brokers.
type configsTool struct {
	compatTool
	alter, describe, entityDefault, all bool
	entityType, entityName              string
	add, remove                         string
}

func compatConfigs() *cobra.Command {
	var t configsTool
	cmd := t.command("kafka-configs", "kafka-configs.sh: configs of topics and brokers", "kvorum topic alter-config` or `kvorum cluster config",
		"  kvorum compat kafka-configs --bootstrap-server 127.0.0.1:9092 --describe --entity-type topics --entity-name orders\n"+
			"  kvorum compat kafka-configs --bootstrap-server 127.0.0.1:9092 --alter --entity-type brokers --entity-default --add-config log.cleaner.threads=2", t.run)
	actions(cmd,
		action{&t.alter, "alter", "change configs"},
		action{&t.describe, "describe", "show configs that were set"},
	)
	f := cmd.Flags()
	f.BoolVar(&t.all, "all", false, "show all configs")
	f.StringVar(&t.entityType, "entity-type", "", "topics or brokers")
	f.StringVar(&t.entityName, "entity-name", "", "the topic, or the broker's id")
	f.BoolVar(&t.entityDefault, "entity-default", false, "what is set for all brokers")
	f.StringVar(&t.add, "add-config", "", "KEY=VALUE,KEY=[VALUE,VALUE]")
	f.StringVar(&t.remove, "delete-config", "", "KEY,KEY")
	cmd.MarkFlagsMutuallyExclusive("entity-name", "entity-default")
	must(cmd.MarkFlagRequired("entity-type"))
	return cmd
}

func (t *configsTool) run(ctx context.Context, cmd *cobra.Command) error {
	if t.entityType != "topics" && t.entityType != "brokers" {
		return usageError(fmt.Sprintf("--entity-type %s is not taken here: topics and brokers are", t.entityType))
	}
	if t.entityType == "topics" && t.entityDefault {
		return usageError("topics have no default: use brokers")
	}
	if t.alter {
		return t.runAlter(ctx, cmd.ErrOrStderr())
	}
	names, err := t.entities(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := t.runDescribe(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// entities are those to describe; "" is the default of brokers.
func (t *configsTool) entities(ctx context.Context) ([]string, error) {
	if t.entityName != "" || t.entityDefault {
		return []string{t.entityName}, nil
	}
	if t.entityType == "topics" {
		topics, err := t.admin.ListTopicsWithInternal(ctx)
		return topics.Names(), err
	}
	brokers, err := t.admin.ListBrokers(ctx)
	var names []string
	for _, id := range brokers.NodeIDs() {
		names = append(names, strconv.Itoa(int(id)))
	}
	return append(names, ""), err
}

// broker reads a broker's id; the default's name is empty.
func broker(name string) ([]int32, error) {
	if name == "" {
		return nil, nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return nil, usageError(fmt.Sprintf("--entity-name %q is no broker's id", name))
	}
	return []int32{int32(id)}, nil
}

func (t *configsTool) runDescribe(ctx context.Context, name string) error {
	var configs kadm.ResourceConfigs
	var own kmsg.ConfigSource
	if t.entityType == "topics" {
		if found, err := t.admin.ListTopicsWithInternal(ctx, name); err == nil && !found.Has(name) {
			fmt.Fprintf(t.out, "The topic '%s' doesn't exist and doesn't have dynamic config.\n", name)
			return nil
		}
		var err error
		if configs, err = t.admin.DescribeTopicConfigs(ctx, name); err != nil {
			return err
		}
		own = kmsg.ConfigSourceDynamicTopicConfig
	} else {
		ids, err := broker(name)
		if err != nil {
			return err
		}
		live, err := t.admin.ListBrokers(ctx)
		if err != nil {
			return err
		}
		if name != "" && !slices.Contains(live.NodeIDs(), ids[0]) {
			fmt.Fprintf(t.out, "The broker '%s' doesn't exist and doesn't have dynamic config.\n", name)
			return nil
		}
		if configs, err = t.admin.DescribeBrokerConfigs(ctx, ids...); err != nil {
			return err
		}
		own = kmsg.ConfigSourceDynamicBrokerConfig
		if name == "" {
			own = kmsg.ConfigSourceDynamicDefaultBrokerConfig
		}
	}
	t.print(name, configs, own)
	return nil
}

func (t *configsTool) print(name string, configs kadm.ResourceConfigs, own kmsg.ConfigSource) {
	kind := map[bool]string{false: "Dynamic", true: "All"}[t.all]
	single := strings.TrimSuffix(t.entityType, "s")
	if name == "" {
		fmt.Fprintln(t.out, "Default configs for brokers in the cluster are:")
	} else {
		fmt.Fprintf(t.out, "%s configs for %s %s are:\n", kind, single, name)
	}
	for _, resource := range configs {
		slices.SortFunc(resource.Configs, func(a, b kadm.Config) int { return strings.Compare(a.Key, b.Key) })
		for _, c := range resource.Configs {
			if !t.all && c.Source != own {
				continue
			}
			synonyms := make([]string, len(c.Synonyms))
			for i, s := range c.Synonyms {
				synonyms[i] = fmt.Sprintf("%s:%s=%s", s.Source, s.Key, nullable(s.Value))
			}
			fmt.Fprintf(t.out, "  %s=%s sensitive=%v synonyms={%s}\n", c.Key, nullable(c.Value), c.Sensitive, strings.Join(synonyms, ", "))
		}
	}
}

func nullable(text *string) string {
	if text == nil {
		return "null"
	}
	return *text
}

func (t *configsTool) runAlter(ctx context.Context, stderr io.Writer) error {
	changes, err := t.changes()
	if err != nil {
		return err
	}
	var answers kadm.AlterConfigsResponses
	what := "topic " + t.entityName
	if t.entityType == "topics" {
		answers, err = t.admin.AlterTopicConfigs(ctx, changes, t.entityName)
	} else {
		ids, errID := broker(t.entityName)
		if errID != nil {
			return errID
		}
		what = "broker " + t.entityName
		answers, err = t.admin.AlterBrokerConfigs(ctx, changes, ids...)
	}
	if err != nil {
		return err
	}
	for _, a := range answers {
		if a.Err != nil {
			text := javaError(a.Err, &a.ErrMessage)
			fmt.Fprintf(stderr, "Error while executing config command\njava.util.concurrent.ExecutionException: %s\nCaused by: %s\n", text, text)
			return exitCode{}
		}
	}
	if t.entityType == "brokers" && t.entityName == "" {
		fmt.Fprintln(t.out, "Completed updating default config for brokers in the cluster.")
	} else {
		fmt.Fprintf(t.out, "Completed updating config for %s.\n", what)
	}
	return nil
}

func (t *configsTool) changes() ([]kadm.AlterConfig, error) {
	if t.entityName == "" && !t.entityDefault {
		return nil, usageError("--entity-name is missing")
	}
	var changes []kadm.AlterConfig
	for _, item := range outsideBrackets(t.add) {
		key, value, ok := strings.Cut(item, "=")
		if !ok {
			return nil, usageError(fmt.Sprintf("--add-config: %q is not KEY=VALUE", item))
		}
		value = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(value), "["), "]")
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: strings.TrimSpace(key), Value: &value})
	}
	for _, key := range outsideBrackets(t.remove) {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: strings.TrimSpace(key)})
	}
	if len(changes) == 0 {
		return nil, usageError("--add-config or --delete-config is missing")
	}
	return changes, nil
}

// outsideBrackets splits at the commas that are not within [ ].
func outsideBrackets(text string) []string {
	depth := 0
	return strings.FieldsFunc(text, func(r rune) bool {
		switch r {
		case '[':
			depth++
		case ']':
			depth--
		}
		return r == ',' && depth == 0
	})
}
