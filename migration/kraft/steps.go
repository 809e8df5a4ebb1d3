package kraft

import (
	"fmt"
	"net"
	"strings"

	"kvorum/migration"
)

const (
	// newDirectory and raftPort stand for what only the operator knows.
	newDirectory = "/NEW/DIRECTORY"
	raftPort     = "RAFT-PORT"
	listenerName = "CONTROLLER" // what most files call it; the file's own name stays
)

// steps are the operator's part.
func steps(f *Facts) []migration.Step {
	addresses := strings.Join(bootstrap(f), ",")
	return []migration.Step{
		{Title: "Write a server.properties for each of kvorum's controllers", Why: "ids and listeners stay, so that the brokers find the new controllers where the old ones were; the directory is new, the old one is the way back", Nodes: controllers(f)},
		{Title: "Stop all of Apache's controllers", Why: "from here to step 4 the brokers serve produce and fetch, but no topic is created and no leader elected"},
		{Title: "On each controller's machine, with the old directories of a majority, better of all, of the controllers (or copies) at hand", Why: "the digest must be the same on every machine; the old directories are only read",
			Commands: []string{"kvorum storage format -c server.properties --import OLD/1 --import OLD/2 --import OLD/3 --dry-run", "kvorum storage format -c server.properties --import OLD/1 --import OLD/2 --import OLD/3"}},
		{Title: "Start kvorum's controllers", Why: "the brokers are not restarted", Commands: []string{"kvorum server --config server.properties"}},
		{Title: "Compare, with the old directory that the import took", Commands: []string{"kvorum migrate kraft verify OLD/1 --bootstrap-controller " + addresses}},
		{Title: "If kvorum's brokers shall take over: one at a time, on the same log directories, when every replica is in sync", Why: "what broker-config refuses, kvorum's brokers do not have yet",
			Commands: []string{"kvorum migrate broker-config server.properties --to kvorum --out kvorum.properties", "kvorum server --config kvorum.properties"}, Nodes: f.ToKvorum()},
		{Title: "The way back to Apache's controllers", Why: "until step 4 start the old ones again; after it stop kvorum's, export from the one whose log ends last for a majority of the ids, start Apache's controllers on that, and compare",
			Commands: []string{"kvorum metadata export DIR --to NEW/1 --node-id " + firstID(f), "kvorum migrate kraft verify DIR --bootstrap-controller " + addresses}},
	}
}

func firstID(f *Facts) string {
	if len(f.Controllers) == 0 {
		return "ID"
	}
	return fmt.Sprint(f.Controllers[0].ID)
}

// bootstrap are the controllers' addresses, as far as they are known.
func bootstrap(f *Facts) []string {
	var out []string
	for _, c := range f.Controllers {
		if c.Address != "" {
			out = append(out, c.Address)
		}
	}
	if len(out) == 0 {
		return []string{"HOST:PORT"}
	}
	return out
}

// controllers are the files of the new controllers.
func controllers(f *Facts) []migration.Change {
	var raft []string
	for _, c := range f.Controllers {
		raft = append(raft, fmt.Sprintf("%d@%s:%s", c.ID, host(c.Address), raftPort))
	}
	var out []migration.Change
	for _, c := range f.Controllers {
		lines := []string{
			"process.roles=controller", fmt.Sprintf("node.id=%d", c.ID),
			fmt.Sprintf("listeners=%s://%s", listenerName, orElse(c.Address, "HOST:PORT")), "controller.listener.names=" + listenerName,
			"log.dirs=" + newDirectory,
			fmt.Sprintf("kvorum.raft.listener=%s:%s", host(c.Address), raftPort), "kvorum.raft.voters=" + strings.Join(raft, ","),
		}
		if f.KRaftVersion == 0 {
			lines = append(lines, "controller.quorum.voters=(as it is now)")
		} else {
			lines = append(lines, "controller.quorum.bootstrap.servers="+strings.Join(bootstrap(f), ","))
		}
		if f.Image.ACLCount() > 0 {
			lines = append(lines, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=(as it is now)")
		}
		out = append(out, migration.Change{Node: fmt.Sprintf("controller %d", c.ID), Add: lines})
	}
	return out
}

func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return "HOST"
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
