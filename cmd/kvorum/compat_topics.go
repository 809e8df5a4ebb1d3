package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
)

// topicsTool is kafka-topics.sh (TopicCommand).
type topicsTool struct {
	compatTool
	create, list, describe, alter, remove                                  bool
	topic, assignment                                                      string
	partitions, replication                                                int32
	configs                                                                []string
	ifExists, ifNotExists, excludeInternal                                 bool
	underReplicated, unavailable, underMinISR, atMinISR, overrides, chosen bool
}

func compatTopics() *cobra.Command {
	var t topicsTool
	cmd := t.command("kafka-topics", "kafka-topics.sh: create, list, describe, alter and delete topics", "kvorum topic",
		"  kvorum compat kafka-topics --bootstrap-server 127.0.0.1:9092 --create --topic orders --partitions 3\n"+
			"  kvorum compat kafka-topics --bootstrap-server 127.0.0.1:9092 --describe --under-replicated-partitions", t.run)
	actions(cmd,
		action{&t.create, "create", "create a topic"},
		action{&t.list, "list", "list the topics"},
		action{&t.describe, "describe", "describe topics"},
		action{&t.alter, "alter", "raise the number of partitions"},
		action{&t.remove, "delete", "delete topics"},
	)
	f := cmd.Flags()
	f.StringVar(&t.topic, "topic", "", "the topic, or a pattern")
	f.Int32Var(&t.partitions, "partitions", -1, "number of partitions")
	f.Int32Var(&t.replication, "replication-factor", -1, "replicas of each partition")
	f.StringVar(&t.assignment, "replica-assignment", "", "brokers of each partition: 1:2,2:3")
	f.StringArrayVar(&t.configs, "config", nil, "KEY=VALUE of the topic")
	f.BoolVar(&t.ifExists, "if-exists", false, "a topic that is not there is no error")
	f.BoolVar(&t.ifNotExists, "if-not-exists", false, "a topic that is there is no error")
	f.BoolVar(&t.excludeInternal, "exclude-internal", false, "leave internal topics out")
	f.BoolVar(&t.underReplicated, "under-replicated-partitions", false, "only such partitions")
	f.BoolVar(&t.unavailable, "unavailable-partitions", false, "only partitions without a leader")
	f.BoolVar(&t.underMinISR, "under-min-isr-partitions", false, "only such partitions")
	f.BoolVar(&t.atMinISR, "at-min-isr-partitions", false, "only such partitions")
	f.BoolVar(&t.overrides, "topics-with-overrides", false, "only topics with configs of their own")
	return cmd
}

func (t *topicsTool) run(ctx context.Context, cmd *cobra.Command) error {
	if t.topic == "" && (t.create || t.alter || t.remove) {
		return usageError("--topic is missing")
	}
	t.chosen = t.underReplicated || t.unavailable || t.underMinISR || t.atMinISR
	do := t.runDescribe
	switch {
	case t.create:
		do = t.runCreate
	case t.list:
		do = t.runList
	case t.alter:
		do = t.runAlter
	case t.remove:
		do = t.runDelete
	}
	if err := do(ctx); err != nil {
		fmt.Fprintf(t.out, "Error while executing topic command : %v\n", err)
		return exitCode{}
	}
	return nil
}

func (t *topicsTool) runCreate(ctx context.Context) error {
	if strings.ContainsAny(t.topic, "._") {
		fmt.Fprintln(t.out, "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.")
	}
	if t.partitions == 0 || t.partitions < -1 {
		//lint:ignore ST1005 Apache's words
		return fmt.Errorf("The partitions must be greater than 0")
	}
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = t.topic, t.partitions, int16(t.replication)
	values, err := keyValues(t.configs)
	if err != nil {
		return err
	}
	for key, value := range values {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = key, &value
		topic.Configs = append(topic.Configs, c)
	}
	if topic.ReplicaAssignment, err = assignments(t.assignment); err != nil {
		return err
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(compatTimeout.Milliseconds())
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return err
	}
	for _, r := range resp.Topics {
		err := kerr.ErrorForCode(r.ErrorCode)
		if err == kerr.TopicAlreadyExists && t.ifNotExists {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s", serverText(err, r.ErrorMessage))
		}
	}
	fmt.Fprintf(t.out, "Created topic %s.\n", t.topic)
	return nil
}

// assignments reads 1:2,2:3: brokers by colons, partitions by commas.
func assignments(text string) ([]kmsg.CreateTopicsRequestTopicReplicaAssignment, error) {
	if text == "" {
		return nil, nil
	}
	var all []kmsg.CreateTopicsRequestTopicReplicaAssignment
	for i, list := range strings.Split(text, ",") {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition = int32(i)
		for id := range strings.SplitSeq(list, ":") {
			n, err := strconv.ParseInt(strings.TrimSpace(id), 10, 32)
			if err != nil {
				return nil, fmt.Errorf("--replica-assignment: %q is no broker's id", id)
			}
			a.Replicas = append(a.Replicas, int32(n))
		}
		all = append(all, a)
	}
	return all, nil
}

// matching are the topics that --topic, a pattern of whole names, matches.
func (t *topicsTool) matching(ctx context.Context) ([]string, error) {
	found, err := t.admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, err
	}
	pattern := regexp.MustCompile("")
	if t.topic != "" {
		if pattern, err = regexp.Compile("^(?:" + t.topic + ")$"); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, d := range found.Sorted() {
		if pattern.MatchString(d.Topic) && !(t.excludeInternal && d.IsInternal) {
			names = append(names, d.Topic)
		}
	}
	if len(names) == 0 && t.topic != "" && !t.list && !t.ifExists {
		//lint:ignore ST1005 Apache's words
		return nil, fmt.Errorf("Topic '%s' does not exist as expected", t.topic)
	}
	return names, nil
}

func (t *topicsTool) runList(ctx context.Context) error {
	names, err := t.matching(ctx)
	for _, name := range names {
		fmt.Fprintln(t.out, name)
	}
	return err
}

func (t *topicsTool) runAlter(ctx context.Context) error {
	names, err := t.matching(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = int32(compatTimeout.Milliseconds())
	for _, name := range names {
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = name, t.partitions
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return err
	}
	for _, r := range resp.Topics {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return fmt.Errorf("%s", serverText(err, r.ErrorMessage))
		}
	}
	return nil
}

func (t *topicsTool) runDelete(ctx context.Context) error {
	names, err := t.matching(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	answers, err := t.admin.DeleteTopics(ctx, names...)
	if err != nil {
		return err
	}
	for _, r := range answers.Sorted() {
		if r.Err != nil {
			return fmt.Errorf("%s", serverText(r.Err, &r.ErrMessage))
		}
	}
	return nil
}

func (t *topicsTool) runDescribe(ctx context.Context) error {
	names, err := t.matching(ctx)
	if err != nil || len(names) == 0 {
		return err
	}
	configs, err := t.admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return err
	}
	own, needed := map[string][]string{}, map[string]int{}
	for _, c := range configs {
		for _, f := range c.Configs {
			if f.Source != kmsg.ConfigSourceDefaultConfig {
				own[c.Name] = append(own[c.Name], f.Key+"="+f.MaybeValue())
			}
			if f.Key == "min.insync.replicas" {
				needed[c.Name], _ = strconv.Atoi(f.MaybeValue())
			}
		}
		slices.Sort(own[c.Name])
	}
	return t.partitionsOf(ctx, names, func(d kmsg.DescribeTopicPartitionsResponseTopic) {
		if t.overrides && len(own[*d.Topic]) == 0 {
			return
		}
		if !t.chosen && len(d.Partitions) > 0 {
			fmt.Fprintf(t.out, "Topic: %s\tTopicId: %s\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n",
				*d.Topic, kafka.UUID(d.TopicID), len(d.Partitions), len(d.Partitions[0].Replicas), strings.Join(own[*d.Topic], ","))
		}
		for _, p := range d.Partitions {
			if !t.overrides && t.shown(p, needed[*d.Topic]) {
				t.partition(*d.Topic, p)
			}
		}
	})
}

// shown reports whether the partition is one of those that were asked for.
func (t *topicsTool) shown(p kmsg.DescribeTopicPartitionsResponseTopicPartition, needed int) bool {
	switch isr := len(p.ISR); {
	case !t.chosen:
		return true
	case t.underReplicated && isr < len(p.Replicas), t.unavailable && p.LeaderID < 0,
		t.underMinISR && isr < needed, t.atMinISR && isr == needed:
		return true
	}
	return false
}

func (t *topicsTool) partition(topic string, p kmsg.DescribeTopicPartitionsResponseTopicPartition) {
	leader := "none"
	if p.LeaderID >= 0 {
		leader = strconv.Itoa(int(p.LeaderID))
	}
	list := func(ids []int32) string {
		if len(ids) == 0 {
			return ""
		}
		return strings.ReplaceAll(strings.Trim(fmt.Sprint(ids), "[]"), " ", ",")
	}
	fmt.Fprintf(t.out, "\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s\tElr: %s\tLastKnownElr: %s\n",
		topic, p.Partition, leader, list(p.Replicas), list(p.ISR), list(p.EligibleLeaderReplicas), list(p.LastKnownELR))
}

// describedAtOnce bounds the partitions of one answer; it is Kafka's own bound.
const describedAtOnce = 2000

// partitionsOf calls each for every topic with all its partitions, however many
// answers they take.
func (t *topicsTool) partitionsOf(ctx context.Context, names []string, each func(kmsg.DescribeTopicPartitionsResponseTopic)) error {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = describedAtOnce
	for _, name := range names {
		topic := kmsg.NewDescribeTopicPartitionsRequestTopic()
		topic.Topic = name
		req.Topics = append(req.Topics, topic)
	}
	var held *kmsg.DescribeTopicPartitionsResponseTopic // its partitions go on in the next answer
	for {
		resp, err := req.RequestWith(ctx, t.client)
		if err != nil {
			return err
		}
		for _, d := range resp.Topics {
			if err := kerr.ErrorForCode(d.ErrorCode); err != nil {
				return fmt.Errorf("%s", serverText(err, nil))
			}
			if held != nil && *held.Topic == *d.Topic {
				held.Partitions = append(held.Partitions, d.Partitions...)
				continue
			}
			if held != nil {
				each(*held)
			}
			held = &d
		}
		if resp.NextCursor == nil {
			break
		}
		cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
		cursor.Topic, cursor.Partition = resp.NextCursor.Topic, resp.NextCursor.Partition
		req.Cursor = &cursor
	}
	if held != nil {
		each(*held)
	}
	return nil
}
