package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetsTool is kafka-get-offsets.sh (GetOffsetShell).
type offsetsTool struct {
	compatTool
	topic, topicPartitions, partitions, time string
	excludeInternal                          bool
}

// offsetTimes are the timestamps that stand for places (ListOffsetsRequest).
var offsetTimes = map[string]int64{"latest": -1, "earliest": -2, "max-timestamp": -3, "earliest-local": -4, "latest-tiered": -5, "earliest-pending-upload": -6}

func compatGetOffsets() *cobra.Command {
	var t offsetsTool
	cmd := t.command("kafka-get-offsets", "kafka-get-offsets.sh: the offsets of partitions", "kvorum topic",
		"  kvorum compat kafka-get-offsets --bootstrap-server 127.0.0.1:9092 --topic orders\n"+
			"  kvorum compat kafka-get-offsets --bootstrap-server 127.0.0.1:9092 --topic-partitions 'orders:0-2,pay.*:1' --time earliest", t.run)
	cmd.Flags().StringVar(&t.topic, "topic", "", "pattern of topics")
	cmd.Flags().StringVar(&t.topicPartitions, "topic-partitions", "", "PATTERN:PARTITIONS, separated by commas")
	cmd.Flags().StringVar(&t.partitions, "partitions", "", "partitions of --topic, separated by commas")
	cmd.Flags().StringVar(&t.time, "time", "latest", "milliseconds since 1970, -1 to -6, latest, earliest, max-timestamp, earliest-local, latest-tiered, earliest-pending-upload")
	cmd.Flags().BoolVar(&t.excludeInternal, "exclude-internal-topics", false, "leave internal topics out")
	cmd.MarkFlagsMutuallyExclusive("topic", "topic-partitions")
	cmd.MarkFlagsMutuallyExclusive("partitions", "topic-partitions")
	return cmd
}

func (t *offsetsTool) run(ctx context.Context, cmd *cobra.Command) error {
	at, ok := offsetTimes[t.time]
	if !ok {
		var err error
		if at, err = strconv.ParseInt(t.time, 10, 64); err != nil {
			return usageError("--time " + t.time + " is neither a number nor one of the words")
		}
	}
	wanted, err := t.wanted()
	if err != nil {
		return usageError(err.Error())
	}
	topics, err := t.admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return err
	}
	var chosen []kadm.PartitionDetail
	for _, d := range topics.Sorted() {
		for _, p := range d.Partitions.Sorted() {
			if !(t.excludeInternal && d.IsInternal) && wanted(p.Topic, p.Partition) {
				chosen = append(chosen, p)
			}
		}
	}
	if len(chosen) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "Error occurred: Could not match any topic-partitions with the specified filters")
		return exitCode{}
	}
	found, err := t.listed(ctx, chosen, at)
	if err != nil {
		return err
	}
	for _, p := range chosen {
		if offset, ok := found[p.Topic][p.Partition]; ok && offset >= 0 {
			fmt.Fprintf(t.out, "%s:%d:%d\n", p.Topic, p.Partition, offset)
		}
	}
	return nil
}

// wanted reads which partitions are asked for.
func (t *offsetsTool) wanted() (func(string, int32) bool, error) {
	list := t.topicPartitions
	if list == "" {
		list = t.topic
		if list == "" {
			list = ".*"
		}
		if t.partitions != "" {
			var each []string
			for p := range strings.SplitSeq(t.partitions, ",") {
				each = append(each, list+":"+p)
			}
			list = strings.Join(each, ",")
		}
	}
	type rule struct {
		topic    *regexp.Regexp
		from, to int64 // to is exclusive
	}
	var rules []rule
	for item := range strings.SplitSeq(list, ",") {
		name, span, _ := strings.Cut(item, ":")
		if name == "" {
			name = ".*"
		}
		pattern, err := regexp.Compile("^(?:" + name + ")$")
		if err != nil {
			return nil, err
		}
		r := rule{topic: pattern, to: 1 << 31}
		lower, upper, isRange := strings.Cut(span, "-")
		var errL, errU error
		if lower != "" {
			r.from, errL = strconv.ParseInt(lower, 10, 32)
		}
		switch {
		case isRange && upper != "":
			r.to, errU = strconv.ParseInt(upper, 10, 32)
		case !isRange && lower != "":
			r.to = r.from + 1
		}
		if errL != nil || errU != nil {
			return nil, fmt.Errorf("invalid rule %q: want PATTERN:PARTITION, PATTERN:FROM-UPTO, PATTERN:FROM- or PATTERN:-UPTO", item)
		}
		rules = append(rules, r)
	}
	return func(topic string, partition int32) bool {
		return slices.ContainsFunc(rules, func(r rule) bool {
			return r.topic.MatchString(topic) && int64(partition) >= r.from && int64(partition) < r.to
		})
	}, nil
}

// listed asks the leaders. kadm gives the end where there is no record of a time,
// which the tool does not print, so that the request is made here.
func (t *offsetsTool) listed(ctx context.Context, chosen []kadm.PartitionDetail, at int64) (map[string]map[int32]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for _, p := range chosen {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != p.Topic {
			topic := kmsg.NewListOffsetsRequestTopic()
			topic.Topic = p.Topic
			req.Topics = append(req.Topics, topic)
		}
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = p.Partition, at
		last := &req.Topics[len(req.Topics)-1]
		last.Partitions = append(last.Partitions, one)
	}
	found := map[string]map[int32]int64{}
	for _, shard := range t.client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, topic := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			found[topic.Topic] = map[int32]int64{}
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("%s-%d: %w", topic.Topic, p.Partition, err)
				}
				found[topic.Topic][p.Partition] = p.Offset
			}
		}
	}
	return found, nil
}

// recordsTool is kafka-delete-records.sh (DeleteRecordsCommand).
type recordsTool struct {
	compatTool
	file string
}

func compatDeleteRecords() *cobra.Command {
	var t recordsTool
	cmd := t.command("kafka-delete-records", "kafka-delete-records.sh: delete records before offsets", "kvorum topic trim",
		"  kvorum compat kafka-delete-records --bootstrap-server 127.0.0.1:9092 --offset-json-file offsets.json", t.run)
	cmd.Flags().StringVar(&t.file, "offset-json-file", "", `{"version":1,"partitions":[{"topic":...,"partition":...,"offset":...}]}`)
	must(cmd.MarkFlagRequired("offset-json-file"))
	return cmd
}

func (t *recordsTool) run(ctx context.Context, cmd *cobra.Command) error {
	text, err := os.ReadFile(t.file)
	if err != nil {
		return err
	}
	var file struct {
		Partitions []struct {
			Topic     string
			Partition int32
			Offset    int64
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("read %s: %w", t.file, err)
	}
	var offsets kadm.Offsets
	for _, p := range file.Partitions {
		if _, twice := offsets.Lookup(p.Topic, p.Partition); twice {
			return fmt.Errorf("%s: %s-%d is there twice", t.file, p.Topic, p.Partition)
		}
		offsets.AddOffset(p.Topic, p.Partition, p.Offset, -1)
	}
	fmt.Fprintln(t.out, "Executing records delete operation")
	answers, err := t.admin.DeleteRecords(ctx, offsets)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.out, "Records delete operation completed:")
	for _, o := range offsets.Sorted() {
		r, _ := answers.Lookup(o.Topic, o.Partition)
		if r.Err != nil {
			fmt.Fprintf(t.out, "partition: %s-%d\terror: %s\n", o.Topic, o.Partition, javaError(r.Err, nil))
		} else {
			fmt.Fprintf(t.out, "partition: %s-%d\tlow_watermark: %d\n", o.Topic, o.Partition, r.LowWatermark)
		}
	}
	return nil
}
