package migration

import (
	"fmt"
	"slices"
	"strings"

	"kvorum/migration/convert"
	"kvorum/migration/znode"
)

// Severity says what a finding means for a migration.
type Severity string

const (
	// Blocker findings stop a migration, or make it lose something.
	Blocker Severity = "blocker"
	// Later findings do not stop the migration to kvorum's controllers, but stop the
	// step to kvorum's brokers.
	Later Severity = "later"
	// Note findings are worth knowing.
	Note Severity = "note"
)

// Finding is something that a plan found out.
type Finding struct {
	// Check is a short fixed name, such as "topic-id".
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
	// Do is what to do about it, "" if there is nothing to do.
	Do string `json:"do,omitempty"`
}

// maxListed bounds how many things of one kind a finding names.
const maxListed = 5

// checks are every check, in the order of the report.
var checks = []func(*Facts) []Finding{
	checkNodes, checkConversion, checkController, checkMigrationNode, checkRegistrations, checkProtocol, checkReleases, checkLogDirs, checkInFlight,
	checkClocks, checkPasswords, checkAuthorizer, checkControllers, checkBrokerConfigs,
	func(f *Facts) []Finding { return checkTransactions(&f.Asked) }, func(f *Facts) []Finding { return checkGroups(&f.Asked) },
	checkFormatConfigs, func(f *Facts) []Finding { return checkFormats(&f.Asked) }, checkTiered,
}

// check runs all checks.
func check(f *Facts) []Finding {
	findings := []Finding{} // not null in JSON
	for _, c := range checks {
		findings = append(findings, c(f)...)
	}
	return findings
}

// Listed names a few of many.
func Listed[T any](all []T) string {
	var b strings.Builder
	for i, v := range all {
		if i == maxListed {
			fmt.Fprintf(&b, " and %d more", len(all)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, v)
	}
	return b.String()
}

// checkNodes reports the nodes that could not be read, each by itself: nothing is
// skipped in silence.
func checkNodes(f *Facts) []Finding {
	var out []Finding
	for _, p := range f.Snapshot.Problems {
		finding := Finding{"znode", Blocker, p.Error(), "repair or remove the node"}
		if p.Severity == znode.Orphan {
			finding.Check, finding.Do = "orphan", "remove the node if nobody needs it"
		}
		out = append(out, finding)
	}
	return out
}

// checkConversion reports what was read but cannot become records.
func checkConversion(f *Facts) []Finding {
	var out []Finding
	for _, p := range f.Conversion {
		if !f.Secret && isPassword(f.Snapshot, p.Path) {
			continue // checkPasswords says it once
		}
		out = append(out, Finding{"conversion", Blocker, p.Error(), "repair the node"})
	}
	return out
}

func isPassword(s *znode.Snapshot, path string) bool {
	return slices.ContainsFunc(passwords(s), func(key string) bool { return strings.HasPrefix(key, path+" ") })
}

// passwords are the dynamic broker configs of type password, as "PATH KEY".
func passwords(s *znode.Snapshot) []string {
	var out []string
	for _, n := range s.BrokerConfigs {
		for key := range n.Config {
			if convert.IsPassword(key) {
				out = append(out, n.Path+" "+key)
			}
		}
	}
	slices.Sort(out)
	return out
}

func checkController(f *Facts) []Finding {
	s := f.Snapshot
	switch {
	case s.ClusterID == "":
		return []Finding{{"cluster-id", Blocker, "ZooKeeper has no /cluster/id: is " + f.Connect + " the brokers' zookeeper.connect, chroot and all?", ""}}
	case s.ControllerEpoch == nil:
		return []Finding{{"controller", Blocker, "ZooKeeper has no /controller_epoch: no broker has ever been the controller", "start the brokers"}}
	case s.Controller == nil:
		return []Finding{{"controller", Blocker, "nobody is the controller: ZooKeeper has no /controller", "find out why no broker takes it; in a rollback one does so at once"}}
	}
	c := s.Controller.Value
	var out []Finding
	if c.KRaftEpoch >= 0 && s.Migration == nil {
		out = append(out, Finding{"controller", Blocker, fmt.Sprintf("/controller was claimed by the KRaft controller %d at epoch %d, but there is no /migration", c.ID, c.KRaftEpoch),
			"if those controllers are gone for good, delete /controller: a broker takes it at once"})
	}
	if c.KRaftEpoch > s.ControllerEpoch.Value {
		out = append(out, Finding{"controller-epoch", Blocker, fmt.Sprintf("/controller_epoch is %d, below the KRaft epoch %d of the controller: after a rollback the brokers' controller would refuse elections of every partition that was written under it",
			s.ControllerEpoch.Value, c.KRaftEpoch), fmt.Sprintf("before a rollback set /controller_epoch to %d at least", c.KRaftEpoch)})
	}
	return append(out, epochsAbove(s)...)
}

// epochsAbove finds partitions whose state was written under a higher epoch than
// /controller_epoch: no controller in ZooKeeper mode elects a leader for them.
func epochsAbove(s *znode.Snapshot) []Finding {
	if s.Controller != nil && s.Controller.Value.KRaftEpoch >= 0 {
		return nil // said of the controller already
	}
	var above []string
	highest := s.ControllerEpoch.Value
	for _, t := range s.Topics {
		for _, id := range t.IDs() {
			if e := t.States[id].ControllerEpoch; e > s.ControllerEpoch.Value {
				above = append(above, fmt.Sprintf("%s-%d", t.Name, id))
				highest = max(highest, e)
			}
		}
	}
	if len(above) == 0 {
		return nil
	}
	return []Finding{{"controller-epoch", Blocker, fmt.Sprintf("/controller_epoch is %d, but the state of %d partitions (%s) was written under epoch %d: the controller refuses to elect leaders for them",
		s.ControllerEpoch.Value, len(above), Listed(above), highest), fmt.Sprintf("set /controller_epoch to %d, then delete /controller: a broker takes it at once, with a higher epoch", highest)}}
}

func checkMigrationNode(f *Facts) []Finding {
	m := f.Snapshot.Migration
	if m == nil {
		return nil
	}
	c := f.Snapshot.Controller
	kraft := c != nil && c.Value.KRaftEpoch >= 0
	v := m.Value
	switch {
	case v.Copied() && !kraft:
		return []Finding{{"migration-znode", Blocker, fmt.Sprintf("/migration says that ZooKeeper was copied into a metadata log up to offset %d by controller %d, but a broker is the controller: it is left over from a rollback", v.Offset, v.ControllerID),
			"delete /migration, and begin with controllers that are formatted anew"}}
	case v.Copied():
		return []Finding{{"migration-znode", Note, fmt.Sprintf("a migration is in dual write: controller %d at epoch %d has written ZooKeeper up to offset %d", v.ControllerID, v.ControllerEpoch, v.Offset), ""}}
	}
	return []Finding{{"migration-znode", Note, "/migration exists and nothing was copied yet: controllers of a migration run, or have run, and wait for the brokers", "if none run, delete /migration"}}
}

// Stops are the findings that stop a migration: blockers, and with toBrokers also
// those of the step to kvorum's brokers, but not those whose check is allowed.
func (p *Plan) Stops(toBrokers bool, allowed []string) []Finding {
	return Stops(p.Findings, toBrokers, allowed)
}

// Stops are those of findings that stop a move.
func Stops(findings []Finding, toBrokers bool, allowed []string) []Finding {
	out := []Finding{}
	for _, f := range findings {
		if (f.Severity == Blocker || toBrokers && f.Severity == Later) && !slices.Contains(allowed, f.Check) {
			out = append(out, f)
		}
	}
	return out
}
