package replication

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

// reassign asks for the same replicas, the first of them preferred, for all
// partitions of a topic.
func reassign(ctx context.Context, t *testing.T, admin *kadm.Client, topic string, partitions int, replicas []int32) {
	t.Helper()
	var req kadm.AlterPartitionAssignmentsReq
	for p := range partitions {
		req.Assign(topic, int32(p), replicas)
	}
	await(ctx, t, "reassignment", func(ctx context.Context) error {
		answer, err := admin.AlterPartitionAssignments(ctx, req)
		return errors.Join(err, answer.Error())
	})
}

// move gives all partitions of a topic other replicas and waits until they are
// those and all in sync.
func move(ctx context.Context, t *testing.T, admin *kadm.Client, topic string, partitions int, replicas []int32) {
	t.Helper()
	reassign(ctx, t, admin, topic, partitions, replicas)
	await(ctx, t, fmt.Sprintf("replicas %v", replicas), func(ctx context.Context) error {
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range topics[topic].Partitions.Sorted() {
			if !slices.Equal(p.Replicas, replicas) || len(p.ISR) != len(replicas) {
				return fmt.Errorf("partition %d: ISR %v of %v", p.Partition, p.ISR, p.Replicas)
			}
		}
		return nil
	})
}

// awaitGone waits until a broker has deleted its replicas.
func awaitGone(ctx context.Context, t *testing.T, b *cluster.Node, topic string, partitions int) {
	t.Helper()
	await(ctx, t, fmt.Sprintf("no replica on %s", b), func(context.Context) error {
		for p := range partitions {
			if _, err := os.Stat(filepath.Join(b.DataDir(), fmt.Sprintf("%s-%d", topic, p))); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("partition %d is there: %v", p, err)
			}
		}
		return nil
	})
}

// TestReassignment moves partitions of two replicas around three brokers under
// load, leader and followers: nothing is lost, brokers that are left delete their
// replicas, and the two that remain have equal bytes. Records that were deleted
// are gone on every replica that leads afterwards.
func TestReassignment(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1})
	brokers := q.StartKvorumBrokers(ctx, t, 3, nil)
	seeds, _ := addresses(brokers)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	const topic, partitions = "t", 2
	assignment := func(round int) []int32 { return []int32{brokers[round%3].ID, brokers[(round+1)%3].ID} }
	if _, err := admin.CreateTopic(ctx, partitions, 2, nil, topic); err != nil {
		t.Fatal(err)
	}
	p := startProducer(t, seeds, topic, partitions)
	last := rounds(t, 3) - 1
	for round := range last + 1 {
		p.more(ctx, 100)
		move(ctx, t, admin, topic, partitions, assignment(round))
		awaitGone(ctx, t, brokers[(round+2)%3], topic, partitions)
	}
	p.more(ctx, 100)
	p.finish(ctx, seeds)
	dirs := []string{brokers[last%3].DataDir(), brokers[(last+1)%3].DataDir()}
	t.Logf("%d bytes are equal on both replicas", cluster.SameBytes(ctx, t, dirs, topic, partitions))

	var to kadm.Offsets
	for n := range partitions {
		to.Add(kadm.Offset{Topic: topic, Partition: int32(n), At: 7})
	}
	// The answer means that both replicas begin there.
	if _, err := admin.DeleteRecords(ctx, to); err != nil {
		t.Fatal(err)
	}
	order := assignment(last)
	slices.Reverse(order)
	lead(ctx, t, admin, topic, partitions, order)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	starts.Each(func(o kadm.ListedOffset) {
		if o.Err != nil || o.Offset != 7 {
			t.Errorf("partition %d begins at %d at its other replica, %v", o.Partition, o.Offset, o.Err)
		}
	})
}
