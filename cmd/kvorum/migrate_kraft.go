package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/migration/kraft"
)

const migrateKRaftLong = `Commands for a cluster whose controllers are Apache Kafka's own (KRaft): it comes to
kvorum's controllers by an import while all controllers are stopped and the brokers
serve, and goes back by an export. Plan and verify change nothing.`

func migrateKRaft() *cobra.Command {
	cmd := &cobra.Command{Use: "kraft", Short: "Move between Apache's KRaft controllers and kvorum's", Long: migrateKRaftLong, Args: cobra.NoArgs, RunE: needSubcommand}
	cmd.AddCommand(migrateKRaftPlan(), migrateKRaftVerify())
	return cmd
}

func addKRaft(cmd *cobra.Command, k *admin.KRaft) {
	cmd.Flags().StringVar(&k.Controllers, "bootstrap-controller", "", "controllers that run, HOST:PORT separated by commas")
	cmd.Flags().DurationVar(&k.Timeout, "timeout", 10*time.Second, "how long to wait for each answer")
	if err := cmd.MarkFlagRequired("bootstrap-controller"); err != nil {
		panic(err)
	}
}

func migrateKRaftPlan() *cobra.Command {
	var k admin.KRaft
	var out output
	var check, toBrokers bool
	var allow []string
	cmd := &cobra.Command{
		Use: "plan", Short: "Say what a move to kvorum's controllers will do, what stands in its way, and every line to change", Args: cobra.NoArgs,
		Long: migrateKRaftLong + "\n\nPlan fetches the metadata of Apache's running controllers and asks the brokers. It exits with 0 whatever it finds; with --check\n" +
			"it exits with 2 if it has a blocker that no --allow names, and with --to-kvorum-brokers also on what stops kvorum's brokers only.",
		Example: "  kvorum migrate kraft plan --bootstrap-controller c1:9093,c2:9093,c3:9093\n" +
			"  kvorum migrate kraft plan --bootstrap-controller c1:9093 --check --to-kvorum-brokers -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			stop := showWork(cmd, "reading the metadata and asking the brokers")
			p, err := k.Plan(cmd.Context())
			stop()
			if err != nil {
				return err
			}
			if err := printKRaftPlan(cmd, &out, p); err != nil || !check {
				return err
			}
			if stops := p.Stops(toBrokers, allow); len(stops) > 0 {
				return unhealthyError(fmt.Sprintf("%d findings stop the move: %s", len(stops), strings.Join(checkNames(stops), ", ")))
			}
			return nil
		},
	}
	addKRaft(cmd, &k)
	cmd.Flags().StringVar(&k.Bootstrap, "bootstrap-server", "", "brokers to ask, HOST:PORT separated by commas (default: those that the metadata names)")
	cmd.Flags().BoolVar(&check, "check", false, "exit with 2 if something stands in the way")
	cmd.Flags().BoolVar(&toBrokers, "to-kvorum-brokers", false, "with --check: also stop on what kvorum's brokers cannot do yet")
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "with --check: names of checks whose findings shall not stop, separated by commas")
	out.add(cmd)
	return cmd
}

func printKRaftPlan(cmd *cobra.Command, out *output, p *kraft.Plan) error {
	if !out.table() {
		return out.print(cmd, p, nil)
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "cluster %s, metadata.version %s, kraft.version %d, metadata up to offset %d\n\n", orDash(p.ClusterID), p.MetadataVersion, p.KRaftVersion, p.Offset)
	rows := [][]string{{"NODE", "ROLE", "ADDRESS", "KAFKA", "LOG DIRS", "REPLICAS", "FENCED"}}
	for _, c := range p.Controllers {
		rows = append(rows, []string{fmt.Sprint(c.ID), "controller", orDash(c.Address), "-", "-", "-", "-"})
	}
	for _, b := range p.Brokers {
		rows = append(rows, []string{fmt.Sprint(b.ID), "broker", orDash(b.Address), orDash(b.Version), strconv.Itoa(b.LogDirs), strconv.Itoa(b.Replicas), yesNo(b.Fenced)})
	}
	if err := out.print(cmd, nil, rows); err != nil {
		return err
	}
	c := p.Counts
	fmt.Fprintf(w, "\ntaken as it is: %d topics, %d partitions, %d configs (%d passwords), %d SCRAM credentials, %d quotas, %d ACLs, %d delegation tokens\n%s\n\n",
		c.Topics, c.Partitions, c.Configs, c.Passwords, c.Users, c.Quotas, c.ACLs, c.Tokens, p.Estimate)
	printFindings(w, p.Findings)
	printSteps(w, p.Steps)
	return nil
}

func migrateKRaftVerify() *cobra.Command {
	var k admin.KRaft
	var out output
	cmd := &cobra.Command{
		Use: "verify PATH", Short: "Compare what stopped controllers had with what the running ones have, item by item", Args: cobra.ExactArgs(1),
		Long: `Verify compares the metadata at the end of PATH, the log directory of a controller that
is stopped or a .checkpoint, of Apache's make or kvorum's, with that of the controllers
that run, of either make. It exits with 2 if anything is missing or different, or if an
epoch or an id has gone back. Leaders, in-sync replicas, registrations and what else
changes by itself are left out. What administrators have changed since counts, so
compare before anybody does. Secrets are compared and not shown. Nothing is changed.`,
		Example: "  kvorum migrate kraft verify /old/controller-1 --bootstrap-controller c1:9093,c2:9093,c3:9093",
		RunE: func(cmd *cobra.Command, args []string) error {
			stop := showWork(cmd, "reading both sides")
			c, err := k.Verify(cmd.Context(), args[0])
			stop()
			if err != nil {
				return err
			}
			if err := printKRaftComparison(cmd, &out, c); err != nil {
				return err
			}
			if !c.Equal() {
				return unhealthyError(fmt.Sprintf("%d of %d items are not as they were", len(c.Differences), c.Items))
			}
			return nil
		},
	}
	addKRaft(cmd, &k)
	out.add(cmd)
	return cmd
}

// mostNew bounds how many new paths are printed for people; JSON has all.
const mostNew = 20

func printKRaftComparison(cmd *cobra.Command, out *output, c *kraft.Comparison) error {
	if !out.table() {
		return out.print(cmd, c, nil)
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%d items compared: up to offset %d, epoch %d, before; offset %d, epoch %d, now\n", c.Items, c.BeforeEnd.Offset, c.BeforeEnd.Epoch, c.NowEnd.Offset, c.NowEnd.Epoch)
	for _, d := range c.Differences {
		fmt.Fprintf(w, "\n%-9s %s\n", d.Kind, d.Path)
		for _, side := range [][2]string{{"before", d.Before}, {"now", d.Now}} {
			if side[1] != "" {
				fmt.Fprintf(w, "          %-6s  %s\n", side[0], side[1])
			}
		}
	}
	for i, path := range c.New {
		if i == mostNew {
			fmt.Fprintf(w, "new       and %d more\n", len(c.New)-i)
			break
		}
		fmt.Fprintf(w, "new       %s\n", path)
	}
	if c.Equal() {
		fmt.Fprintln(w, "nothing is missing, nothing is different")
	}
	return nil
}

// showWork says on stderr what takes longer than two seconds, until stop is called.
func showWork(cmd *cobra.Command, what string) (stop func()) {
	began := time.Now()
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		everyTwoSeconds(ended, func() { fmt.Fprintf(cmd.ErrOrStderr(), "%s, for %v\n", what, time.Since(began).Round(time.Second)) })
	}()
	return func() {
		close(ended)
		<-done
	}
}
