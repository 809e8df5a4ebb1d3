package main

import (
	"context"
	"errors"
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

// settle reads -X, before which --profile and --timeout go.
func (f *brokerFlags) settle(cmd *cobra.Command) (brokers, profile string, timeout time.Duration, err error) {
	timeout, profile = f.timeout, f.profile
	for _, o := range f.options {
		key, value, ok := strings.Cut(o, "=")
		switch {
		case ok && key == "brokers":
			brokers = value
		case ok && key == "profile" && f.profile == "":
			profile = value
		case ok && key == "timeout" && !cmd.Flags().Changed("timeout"):
			if timeout, err = time.ParseDuration(value); err != nil {
				err = fmt.Errorf("has no length of time: %w", err)
			}
		case ok && (key == "profile" || key == "timeout"): // the flag counts
		default:
			err = errors.New("is none of brokers=HOST:PORT,..., timeout=DURATION and profile=NAME")
		}
		if err != nil {
			return "", "", 0, usageError(fmt.Sprintf("-X %q %v", o, err))
		}
	}
	return brokers, profile, timeout, nil
}

// metrics settles which nodes are asked for their health: those that are given, or
// the profile's.
func (f *brokerFlags) metrics(cmd *cobra.Command, given []string) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	_, name, _, err := f.settle(cmd)
	if err != nil {
		return nil, err
	}
	p, err := chosenProfile(name)
	return p.Metrics, err
}

// access settles which brokers are asked, and how long.
func (f *brokerFlags) access(cmd *cobra.Command) (admin.Access, error) {
	brokers, name, timeout, err := f.settle(cmd)
	if err != nil {
		return admin.Access{}, err
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
