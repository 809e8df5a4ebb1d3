package admin

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What tests with a broker need, which cannot be of this package: the broker's test
// package imports it.

// Admin is the client of c.
func (c *Cluster) Admin() (*kgo.Client, *kadm.Client) { return c.client, c.admin }

// Gap says whether offsets of partition 0 have no record, by the broker 1.
func (c *Cluster) Gap(ctx context.Context, topic string, from, to int64, committed bool) (bool, error) {
	m, err := c.metadata(ctx)
	g := gap{topic: topic, id: m.Topics[topic].ID, from: from, to: to, committed: committed}
	return g.empty(ctx, c.client.Broker(1)), err
}

// ConsumeAfter settles the ends of a read, and reads when between returns.
func (c *Cluster) ConsumeAfter(ctx context.Context, o *Consume, between func(), each func(*kgo.FetchPartition, *kgo.Record) error) error {
	r := &reading{Consume: o, cluster: c, each: each, polled: func() error { return nil }}
	from, err := r.plan(ctx, c, o.Topics)
	if err != nil {
		return err
	}
	between()
	client, err := kgo.NewClient(c.access.options(kgo.ConsumePartitions(from))...)
	if err != nil {
		return err
	}
	defer client.Close()
	return r.poll(ctx, client)
}
