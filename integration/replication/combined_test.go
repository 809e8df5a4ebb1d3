package replication

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
)

// TestCombinedNodesWithoutMajority kills all of five nodes that are controller and
// broker, and starts the two that have a topic. They are no majority of controllers,
// and go on with it: from what each of them had been told, which is on its disk. When
// the others are back, nothing is lost and topics can be made again.
func TestCombinedNodesWithoutMajority(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	nodes := cluster.StartKvorumCombined(ctx, t, 5)
	seeds, _ := addresses(nodes)
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(seeds...)))
	const topic, partitions = "t", 1
	min := "2"
	if _, err := admin.CreateTopic(ctx, partitions, 2, map[string]*string{"min.insync.replicas": &min}, topic); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, topic, 2)
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	var with, without []*cluster.Node
	for _, n := range nodes {
		for _, id := range topics[topic].Partitions[0].Replicas {
			if id == n.ID {
				with = append(with, n)
			}
		}
	}
	for _, n := range nodes {
		if n != with[0] && n != with[1] {
			without = append(without, n)
		}
	}
	ours, dirs := addresses(with)
	p := startProducer(t, ours, topic, partitions)
	p.more(ctx, 100)
	for range rounds(t, 1) {
		for _, n := range nodes {
			n.Kill()
		}
		began := time.Now()
		for _, n := range with {
			n.Start(t)
		}
		p.more(ctx, 100)
		t.Logf("two of five nodes: 100 records more %v after their start", time.Since(began).Round(time.Millisecond))
		admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(ours...)))
		askNeedsController(ctx, t, admin)
		for _, n := range without {
			n.Start(t)
		}
		await(ctx, t, "a topic made when all nodes are back", func(ctx context.Context) error {
			_, err := admin.CreateTopic(ctx, 1, 2, nil, "after")
			if errors.Is(err, kerr.TopicAlreadyExists) {
				return nil // the answer to the request before was late
			}
			return err
		})
		p.more(ctx, 100)
	}
	p.finish(ctx, ours)
	t.Logf("%d bytes are equal on both replicas", cluster.SameBytes(ctx, t, dirs, topic, partitions))
}
