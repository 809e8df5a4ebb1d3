package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"kvorum/migration"
)

// TestPlanForPeople: what plan prints.
func TestPlanForPeople(t *testing.T) {
	p := &migration.Plan{
		ClusterID: "7RyY3jD5SWiPIBiocbCRNw", Connect: "zk:2181/kafka", Phase: migration.PhaseZooKeeper, MetadataVersion: "3.9-IV0",
		Brokers:  []migration.PlanBroker{{ID: 1, Address: "h1:9092", Version: "v3.9", Protocol: "3.9", LogDirs: 2, Replicas: 24}},
		Counts:   migration.Counts{Topics: 6, Partitions: 24, Records: 60, ZNodes: 155},
		Findings: []migration.Finding{{Check: "orphan", Severity: migration.Blocker, Text: "/config/topics/gone: there is no topic", Do: "remove the node"}, {Check: "passwords", Severity: migration.Note, Text: "one"}},
		Steps:    []migration.Step{{Title: "Restart", Why: "so that", Nodes: []migration.Change{{Node: "broker 1", Add: []string{"a=b"}, Remove: []string{"broker.id"}}}}},
		Estimate: "two minutes",
	}
	var b bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&b)
	if err := printPlan(cmd, &output{format: "table"}, p); err != nil {
		t.Fatal(err)
	}
	want := `cluster 7RyY3jD5SWiPIBiocbCRNw at zk:2181/kafka, phase zookeeper, metadata.version 3.9-IV0

BROKER  ADDRESS  KAFKA  PROTOCOL  LOG DIRS  REPLICAS  MIGRATION MODE
1       h1:9092  v3.9   3.9       2         24        no

to convert: 6 topics, 24 partitions, 0 topic configs, 0 broker configs (0 passwords), 0 SCRAM credentials, 0 quotas, 0 ACLs, 0 delegation tokens
that is 60 records, from 155 nodes
two minutes

blocker  orphan: /config/topics/gone: there is no topic
         -> remove the node
note     passwords: one

1. Restart
   so that
   broker 1:
     - broker.id
     + a=b

The controllers carry out what is theirs by themselves; kvorum migrate status says whose turn it is.
`
	if b.String() != want {
		t.Errorf("printed\n%s", &b)
	}
}

// TestMigrateFiles: a file that a flag names and that cannot be used is an error
// before anything is asked.
func TestMigrateFiles(t *testing.T) {
	dir := t.TempDir()
	empty, text := filepath.Join(dir, "empty"), filepath.Join(dir, "text")
	for path, content := range map[string]string{empty: "\n", text: "no certificate"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		flags migrateFlags
		want  string
	}{
		{migrateFlags{secretFile: empty}, "is empty"},
		{migrateFlags{digestFile: filepath.Join(dir, "gone")}, "no such file"},
		{migrateFlags{caFile: text}, "--zookeeper-tls only"},
		{migrateFlags{caFile: text, tls: true}, "no certificate"},
	} {
		if err := c.flags.load(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.flags, err)
		}
	}
	f := migrateFlags{secretFile: text, tls: true}
	if err := f.load(); err != nil || f.PasswordSecret != "no certificate" || f.TLS == nil {
		t.Errorf("loaded %q, %v, %v", f.PasswordSecret, f.TLS, err)
	}
}

// TestPlanWithoutZooKeeper: nobody listens, and the error says where.
func TestPlanWithoutZooKeeper(t *testing.T) {
	f := migrateFlags{}
	f.ZooKeeper, f.Timeout = "127.0.0.1:1", 1
	if _, err := f.Plan(context.Background()); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("plan without ZooKeeper: %v", err)
	}
}

// TestBrokerConfig: what the command prints, writes and refuses.
func TestBrokerConfig(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "server.properties"), filepath.Join(dir, "kraft.properties")
	const text = "# a comment\nbroker.id=1\nzookeeper.connect=zk:2181\nauthorizer.class.name=kafka.security.authorizer.AclAuthorizer\n"
	if err := os.WriteFile(in, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		exit int
		want string // somewhere in what it says
	}{
		{"--to kvorum --controllers c:9093", 2, "--allow authorizer.class.name"},
		{"--to kvorum --controllers c:9093 -o json", 2, `"refused": true`},
		{"--to apache-kraft --out -", 2, "name them with --controllers"},
		{"--to apache-kraft --controllers c:9093 --out OUT", 0, "dropped  broker.id=1 (line 2)"},
		{"--to apache-kraft --controllers c:9093 --out OUT", 1, "exists; --overwrite"},
		{"--to kvorum --controllers c:9093 --allow authorizer.class.name --out OUT --overwrite", 0, "dropped  authorizer.class.name"},
		{"--to kvorum --controllers c:9093 --allow authorizer.* --out -", 0, "process.roles=broker"},
		{"--to kvorum --controllers c:9093 --allow authorizer.* --out IN --overwrite", 1, "it is the way back"},
		{"--to zookeeper", 1, "neither migration"},
		{"--to migration --controllers 1@c", 1, "the controllers"},
	} {
		args := strings.Fields(strings.NewReplacer("OUT", out, "IN", in).Replace(c.args))
		r := kvorum(t, append([]string{"migrate", "broker-config", in}, args...)...)
		if r.code != c.exit || !strings.Contains(r.stdout+r.stderr, c.want) {
			t.Errorf("%s: %+v", c.args, r)
		}
		if strings.Contains(c.args, "--out -") && (c.exit == 0) != strings.HasPrefix(r.stdout, "# a comment\n") {
			t.Errorf("%s: stdout\n%s", c.args, r.stdout)
		}
	}
	written, err := os.ReadFile(out)
	if info, _ := os.Stat(out); err != nil || !strings.HasPrefix(string(written), "# a comment\n") || strings.Contains(string(written), "authorizer") || info.Mode().Perm() != 0o600 {
		t.Errorf("written: %q, %v", written, err)
	}
	if kept, err := os.ReadFile(in); err != nil || string(kept) != text {
		t.Errorf("the old file: %q, %v", kept, err)
	}
}
