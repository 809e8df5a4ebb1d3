package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/admin"
	"kvorum/internal/kafka"
)

// quorumTool is kafka-metadata-quorum.sh (MetadataQuorumCommand). Its words come
// before or after `describe`.
type quorumTool struct {
	server, controller, commandConfig  string
	status, replication, humanReadable bool
}

// quorumReplica is one copy of the log as the answer has it.
type quorumReplica = kmsg.DescribeQuorumResponseTopicPartitionReplicaState

func compatQuorum() *cobra.Command {
	var t quorumTool
	const name = "kafka-metadata-quorum"
	cmd := &cobra.Command{Use: name, Short: name + ".sh: the controllers and their log", Args: cobra.NoArgs, RunE: needSubcommand}
	describe := &cobra.Command{
		Use: "describe", Short: "Describe the metadata quorum", Args: cobra.NoArgs,
		Example: "  kvorum compat kafka-metadata-quorum describe --bootstrap-server 127.0.0.1:9092 --status\n" +
			"  kvorum compat kafka-metadata-quorum --bootstrap-controller 127.0.0.1:9093 describe --replication --human-readable",
		RunE: func(cmd *cobra.Command, _ []string) error { return t.describe(cmd.Context(), cmd) },
	}
	actions(describe, action{&t.status, "status", "a summary"}, action{&t.replication, "replication", "each copy of the log"})
	describe.Flags().BoolVar(&t.humanReadable, "human-readable", false, "with --replication: how long ago, in the place of timestamps")
	cmd.PersistentFlags().StringVar(&t.server, "bootstrap-server", "", "brokers, HOST:PORT separated by commas")
	cmd.PersistentFlags().StringVar(&t.controller, "bootstrap-controller", "", "controllers, HOST:PORT separated by commas")
	cmd.PersistentFlags().StringVar(&t.commandConfig, "command-config", "", "refused: there is nothing to configure yet")
	cmd.SetFlagErrorFunc(flagError(name, "kvorum quorum status"))
	cmd.AddCommand(describe, changeVoters("add-controller"), changeVoters("remove-controller"))
	return cmd
}

// changeVoters is a command that takes all words and refuses: controllers of
// kvorum's do not serve AddRaftVoter and RemoveRaftVoter.
func changeVoters(name string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: "Refused: the controllers of a cluster are those of its configuration",
		Example:            "  kvorum compat kafka-metadata-quorum " + name + "   # says what to do instead",
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(*cobra.Command, []string) error {
			return usageError(name + " is not taken: the controllers of kvorum are those of kvorum.raft.voters, and do not change while they run; " +
				"`kvorum storage replace-controller` puts a new disk in the place of a lost one")
		},
	}
}

func (t *quorumTool) describe(ctx context.Context, cmd *cobra.Command) error {
	switch {
	case (t.server == "") == (t.controller == ""):
		return usageError("name brokers with --bootstrap-server or controllers with --bootstrap-controller, and not both")
	case t.commandConfig != "":
		return usageError(noCommandConfig)
	case t.humanReadable && !t.replication:
		return usageError("The option --human-readable is only supported along with --replication")
	}
	resp, cluster, err := admin.DescribeQuorum(ctx, t.server+t.controller, t.controller != "", compatTimeout)
	if err != nil {
		return err
	}
	if t.status {
		_, err := fmt.Fprint(cmd.OutOrStdout(), quorumSummary(cluster.ClusterID, resp))
		return err
	}
	rows, err := t.replicas(&resp.Topics[0].Partitions[0], time.Now())
	if err != nil {
		return err
	}
	return writeTable(cmd.OutOrStdout(), rows)
}

// replicas has the leader first, then the other voters, then the observers.
func (t *quorumTool) replicas(p *kmsg.DescribeQuorumResponseTopicPartition, now time.Time) ([][]string, error) {
	rows := [][]string{{"NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"}}
	leader := leaderOf(p)
	add := func(r *quorumReplica, status string) error {
		fetched, err := t.moment(r.LastFetchTimestamp, now, "last fetch")
		if err != nil {
			return err
		}
		caughtUp, err := t.moment(r.LastCaughtUpTimestamp, now, "last caught up")
		rows = append(rows, []string{strconv.Itoa(int(r.ReplicaID)), kafka.UUID(r.ReplicaDirectoryID).String(), decimal(r.LogEndOffset),
			decimal(leader.LogEndOffset - r.LogEndOffset), fetched, caughtUp, status})
		return err
	}
	err := add(leader, "Leader")
	for i := range p.CurrentVoters {
		if v := &p.CurrentVoters[i]; v.ReplicaID != p.LeaderID && err == nil {
			err = add(v, "Follower")
		}
	}
	for i := range p.Observers {
		if err == nil {
			err = add(&p.Observers[i], "Observer")
		}
	}
	return rows, err
}

// moment is a timestamp in milliseconds, or how long ago it was; -1 is never.
func (t *quorumTool) moment(ms int64, now time.Time, what string) (string, error) {
	if !t.humanReadable || ms == -1 {
		return decimal(ms), nil
	}
	ago := now.UnixMilli() - ms
	if ms <= 0 || ago < 0 {
		return "", fmt.Errorf("Error while computing relative time, possible drift in system clock.\nCurrent timestamp is %d, %s timestamp is %d",
			now.UnixMilli(), what, ms)
	}
	return decimal(ago) + " ms ago", nil
}

func leaderOf(p *kmsg.DescribeQuorumResponseTopicPartition) *quorumReplica {
	i := slices.IndexFunc(p.CurrentVoters, func(v quorumReplica) bool { return v.ReplicaID == p.LeaderID })
	if i < 0 {
		none := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		return &none
	}
	return &p.CurrentVoters[i]
}

// quorumSummary is the summary. The lags are those of the voter whose log is the
// shortest; the time is -1 where it or the leader does not say when it was caught
// up.
func quorumSummary(cluster string, resp *kmsg.DescribeQuorumResponse) string {
	p := &resp.Topics[0].Partitions[0]
	leader := leaderOf(p)
	slowest := leader
	for i := range p.CurrentVoters {
		if v := &p.CurrentVoters[i]; v.LogEndOffset < slowest.LogEndOffset {
			slowest = v
		}
	}
	since := int64(-1)
	switch {
	case slowest == leader:
		since = 0
	case leader.LastCaughtUpTimestamp != -1 && slowest.LastCaughtUpTimestamp != -1:
		since = leader.LastCaughtUpTimestamp - slowest.LastCaughtUpTimestamp
	}
	return fmt.Sprintf("ClusterId:              %s\nLeaderId:               %d\nLeaderEpoch:            %d\nHighWatermark:          %d\n"+
		"MaxFollowerLag:         %d\nMaxFollowerLagTimeMs:   %d\nCurrentVoters:          %s\nCurrentObservers:       %s\n",
		cluster, p.LeaderID, p.LeaderEpoch, p.HighWatermark, leader.LogEndOffset-slowest.LogEndOffset, since,
		quorumNodes(p.CurrentVoters, resp.Nodes), quorumNodes(p.Observers, resp.Nodes))
}

// quorumNodes are replicas in the tool's own JSON: what is not known is left out.
func quorumNodes(replicas []quorumReplica, nodes []kmsg.DescribeQuorumResponseNode) string {
	var all []string
	for i := range replicas {
		r := &replicas[i]
		text := fmt.Sprintf(`{"id": %d`, r.ReplicaID)
		if dir := kafka.UUID(r.ReplicaDirectoryID); dir != (kafka.UUID{}) {
			text += fmt.Sprintf(`, "directoryId": %q`, dir)
		}
		at := slices.IndexFunc(nodes, func(n kmsg.DescribeQuorumResponseNode) bool { return n.NodeID == r.ReplicaID })
		if at >= 0 && len(nodes[at].Listeners) > 0 {
			var endpoints []string
			for _, l := range nodes[at].Listeners {
				endpoints = append(endpoints, fmt.Sprintf(`"%s://%s:%d"`, l.Name, l.Host, l.Port))
			}
			text += `, "endpoints": [` + strings.Join(endpoints, ", ") + "]"
		}
		all = append(all, text+"}")
	}
	return "[" + strings.Join(all, ", ") + "]"
}
