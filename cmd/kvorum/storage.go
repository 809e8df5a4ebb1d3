package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/internal/server"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/nodedir"
	"kvorum/metadatalog/record"
	"kvorum/quorum/controller"
	"kvorum/security"
)

func storageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "storage", Short: "Format, inspect and verify a node's directories", Args: cobra.NoArgs, RunE: needSubcommand}
	cmd.AddCommand(storageFormat(), storageInfo(), storageRandomUUID(), storageReplace(), storageLocate(), storageVerify())
	return cmd
}

func storageRandomUUID() *cobra.Command {
	return &cobra.Command{
		Use: "random-uuid", Short: "Print a random id, for a cluster or a directory", Args: cobra.NoArgs,
		Example: "  kvorum storage random-uuid",
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := kafka.RandomUUID(rand.Reader)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), id)
			return nil
		},
	}
}

// formatFlags are the flags of storage format; they are Kafka's.
type formatFlags struct {
	clusterID, configFile string
	standalone            bool
	initialControllers    string
	releaseVersion        string
	features, scram       []string
	ignoreFormatted       bool
	imports               []string
	dryRun                bool
}

func storageFormat() *cobra.Command {
	var f formatFlags
	var out output
	cmd := &cobra.Command{
		Use:   "format -t CLUSTER_ID -c server.properties [--standalone | --initial-controllers LIST | --import DIR...]",
		Short: "Prepare a node's directories for its first start",
		Long: "Format prepares the directories that server.properties names. All controllers of a\n" +
			"cluster are formatted with the same cluster id and the same list of controllers; a broker\n" +
			"alone needs the cluster id only.\n\n" +
			"With --import the controller continues an Apache Kafka KRaft quorum that was stopped: name\n" +
			"the metadata directories of a majority of its controllers, or copies of them, and the same\n" +
			"ones on every controller. They are only read.\n\n" +
			"Controllers that take a cluster over from ZooKeeper (zookeeper.metadata.migration.enable)\n" +
			"are formatted with the id in its /cluster/id, at the release that its brokers have as\n" +
			"inter.broker.protocol.version.",
		Example: "  kvorum storage format -t $(kvorum storage random-uuid) -c server.properties --standalone\n" +
			"  kvorum storage format -t ID -c server.properties \\\n" +
			"    --initial-controllers 1@host1:9093:DIR1,2@host2:9093:DIR2,3@host3:9093:DIR3\n" +
			"  kvorum storage format -t ID -c server.properties --standalone --release-version 3.9 --dry-run\n" +
			"  kvorum storage format -c server.properties --import /old/1 --import /old/2 --import /old/3 --dry-run",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, &out) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.clusterID, "cluster-id", "t", "", "the cluster's id")
	flags.StringVarP(&f.configFile, "config", "c", "", "the node's server.properties")
	flags.BoolVarP(&f.standalone, "standalone", "s", false, "this node is the only controller")
	flags.StringVarP(&f.initialControllers, "initial-controllers", "I", "", "all controllers, as ID@HOST:PORT:DIRECTORY-ID,...")
	flags.StringVarP(&f.releaseVersion, "release-version", "r", "", "Kafka release or metadata.version to begin at, such as 3.9 or 4.3-IV0 (default: the newest, 3.9 with zookeeper.metadata.migration.enable)")
	flags.StringArrayVarP(&f.features, "feature", "f", nil, "NAME=LEVEL of another feature; may be given more than once")
	flags.StringArrayVarP(&f.scram, "add-scram", "S", nil, "SCRAM-SHA-256=[name=USER,password=PASSWORD] or the like; may be given more than once")
	flags.BoolVarP(&f.ignoreFormatted, "ignore-formatted", "g", false, "leave directories alone that are formatted already")
	flags.StringArrayVar(&f.imports, "import", nil, "log directory of a stopped Apache Kafka controller to continue from; given once for each controller")
	addDryRun(cmd, &f.dryRun)
	out.add(cmd)
	must(cmd.MarkFlagRequired("config"))
	cmd.MarkFlagsOneRequired("cluster-id", "import")
	cmd.MarkFlagsMutuallyExclusive("standalone", "initial-controllers")
	for _, flag := range []string{"standalone", "release-version", "feature", "add-scram", "ignore-formatted"} {
		cmd.MarkFlagsMutuallyExclusive("import", flag)
	}
	return cmd
}

func (f *formatFlags) run(cmd *cobra.Command, out *output) error {
	if len(f.imports) > 0 {
		return f.runImport(cmd, out)
	}
	format, err := f.format()
	if err != nil {
		return err
	}
	do := format.Run
	if f.dryRun {
		do = format.Plan
	}
	results, err := do()
	if err != nil {
		return err
	}
	rows := [][]string{{"DIRECTORY", "DIRECTORY ID", "RESULT"}}
	for _, r := range results {
		result, id := "already formatted", r.DirectoryID.String()
		switch {
		case r.Formatted && f.dryRun:
			result, id = "would be formatted", "-"
		case r.Formatted:
			result = "formatted"
		}
		rows = append(rows, []string{r.Directory, id, result})
	}
	return out.print(cmd, results, rows)
}

// format reads server.properties and the flags.
func (f *formatFlags) format() (*admin.Format, error) {
	node, err := readNode(f.configFile)
	if err != nil {
		return nil, err
	}
	format := &admin.Format{
		ClusterID: f.clusterID, NodeID: node.ID, LogDirs: node.LogDirs, MetadataLogDir: node.MetadataLogDir,
		Controller: node.Controller, IgnoreFormatted: f.ignoreFormatted,
	}
	if !node.Controller {
		return format, f.checkBroker()
	}
	if format.Bootstrap, err = f.bootstrap(node.Migration != nil); err != nil {
		return nil, err
	}
	if len(node.Listeners) == 0 {
		return nil, fmt.Errorf("%s: no controller listener is configured", f.configFile)
	}
	if !f.standalone && f.initialControllers == "" {
		return nil, usageError("a controller needs --standalone, --initial-controllers or --import")
	}
	if f.standalone {
		own := node.Listeners[0]
		host, err := server.AdvertisedHost(own)
		format.Voters = []nodedir.Voter{{ID: node.ID, Host: host, Port: own.Advertised.Port, Listener: own.Name}}
		return format, err
	}
	format.Voters, err = nodedir.ParseVoters(f.initialControllers, node.Listeners[0].Name)
	return format, err
}

// checkBroker refuses the flags that say what only controllers keep.
func (f *formatFlags) checkBroker() error {
	if f.standalone || f.initialControllers != "" || f.releaseVersion != "" || len(f.features) > 0 || len(f.scram) > 0 {
		return usageError("the node is a broker alone: it takes the cluster id (-t) and nothing about controllers, versions, features or users")
	}
	return nil
}

// bootstrap is what the flags say an empty log begins with.
func (f *formatFlags) bootstrap(migrates bool) ([]record.Message, error) {
	level, features, err := f.levels(migrates)
	if err != nil {
		return nil, err
	}
	if migrates {
		if err := controller.CheckMigrationVersion(level); err != nil {
			return nil, err
		}
	}
	var credentials []*record.UserScramCredentialRecord
	for _, s := range f.scram {
		c, err := security.ParseAddScram(s, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("--add-scram: %w", err)
		}
		credentials = append(credentials, &record.UserScramCredentialRecord{
			Name: c.User, Mechanism: int8(c.Mechanism), Salt: c.Salt, StoredKey: c.StoredKey, ServerKey: c.ServerKey, Iterations: c.Iterations,
		})
	}
	return controller.NewBootstrap(level, features, credentials)
}

// levels reads --release-version and --feature. Controllers that take brokers over
// from ZooKeeper begin at the newest level that those can have.
func (f *formatFlags) levels(migrates bool) (image.MetadataVersion, map[string]int16, error) {
	level, features := image.MaxMetadataVersion, map[string]int16{}
	if migrates {
		level = image.MV39IV0
	}
	if f.releaseVersion != "" {
		var err error
		if level, err = image.ParseMetadataVersion(f.releaseVersion); err != nil {
			return 0, nil, err
		}
	}
	for _, item := range f.features {
		name, text, ok := strings.Cut(item, "=")
		n, err := strconv.ParseInt(text, 10, 16)
		switch {
		case !ok || err != nil:
			return 0, nil, usageError(fmt.Sprintf("--feature %q is not NAME=LEVEL", item))
		case name != image.FeatureMetadataVersion:
			features[name] = int16(n)
		case f.releaseVersion != "":
			return 0, nil, usageError("--release-version and --feature metadata.version=... say the same thing: use one")
		default:
			level = image.MetadataVersion(n)
		}
	}
	return level, features, nil
}

func readNode(path string) (*config.Node, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	properties, err := config.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	node, err := config.ParseNode(properties)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return node, nil
}

// dirInfo is what storage info tells of a directory.
type dirInfo struct {
	Directory   string `json:"directory"`
	Formatted   bool   `json:"formatted"`
	ClusterID   string `json:"cluster_id,omitempty"`
	NodeID      int32  `json:"node_id"`
	DirectoryID string `json:"directory_id,omitempty"`
	Controller  bool   `json:"controller"` // it holds a kvorum controller's metadata log
	Problem     string `json:"problem,omitempty"`
}

func storageInfo() *cobra.Command {
	var configFile string
	var out output
	cmd := &cobra.Command{
		Use: "info -c server.properties", Short: "Say how a node's directories are formatted", Args: cobra.NoArgs,
		Example: "  kvorum storage info -c server.properties\n  kvorum storage info -c server.properties -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			node, err := readNode(configFile)
			if err != nil {
				return err
			}
			var infos []dirInfo
			rows := [][]string{{"DIRECTORY", "CLUSTER", "NODE", "DIRECTORY ID", "CONTROLLER", "PROBLEM"}}
			healthy := true
			for _, dir := range append([]string{node.MetadataLogDir}, node.LogDirs...) {
				if len(infos) > 0 && infos[0].Directory == dir {
					continue
				}
				info := inspectDir(dir)
				healthy = healthy && info.Problem == ""
				infos = append(infos, info)
				rows = append(rows, []string{info.Directory, info.ClusterID, strconv.Itoa(int(info.NodeID)), info.DirectoryID, strconv.FormatBool(info.Controller), info.Problem})
			}
			if err := out.print(cmd, infos, rows); err != nil {
				return err
			}
			if !healthy {
				return unhealthyError("a directory is not usable")
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&configFile, "config", "c", "", "the node's server.properties")
	must(cmd.MarkFlagRequired("config"))
	out.add(cmd)
	return cmd
}

func inspectDir(dir string) dirInfo {
	info := dirInfo{Directory: dir, NodeID: int32(kafka.NoNode)}
	meta, err := nodedir.ReadMeta(dir)
	if err != nil {
		info.Problem = err.Error()
		return info
	}
	info.Formatted, info.ClusterID, info.NodeID, info.DirectoryID = true, meta.ClusterID, int32(meta.NodeID), meta.DirectoryID.String()
	_, err = nodedir.ReadIdentity(filepath.Join(dir, nodedir.MetadataDir))
	info.Controller = err == nil
	return info
}
