package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvorum/admin"
	"kvorum/metadatalog/nodedir"
)

// runImport is storage format with --import.
func (f *formatFlags) runImport(cmd *cobra.Command, out *output) error {
	node, err := readNode(f.configFile)
	if err != nil {
		return err
	}
	if len(node.Listeners) == 0 {
		return fmt.Errorf("%s: no controller listener is configured", f.configFile)
	}
	i := &admin.Import{
		Sources: f.imports, ClusterID: f.clusterID,
		NodeID: node.ID, LogDirs: node.LogDirs, MetadataLogDir: node.MetadataLogDir,
		StaticVoters: node.Voters, Listener: node.Listeners[0].Name,
	}
	if f.initialControllers != "" {
		if i.Controllers, err = nodedir.ParseVoters(f.initialControllers, i.Listener); err != nil {
			return err
		}
	}
	do := i.Run
	if f.dryRun {
		do = i.Plan
	}
	plan, err := do()
	if err != nil {
		return err
	}
	return out.print(cmd, plan, importRows(plan, i.MetadataLogDir, f.dryRun))
}

// importRows tells people what was taken and what comes of it.
func importRows(p *admin.ImportPlan, target string, dryRun bool) [][]string {
	rows := [][]string{{"SOURCE", "NODE", "LOG", "LAST EPOCH", "HIGHEST EPOCH", ""}}
	for _, s := range p.Sources {
		taken := ""
		if s.Directory == p.TakenFrom {
			taken = "taken"
		}
		rows = append(rows, []string{s.Directory, fmt.Sprint(s.NodeID), fmt.Sprintf("%d to %d", s.LogStart, s.EndOffset), fmt.Sprint(s.LastEpoch), fmt.Sprint(s.HighestEpoch), taken})
	}
	var voters []string
	for _, v := range p.Voters {
		voters = append(voters, fmt.Sprintf("%d@%s:%d:%s", v.ID, v.Host, v.Port, v.DirectoryID))
	}
	result := "imported into"
	if dryRun {
		result = "would be imported into"
	}
	rows = append(rows, nil,
		[]string{"cluster", p.ClusterID},
		[]string{"metadata.version", p.MetadataVersion},
		[]string{"topics", fmt.Sprintf("%d with %d partitions", p.Topics, p.Partitions)},
		[]string{"brokers", fmt.Sprint(p.Brokers)},
		[]string{"controllers", strings.Join(voters, ",")},
		[]string{"checkpoints", strings.Join(p.Checkpoints, ",")},
		[]string{"digest", p.Digest + " (the same on every controller)"},
		[]string{"new epochs", fmt.Sprintf("above %d", p.EpochBase)})
	for _, n := range p.Notes {
		rows = append(rows, []string{"note", n})
	}
	return append(rows, []string{result, target})
}
