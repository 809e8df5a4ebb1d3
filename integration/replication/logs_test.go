package replication

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// patience is how long a test waits for what has to come.
const patience = time.Minute

// await waits until check is satisfied.
func await(ctx context.Context, t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: after %v: %v", what, patience, err)
		case <-time.After(50 * time.Millisecond): // between two questions
		}
	}
}

// newClient returns a client that learns of elections soon, and does not wait long
// for a broker that is paused.
func newClient(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.MetadataMinAge(50 * time.Millisecond), kgo.RequestTimeoutOverhead(2 * time.Second), kgo.ProduceRequestTimeout(5 * time.Second)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// awaitISR waits until every partition of a topic has so many replicas in sync.
func awaitISR(ctx context.Context, t *testing.T, admin *kadm.Client, topic string, size int) {
	t.Helper()
	await(ctx, t, fmt.Sprintf("%d replicas of each partition of %s in sync", size, topic), func(ctx context.Context) error {
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		var all error
		for _, p := range topics[topic].Partitions.Sorted() {
			if len(p.ISR) != size || p.Leader < 0 {
				all = errors.Join(all, fmt.Errorf("partition %d: leader %d, ISR %v of %v", p.Partition, p.Leader, p.ISR, p.Replicas))
			}
		}
		return errors.Join(all, topics[topic].Err)
	})
}
