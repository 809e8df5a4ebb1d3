package replication

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/integration/peer"
)

// transactions are records of transactions in a topic of one partition, whose
// coordinator is Apache's broker: kvorum's follow it and take over what they hold.
type transactions struct {
	t         *testing.T
	seeds     []string
	topic     string
	client    *kgo.Client
	n         int
	committed []string // the values that readers of committed records get, in order
	all       []string // and others
}

// onlyOnApache are the keys of Apache's broker with which it is the only coordinator
// of transactions.
var onlyOnApache = map[string]string{
	"transaction.state.log.num.partitions": "1", "transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
}

// startTransactions makes the topic of the coordinator on a broker, and a topic.
func startTransactions(ctx context.Context, t *testing.T, coordinator int32, admin *kadm.Client, seeds []string, topic string) *transactions {
	t.Helper()
	state := kmsg.NewPtrCreateTopicsRequest()
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = "__transaction_state", -1, -1
	one.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Replicas: []int32{coordinator}}}
	state.Topics = append(state.Topics, one)
	if err := peer.Ask(ctx, seeds[0], func(ctx context.Context, b *kgo.Broker) error {
		resp, err := state.RequestWith(ctx, b)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateTopic(ctx, 1, int16(len(seeds)), nil, topic); err != nil {
		t.Fatal(err)
	}
	awaitISR(ctx, t, admin, topic, len(seeds))
	return &transactions{t: t, seeds: seeds, topic: topic, client: newClient(t, kgo.SeedBrokers(seeds...), kgo.TransactionalID("mover"), kgo.TransactionTimeout(5*time.Minute), kgo.DefaultProduceTopic(topic))}
}

// begin writes the records of a transaction and leaves it open. Its partition is led by
// Apache's broker.
func (x *transactions) begin(ctx context.Context) (values []string) {
	x.t.Helper()
	await(ctx, x.t, "begin a transaction", func(context.Context) error { return x.client.BeginTransaction() })
	for range 10 {
		value := fmt.Sprint(x.n)
		x.n++
		if err := x.client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
			x.t.Fatal(err)
		}
		values = append(values, value)
	}
	x.all = append(x.all, values...)
	return values
}

// end ends it.
func (x *transactions) end(ctx context.Context, how kgo.TransactionEndTry, values []string) {
	x.t.Helper()
	if err := x.client.EndTransaction(ctx, how); err != nil {
		x.t.Fatal(err)
	}
	if how == kgo.TryCommit {
		x.committed = append(x.committed, values...)
	}
}

// plain writes a record of no transaction, behind which a check sees whatever there is.
func (x *transactions) plain(ctx context.Context) {
	x.t.Helper()
	value := fmt.Sprint(x.n)
	x.n++
	client := newClient(x.t, kgo.SeedBrokers(x.seeds...), kgo.DefaultProduceTopic(x.topic))
	defer client.Close()
	if err := client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
		x.t.Fatal(err)
	}
	x.all, x.committed = append(x.all, value), append(x.committed, value)
}

// check reads the topic from whoever leads it.
func (x *transactions) check(ctx context.Context, leader int32) {
	x.t.Helper()
	for name, c := range map[string]struct {
		level kgo.IsolationLevel
		want  []string
	}{"committed": {kgo.ReadCommitted(), x.committed}, "uncommitted": {kgo.ReadUncommitted(), x.all}} {
		client := newClient(x.t, kgo.SeedBrokers(x.seeds...), kgo.ConsumeTopics(x.topic), kgo.FetchIsolationLevel(c.level), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
		var got []string
		await(ctx, x.t, fmt.Sprintf("%s records by broker %d", name, leader), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second) // a look
			defer cancel()
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
			if len(got) < len(c.want) {
				return fmt.Errorf("read %v of %v", got, c.want)
			}
			return nil
		})
		client.Close()
		if !slices.Equal(got, c.want) {
			x.t.Errorf("broker %d has %v as %s, want %v", leader, got, name, c.want)
		}
	}
}
