package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupsTool is kafka-consumer-groups.sh (ConsumerGroupCommand), without
// --reset-offsets and --delete-offsets: `kvorum group seek` shows what it will do.
type groupsTool struct {
	compatTool
	list, describe, remove, members, offsets, allGroups bool
	state                                               string
	groups                                              []string
}

// anyState is --state without a value.
const anyState = "*"

func compatGroups() *cobra.Command {
	var t groupsTool
	cmd := t.command("kafka-consumer-groups", "kafka-consumer-groups.sh: list, describe and delete groups", "kvorum group seek",
		"  kvorum compat kafka-consumer-groups --bootstrap-server 127.0.0.1:9092 --list\n"+
			"  kvorum compat kafka-consumer-groups --bootstrap-server 127.0.0.1:9092 --describe --group billing", t.run)
	run := cmd.RunE
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 { // --state VALUE, where the value may be missing
			if t.state != anyState {
				return usageError(fmt.Sprintf("%q is no flag", args[0]))
			}
			t.state = args[0]
		}
		return run(cmd, args)
	}
	actions(cmd,
		action{&t.list, "list", "list groups"},
		action{&t.describe, "describe", "describe groups"},
		action{&t.remove, "delete", "delete groups"},
	)
	f := cmd.Flags()
	f.BoolVar(&t.members, "members", false, "describe the members")
	f.BoolVar(&t.offsets, "offsets", false, "describe the offsets, as without it")
	f.BoolVar(&t.allGroups, "all-groups", false, "all groups")
	f.StringArrayVar(&t.groups, "group", nil, "group; may be given more than once")
	f.StringVar(&t.state, "state", "", "describe or list the states; with --list also states, separated by commas")
	f.Lookup("state").NoOptDefVal = anyState
	cmd.MarkFlagsMutuallyExclusive("members", "offsets", "state")
	return cmd
}

func (t *groupsTool) run(ctx context.Context, cmd *cobra.Command) error {
	if t.list {
		return t.runList(ctx)
	}
	if t.allGroups {
		all, err := t.admin.ListGroups(ctx)
		if err != nil {
			return err
		}
		t.groups = all.Groups()
	}
	if len(t.groups) == 0 {
		return usageError("--group or --all-groups is missing")
	}
	if t.remove {
		return t.runDelete(ctx)
	}
	lags, err := t.admin.Lag(ctx, t.groups...)
	if err != nil {
		return err
	}
	for _, l := range lags.Sorted() {
		if l.State == "Dead" || l.Error() != nil {
			text := "org.apache.kafka.common.errors.GroupIdNotFoundException: Group " + l.Group + " not found."
			if err := l.Error(); err != nil && err != kerr.GroupIDNotFound {
				text = javaError(err, nil)
			}
			fmt.Fprintf(t.out, "\nError: Executing consumer group command failed due to %s\n", text)
			fmt.Fprintf(cmd.ErrOrStderr(), "java.util.concurrent.ExecutionException: %s\nCaused by: %s\n", text, text)
			continue // the tool ends with 0
		}
		if err := t.runDescribe(cmd, l); err != nil {
			return err
		}
	}
	return nil
}

// groupStates are what --state may name, in the tool's order.
var groupStates = []string{"CompletingRebalance", "PreparingRebalance", "Reconciling", "Empty", "Assigning", "Stable", "Dead"}

func (t *groupsTool) runList(ctx context.Context) error {
	var states []string
	if t.state != "" && t.state != anyState {
		for text := range strings.SplitSeq(t.state, ",") {
			i := slices.IndexFunc(groupStates, func(s string) bool { return strings.EqualFold(s, strings.TrimSpace(text)) })
			if i < 0 {
				return usageError(fmt.Sprintf("Invalid state list '%s'. Valid states are: %s", t.state, strings.Join(groupStates, ", ")))
			}
			states = append(states, groupStates[i])
		}
	}
	groups, err := t.admin.ListGroups(ctx, states...)
	if err != nil {
		return err
	}
	rows := [][]string{{"GROUP", "STATE"}}
	for _, g := range groups.Sorted() {
		if t.state == "" {
			fmt.Fprintln(t.out, g.Group)
		}
		rows = append(rows, []string{g.Group, g.State})
	}
	if t.state == "" {
		return nil
	}
	return writeTable(t.out, rows)
}

func (t *groupsTool) runDelete(ctx context.Context) error {
	answers, err := t.admin.DeleteGroups(ctx, t.groups...)
	if err != nil {
		return err
	}
	var deleted, failed []string
	for _, r := range answers.Sorted() {
		if r.Err != nil {
			failed = append(failed, fmt.Sprintf("* Group '%s' could not be deleted due to: %s", r.Group, javaError(r.Err, nil)))
		} else {
			deleted = append(deleted, "'"+r.Group+"'")
		}
	}
	switch {
	case len(failed) == 0:
		fmt.Fprintf(t.out, "Deletion of requested consumer groups (%s) was successful.\n", strings.Join(deleted, ", "))
		return nil
	default:
		fmt.Fprintf(t.out, "\nError: Deletion of some consumer groups failed:\n%s\n", strings.Join(failed, "\n"))
	}
	if len(deleted) > 0 {
		fmt.Fprintf(t.out, "\nThese consumer groups were deleted successfully: %s\n", strings.Join(deleted, ", "))
	}
	return nil
}

func (t *groupsTool) runDescribe(cmd *cobra.Command, l kadm.DescribedGroupLag) error {
	if len(l.Members) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "\nConsumer group '%s' has no active members.\n", l.Group)
	}
	fmt.Fprintln(t.out)
	rows := t.offsetRows(l)
	switch {
	case t.members:
		rows = memberRows(l)
	case t.state != "":
		rows = [][]string{{"GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"},
			{l.Group, fmt.Sprintf("%s:%d  (%d)", l.Coordinator.Host, l.Coordinator.Port, l.Coordinator.NodeID), orDash(l.Protocol), l.State, strconv.Itoa(len(l.Members))}}
	}
	return writeTable(t.out, rows)
}

func (t *groupsTool) offsetRows(l kadm.DescribedGroupLag) [][]string {
	rows := [][]string{{"GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"}}
	for _, p := range l.Lag.Sorted() {
		member, host, client := "-", "-", "-"
		if p.Member != nil {
			member, host, client = p.Member.MemberID, p.Member.ClientHost, p.Member.ClientID
		}
		lag := known(p.Lag)
		if p.Commit.At < 0 {
			lag = "-"
		}
		rows = append(rows, []string{l.Group, p.Topic, strconv.Itoa(int(p.Partition)), known(p.Commit.At), known(p.End.Offset), lag, member, host, client})
	}
	return rows
}

// memberRows have the column of static members only where there are some.
func memberRows(l kadm.DescribedGroupLag) [][]string {
	static := slices.ContainsFunc(l.Members, func(m kadm.DescribedGroupMember) bool { return m.InstanceID != nil })
	head := []string{"GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"}
	if static {
		head = slices.Insert(head, 2, "GROUP-INSTANCE-ID")
	}
	rows := [][]string{head}
	for _, m := range l.Members {
		n := 0
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, topic := range a.Topics {
				n += len(topic.Partitions)
			}
		}
		row := []string{l.Group, m.MemberID, m.ClientHost, m.ClientID, strconv.Itoa(n)}
		if static {
			row = slices.Insert(row, 2, nullableText(m.InstanceID))
		}
		rows = append(rows, row)
	}
	return rows
}

func nullableText(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
