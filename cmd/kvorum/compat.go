package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// compatCommand holds Apache's tools by their names, for scripts that call them:
// the same words, and what the tool of Kafka 4.3 prints. They speak the protocol by
// themselves, with franz-go, since what they print needs fields of the answers that
// the commands of kvorum have no use for.
func compatCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "compat", Short: "Apache's command line tools, by their words and with what they print", Args: cobra.NoArgs, RunE: needSubcommand,
		Long: "Compat takes the words of Apache Kafka 4.3's tools and prints what they print, so that a\n" +
			"script runs with `kvorum compat kafka-topics` in the place of kafka-topics.sh.",
	}
	cmd.AddCommand(compatTopics(), compatGetOffsets(), compatDeleteRecords(), compatConfigs(), compatGroups(), compatQuorum())
	return cmd
}

// compatTool is what the tools share.
type compatTool struct {
	bootstrap     string
	commandConfig string
	client        *kgo.Client
	admin         *kadm.Client
	out           io.Writer // what the tool prints
}

// compatTimeout is Apache's default.api.timeout.ms for its tools.
const compatTimeout = 60 * time.Second

// command makes a tool's command. instead is the command of kvorum that does more.
func (t *compatTool) command(name, short, instead, example string, run func(context.Context, *cobra.Command) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, Example: example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if t.commandConfig != "" {
				return usageError(noCommandConfig)
			}
			if t.client, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(t.bootstrap, ",")...), kgo.RetryTimeout(compatTimeout), kgo.MetadataMinAge(100*time.Millisecond)); err != nil {
				return err
			}
			defer t.client.Close()
			t.admin = kadm.NewClient(t.client)
			ctx, cancel := context.WithTimeout(cmd.Context(), compatTimeout)
			defer cancel()
			if err := t.client.Ping(ctx); err != nil {
				return fmt.Errorf("no broker answers at %s: %w", t.bootstrap, err)
			}
			t.out = cmd.OutOrStdout()
			return run(ctx, cmd)
		},
	}
	cmd.Flags().StringVar(&t.bootstrap, "bootstrap-server", "", "brokers, HOST:PORT separated by commas")
	cmd.Flags().StringVar(&t.commandConfig, "command-config", "", "refused: there is nothing to configure yet")
	must(cmd.MarkFlagRequired("bootstrap-server"))
	cmd.SetFlagErrorFunc(flagError(name, instead))
	return cmd
}

const noCommandConfig = "--command-config is not read: clients of kvorum have neither TLS nor SASL yet"

// flagError names what to use in the place of a word that a tool does not take.
func flagError(name, instead string) func(*cobra.Command, error) error {
	return func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w: this word of %s.sh is not taken; `%s` may do what you want, see its --help", err, name, instead)
	}
}

// action is a word that says what a tool does.
type action struct {
	chosen     *bool
	name, help string
}

// actions gives the command words of which a call has exactly one.
func actions(cmd *cobra.Command, all ...action) {
	var names []string
	for _, a := range all {
		cmd.Flags().BoolVar(a.chosen, a.name, false, a.help)
		names = append(names, a.name)
	}
	cmd.MarkFlagsOneRequired(names...)
	cmd.MarkFlagsMutuallyExclusive(names...)
}

// exitCode ends the process with exitError after a tool printed its own error.
type exitCode struct{}

func (exitCode) Error() string { return "the tool failed" }

// javaError is an error as Java prints it, by the name of its class.
func javaError(err error, message *string) string {
	var k *kerr.Error
	if !errors.As(err, &k) {
		return err.Error()
	}
	var class strings.Builder
	for _, word := range strings.Split(k.Message, "_") {
		class.WriteString(word[:1] + strings.ToLower(word[1:]))
	}
	text := k.Description
	if message != nil && *message != "" {
		text = *message
	}
	return "org.apache.kafka.common.errors." + class.String() + "Exception: " + text
}

// serverText is what the broker said, or what the code means.
func serverText(err error, message *string) string {
	var k *kerr.Error
	switch {
	case message != nil && *message != "":
		return *message
	case errors.As(err, &k):
		return k.Description
	}
	return err.Error()
}
