package replication

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

// lead makes a broker the preferred leader of all partitions of a topic, by a
// reassignment to the same replicas in another order, and has it elected.
func lead(ctx context.Context, t *testing.T, admin *kadm.Client, topic string, partitions int, order []int32) {
	t.Helper()
	reassign(ctx, t, admin, topic, partitions, order)
	await(ctx, t, fmt.Sprintf("election of broker %d", order[0]), func(ctx context.Context) error {
		if _, err := admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil); err != nil {
			return err
		}
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range topics[topic].Partitions.Sorted() {
			if p.Leader != order[0] {
				return fmt.Errorf("partition %d is led by broker %d, with ISR %v", p.Partition, p.Leader, p.ISR)
			}
		}
		return nil
	})
}

// TestMixedBrokers: two brokers of kvorum's and one of Apache's have the replicas
// of the same partitions. The leaders move from one make to the other under load;
// nothing is lost, and the bytes are equal at the end. Transactions begin where
// Apache's broker leads and end where kvorum's do: each leader gives readers of
// committed records the same ones. 12 s for both versions.
func TestMixedBrokers(t *testing.T) {
	for _, v := range []struct {
		version peer.Version
		release string
	}{{peer.V39, "3.9-IV0"}, {peer.V43, ""}} {
		t.Run(string(v.version), func(t *testing.T) { mixed(t, peer.Require(t, v.version), v.release) })
	}
}

func mixed(t *testing.T, kit *peer.Kit, release string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	driver := kit.StartDriver(t)
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 3, ReleaseVersion: release})
	apache := q.Brokers(ctx, t, driver, onlyOnApache, kit)[0]
	ours := q.StartKvorumBrokers(ctx, t, 2, nil)
	seeds := []string{apache.Listener, ours[0].Client, ours[1].Client}
	dirs := []string{ours[0].DataDir(), ours[1].DataDir(), apache.DataDir()}
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	const topic, partitions = "t", 3
	min := "2"
	if _, err := admin.CreateTopic(ctx, partitions, 3, map[string]*string{"min.insync.replicas": &min}, topic); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, topic, 3)
	x := startTransactions(ctx, t, apache.ID, admin, seeds, "x")
	p := startProducer(t, seeds, topic, partitions)
	orders := [][]int32{
		{apache.ID, ours[0].ID, ours[1].ID}, {ours[0].ID, apache.ID, ours[1].ID},
		{apache.ID, ours[1].ID, ours[0].ID}, {ours[1].ID, ours[0].ID, apache.ID},
	}
	var open []string // the records of the transaction under way
	for move := range rounds(t, 5) {
		order := orders[move%len(orders)]
		lead(ctx, t, admin, topic, partitions, order)
		lead(ctx, t, admin, "x", 1, order)
		if order[0] == apache.ID {
			x.end(ctx, kgo.TryCommit, x.begin(ctx))
			x.end(ctx, kgo.TryAbort, x.begin(ctx))
			open = x.begin(ctx)
		} else {
			x.end(ctx, kgo.TransactionEndTry(move%len(orders) == 1), open)
			open = nil
			x.plain(ctx)
		}
		x.check(ctx, order[0])
		awaitISR(ctx, t, admin, topic, 3)
		awaitISR(ctx, t, admin, "x", 3)
		p.more(ctx, 200)
		t.Logf("move %d: broker %d leads, %d records", move, order[0], p.written())
	}
	if open != nil {
		x.end(ctx, kgo.TryAbort, open)
	}
	x.plain(ctx)
	x.check(ctx, orders[(rounds(t, 5)-1)%len(orders)][0])
	p.finish(ctx, seeds)
	t.Logf("%d bytes are equal on all replicas, and %d of transactions", cluster.SameBytes(ctx, t, dirs, topic, partitions), cluster.SameBytes(ctx, t, dirs, "x", 1))
}
