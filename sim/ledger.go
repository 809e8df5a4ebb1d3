package sim

import (
	"encoding/binary"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// ledger is what is true of transactions: what was decided, and what the committed
// logs say so far.
type ledger struct {
	decided map[transactionID]outcome
	writers map[writerKey]*writer
}

// transactionID is the n-th transaction of a producer.
type transactionID struct {
	producer kafka.ProducerID
	number   int64
}

// outcome is how a transaction ends.
type outcome int

const (
	undecided outcome = iota
	committed
	aborted
)

func (o outcome) String() string { return [...]string{"undecided", "committed", "aborted"}[o] }

// stamp is what a batch has to do with a transaction: its records are of the one of
// that number, or it is the marker of an end. It is zero for all other batches.
type stamp struct {
	epoch  int16 // the producer's
	number int64
	end    outcome
}

func (s stamp) String() string {
	switch {
	case s == stamp{}:
		return ""
	case s.end != undecided:
		return fmt.Sprintf(", a marker of epoch %d: %v", s.epoch, s.end)
	default:
		return fmt.Sprintf(", in transaction %d of epoch %d", s.number, s.epoch)
	}
}

func stampOf(v batch.View) stamp {
	if !v.Transactional() {
		return stamp{}
	}
	s := stamp{epoch: v.ProducerEpoch()}
	if m, ok, _ := v.EndTxn(); ok {
		s.end = aborted
		if m.Commit {
			s.end = committed
		}
		return s
	}
	if it := v.Records(); it.Next() && len(it.Record().Value) >= 16 {
		s.number = int64(binary.BigEndian.Uint64(it.Record().Value[8:]))
	}
	return s
}

// writerKey is a transactional producer in a partition.
type writerKey struct {
	name     kafka.TopicPartition
	producer kafka.ProducerID
}

// writer is what the committed log says of it: its epoch, its next sequence, the
// transaction that is open, and the last one that has ended; 0 for none.
type writer struct {
	epoch       int16
	next        int32
	open, ended int64
}

func newLedger() ledger {
	return ledger{decided: map[transactionID]outcome{}, writers: map[writerKey]*writer{}}
}

// add takes a batch as committed.
func (l *ledger) add(w *World, name kafka.TopicPartition, e entry) {
	key := writerKey{name, e.producer}
	u := l.writers[key]
	if u == nil {
		u = &writer{}
		l.writers[key] = u
	}
	if e.stamp.epoch < u.epoch {
		w.fail("TransactionsEndAsDecided", "%s has %v, after epoch %d of the producer", name, e, u.epoch)
	}
	if e.stamp.epoch > u.epoch {
		u.epoch, u.next = e.stamp.epoch, 0
	}
	if e.stamp.end == undecided {
		u.wrote(w, name, e)
		return
	}
	if is := l.decided[transactionID{e.producer, u.open}]; u.open != 0 && is != e.stamp.end {
		w.fail("TransactionsEndAsDecided", "%s has %v, for transaction %d, which is %v", name, e, u.open, is)
	}
	u.open, u.ended = 0, max(u.ended, u.open)
}

// wrote takes records.
func (u *writer) wrote(w *World, name kafka.TopicPartition, e entry) {
	if e.sequence != u.next {
		w.fail("Idempotence", "%s has %v, where sequence %d is next", name, e, u.next)
	}
	u.next += int32(e.end - e.base)
	if n := e.stamp.number; n <= u.ended || u.open != 0 && u.open != n {
		w.fail("TransactionsEndAsDecided", "%s has %v, while transaction %d is open and %d has ended", name, e, u.open, u.ended)
	}
	u.open = e.stamp.number
}
