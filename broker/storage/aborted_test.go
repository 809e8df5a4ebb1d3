package storage

import (
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// TestAbortedSurviveTwoCrashes: recovery writes the index of aborted transactions anew
// although the segment's records are durable, and the next segment begins at the
// recovery point. A loss of power must not take the index then, neither after a flush
// nor after another kill: readers of committed records would see what was aborted.
func TestAbortedSurviveTwoCrashes(t *testing.T) {
	for _, killed := range []bool{false, true} {
		mem := pebblevfs.NewCrashableMem()
		o := testOptions(t, mem, "/data/orders-3")
		for _, dir := range []string{"/", "/data"} {
			if err := vfs.SyncDir(mem, dir); err != nil {
				t.Fatal(err)
			}
		}
		losePower := func() {
			mem = mem.CrashClone(pebblevfs.CrashCloneCfg{})
			o.Files = NewFiles(mem, 8)
		}
		flush := func(l *Log) {
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			o.RecoveryPoint = l.RecoveryPoint()
		}
		l := mustOpen(t, o)
		appendAborted7(t, l)
		flush(l)
		losePower()
		l = mustOpen(t, o)
		if err := l.Roll(testNow); err != nil {
			t.Fatal(err)
		}
		if killed {
			o.Files = NewFiles(mem, 8)
			l = mustOpen(t, o)
		}
		appendN(t, l, 1, 1, 100, 0)
		flush(l)
		losePower()
		l = mustOpen(t, o)
		if got, err := l.AbortedTransactions(0, l.LogEnd()); err != nil || l.LogEnd() != 3 || len(got) != 1 || got[0].Producer != 7 {
			t.Errorf("killed in between: %t; the log ends at %d and has aborted %v, %v", killed, l.LogEnd(), got, err)
		}
	}
}

// appendAborted7 appends a transaction of producer 7 and its end.
func appendAborted7(t *testing.T, l *Log) {
	t.Helper()
	b := batch.NewBuilder(batch.Compression{})
	b.SetProducer(7, 0, 0, true)
	b.Add(testNow, nil, []byte("value"))
	abort := batch.AppendEndTxn(nil, 0, 0, testNow, batch.EndTxn{ProducerID: 7})
	for _, data := range [][]byte{b.AppendTo(nil, 0, 0), abort} {
		if _, err := l.AppendLeader(data, 0, AppendOptions{Origin: producer.Coordinator, NowMs: testNow}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAbortedAgainInOneAppend: a follower that catches up appends many batches at once,
// among them two transactions of one producer that were aborted, with another's begun
// after both and still open. A read up to there finds both.
func TestAbortedAgainInOneAppend(t *testing.T) {
	l := mustOpen(t, testOptions(t, pebblevfs.NewMem(), "/data/orders-3"))
	var all []byte
	data := func(id kafka.ProducerID, sequence int32) {
		b := batch.NewBuilder(batch.Compression{})
		b.SetProducer(id, 0, sequence, true)
		b.Add(testNow, nil, []byte("value"))
		all = b.AppendTo(all, 0, 0)
	}
	abort := func(id kafka.ProducerID) {
		all = batch.AppendEndTxn(all, 0, 0, testNow, batch.EndTxn{ProducerID: id})
	}
	data(7, 0) // 0
	abort(7)
	data(7, 1) // 2
	abort(7)
	data(8, 0) // 4
	at := kafka.Offset(0)
	for rest := all; len(rest) > 0; at++ {
		v, after, err := batch.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		batch.Restamp(v, at, 0)
		rest = after
	}
	if _, err := l.AppendFollower(all, testNow); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(5)
	s, aborted, err := l.ReadCommitted(0, 1<<20, l.LastStable(), true)
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	if l.LastStable() != 4 || len(aborted) != 2 || aborted[0].First != 0 || aborted[1].First != 2 {
		t.Errorf("up to %d were aborted %+v", l.LastStable(), aborted)
	}
}
