package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/migration"
)

const migrateLong = `Commands for a cluster of Apache Kafka 3.9 that still runs on ZooKeeper; those for a
cluster with KRaft controllers of Apache's are below "kraft".

Plan and preflight read it and change nothing. The controllers carry the migration
out by themselves when they and the brokers are started with the keys that the plan
names, or, with kvorum.migration.start=command, when start is called then; status
says where it stands, and finalize and rollback end it.`

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "Take a cluster away from ZooKeeper", Long: migrateLong, Args: cobra.NoArgs, RunE: needSubcommand}
	cmd.AddCommand(migratePlan(), migratePreflight(), migrateBrokerConfig(), migrateStart(), migrateStatus(), migrateVerify(), migrateExport(), migrateResume(), migrateFinalize(), migrateRollback(), migrateRestore(), migrateKRaft())
	return cmd
}

// migrateFlags are how the commands find the cluster.
type migrateFlags struct {
	admin.Migration
	tls        bool
	caFile     string
	digestFile string
	secretFile string
}

// add gives a command the flags of ZooKeeper, and of the nodes that are asked.
func (f *migrateFlags) add(cmd *cobra.Command) {
	f.addZooKeeper(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.Bootstrap, "bootstrap-server", "", "brokers to ask, HOST:PORT separated by commas (default: those that ZooKeeper names)")
	flags.StringVar(&f.Controllers, "bootstrap-controller", "", "controllers that shall take over, HOST:PORT separated by commas, if they run already")
}

func (f *migrateFlags) addZooKeeper(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.ZooKeeper, "zookeeper", "127.0.0.1:2181", "the brokers' zookeeper.connect, with the chroot: HOST:PORT,HOST:PORT/CHROOT")
	f.addConnection(cmd)
	flags.StringVar(&f.secretFile, "password-encoder-secret-file", "", "file with the brokers' password.encoder.secret, if they have one")
	flags.DurationVar(&f.Timeout, "timeout", 10*time.Second, "how long to wait for ZooKeeper, and for each answer of a broker")
}

// addConnection gives a command the flags of how ZooKeeper is spoken to.
func (f *migrateFlags) addConnection(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.tls, "zookeeper-tls", false, "speak TLS with ZooKeeper")
	flags.StringVar(&f.caFile, "zookeeper-ca", "", "file with the certificates (PEM) that ZooKeeper's is checked with (default: the system's)")
	flags.StringVar(&f.digestFile, "zookeeper-digest-file", "", "file with USER:PASSWORD of ZooKeeper's digest scheme")
}

// load reads the files that the flags name.
func (f *migrateFlags) load() error {
	for file, into := range map[string]*string{f.secretFile: &f.PasswordSecret, f.digestFile: &f.Digest} {
		if file == "" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if *into = strings.TrimRight(string(text), "\r\n"); *into == "" {
			return fmt.Errorf("the file %s is empty", file)
		}
	}
	if f.caFile != "" && !f.tls {
		return usageError("--zookeeper-ca is of use with --zookeeper-tls only")
	}
	if !f.tls {
		return nil
	}
	f.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.caFile == "" {
		return nil
	}
	pem, err := os.ReadFile(f.caFile)
	if err != nil {
		return err
	}
	f.TLS.RootCAs = x509.NewCertPool()
	if !f.TLS.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("the file %s holds no certificate in PEM", f.caFile)
	}
	return nil
}

// plan makes the plan, and shows on stderr how far the reading is when it takes
// longer than two seconds.
func (f *migrateFlags) plan(cmd *cobra.Command) (*migration.Plan, error) {
	if err := f.load(); err != nil {
		return nil, err
	}
	defer f.watch(cmd)()
	return f.Plan(cmd.Context())
}

// watch shows how far the reading is until stop is called.
func (f *migrateFlags) watch(cmd *cobra.Command) (stop func()) {
	var read atomic.Int64
	f.Progress = func(nodes int) { read.Store(int64(nodes)) }
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		showProgress(cmd.ErrOrStderr(), &read, ended)
	}()
	return func() {
		close(ended)
		<-done
	}
}

// showProgress writes a line every two seconds until stop is closed.
func showProgress(w io.Writer, read *atomic.Int64, stop chan struct{}) {
	everyTwoSeconds(stop, func() { fmt.Fprintf(w, "%d nodes of ZooKeeper read\n", read.Load()) })
}

// everyTwoSeconds calls f until stop is closed.
func everyTwoSeconds(stop chan struct{}, f func()) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			f()
		}
	}
}

func migratePlan() *cobra.Command {
	var f migrateFlags
	var out output
	cmd := &cobra.Command{
		Use: "plan", Short: "Say what a migration will convert, what stands in its way, and every line to change", Args: cobra.NoArgs,
		Long: migrateLong + "\n\nPlan reads ZooKeeper and asks the brokers. It exits with 0 whatever it finds; preflight is for scripts.",
		Example: "  kvorum migrate plan --zookeeper zk1:2181,zk2:2181/kafka\n" +
			"  kvorum migrate plan --zookeeper zk1:2181 --password-encoder-secret-file secret -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := f.plan(cmd)
			if err != nil {
				return err
			}
			if out.format == "json" {
				return out.print(cmd, p, nil)
			}
			return printPlan(cmd, &out, p)
		},
	}
	f.add(cmd)
	out.add(cmd)
	return cmd
}

// printPlan prints the plan for people.
func printPlan(cmd *cobra.Command, out *output, p *migration.Plan) error {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "cluster %s at %s, phase %s, metadata.version %s\n\n", orDash(p.ClusterID), p.Connect, p.Phase, orDash(p.MetadataVersion))
	rows := [][]string{{"BROKER", "ADDRESS", "KAFKA", "PROTOCOL", "LOG DIRS", "REPLICAS", "MIGRATION MODE"}}
	for _, b := range p.Brokers {
		rows = append(rows, []string{strconv.Itoa(int(b.ID)), orDash(b.Address), orDash(b.Version), orDash(b.Protocol), strconv.Itoa(b.LogDirs), strconv.Itoa(b.Replicas), yesNo(b.Migrating)})
	}
	if err := out.print(cmd, nil, rows); err != nil {
		return err
	}
	c := p.Counts
	fmt.Fprintf(w, "\nto convert: %d topics, %d partitions, %d topic configs, %d broker configs (%d passwords), %d SCRAM credentials, %d quotas, %d ACLs, %d delegation tokens\n",
		c.Topics, c.Partitions, c.TopicConfigs, c.BrokerConfigs, c.Passwords, c.Users, c.Quotas, c.ACLs, c.Tokens)
	fmt.Fprintf(w, "that is %d records, from %d nodes\n%s\n\n", c.Records, c.ZNodes, p.Estimate)
	printFindings(w, p.Findings)
	printSteps(w, p.Steps)
	fmt.Fprintln(w, "\nThe controllers carry out what is theirs by themselves; kvorum migrate status says whose turn it is.")
	return nil
}

func printSteps(w io.Writer, steps []migration.Step) {
	for i, s := range steps {
		fmt.Fprintf(w, "\n%d. %s\n", i+1, s.Title)
		if s.Why != "" {
			fmt.Fprintf(w, "   %s\n", s.Why)
		}
		for _, n := range s.Nodes {
			fmt.Fprintf(w, "   %s:\n", n.Node)
			for _, line := range n.Remove {
				fmt.Fprintf(w, "     - %s\n", line)
			}
			for _, line := range n.Add {
				fmt.Fprintf(w, "     + %s\n", line)
			}
		}
		for _, command := range s.Commands {
			fmt.Fprintf(w, "   $ %s\n", command)
		}
	}
}

// printFindings prints each finding in a paragraph: their texts are too long for a
// table.
func printFindings(w io.Writer, findings []migration.Finding) {
	if len(findings) == 0 {
		fmt.Fprintln(w, "nothing stands in the way")
		return
	}
	for _, f := range findings {
		fmt.Fprintf(w, "%-8s %s: %s\n", f.Severity, f.Check, f.Text)
		if f.Do != "" {
			fmt.Fprintf(w, "         -> %s\n", f.Do)
		}
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func migratePreflight() *cobra.Command {
	var f migrateFlags
	var out output
	var allow []string
	var brokers bool
	cmd := &cobra.Command{
		Use: "preflight", Short: "Fail now on what would fail a migration later", Args: cobra.NoArgs,
		Long: migrateLong + "\n\nPreflight makes the same plan and exits with 2 if it has a blocker that no --allow names. With --to-kvorum-brokers what only\n" +
			"stops the step from Apache's brokers to kvorum's counts too.",
		Example: "  kvorum migrate preflight --zookeeper zk1:2181/kafka --bootstrap-controller c1:9093\n" +
			"  kvorum migrate preflight --zookeeper zk1:2181 --to-kvorum-brokers --allow transactions",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := f.plan(cmd)
			if err != nil {
				return err
			}
			stops := p.Stops(brokers, allow)
			if out.format == "json" {
				err = out.print(cmd, struct {
					Passed   bool                `json:"passed"`
					Stops    []migration.Finding `json:"stops"`
					Findings []migration.Finding `json:"findings"`
				}{len(stops) == 0, stops, p.Findings}, nil)
			} else {
				printFindings(cmd.OutOrStdout(), p.Findings)
			}
			if err == nil && len(stops) > 0 {
				err = unhealthyError(fmt.Sprintf("%d findings stop the migration: %s", len(stops), strings.Join(checkNames(stops), ", ")))
			}
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "names of checks whose findings shall not stop, separated by commas")
	cmd.Flags().BoolVar(&brokers, "to-kvorum-brokers", false, "also stop on what kvorum's brokers cannot do yet")
	out.add(cmd)
	return cmd
}

// checkNames are the names of the findings' checks, each once.
func checkNames(findings []migration.Finding) []string {
	var out []string
	for _, f := range findings {
		if !slices.Contains(out, f.Check) {
			out = append(out, f.Check)
		}
	}
	return out
}
