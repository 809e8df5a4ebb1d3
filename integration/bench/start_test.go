package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/quorum/raft"
)

// TestOneController measures from the start of a lone controller's process until
// it says that it leads; all starts but the first are on a log that is there.
func TestOneController(t *testing.T) {
	bench(t, func(t *testing.T, s side, format func(cluster.Options) *cluster.Quorum) {
		q := format(cluster.Options{Size: 1})
		var took []time.Duration
		for range sizes.starts {
			began := time.Now()
			q.Controllers[0].Start(t)
			if err := leads(t.Context(), q.Addresses[0]); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(began))
			q.Controllers[0].Kill()
		}
		noteSpread(t, s, "one controller, from exec to active, min / p50 / worst", "0.2 s", took)
	})
}

// TestOneVoterElects measures, within this process, how long Raft takes to elect
// the only voter of a new quorum.
func TestOneVoterElects(t *testing.T) {
	var took []time.Duration
	for range sizes.starts {
		took = append(took, elect(t))
	}
	noteSpread(t, kvorum, "one voter elects itself, min / p50 / worst", "20 ms", took)
}

func elect(t *testing.T) time.Duration {
	t.Helper()
	dir := t.TempDir()
	store, err := metadatalog.Open(filepath.Join(dir, "store"), metadatalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	host, err := raft.New(raft.Config{
		ClusterID: "bench", NodeID: 1, DirectoryID: kafka.UUID{1, 2, 3}, Instance: 1, Dir: dir, ListenAddress: "127.0.0.1:0",
		Peers:  []raft.Peer{{NodeID: 1, DirectoryID: kafka.UUID{1, 2, 3}, RaftAddress: "127.0.0.1:1"}},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}, store)
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	began, patience := time.Now(), time.After(time.Minute)
	for {
		select {
		case l := <-host.Leadership():
			if l.Self {
				return time.Since(began)
			}
		case <-patience:
			t.Fatal("the only voter was not elected within a minute")
		}
	}
}

// TestFirstRecord measures from the start of three controllers and three Apache
// brokers on formatted disks to the first acknowledged record of a topic with
// three replicas.
func TestFirstRecord(t *testing.T) {
	bench(t, func(t *testing.T, s side, format func(cluster.Options) *cluster.Quorum) {
		if s != kvorum && !full {
			// Six Apache processes that start at once on two cores now and then do not find each other
			// within their own minute: that is no finding about kvorum.
			t.Skip("skipped: Apache's own cluster is started by the full run only")
		}
		kit := peer.Require(t, peer.V43)
		q := format(cluster.Options{Size: 3})
		nodes := q.FormatBrokers(t.Context(), t, kit.StartDriver(t), nil, kit, kit, kit)
		var bootstrap []string
		began := time.Now()
		for _, c := range q.Controllers {
			c.Start(t)
		}
		for _, n := range nodes {
			n.Start(t)
			bootstrap = append(bootstrap, n.Listener)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := firstRecord(ctx, bootstrap); err != nil {
			t.Fatal(err)
		}
		noteDuration(t, s, "3 controllers + 3 Apache brokers, from formatted disks to the first record", "", time.Since(began))
	})
}

// firstRecord creates a topic and writes a record as soon as that is possible.
func firstRecord(ctx context.Context, bootstrap []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap...), kgo.MetadataMinAge(50*time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	if err != nil {
		return err
	}
	defer client.Close()
	admin, last := kadm.NewClient(client), error(nil)
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, last = admin.CreateTopic(attempt, 1, 3, nil, "first")
		cancel()
		if last == nil || errors.Is(last, kerr.TopicAlreadyExists) {
			return client.ProduceSync(ctx, &kgo.Record{Topic: "first", Value: []byte("record")}).FirstErr()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("no topic was created: %w", last)
}

// TestTimings compares Raft timings: a dead controller is to be found soon, and a
// busy one not to be thought dead.
func TestTimings(t *testing.T) {
	if !full {
		t.Skip("skipped: failover is measured at the default timing; KVORUM_BENCH=1 compares others")
	}
	for _, timing := range [][3]int{{5, 20, 2}, {10, 20, 2}, {10, 30, 3}} {
		label := fmt.Sprintf("%d/%d/%d", timing[0], timing[1], timing[2])
		t.Run(label, func(t *testing.T) {
			q := kvorum.format(t, cluster.Options{Size: 3, Properties: map[string]string{
				"kvorum.raft.rtt.ms":          fmt.Sprint(timing[0]),
				"kvorum.raft.election.ticks":  fmt.Sprint(timing[1]),
				"kvorum.raft.heartbeat.ticks": fmt.Sprint(timing[2]),
			}})
			q.Start(t.Context(), t)
			brokers(t, q)
			spurious(t, kvorum, "elections without a kill under load, timing "+label, q, sizes.timingQuiet)
			failover(t, kvorum, "failover at timing "+label+", min / p50 / worst", q, sizes.kills[kvorum])
		})
	}
}
