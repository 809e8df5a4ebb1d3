package storage

import (
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// TestEpochsOfATruncatedTail: the file of epochs may stay behind a truncation. After
// a crash the epochs past the recovery point are those of the batches, also where
// the file has a later one, of records that were cut off and replaced by a leader's
// of an earlier epoch: a log that knew better would have its followers cut theirs
// for ever.
func TestEpochsOfATruncatedTail(t *testing.T) {
	mem := pebblevfs.NewMem()
	o := testOptions(t, mem, "/data/orders-3")
	o.LowerRecoveryPoint = func(_ *Log, to kafka.Offset) error { o.RecoveryPoint = to; return nil }
	l := mustOpen(t, o)
	appendN(t, l, 5, 1, 100, 6)
	appendN(t, l, 1, 1, 100, 7)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := l.TruncateTo(5); err != nil {
		t.Fatal(err)
	}
	for at := range kafka.Offset(3) {
		appendAs(t, l, 5+at, 6)
	}
	if o.RecoveryPoint != 5 {
		t.Fatalf("the recovery point of the checkpoint is %d", o.RecoveryPoint)
	}
	o.Files = NewFiles(mem, 8) // the process died
	l = mustOpen(t, o)
	if epoch, end := l.EpochEnd(6); epoch != 6 || end != 8 || l.LatestEpoch() != 6 || l.LogEnd() != 8 {
		t.Errorf("epoch %d ends at %d, the latest is %d, in a log that ends at %d", epoch, end, l.LatestEpoch(), l.LogEnd())
	}
}

// TestEpochsOfACompactedTail: past the recovery point, too, an epoch begins where the
// file says, if compaction took its first records: a follower with more records of
// the epoch before would keep them otherwise.
func TestEpochsOfACompactedTail(t *testing.T) {
	mem := pebblevfs.NewMem()
	o := testOptions(t, mem, "/data/orders-3")
	l := mustOpen(t, o)
	appendN(t, l, 5, 1, 100, 6)
	l.AssignEpochStart(7, 5)
	appendAs(t, l, 9, 7)
	if err := l.Flush(); err != nil { // the checkpoint of recovery points is not written yet
		t.Fatal(err)
	}
	o.Files = NewFiles(mem, 8) // the process died
	l = mustOpen(t, o)
	if epoch, end := l.EpochEnd(6); epoch != 6 || end != 5 || l.LogEnd() != 10 {
		t.Errorf("epoch %d ends at %d in a log that ends at %d", epoch, end, l.LogEnd())
	}
}

// appendAs appends one record as a follower gets it.
func appendAs(t *testing.T, l *Log, at kafka.Offset, epoch kafka.LeaderEpoch) {
	t.Helper()
	data := records(1, 100, testNow)
	v, _, err := batch.Next(data)
	if err != nil {
		t.Fatal(err)
	}
	batch.Restamp(v, at, epoch)
	if _, err := l.AppendFollower(data, testNow); err != nil {
		t.Fatal(err)
	}
}
