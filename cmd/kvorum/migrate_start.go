package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/migration/driver"
	migrating "kvorum/migration/progress"
	"kvorum/protocol"
)

func migrateStart() *cobra.Command {
	f := migrateFlags{Migration: admin.Migration{Timeout: 10 * time.Second}}
	var allow []string
	cmd := migrateAlter("start", "Let a migration begin that waits for it",
		"Start is for controllers with kvorum.migration.start=command: they claim ZooKeeper when\nit is called, and not with the last broker that registers. It makes preflight's checks\nfirst, and exits with 2 if one stops that no --allow names. It returns when ZooKeeper is\ncopied and both are written; kvorum migrate rollback goes back from there.",
		protocol.StartMigration, startDoes, func(cmd *cobra.Command, p *migrating.Progress, controllers string, _ bool) error {
			if !notBegun(p) {
				return nil
			}
			f.Controllers = controllers
			if f.ZooKeeper == "" {
				f.ZooKeeper = p.ZooKeeper
			}
			return f.passes(cmd, allow)
		})
	cmd.Flags().StringVar(&f.ZooKeeper, "zookeeper", "", "the brokers' zookeeper.connect (default: what the controllers have)")
	f.addConnection(cmd)
	cmd.Flags().StringVar(&f.secretFile, "password-encoder-secret-file", "", "file with the brokers' password.encoder.secret, if they have one")
	cmd.Flags().StringVar(&f.Bootstrap, "bootstrap-server", "", "brokers to ask, HOST:PORT separated by commas (default: those that ZooKeeper names)")
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "names of checks whose findings shall not stop, separated by commas")
	return cmd
}

// notBegun reports whether ZooKeeper is not claimed yet.
func notBegun(p *migrating.Progress) bool {
	switch p.State {
	case driver.WaitForQuorum.String(), driver.WaitForBrokers.String(), driver.WaitForStart.String():
		return true
	}
	return false
}

func startDoes(p *migrating.Progress) string {
	switch {
	case p.State == driver.WaitForStart.String():
		return "Start claims ZooKeeper and copies it into the metadata log: from then on these controllers lead the cluster, and write ZooKeeper, too."
	case notBegun(p):
		return fmt.Sprintf("Start is refused as long as somebody is awaited: controllers %s, brokers %s.", migrating.List(p.AwaitedControllers), migrating.List(p.AwaitedBrokers))
	}
	return "It has begun: start does nothing but wait until ZooKeeper is copied."
}

// passes makes preflight's checks, and prints what they found.
func (f *migrateFlags) passes(cmd *cobra.Command, allow []string) error {
	plan, err := f.plan(cmd)
	if err != nil {
		return err
	}
	printFindings(cmd.OutOrStdout(), plan.Findings)
	if stops := plan.Stops(false, allow); len(stops) > 0 {
		return unhealthyError(fmt.Sprintf("%d findings stop the migration: %s", len(stops), strings.Join(checkNames(stops), ", ")))
	}
	return nil
}
