package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kvorum/broker/kvorumtest"
)

// TestCompat runs the words of Apache's tools through `kvorum compat`, and compares
// with what Apache 4.3.1's own tools printed on an Apache node, which
// integration/tools records: blanks, ids and the order of lines apart.
func TestCompat(t *testing.T) {
	broker := kvorumtest.Start(t)
	file := filepath.Join(t.TempDir(), "file.json")
	recorded := readRecorded(t)
	produce := func(topic, partition, lines string) {
		t.Helper()
		r := kvorumReads(t, lines, "topic", "produce", topic, "-p", partition, "-o", "", "-f", `%d %v\n`, "-b", broker)
		if r.code != exitOK {
			t.Fatalf("produce: %+v", r)
		}
	}
	check := func(sections ...string) {
		t.Helper()
		for _, name := range sections {
			want, ok := recorded[name]
			if !ok {
				t.Fatalf("nothing is recorded as %q", name)
			}
			args := append([]string{"compat", "kafka-" + want.words[0], "--bootstrap-server", broker}, want.words[1:]...)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "FILE", file)
			}
			r := kvorum(t, args...)
			if got := comparable(r.stdout); got != want.stdout {
				t.Errorf("%s: kvorum %s\nprinted\n%s\nApache's tool\n%s\nstderr: %s", name, strings.Join(args, " "), got, want.stdout, r.stderr)
			}
			if (r.code != 0) != want.failed {
				t.Errorf("%s: exit code %d, Apache's tool failed: %v; stderr: %s", name, r.code, want.failed, r.stderr)
			}
		}
	}
	check("topics 1", "topics 2", "topics 3", "topics 4", "topics 5", "topics 6", "topics 7", "topics 8", "topics 9", "topics 10",
		"topics 11", "topics 12", "topics 13", "topics 15", "topics 16", "topics 17", "topics 18", "topics 19", "topics 20", "topics 21", "topics 23", "topics 24")
	if r := kvorum(t, "topic", "create", "b", "-p", "2", "-c", "retention.ms=-1", "-b", broker); r.code != exitOK { // Apache's made replicas 1 and 1
		t.Fatalf("create: %+v", r)
	}
	check("topics 22", "topics 25")
	var timed strings.Builder
	for i := range 20 {
		timed.WriteString("17000000000" + string(rune('0'+i/10)) + string(rune('0'+i%10)) + " x\n")
	}
	produce("b", "0", timed.String())
	produce("a", "0", strings.Repeat("1700000000000 x\n", 14))
	produce("a", "1", strings.Repeat("1700000000000 x\n", 8))
	produce("a", "2", strings.Repeat("1700000000000 x\n", 28))
	produce("with.dot", "0", strings.Repeat("1700000000000 x\n", 3000))
	check("offsets 1", "offsets 2", "offsets 3", "offsets 4", "offsets 5", "offsets 7", "offsets 8", "offsets 9", "offsets 10", "offsets 11")
	write(t, file, `{"version":1,"partitions":[{"topic":"a","partition":0,"offset":3},{"topic":"a","partition":1,"offset":-1}]}`)
	check("offsets 12", "offsets 13")
	write(t, file, `{"version":1,"partitions":[{"topic":"a","partition":2,"offset":100000}]}`)
	check("offsets 14")
	write(t, file, `{"version":1,"partitions":[{"topic":"compacted","partition":0,"offset":0}]}`)
	check("offsets 15")
	for _, group := range []string{"verifiable", "console"} {
		offsets := filepath.Join(t.TempDir(), "offsets.csv")
		write(t, offsets, "a,0,14\na,1,8\na,2,28\n")
		if r := kvorum(t, "topic", "consume", "a", "-g", group, "-n", "1", "-b", broker); r.code != exitOK {
			t.Fatalf("consume: %+v", r)
		}
		if r := kvorum(t, "group", "seek", group, "--to-file", offsets, "-b", broker); r.code != exitOK {
			t.Fatalf("seek: %+v", r)
		}
	}
	check("groups 16", "groups 17", "groups 18", "groups 19", "groups 22", "reset 16")
	check("configs 1", "configs 2", "configs 3", "configs 4", "configs 5", "configs 6", "configs 7", "configs 8", "configs 9",
		"configs 11", "configs 12", "configs 13", "configs 14", "configs 15", "configs 16", "configs 17", "configs 18", "configs 20")
	check("node 8", "node 9")
	r := kvorum(t, "compat", "kafka-topics", "--bootstrap-server", broker, "--list", "--zookeeper", "z:2181")
	if r.code != exitError || !strings.Contains(r.stderr, "`kvorum topic`") {
		t.Errorf("an unknown word: %+v", r)
	}
}

// recordedAnswer is one command of Apache's tools and what it said.
type recordedAnswer struct {
	words  []string
	stdout string
	failed bool
}

func readRecorded(t *testing.T) map[string]recordedAnswer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "integration", "tools", "testdata", "apache-4.3.1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]recordedAnswer{}
	for section := range strings.SplitSeq("\n"+string(text), "\n=== ") {
		name, rest, _ := strings.Cut(section, "\n")
		command, output, _ := strings.Cut(strings.TrimPrefix(rest, "$ "), "\n")
		stdout, after, hasExit := strings.Cut("\n"+output, "\nexit ")
		found[name] = recordedAnswer{strings.Fields(command), comparable(stdout), hasExit && !strings.HasPrefix(after, "0")}
	}
	return found
}

var (
	someID    = regexp.MustCompile(`TopicId: \S+`)
	someHost  = regexp.MustCompile(`127\.0\.0\.1:\d+|<address>`)
	ofQuorum  = regexp.MustCompile(`(ClusterId|LeaderId|LeaderEpoch|HighWatermark|MaxFollowerLag|MaxFollowerLagTimeMs):\s+\S+|"directoryId": "[^"]*"`)
	ofReplica = regexp.MustCompile(`(?m)^(\S+\s+){6}(Leader|Follower|Observer)\s*$`)
	configsOf = regexp.MustCompile(`Configs: (\S*)`)
)

// comparable leaves out what differs between two nodes: ids, addresses, the width
// of columns, the order of lines, and of the configs of a topic.
func comparable(text string) string {
	text = someHost.ReplaceAllString(someID.ReplaceAllString(text, "TopicId: ID"), "ADDRESS")
	text = ofQuorum.ReplaceAllString(ofReplica.ReplaceAllString(text, "REPLICA $2"), "$1: ITS")
	text = configsOf.ReplaceAllStringFunc(text, func(c string) string {
		list := strings.Split(strings.TrimPrefix(c, "Configs: "), ",")
		slices.Sort(list)
		return "Configs: " + strings.Join(list, ",")
	})
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if words := strings.Join(strings.Fields(line), " "); words != "" {
			lines = append(lines, words)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
