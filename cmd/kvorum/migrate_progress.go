package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/internal/clock"
	"kvorum/migration/driver"
	migrating "kvorum/migration/progress"
	"kvorum/protocol"
)

func migrateStatus() *cobra.Command {
	var m controllerFlags
	var out output
	var watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show where a migration stands, what is awaited, and whose turn it is", Args: cobra.NoArgs,
		Long: "Status asks the controllers. It exits with 2 if the migration has stopped, or if no\nactive controller can be reached. With --watch it shows each change until the\nmigration is over or it is interrupted.",
		Example: "  kvorum migrate status --bootstrap-controller c1:9093,c2:9093,c3:9093\n" +
			"  kvorum migrate status --watch\n  kvorum migrate status -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.resolve(cmd); err != nil {
				return err
			}
			if watch {
				return watchMigration(cmd, &m, &out)
			}
			p, _, err := admin.MigrationProgress(cmd.Context(), m.bootstrap, m.timeout)
			if err != nil {
				return unhealthyError(err.Error())
			}
			if err := printProgress(cmd, &out, p); err != nil {
				return err
			}
			return healthyProgress(p)
		},
	}
	m.add(cmd, 5*time.Second)
	cmd.Flags().BoolVar(&watch, "watch", false, "go on and show what changes")
	out.add(cmd)
	return cmd
}

// healthyProgress is the exit code of a status.
func healthyProgress(p *migrating.Progress) error {
	switch {
	case p.Reason != "":
		return unhealthyError("the migration has stopped: " + p.Reason)
	case !p.Active:
		return unhealthyError(fmt.Sprintf("controller %d is not the active one, and no other can be reached", p.Node))
	}
	return nil
}

// watchPause is between two questions.
const watchPause = time.Second

// watch shows each status that differs from the last. An answer that fails is shown
// and asked for again: controllers come and go in a migration.
func watchMigration(cmd *cobra.Command, m *controllerFlags, out *output) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	last := ""
	for {
		p, _, err := admin.MigrationProgress(ctx, m.bootstrap, m.timeout)
		now := ""
		if err != nil {
			now = err.Error()
		} else {
			now = fmt.Sprint(p.State, p.Reason, p.Error, p.AwaitedControllers, p.AwaitedBrokers, p.ZooKeeperMode, p.KRaftMode, p.Lag > 0, p.Node)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case now == last:
		case err != nil:
			fmt.Fprintln(cmd.ErrOrStderr(), err)
		default:
			if out.table() {
				fmt.Fprintf(cmd.OutOrStdout(), "--- %s\n", time.Now().Format(time.TimeOnly))
			}
			if err := printProgress(cmd, out, p); err != nil {
				return err
			}
		}
		last = now
		if err == nil && p.Over() {
			return nil
		}
		if !clock.Rest(ctx, watchPause) {
			return nil
		}
	}
}

func printProgress(cmd *cobra.Command, out *output, p *migrating.Progress) error {
	if !out.table() {
		return out.print(cmd, p, nil)
	}
	rows := [][]string{
		{"CONTROLLER", strconv.Itoa(int(p.Node))},
		{"STATE", p.State}, {"METADATA LOG", fmt.Sprintf("%s, offset %d", p.Log, p.Offset)},
		{"IN ZOOKEEPER", offsetText(p.Written)}, {"LAG", strconv.FormatInt(p.Lag, 10)},
		{"BROKERS IN ZOOKEEPER MODE", migrating.List(p.ZooKeeperMode)}, {"BROKERS IN KRAFT MODE", migrating.List(p.KRaftMode)},
	}
	if p.Action != "" {
		doing := p.Action
		if p.NodesRead > 0 {
			doing = fmt.Sprintf("%s, %d nodes of ZooKeeper read", p.Action, p.NodesRead)
		}
		rows = append(rows, []string{"DOING", doing})
	}
	for _, row := range [][]string{{"REASON", p.Reason}, {"LAST ERROR", p.Error}} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	rows = append(rows, []string{"WHOSE TURN", p.Next()})
	if err := out.print(cmd, p, rows); err != nil || len(p.Told) == 0 {
		return err
	}
	told := [][]string{{"BROKER", "ADDRESS", "TOLD UP TO", "LAG", "ERROR"}}
	for _, b := range p.Told {
		told = append(told, []string{strconv.Itoa(int(b.Broker)), b.Address, offsetText(b.Offset), strconv.FormatInt(b.Lag, 10), orDash(b.Error)})
	}
	fmt.Fprintln(cmd.OutOrStdout())
	return out.print(cmd, p, told)
}

// migrateAlter is a command that changes something; it says what before it does it.
// first, if not nil, is done between the two; it changes nothing unless execute says so.
func migrateAlter(use, short, long string, action protocol.MigrationAction, does func(*migrating.Progress) string, first func(cmd *cobra.Command, p *migrating.Progress, controllers string, execute bool) error) *cobra.Command {
	var m controllerFlags
	var execute bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs, Long: long + "\n\nWithout --execute it says what it would do, and changes nothing.",
		Example: fmt.Sprintf("  kvorum migrate %s\n  kvorum migrate %s --execute", use, use),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.resolve(cmd); err != nil {
				return err
			}
			p, _, err := admin.MigrationProgress(cmd.Context(), m.bootstrap, m.timeout)
			if err != nil {
				return unhealthyError(err.Error())
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The migration is in state %s, brokers in ZooKeeper mode: %s, in KRaft mode: %s.\n%s\n", p.State, migrating.List(p.ZooKeeperMode), migrating.List(p.KRaftMode), does(p))
			if first != nil {
				if err := first(cmd, p, m.bootstrap, execute); err != nil {
					return err
				}
			}
			if !execute {
				fmt.Fprintln(cmd.OutOrStdout(), "Nothing was changed: --execute does it.")
				return nil
			}
			began := time.Now()
			if err := admin.AlterMigration(cmd.Context(), m.bootstrap, action, m.timeout); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Done in %v.\n", time.Since(began).Round(time.Millisecond))
			if p, _, err := admin.MigrationProgress(cmd.Context(), m.bootstrap, m.timeout); err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "The turn is %s.\n", p.Next())
			}
			return nil
		},
	}
	m.add(cmd, time.Minute)
	cmd.Flags().BoolVar(&execute, "execute", false, "do it")
	return cmd
}

func migrateFinalize() *cobra.Command {
	f := migrateFlags{Migration: admin.Migration{Timeout: 10 * time.Second}}
	var file string
	var without bool
	cmd := migrateAlter("finalize", "End a migration: ZooKeeper is written no more",
		"Finalize ends the migration when all brokers are in KRaft mode and ZooKeeper holds\neverything. After it only kvorum migrate\nrestore goes back, with everything stopped. It first keeps what ZooKeeper holds in a new\nfile (--export), as kvorum migrate export does.",
		protocol.FinalizeMigration, func(p *migrating.Progress) string {
			return "Finalize commits POST_MIGRATION: from then on nothing is written to ZooKeeper; after it only kvorum migrate restore goes back, with everything stopped."
		}, func(cmd *cobra.Command, p *migrating.Progress, _ string, execute bool) error {
			if !execute || without || p.State == driver.KRaft.String() {
				return nil
			}
			return f.keep(cmd, p, file)
		})
	cmd.Flags().StringVar(&f.ZooKeeper, "zookeeper", "", "the brokers' zookeeper.connect (default: what the controllers have)")
	f.addConnection(cmd)
	cmd.Flags().StringVar(&file, "export", "", "file to keep what ZooKeeper holds in; it must not exist (default: zookeeper-CLUSTER-OFFSET.jsonl, here)")
	cmd.Flags().BoolVar(&without, "without-export", false, "keep nothing")
	cmd.MarkFlagsMutuallyExclusive("export", "without-export")
	return cmd
}

// keep exports ZooKeeper before the migration is finalized.
func (f *migrateFlags) keep(cmd *cobra.Command, p *migrating.Progress, file string) error {
	if len(p.ZooKeeperMode) > 0 || p.State != driver.DualWrite.String() {
		return nil // the controllers refuse, and say why
	}
	if f.ZooKeeper == "" {
		f.ZooKeeper = p.ZooKeeper
	}
	if file == "" {
		file = fmt.Sprintf("zookeeper-%s-%d.jsonl", p.ClusterID, p.Written)
	}
	e, err := f.export(cmd, file)
	if err != nil {
		return fmt.Errorf("nothing was finalized, since ZooKeeper could not be kept first: %w; --zookeeper names it otherwise, --without-export keeps nothing", err)
	}
	printExport(cmd, e)
	return nil
}

func migrateRollback() *cobra.Command {
	return migrateAlter("rollback", "Give ZooKeeper back to its brokers",
		"Rollback ends a migration that is not finalized: the metadata stands still, ZooKeeper\ngets what it lacks, and /controller and /migration are removed, so that a broker in\nZooKeeper mode becomes the controller. All brokers must be in ZooKeeper mode.",
		protocol.RollBackMigration, func(p *migrating.Progress) string {
			if len(p.KRaftMode) > 0 {
				return fmt.Sprintf("Rollback is refused as long as the brokers %s are in KRaft mode: restart them in ZooKeeper mode first.", migrating.List(p.KRaftMode))
			}
			if p.Reason != "" {
				return "It has stopped: " + p.Reason + ".\nRollback takes ZooKeeper from another KRaft controller that has claimed it: end that one first. If a broker is the controller already, what ZooKeeper holds is the brokers' and stays; what these controllers changed since is not written there."
			}
			return "Rollback stops the metadata log, writes to ZooKeeper what it lacks, raises /controller_epoch above every epoch in use, and removes /migration and /controller. Topics cannot be changed until a broker is the controller again."
		}, nil)
}

func migrateResume() *cobra.Command {
	return migrateAlter("resume", "Let a migration that has stopped look again where things stand",
		"Resume is for a migration in state STOPPED, when what its reason names is in order.",
		protocol.ResumeMigration, func(p *migrating.Progress) string {
			if p.Reason == "" {
				return "It has not stopped: resume does nothing."
			}
			return "It has stopped: " + p.Reason
		}, nil)
}
