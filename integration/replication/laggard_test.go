package replication

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/loopback"
)

// TestPeersBringALaggardUp: a broker is killed, the metadata goes on without it, and
// then all controllers are killed. When the broker starts it learns from the others
// what it has missed, and serves by that; if what it has missed is that it was fenced,
// it does not serve.
func TestPeersBringALaggardUp(t *testing.T) {
	for _, c := range []struct{ name, fence string }{{"unfenced", "false"}, {"fenced", "true"}} {
		t.Run(c.name, func(t *testing.T) { laggard(t, c.fence) })
	}
}

func laggard(t *testing.T, fence string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	d := startDeath(ctx, t, map[string]string{"broker.session.timeout.ms": longSession, "kvorum.broker.fence.on.death": fence})
	brokers := d.FormatKvorumBrokers(ctx, t, 3, nil)
	late := brokers[2]
	metrics := loopback.Address(t)
	addProperty(t, late, "kvorum.metrics.listener", metrics)
	d.RunKvorumBrokers(ctx, t, brokers)
	d.brokers = brokers
	d.seeds, _ = addresses(brokers)
	d.topic(ctx, t)
	p := startProducer(t, d.seeds, "t", 6)
	p.more(ctx, 100)
	if fence == "true" {
		d.awaitInSight(ctx, t)
	}
	late.Kill()
	admin := d.admin(t, 0)
	if fence == "true" {
		awaitFenced(ctx, t, admin, "t", late.ID)
	}
	await(ctx, t, "a topic that the broker does not hear of", func(ctx context.Context) error {
		_, err := admin.CreateTopic(ctx, 3, 2, nil, "later")
		if errors.Is(err, kerr.TopicAlreadyExists) {
			return nil // the answer to the request before was late
		}
		return err
	})
	d.Controllers[0].Kill()
	late.Start(t)
	if fence == "true" {
		stayFenced(ctx, t, late, metrics, "it is fenced in its copy of the metadata log")
	} else {
		awaitKnows(ctx, t, late, "later")
		p.more(ctx, 100)
	}
	d.Controllers[0].Start(t)
	awaitISR(ctx, t, admin, "t", 3)
	p.more(ctx, 100)
	p.finish(ctx, d.seeds)
}

// awaitKnows waits until a broker serves and knows a topic.
func awaitKnows(ctx context.Context, t *testing.T, b *cluster.Node, topic string) {
	t.Helper()
	began := time.Now()
	admin := kadm.NewClient(newClient(t, kgo.SeedBrokers(b.Client)))
	await(ctx, t, fmt.Sprintf("%s serves and knows %s", b, topic), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		topics, err := admin.ListTopics(ctx, topic)
		if err == nil {
			err = topics[topic].Err
		}
		return err
	})
	t.Logf("%s serves and knows the topic %v after its start", b, time.Since(began).Round(time.Millisecond))
}
