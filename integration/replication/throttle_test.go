package replication

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

// TestThrottledMoves moves a partition to another broker while its leader, or its
// new follower, is throttled to nearly nothing: it does not get there, another
// partition does, and without the throttle it gets there too (KIP-73).
func TestThrottledMoves(t *testing.T) {
	ctx := t.Context()
	q := cluster.StartKvorum(ctx, t, cluster.Options{Size: 1})
	brokers := q.StartKvorumBrokers(ctx, t, 3, nil)
	seeds, dirs := addresses(brokers)
	client := newClient(t, kgo.SeedBrokers(seeds...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	admin := kadm.NewClient(client)
	from, to := brokers[0], brokers[1]
	for _, side := range []struct {
		name   string
		broker *cluster.Node
	}{{"leader", from}, {"follower", to}} {
		topic, free := "held-"+side.name, "free-"+side.name
		fill(ctx, t, client, admin, topic, from.ID)
		fill(ctx, t, client, admin, free, from.ID)
		list, rate := side.name+".replication.throttled.replicas", side.name+".replication.throttled.rate"
		alterTopic(ctx, t, admin, topic, kadm.AlterConfig{Op: kadm.SetConfig, Name: list, Value: kadm.StringPtr(fmt.Sprintf("0:%d", side.broker.ID))})
		alterBroker(ctx, t, admin, side.broker.ID, kadm.AlterConfig{Op: kadm.SetConfig, Name: rate, Value: kadm.StringPtr("1000")})
		reassign(ctx, t, admin, topic, 1, []int32{from.ID, to.ID})
		move(ctx, t, admin, free, 1, []int32{from.ID, to.ID})
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		if p := topics[topic].Partitions[0]; len(p.ISR) != 1 || len(p.Replicas) != 2 {
			t.Fatalf("%s throttled: replicas %v, in sync %v", side.name, p.Replicas, p.ISR)
		}
		alterBroker(ctx, t, admin, side.broker.ID, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: rate})
		awaitISR(ctx, t, admin, topic, 2)
		t.Logf("%d bytes are equal on both replicas", cluster.SameBytes(ctx, t, dirs[:2], topic, 1))
	}
}

// fill makes a topic with one replica on a broker and writes 8 MB into it: a
// follower takes eight fetches for them, of which a throttle lets the first pass.
func fill(ctx context.Context, t *testing.T, client *kgo.Client, admin *kadm.Client, topic string, broker int32) {
	t.Helper()
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	move(ctx, t, admin, topic, 1, []int32{broker})
	var records []*kgo.Record
	for range 80 {
		records = append(records, &kgo.Record{Topic: topic, Value: make([]byte, 100_000)})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func alterTopic(ctx context.Context, t *testing.T, admin *kadm.Client, topic string, change kadm.AlterConfig) {
	t.Helper()
	answers, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, topic)
	checkAltered(t, answers, err)
}

func alterBroker(ctx context.Context, t *testing.T, admin *kadm.Client, id int32, change kadm.AlterConfig) {
	t.Helper()
	answers, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{change}, id)
	checkAltered(t, answers, err)
}

func checkAltered(t *testing.T, answers kadm.AlterConfigsResponses, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		if a.Err != nil {
			t.Fatalf("%s: %v: %s", strconv.Quote(a.Name), a.Err, a.ErrMessage)
		}
	}
}
