package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/config"
	"kvorum/internal/server"
	"kvorum/metadatalog"
	"kvorum/metadatalog/nodedir"
	"kvorum/quorum/raft"
)

// askTimeout is how long a controller may take to answer a question.
const askTimeout = 5 * time.Second

// replaceFlags are the flags of storage replace-controller.
type replaceFlags struct {
	configFile, bootstrap string
	timeout               time.Duration
	dryRun                bool
}

func storageReplace() *cobra.Command {
	var f replaceFlags
	var out output
	cmd := &cobra.Command{
		Use:   "replace-controller -c server.properties",
		Short: "Put a new disk in the place of a controller's lost one",
		Long: "Replace-controller makes an empty directory the controller that server.properties names,\n" +
			"in the place of the one whose disk is lost. Run it on the lost controller's machine, with\n" +
			"its server.properties and log.dirs empty, while the other controllers run; then start\n" +
			"`kvorum server`. It asks the others for the ids, formats the directory unless it is\n" +
			"formatted already, and has the quorum remove the old directory and add the new one.\n\n" +
			"It refuses while the lost controller still answers. After a failure run it again. It needs\n" +
			"a majority of the controllers: a quorum that has lost more cannot replace anybody.",
		Example: "  kvorum storage replace-controller -c server.properties --dry-run\n" +
			"  kvorum storage replace-controller -c server.properties\n" +
			"  kvorum storage replace-controller -c server.properties --bootstrap-controller host1:9093,host2:9093",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, &out) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.configFile, "config", "c", "", "the node's server.properties")
	flags.StringVar(&f.bootstrap, "bootstrap-controller", "", "controllers to ask, HOST:PORT separated by commas (default: those of server.properties)")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "how long to try")
	addDryRun(cmd, &f.dryRun)
	out.add(cmd)
	must(cmd.MarkFlagRequired("config"))
	return cmd
}

func (f *replaceFlags) run(cmd *cobra.Command, out *output) error {
	node, err := readNode(f.configFile)
	if err != nil {
		return err
	}
	if len(node.Listeners) == 0 {
		return fmt.Errorf("%s: no controller listener is configured", f.configFile)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	replace := &admin.Replace{
		NodeID: node.ID, LogDirs: node.LogDirs, MetadataLogDir: node.MetadataLogDir, ListenerName: node.Listeners[0].Name,
		Bootstrap: f.bootstrap, Timeout: min(askTimeout, f.timeout),
	}
	if replace.Bootstrap == "" {
		replace.Bootstrap = otherControllers(node)
	}
	if err := refuseMember(node); err != nil {
		return err
	}
	plan, err := replace.Plan(ctx)
	if err != nil {
		return err
	}
	if !f.dryRun {
		if err := replace.Format(plan); err != nil {
			return err
		}
		if err := joinQuorum(ctx, node); err != nil {
			return err
		}
		plan.Replaced = true
	}
	return out.print(cmd, plan, replaceRows(plan))
}

func replaceRows(plan *admin.ReplacePlan) [][]string {
	result, id := "would be replaced", plan.NewDirectoryID.String()
	switch {
	case plan.Replaced:
		result = "replaced: start it with `kvorum server`"
	case plan.Format:
		result, id = "would be formatted and replaced", "-"
	}
	return [][]string{
		{"CONTROLLER", "DIRECTORY", "OLD DIRECTORY ID", "NEW DIRECTORY ID", "RESULT"},
		{strconv.Itoa(int(plan.NodeID)), plan.Directory, plan.OldDirectoryID.String(), id, result},
	}
}

// otherControllers are the controllers that server.properties names.
func otherControllers(node *config.Node) string {
	var own, all []string
	for _, l := range node.Listeners {
		own = append(own, l.Advertised.String(), l.Bind.String())
	}
	for _, e := range node.BootstrapServers {
		all = append(all, e.String())
	}
	for _, v := range node.Voters {
		if v.ID != node.ID {
			all = append(all, v.Endpoint.String())
		}
	}
	all = slices.DeleteFunc(all, func(a string) bool { return slices.Contains(own, a) })
	return strings.Join(all, ",")
}

// refuseMember refuses a directory that has a place in a quorum already.
func refuseMember(node *config.Node) error {
	dir := filepath.Join(node.MetadataLogDir, nodedir.MetadataDir)
	member, err := raft.HasPlace(dir)
	if err != nil {
		return err
	}
	if member {
		return fmt.Errorf("%s has its place in the quorum already: start it with `kvorum server`; if `kvorum server` says that it has lost data, move %s away and run this command again", dir, node.MetadataLogDir)
	}
	return nil
}

// joinQuorum has the running controllers take the formatted directory in.
func joinQuorum(ctx context.Context, node *config.Node) (err error) {
	logger, err := newLogger("warn")
	if err != nil {
		return err
	}
	identity, meta, err := server.ReadController(node)
	if err != nil {
		return err
	}
	cfg, err := server.RaftConfig(node, meta, identity, logger)
	if err != nil {
		return err
	}
	store, err := metadatalog.Open(filepath.Join(cfg.Dir, nodedir.StoreDir), metadatalog.Options{Log: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return raft.Replace(ctx, cfg, store)
}
