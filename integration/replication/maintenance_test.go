package replication

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

// maintenance is what `kvorum cluster maintenance` says as JSON.
type maintenance struct {
	Replicas  int        `json:"replicas"`
	Leads     int        `json:"leads"`
	Preferred int        `json:"preferred"`
	Alone     []string   `json:"alone"`
	Reordered []struct{} `json:"reordered"`
}

// TestMaintenance takes the leadership from one of three brokers, restarts it, and
// gives its share back, by the command line.
func TestMaintenance(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1})
	brokers := q.StartKvorumBrokers(ctx, t, 3, nil)
	seeds, _ := addresses(brokers)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	const topic, partitions = "t", 12
	if _, err := admin.CreateTopic(ctx, partitions, 3, nil, topic); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, topic, 3)
	// One broker is asked, so that what it said once it goes on saying.
	run := func(wantCode int, words ...string) (m maintenance) {
		t.Helper()
		words = append([]string{"cluster", "maintenance"}, words...)
		words = append(words, "-b", seeds[1], "-o", "json")
		cmd := exec.CommandContext(ctx, cluster.Binary(t), words...)
		out, err := cmd.Output()
		var exit *exec.ExitError
		said := ""
		if errors.As(err, &exit) {
			said = string(exit.Stderr)
		}
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != wantCode {
			t.Fatalf("%v: %v, want exit code %d: %s%s", words, err, wantCode, out, said)
		}
		if wantCode != 1 {
			if err := json.Unmarshal(out, &m); err != nil {
				t.Fatalf("%v: %v: %s", words, err, out)
			}
		} else if !strings.Contains(said, "there is no broker") {
			t.Errorf("%v: %s", words, said)
		}
		return m
	}
	const id = "101"
	run(1, "start", "--broker", "77")
	run(2, "status", "--broker", id)
	before := run(0, "start", "--broker", id, "--dry-run")
	if before.Replicas != partitions || before.Leads != 4 || before.Preferred != 4 || len(before.Reordered) == 0 {
		t.Errorf("before: %+v", before)
	}
	if again := run(0, "start", "--broker", id, "--dry-run"); again.Leads != before.Leads || len(again.Reordered) != len(before.Reordered) {
		t.Errorf("the dry run changed %+v to %+v", before, again)
	}
	if after := run(0, "start", "--broker", id); after.Leads != 0 || after.Preferred != 0 || len(after.Reordered) != len(before.Reordered) {
		t.Errorf("started: %+v", after)
	}
	brokers[0].Stop(t)
	brokers[0].Start(t)
	brokers[0].WaitReady(ctx, t)
	awaitISR(ctx, t, admin, topic, 3)
	if m := run(0, "status", "--broker", id); m.Leads != 0 {
		t.Errorf("after its restart it leads: %+v", m)
	}
	if m := run(0, "stop", "--broker", id); m.Preferred != 4 {
		t.Errorf("stopped: %+v", m)
	}
	if m := run(2, "status", "--broker", id); m.Leads != 4 {
		t.Errorf("after the stop it leads %+v", m)
	}
	if _, err := admin.CreateTopic(ctx, 3, 1, nil, "single"); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, "single", 1)
	if m := run(2, "start", "--broker", id); len(m.Alone) != 1 || m.Leads != 1 || !slices.ContainsFunc(m.Alone, func(p string) bool { return strings.HasPrefix(p, "single-") }) {
		t.Errorf("with a partition of one replica: %+v", m)
	}
}
