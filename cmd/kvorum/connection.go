package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvorum/admin"
)

// defaultBrokers is where `kvorum dev` listens.
const defaultBrokers = "127.0.0.1:9092"

// brokerFlags are the flags of commands that talk to brokers. What is asked for
// counts in this order: the flag, -X, the profile (profile.go), `kvorum dev`.
type brokerFlags struct {
	brokers string
	timeout time.Duration
	profile string
	options []string
}

func (f *brokerFlags) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVarP(&f.brokers, "brokers", "b", "", "brokers to ask first, HOST:PORT separated by commas (default: the profile's, or "+defaultBrokers+")")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to wait for each answer")
	flags.StringVar(&f.profile, "profile", "", "profile to use (default: $"+profileVariable+", or the one in use)")
	flags.StringArrayVarP(&f.options, "option", "X", nil, "brokers=HOST:PORT,..., timeout=DURATION or profile=NAME, as rpk takes them")
	// Apache's name for the same.
	cmd.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "bootstrap-server" {
			name = "brokers"
		}
		return pflag.NormalizedName(name)
	})
}

// access settles which brokers are asked, and how long.
func (f *brokerFlags) access(cmd *cobra.Command) (admin.Access, error) {
	brokers, timeout, name := "", f.timeout, f.profile
	for _, o := range f.options {
		key, value, ok := strings.Cut(o, "=")
		var err error
		switch {
		case ok && key == "brokers":
			brokers = value
		case ok && key == "profile" && f.profile == "":
			name = value
		case ok && key == "timeout" && !cmd.Flags().Changed("timeout"):
			timeout, err = time.ParseDuration(value)
		case ok && (key == "profile" || key == "timeout"): // the flag counts
		default:
			return admin.Access{}, usageError(fmt.Sprintf("-X %q is none of brokers=HOST:PORT,..., timeout=DURATION and profile=NAME", o))
		}
		if err != nil {
			return admin.Access{}, usageError(fmt.Sprintf("-X %q: %v", o, err))
		}
	}
	if f.brokers != "" {
		brokers = f.brokers
	}
	if brokers == "" {
		p, err := chosenProfile(name)
		if err != nil {
			return admin.Access{}, err
		}
		brokers = strings.Join(p.Brokers, ",")
	}
	if brokers == "" {
		brokers = defaultBrokers
	}
	return admin.Access{Brokers: strings.Split(brokers, ","), Timeout: timeout}, nil
}

// topics gives the administrator of topics to what a command does.
func (f *brokerFlags) topics(cmd *cobra.Command, do func(context.Context, *admin.Topics) error) error {
	a, err := f.access(cmd)
	if err != nil {
		return err
	}
	topics, err := admin.NewTopics(strings.Join(a.Brokers, ","), a.Timeout)
	if err != nil {
		return err
	}
	return do(cmd.Context(), topics)
}

// cluster gives the way to the cluster to what a command does.
func (f *brokerFlags) cluster(cmd *cobra.Command, do func(context.Context, *admin.Cluster) error) error {
	a, err := f.access(cmd)
	if err != nil {
		return err
	}
	c, err := admin.Connect(cmd.Context(), a)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(cmd.Context(), c)
}
