package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// profileVariable names the profile of a shell.
const profileVariable = "KVORUM_PROFILE"

// profile says how a cluster is reached.
type profile struct {
	Brokers     []string `json:"brokers,omitempty" yaml:"brokers,omitempty"`
	Controllers []string `json:"controllers,omitempty" yaml:"controllers,omitempty"`
	Metrics     []string `json:"metrics,omitempty" yaml:"metrics,omitempty"`
}

// profiles is the file profiles.yaml in the user's configuration directory.
type profiles struct {
	Current  string             `json:"current,omitempty" yaml:"current,omitempty"`
	Profiles map[string]profile `json:"profiles" yaml:"profiles"`
}

func profilesFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the user's configuration directory: %w: use --brokers", err)
	}
	return filepath.Join(dir, "kvorum", "profiles.yaml"), nil
}

// readProfiles reads the file; without one there are no profiles.
func readProfiles() (*profiles, error) {
	p := &profiles{Profiles: map[string]profile{}}
	path, err := profilesFile()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = yaml.Unmarshal(text, p)
	}
	if err != nil {
		return nil, fmt.Errorf("read the profiles in %s: %w", path, err)
	}
	if p.Profiles == nil {
		p.Profiles = map[string]profile{}
	}
	return p, nil
}

// write replaces the file in one step, so that no other command reads half of it.
// It is not fsynced: after a power loss the old one may be back.
func (p *profiles) write() error {
	path, err := profilesFile()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("write the profiles: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write the profiles: %w", err)
	}
	return nil
}

// named is the profile of a name, which must exist.
func (p *profiles) named(name string) (profile, error) {
	found, ok := p.Profiles[name]
	if !ok {
		return profile{}, fmt.Errorf("there is no profile %q: `kvorum profile list` shows those there are", name)
	}
	return found, nil
}

// chosen is the profile that a command uses: the named one, that of the
// environment, or the one in use; an empty one if there is none.
func (p *profiles) chosen(name string) (string, profile, error) {
	for _, n := range []string{name, os.Getenv(profileVariable), p.Current} {
		if n != "" {
			found, err := p.named(n)
			return n, found, err
		}
	}
	return "", profile{}, nil
}

func chosenProfile(name string) (profile, error) {
	p, err := readProfiles()
	if err != nil {
		return profile{}, err
	}
	_, found, err := p.chosen(name)
	return found, err
}

func profileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "profile", Short: "Name the clusters that commands talk to",
		Long: "A profile names the brokers and controllers of a cluster. Commands use the one of --profile,\n" +
			"of $" + profileVariable + ", or the one in use; --brokers goes before all of them. They are kept in\n" +
			"kvorum/profiles.yaml in the user's configuration directory.",
		Args: cobra.NoArgs, RunE: needSubcommand,
	}
	cmd.AddCommand(profileCreate(), profileList(), profileUse(), profileDelete(), profilePrint())
	return cmd
}

// changeProfile is what a command does that changes the profile of its argument:
// the file is written only if change succeeds.
func changeProfile(done string, change func(all *profiles, name string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		all, err := readProfiles()
		if err != nil {
			return err
		}
		if err := change(all, args[0]); err != nil {
			return err
		}
		if err := all.write(); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "profile %s %s\n", args[0], done)
		return nil
	}
}

func profileCreate() *cobra.Command {
	var p profile
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make or change a profile, and use it", Args: cobra.ExactArgs(1),
		Example: "  kvorum profile create prod --brokers broker1:9092,broker2:9092 --controllers controller1:9093",
		RunE: changeProfile("is in use", func(all *profiles, name string) error {
			all.Profiles[name], all.Current = p, name
			return nil
		}),
	}
	cmd.Flags().StringSliceVarP(&p.Brokers, "brokers", "b", nil, "brokers, HOST:PORT separated by commas")
	cmd.Flags().StringSliceVar(&p.Controllers, "controllers", nil, "controllers, HOST:PORT separated by commas, for `kvorum quorum status`")
	cmd.Flags().StringSliceVar(&p.Metrics, "metrics", nil, "the nodes' kvorum.metrics.listener, HOST:PORT separated by commas, for `kvorum cluster info`")
	must(cmd.MarkFlagRequired("brokers"))
	return cmd
}

func profileList() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "list", Short: "List the profiles", Args: cobra.NoArgs,
		Example: "  kvorum profile list\n  kvorum profile list -o yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := readProfiles()
			if err != nil {
				return err
			}
			rows := [][]string{{"NAME", "IN USE", "BROKERS", "CONTROLLERS", "METRICS"}}
			for _, name := range slices.Sorted(maps.Keys(all.Profiles)) {
				inUse, p := "", all.Profiles[name]
				if name == all.Current {
					inUse = "yes"
				}
				rows = append(rows, []string{name, orDash(inUse), strings.Join(p.Brokers, ","), orDash(strings.Join(p.Controllers, ",")), orDash(strings.Join(p.Metrics, ","))})
			}
			return out.print(cmd, all, rows)
		},
	}
	out.add(cmd)
	return cmd
}

func profileUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Use a profile from now on", Args: cobra.ExactArgs(1),
		Example: "  kvorum profile use prod",
		RunE:    changeProfile("is in use", (*profiles).use),
	}
}

func (p *profiles) use(name string) error {
	_, err := p.named(name)
	p.Current = name
	return err
}

func profileDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a profile; the cluster is not touched", Args: cobra.ExactArgs(1),
		Example: "  kvorum profile delete staging",
		RunE:    changeProfile("is deleted", (*profiles).delete),
	}
}

func (p *profiles) delete(name string) error {
	_, err := p.named(name)
	delete(p.Profiles, name)
	if p.Current == name {
		p.Current = ""
	}
	return err
}

func profilePrint() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "print [NAME]", Short: "Show a profile, by default the one that commands use", Args: cobra.MaximumNArgs(1),
		Example: "  kvorum profile print\n  kvorum profile print prod -o yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := readProfiles()
			if err != nil {
				return err
			}
			name, p, err := all.chosen(strings.Join(args, ""))
			if err != nil {
				return err
			}
			if name == "" {
				return errors.New("no profile is in use: commands ask " + defaultBrokers + "; make one with `kvorum profile create NAME --brokers HOST:PORT`")
			}
			return out.print(cmd, p, [][]string{{"NAME", "BROKERS", "CONTROLLERS", "METRICS"}, {name, strings.Join(p.Brokers, ","), orDash(strings.Join(p.Controllers, ",")), orDash(strings.Join(p.Metrics, ","))}})
		},
	}
	out.add(cmd)
	return cmd
}
