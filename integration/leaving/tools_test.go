package leaving

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"kvorum/integration/peer"
	"kvorum/integration/printed"
)

// asked are questions of operators to Apache's tools about what Fill has made. The
// answers must not change in a migration.
var asked = []struct {
	tool peer.Tool
	args string
}{
	{peer.Topics, "--describe --topic topic-.*"},
	{peer.GetOffsets, "--topic topic-.*"},
	{peer.ConsumerGroups, "--describe --group g1"},
	{peer.Configs, "--describe --entity-type topics"},
	{peer.Configs, "--describe --entity-type brokers --entity-default"},
	{peer.Configs, "--describe --entity-type users"},
	{peer.Configs, "--describe --entity-type clients"},
	{peer.Configs, "--describe --entity-type users --entity-type clients"},
	{peer.Configs, "--describe --entity-type ips"},
	{peer.ACLs, "--list"},
}

// electable is what elections change in a line of the topics tool, and what follows.
var electable = regexp.MustCompile(`\tLeader: \S+\t(Replicas: \S+).*`)

// printed is what Apache's tools answer. ACLs are asked for at a controller, if there
// is one to ask: kvorum's brokers have none.
func (c *Cluster) printed(ctx context.Context, t *testing.T, d *peer.Driver, controller string) description {
	t.Helper()
	out := description{}
	for _, q := range asked {
		to := []string{"--bootstrap-server", c.Brokers[0].Listener}
		if q.tool == peer.ACLs && controller != "" {
			to = []string{"--bootstrap-controller", controller}
		}
		answer, err := d.Tool(ctx, q.tool, append(to, strings.Fields(q.args)...)...)
		if err != nil || answer.Exit != 0 || len(answer.Stdout) == 0 && !strings.HasSuffix(q.args, "ips") {
			t.Fatalf("%s %s: %v %v", q.tool, q.args, answer, err)
		}
		text := electable.ReplaceAllString(answer.Stdout, "\t$1")
		if q.tool == peer.ACLs {
			text = printed.Resources(text)
		}
		for line := range strings.Lines(printed.Sorted(text)) {
			if !strings.Contains(line, "Dynamic configs for topic") || strings.Contains(line, "topic topic-") {
				out[string(q.tool)+" "+q.args+" prints "+line] = ""
			}
		}
	}
	return out
}
