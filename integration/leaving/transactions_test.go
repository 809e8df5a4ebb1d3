package leaving

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	transactionsTopic = "transactions"
	// perTransaction records are in each transaction, over all partitions.
	perTransaction = 5
	// abortEvery is which transactions are aborted.
	abortEvery = 4
)

// transactions are those of one transactional producer, which writes numbered
// records, one transaction after the other. It is not restarted.
type transactions struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}

	// Read after done.
	next      uint64
	committed map[uint64]bool
	aborted   map[uint64]bool
	errs      []error
}

// startTransactions makes the topic and begins.
func startTransactions(ctx context.Context, t *testing.T, c *Cluster, adm *kadm.Client) *transactions {
	t.Helper()
	if _, err := adm.CreateTopic(ctx, 3, 3, nil, transactionsTopic); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &transactions{stop: cancel, done: make(chan struct{}), committed: map[uint64]bool{}, aborted: map[uint64]bool{},
		client: c.Client(t, kgo.DefaultProduceTopic(transactionsTopic), kgo.TransactionalID("mover"), kgo.TransactionTimeout(2*time.Minute), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))}
	go func() {
		defer close(x.done)
		for n := 1; ctx.Err() == nil; n++ {
			if err := x.one(context.WithoutCancel(ctx), n%abortEvery == 0); err != nil {
				x.errs = append(x.errs, err)
			}
			time.Sleep(20 * time.Millisecond) // the pace
		}
	}()
	t.Cleanup(func() { cancel(); x.client.Close(); <-x.done }) // the brokers of a test that failed may be gone
	return x
}

// one writes a transaction and ends it.
func (x *transactions) one(ctx context.Context, abort bool) error {
	if err := x.client.BeginTransaction(); err != nil {
		return err
	}
	var records []*kgo.Record
	for range perTransaction {
		records = append(records, &kgo.Record{Value: binary.BigEndian.AppendUint64(nil, x.next)})
		x.next++
	}
	if err := x.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return errors.Join(err, x.client.EndTransaction(ctx, kgo.TryAbort))
	}
	how, into := kgo.TryCommit, x.committed
	if abort {
		how, into = kgo.TryAbort, x.aborted
	}
	if err := x.client.EndTransaction(ctx, how); err != nil {
		return err
	}
	for n := x.next - perTransaction; n < x.next; n++ {
		into[n] = true
	}
	return nil
}

// finish ends the last transaction and the producer.
func (x *transactions) finish(t *testing.T) {
	t.Helper()
	x.stop()
	<-x.done
	x.client.Close()
	for _, err := range x.errs {
		t.Errorf("a transaction: %v", err)
	}
	t.Logf("%d transactions are committed, %d aborted", len(x.committed)/perTransaction, len(x.aborted)/perTransaction)
	if len(x.committed) < 100*perTransaction || len(x.aborted) < 20*perTransaction {
		t.Errorf("%d records are committed, %d aborted", len(x.committed), len(x.aborted))
	}
}

// check reads the topic: who reads committed records gets those and no others, each
// once; who reads all gets the aborted ones, too.
func (x *transactions) check(ctx context.Context, t *testing.T, c *Cluster) {
	t.Helper()
	committed := readBack(ctx, t, c, transactionsTopic, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	all := readBack(ctx, t, c, transactionsTopic)
	for n := range x.next {
		once := 0
		if x.committed[n] {
			once = 1
		}
		if committed[n] != once || all[n] != 1 {
			t.Fatalf("record %d, committed %t: it is there %d times for readers of committed records and %d times in all", n, x.committed[n], committed[n], all[n])
		}
	}
	if len(committed) != len(x.committed) {
		t.Errorf("%d records are read as committed, %d were", len(committed), len(x.committed))
	}
}
