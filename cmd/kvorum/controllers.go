package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// controllerFlags are the flags of the commands that ask controllers.
type controllerFlags struct {
	bootstrap string
	timeout   time.Duration
}

func (f *controllerFlags) add(cmd *cobra.Command, timeout time.Duration) {
	cmd.Flags().StringVar(&f.bootstrap, "bootstrap-controller", "127.0.0.1:9093", "controllers to ask, best all of them, HOST:PORT separated by commas; a profile may name others")
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout, "how long to wait for each answer")
}

// resolve takes the controllers of the chosen profile, unless the flag names some.
func (f *controllerFlags) resolve(cmd *cobra.Command) error {
	if cmd.Flags().Changed("bootstrap-controller") {
		return nil
	}
	p, err := chosenProfile("")
	if err == nil && len(p.Controllers) > 0 {
		f.bootstrap = strings.Join(p.Controllers, ",")
	}
	return err
}
