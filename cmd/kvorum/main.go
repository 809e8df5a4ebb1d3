// Command kvorum is a Kafka cluster without ZooKeeper in one binary: it runs
// controllers, formats their directories, and administers clusters.
//
// main wires the rooms together; each file holds one group of commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes that scripts may rely on.
const (
	exitOK        = 0
	exitError     = 1
	exitUnhealthy = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs one command until it ends or ctx does, and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var unhealthy unhealthyError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(exitCode)):
		return exitError
	case errors.As(err, &unhealthy):
		fmt.Fprintln(stderr, "kvorum:", err)
		return exitUnhealthy
	}
	fmt.Fprintln(stderr, "kvorum:", err)
	return exitError
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "kvorum",
		Short:         "A Kafka cluster without ZooKeeper, in one binary",
		Args:          cobra.NoArgs,
		RunE:          needSubcommand,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(devCommand(), serverCommand(), storageCommand(), quorumCommand(), topicCommand(), metadataCommand(), migrateCommand())
	root.AddCommand(groupCommand(), clusterCommand(), partitionsCommand(), profileCommand(), compatCommand())
	return root
}

// unhealthyError makes the process exit with exitUnhealthy.
type unhealthyError string

func (e unhealthyError) Error() string { return string(e) }

// usageError is a mistake in the command's own words.
type usageError string

func (e usageError) Error() string { return string(e) }

// needSubcommand answers a group of commands that was called alone.
func needSubcommand(cmd *cobra.Command, _ []string) error {
	if err := cmd.Help(); err != nil {
		return err
	}
	return usageError("a command is missing")
}

func addDryRun(cmd *cobra.Command, dryRun *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "only say what would be done")
}

// must is for errors that only a mistake in this package can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
