package replica

import (
	"testing"

	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// transactional appends a batch of one producer's transaction.
func (w *world) transactional(name string, id kafka.ProducerID, sequence int32) {
	w.t.Helper()
	b := batch.NewBuilder(batch.Compression{})
	b.SetProducer(id, 0, sequence, true)
	b.Add(1000, nil, []byte("value"))
	if _, err := w.partition(name).Append(b.AppendTo(nil, 0, 0), AppendOptions{AppendOptions: storage.AppendOptions{Origin: producer.Client, NowMs: 1000}, Acks: 1, LeaderEpoch: kafka.NoEpoch}); err != nil {
		w.t.Fatal(err)
	}
}

// end ends a producer's transaction.
func (w *world) end(name string, id kafka.ProducerID, commit bool) {
	w.t.Helper()
	marker := batch.AppendEndTxn(nil, 0, 0, 1000, batch.EndTxn{ProducerID: id, Commit: commit})
	if _, err := w.partition(name).Append(marker, AppendOptions{AppendOptions: storage.AppendOptions{Origin: producer.Coordinator, NowMs: 1000}, Acks: 1, LeaderEpoch: kafka.NoEpoch}); err != nil {
		w.t.Fatal(err)
	}
}

func TestReadCommitted(t *testing.T) {
	w := newWorld(t)
	w.alone("orders", 1)
	w.transactional("orders", 7, 0) // 0, aborted at 1
	w.end("orders", 7, false)
	w.mustProduce("orders", 1)      // 2
	w.transactional("orders", 8, 0) // 3, aborted at 4
	w.end("orders", 8, false)
	w.transactional("orders", 9, 0) // 5, open
	w.mustProduce("orders", 1)      // 6
	o := consume(0)
	o.Isolation = ReadCommitted
	got := w.fetch(o, from("orders", 0, 0))[0]
	if got.Err != nil || got.HighWatermark != 7 || got.LastStable != 5 || len(got.Aborted) != 2 {
		t.Fatalf("fetched %+v", got)
	}
	if n := count(t, got.Records); n != 5 {
		t.Fatalf("fetched %d records, want the 5 below the open transaction", n)
	}
	// Of a part of the log, the transactions of that part.
	in := from("orders", 0, 0)
	in.MaxBytes = 1
	got = w.fetch(o, in)[0]
	if count(t, got.Records) != 1 || len(got.Aborted) != 1 || got.Aborted[0].Producer != 7 {
		t.Fatalf("fetched %+v", got)
	}
	done := make(chan []FetchResult)
	o.MaxWait = patience
	go func() { done <- w.fetch(o, from("orders", 0, 5)) }()
	w.whenAsleep("orders", 0)
	w.mustProduce("orders", 1) // 7: nothing that it may see
	w.end("orders", 9, true)   // 8
	if got := (<-done)[0]; count(t, got.Records) != 4 || got.LastStable != 9 {
		t.Fatalf("woken with %+v", got)
	}
}
