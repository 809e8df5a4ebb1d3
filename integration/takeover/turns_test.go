package takeover

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// turnPatience bounds what a broker that has just started is asked for.
const turnPatience = time.Minute

// turn is one broker's time on the directory, and how it ends.
type turn struct {
	name   string
	broker cluster.Server
	kill   bool
}

// TestTurns: brokers of Apache's 3.9.2 and 4.3.1 and of kvorum's take turns as the
// same broker of one cluster, on one log directory. Each finds every record and
// every committed offset of those before it, some of which were killed, and adds
// its own.
func TestTurns(t *testing.T) {
	kit39, kit43 := peer.Require(t, peer.V39), peer.Require(t, peer.V43)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	session := map[string]string{"broker.session.timeout.ms": "2000", "broker.heartbeat.interval.ms": "500"} // a killed broker's id is free after it
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1, ReleaseVersion: "3.9-IV0", Properties: session})
	old := q.FormatBrokers(ctx, t, kit43.StartDriver(t), map[string]string{"broker.heartbeat.interval.ms": "500"}, kit39)[0]
	current := *old
	current.Kit = kit43
	ours := sameBroker(t, old, q)
	w := &written{T: t, ctx: ctx, address: old.Listener}
	for i, next := range []turn{
		{"Apache 3.9.2", old, false},
		{"kvorum", ours, true},
		{"Apache 4.3.1", &current, true},
		{"kvorum", ours, false},
		{"Apache 4.3.1", &current, false},
		{"kvorum", ours, true},
		{"Apache 3.9.2", old, true},
		{"kvorum", ours, false},
	} {
		began := time.Now()
		next.broker.Start(t)
		next.broker.WaitReady(ctx, t)
		w.check(next.name)
		w.write(i)
		w.check(next.name)
		if next.kill {
			next.broker.Kill()
		} else {
			next.broker.Stop(t)
		}
		t.Logf("turn %d, %s: %v", i, next.name, time.Since(began).Round(time.Millisecond))
	}
}

// sameBroker is kvorum's broker in the place of one of Apache's: its id, its
// listener, its log directories.
func sameBroker(t *testing.T, b *peer.Node, q *cluster.Quorum) *cluster.Node {
	t.Helper()
	n := &cluster.Node{ID: b.ID, Binary: cluster.Binary(t), Dir: filepath.Join(b.Dir, "kvorum"), Client: b.Listener}
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	dirs := b.DataDir()
	if several := b.Properties["log.dirs"]; several != "" {
		dirs = several
	}
	lines := []string{
		"process.roles=broker", fmt.Sprintf("node.id=%d", b.ID), "log.dirs=" + dirs, "listeners=PLAINTEXT://" + b.Listener,
		"controller.quorum.bootstrap.servers=" + strings.Join(q.Addresses, ","), "controller.listener.names=CONTROLLER",
		"inter.broker.listener.name=PLAINTEXT", "offsets.topic.replication.factor=1", "broker.heartbeat.interval.ms=500",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", "group.initial.rebalance.delay.ms=0",
	}
	if err := os.WriteFile(n.PropertiesFile(), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return n
}

// written is what all turns wrote and committed.
type written struct {
	*testing.T
	ctx     context.Context
	address string
	values  []string // of the topic's only partition, by offset
	commits int64
}

const turnsTopic, turnsGroup = "turns", "turns-group"

// write adds idempotent records with every codec and a commit of the group.
func (w *written) write(turn int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, turnPatience)
	defer cancel()
	for _, codec := range codecs {
		c := newClient(w.T, w.address, kgo.ProducerBatchCompression(compression(codec)))
		if len(w.values) == 0 {
			if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, map[string]*string{"segment.bytes": kadm.StringPtr("1048576")}, turnsTopic); err != nil {
				w.Fatal(err)
			}
		}
		for i := range 200 {
			value := fmt.Sprintf("%d-%s-%d-%s", turn, codec, i, strings.Repeat("x", 2000))
			w.values = append(w.values, value)
			send(ctx, c, &kgo.Record{Topic: turnsTopic, Value: []byte(value)})
		}
		if err := c.Flush(ctx); err != nil {
			w.Fatal(err)
		}
		c.Close()
	}
	c := newClient(w.T, w.address)
	defer c.Close()
	w.commits = int64(len(w.values))
	offsets := kadm.OffsetsFromRecords(kgo.Record{Topic: turnsTopic, Partition: 0, Offset: w.commits - 1})
	if err := kadm.NewClient(c).CommitAllOffsets(ctx, turnsGroup, offsets); err != nil {
		w.Fatal(err)
	}
}

// check reads everything back.
func (w *written) check(name string) {
	w.Helper()
	if len(w.values) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, turnPatience)
	defer cancel()
	c := newClient(w.T, w.address, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{turnsTopic: {0: kgo.NewOffset().AtStart()}}), kgo.FetchMaxWait(100*time.Millisecond))
	defer c.Close()
	for at := 0; at < len(w.values); {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.Fatalf("%s at offset %d: %v", name, at, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != int64(at) || at >= len(w.values) || string(r.Value) != w.values[at] {
				w.Fatalf("%s has %.40s at offset %d, where %d of %d is due", name, r.Value, r.Offset, at, len(w.values))
			}
			at++
		})
	}
	committed, err := kadm.NewClient(c).FetchOffsets(ctx, turnsGroup)
	if err != nil {
		w.Fatal(err)
	}
	if got, _ := committed.Lookup(turnsTopic, 0); got.At != w.commits {
		w.Fatalf("%s says that the group is at %d, want %d", name, got.At, w.commits)
	}
}
