package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// count is how many records each client writes with each codec.
const count = 100

// patience bounds what one client does.
const patience = 2 * time.Minute

// allCodecs are Kafka's, by the names of compression.type.
var allCodecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// seen is what a client reports: the values that it read in its group, and the
// sum of the offsets that it then found committed.
type seen struct {
	Values    []string `json:"values"`
	Committed int      `json:"committed"`
}

// job is what a client is asked to do.
type job struct {
	bootstrap, topic, group string
	codecs                  []string
}

// want returns the values of a job, sorted.
func (j job) want() []string {
	var out []string
	for _, codec := range j.codecs {
		for i := range count {
			out = append(out, fmt.Sprintf("value-%s-%d", codec, i))
		}
	}
	slices.Sort(out)
	return out
}

// clients are all that are tried, in the order in which they write.
var clients = []struct {
	name   string
	codecs []string
	run    func(context.Context, *testing.T, job) (seen, error)
}{
	{"franz-go", allCodecs, franz},
	{"kafka-go", allCodecs, segment},
	{"sarama", allCodecs, shopify},
	{"librdkafka", allCodecs, librdkafka},
	{"kcat", allCodecs[:4], kcat}, // Debian's build has no zstd
	{"kafkajs", allCodecs[:2], kafkajs},
	{"java", allCodecs, java},
}

// TestClients lets every client write and read its own topic, and two of them all
// topics.
func TestClients(t *testing.T) {
	wanted(t)
	ctx := context.Background()
	node := single(ctx, t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			j := job{node.Bootstrap, c.name, "group-" + c.name, c.codecs}
			got, err := c.run(ctx, t, j)
			if err != nil {
				t.Fatal(err)
			}
			j.check(t, c.name, got.Values)
			if got.Committed != len(j.want()) {
				t.Errorf("%s committed up to %d of %d records", c.name, got.Committed, len(j.want()))
			}
			for reader, read := range map[string]func(context.Context, *testing.T, job) ([]string, error){"franz-go": franzRead, "java": javaRead} {
				j.group = "reader-" + reader + "-" + c.name
				values, err := read(ctx, t, j)
				if err != nil {
					t.Fatalf("%s: %v", reader, err)
				}
				j.check(t, reader, values)
			}
		})
	}
}

// check compares what was read with what was written, each record once.
func (j job) check(t *testing.T, reader string, values []string) {
	t.Helper()
	got := slices.Sorted(slices.Values(values))
	if want := j.want(); !slices.Equal(got, want) {
		t.Errorf("%s read %d records from %s of the %d written, %d of them different", reader, len(got), j.topic, len(want), len(slices.Compact(got)))
	}
}

// single starts the node that KVORUM_BROKER names: kvorum's by default, or
// Apache's.
func single(ctx context.Context, t *testing.T) *cluster.Single {
	t.Helper()
	var s *cluster.Single
	if os.Getenv("KVORUM_BROKER") == "apache" {
		kit := peer.Require(t, peer.V43)
		s = cluster.FormatSingleApache(ctx, t, kit, kit.StartDriver(t), nil)
	} else {
		s = cluster.FormatSingleKvorum(ctx, t, nil)
	}
	s.StartReady(ctx, t)
	return s
}

// external runs a program that prints a line of JSON.
func external(ctx context.Context, env []string, name string, args ...string) (got seen, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return got, fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return got, err
	}
	return got, json.Unmarshal(out, &got)
}

// arguments are those of every program.
func (j job) arguments(program string) []string {
	return append([]string{program, j.bootstrap, j.topic, j.group, fmt.Sprint(count)}, j.codecs...)
}

func librdkafka(ctx context.Context, t *testing.T, j job) (seen, error) {
	return external(ctx, nil, python(t), j.arguments(program(t, "client.py"))...)
}

func kafkajs(ctx context.Context, t *testing.T, j job) (seen, error) {
	return external(ctx, []string{"NODE_PATH=" + nodeModules(t)}, "node", j.arguments(program(t, "client.js"))...)
}

// kcat writes by its producer's mode and reads in its group's.
func kcat(ctx context.Context, t *testing.T, j job) (got seen, err error) {
	if _, err := exec.LookPath("kcat"); err != nil {
		require(t, "kcat", err)
	}
	if err := create(ctx, j); err != nil {
		return got, err
	}
	for _, codec := range j.codecs {
		cmd := exec.CommandContext(ctx, "kcat", "-P", "-b", j.bootstrap, "-t", j.topic, "-z", codec, "-K", ":", "-H", "codec="+codec, "-X", "enable.idempotence=true")
		var lines strings.Builder
		for i := range count {
			fmt.Fprintf(&lines, "%s-%d:value-%s-%d\n", codec, i, codec, i)
		}
		cmd.Stdin = strings.NewReader(lines.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			return got, fmt.Errorf("write with %s: %w: %s", codec, err, out)
		}
	}
	cmd := exec.CommandContext(ctx, "kcat", "-b", j.bootstrap, "-X", "auto.offset.reset=earliest", "-c", fmt.Sprint(count*len(j.codecs)), "-f", "%s\n", "-q", "-G", j.group, j.topic)
	out, err := cmd.Output()
	if err != nil {
		return got, fmt.Errorf("read: %w", err)
	}
	got.Values = strings.Fields(string(out))
	got.Committed, err = committed(ctx, j)
	return got, err
}
