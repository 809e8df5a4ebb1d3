package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/internal/clock"
)

func partitionsCommand() *cobra.Command {
	var flags brokerFlags
	cmd := &cobra.Command{Use: "partitions", Short: "Move replicas between brokers and elect leaders", Args: cobra.NoArgs, RunE: needSubcommand}
	flags.add(cmd)
	cmd.AddCommand(partitionsMove(&flags), partitionsBalance(&flags), partitionsStatus(&flags), partitionsCancel(&flags), partitionsElect(&flags))
	return cmd
}

// moveFlags are those of the commands that move replicas.
type moveFlags struct {
	throttle int64
	plan     string
	noWait   bool
	dryRun   bool
	out      output
}

func (f *moveFlags) add(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&f.throttle, "throttle", 0, "bytes per second that a broker gives and takes for the moves; 0 is no limit")
	cmd.Flags().StringVar(&f.plan, "write-plan", "", "write the plan to a file, and the way back to the same name with .back; in the format of kafka-reassign-partitions")
	cmd.Flags().BoolVar(&f.noWait, "no-wait", false, "return when the moves have begun; a throttle then stays (`kvorum partitions status --unthrottle TOPIC` takes it away)")
	addDryRun(cmd, &f.dryRun)
	f.out.add(cmd)
}

func partitionsMove(flags *brokerFlags) *cobra.Command {
	var f moveFlags
	var file string
	cmd := &cobra.Command{
		Use: "move [TOPIC-PARTITION=BROKER,BROKER,...]...", Short: "Give partitions other replicas",
		Long: "Move gives each partition the replicas that are named, the first one being the preferred\n" +
			"leader, and waits until they are in sync. A plan file of kafka-reassign-partitions will do\n" +
			"instead (--file).",
		Example: "  kvorum partitions move orders-0=2,3 --dry-run\n" +
			"  kvorum partitions move orders-0=2,3 orders-1=3,1 --throttle 50000000\n" +
			"  kvorum partitions move --file plan.json --no-wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted, err := wantedReplicas(args, file)
			if err != nil {
				return err
			}
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error { return f.move(ctx, cmd, c, wanted) })
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "plan file: {\"version\":1,\"partitions\":[{\"topic\":...,\"partition\":...,\"replicas\":[...]}]}")
	f.add(cmd)
	return cmd
}

func partitionsBalance(flags *brokerFlags) *cobra.Command {
	var f moveFlags
	var topics []string
	var brokers []int32
	cmd := &cobra.Command{
		Use: "balance", Short: "Spread replicas and preferred leaders evenly over brokers", Args: cobra.NoArgs,
		Long: "Balance moves replicas from the brokers that have most to those that have fewest, until none\n" +
			"has two more than another, and likewise for preferred leaders. It counts replicas, not bytes\n" +
			"or racks. Look at the plan first (--dry-run). With --onto, other brokers are emptied.",
		Example: "  kvorum partitions balance --dry-run\n" +
			"  kvorum partitions balance --topics orders,payments --throttle 50000000\n" +
			"  kvorum partitions balance --onto 1,2,3 --write-plan plan.json --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.cluster(cmd, func(ctx context.Context, c *admin.Cluster) error {
				wanted, err := c.Balance(ctx, topics, brokers)
				if err != nil {
					return err
				}
				return f.move(ctx, cmd, c, wanted)
			})
		},
	}
	cmd.Flags().StringSliceVar(&topics, "topics", nil, "topics, separated by commas (default: all)")
	cmd.Flags().Int32SliceVar(&brokers, "onto", nil, "ids of the brokers to use, separated by commas (default: all that live)")
	f.add(cmd)
	return cmd
}

// wantedReplicas reads TOPIC-PARTITION=BROKERS words or a plan file.
func wantedReplicas(args []string, file string) (map[string]map[int32][]int32, error) {
	if (file == "") == (len(args) == 0) {
		return nil, usageError("name the partitions as TOPIC-PARTITION=BROKER,BROKER,..., or a plan with --file, and not both")
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		return admin.ParsePlan(text)
	}
	var plan admin.PlanFile
	plan.Version = 1
	for _, arg := range args {
		name, list, ok := strings.Cut(arg, "=")
		topic, partition, okName := cutLast(name, "-")
		id, err := strconv.ParseInt(partition, 10, 32)
		if !ok || !okName || err != nil {
			return nil, usageError(fmt.Sprintf("%q is not TOPIC-PARTITION=BROKER,BROKER,...", arg))
		}
		p := admin.PlanPartition{Topic: topic, Partition: int32(id)}
		for text := range strings.SplitSeq(list, ",") {
			b, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return nil, usageError(fmt.Sprintf("%q: %q is no broker's id", arg, text))
			}
			p.Replicas = append(p.Replicas, int32(b))
		}
		plan.Partitions = append(plan.Partitions, p)
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	return admin.ParsePlan(text)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// move shows the plan, carries it out and waits for the end.
func (f *moveFlags) move(ctx context.Context, cmd *cobra.Command, c *admin.Cluster, wanted map[string]map[int32][]int32) error {
	moves, err := c.PlanMoves(ctx, wanted)
	if err != nil {
		return err
	}
	if f.plan != "" {
		if err := writePlans(f.plan, moves); err != nil {
			return err
		}
	}
	rows := [][]string{{"PARTITION", "FROM", "TO", "BYTES FOR EACH NEW REPLICA"}}
	for _, m := range moves {
		rows = append(rows, []string{m.Topic + "-" + strconv.Itoa(int(m.Partition)), ids(m.From), ids(m.To), bytesText(m.Bytes)})
	}
	if err := f.out.tables(cmd, moves, rows); err != nil {
		return err
	}
	if len(moves) == 0 || f.dryRun {
		if f.out.table() && len(moves) == 0 {
			fmt.Fprintln(cmd.OutOrStdout(), "nothing to move")
		}
		return nil
	}
	if err := c.Move(ctx, moves, f.throttle); err != nil {
		return err
	}
	if f.noWait {
		return nil
	}
	return f.wait(ctx, cmd, c, moves)
}

// wait waits for the moves and takes the throttle away; Ctrl-C leaves both as they
// are.
func (f *moveFlags) wait(ctx context.Context, cmd *cobra.Command, c *admin.Cluster, moves []admin.Move) error {
	p := newProgress(cmd)
	defer p.end()
	for {
		left, err := c.Moves(ctx)
		if err != nil {
			return err
		}
		left = slices.DeleteFunc(left, func(l admin.Moving) bool {
			return !slices.ContainsFunc(moves, func(m admin.Move) bool { return m.Topic == l.Topic && m.Partition == l.Partition })
		})
		if len(left) == 0 {
			break
		}
		p.say("%s %d of %d partitions moved", bar(len(moves)-len(left), len(moves)), len(moves)-len(left), len(moves))
		if !clock.Rest(ctx, 200*time.Millisecond) {
			return fmt.Errorf("%d of %d partitions are still moving: `kvorum partitions status` shows them, `kvorum partitions cancel` takes them back", len(left), len(moves))
		}
	}
	if f.throttle > 0 {
		return c.Unthrottle(ctx, topicsOf(moves))
	}
	return nil
}

func topicsOf(moves []admin.Move) []string {
	var topics []string
	for _, m := range moves {
		topics = append(topics, m.Topic)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// bar is a bar of twenty places.
func bar(done, of int) string {
	n := 20 * done / max(of, 1)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", 20-n) + "]"
}

func writePlans(path string, moves []admin.Move) error {
	for name, back := range map[string]bool{path: false, path + ".back": true} {
		text, err := json.MarshalIndent(admin.ReassignmentOf(moves, back), "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write the plan: %w", err)
		}
	}
	return nil
}
