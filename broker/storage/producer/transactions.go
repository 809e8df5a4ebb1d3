package producer

import (
	"encoding/binary"
	"slices"

	"kvorum/internal/invariant"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// Completed is a transaction with its end: what an entry of the transaction
// index says if it was aborted (CompletedTxn, AbortedTxn).
type Completed struct {
	Producer kafka.ProducerID
	// First is the offset of the transaction's first batch, Last that of its marker.
	First, Last kafka.Offset
	Aborted     bool
	// LastStable is the last stable offset once this transaction has ended: the
	// first offset of the next open one, or the offset after the marker.
	LastStable kafka.Offset
}

// marker is the end of a transaction as a control batch says it.
type marker struct {
	coordinatorEpoch int32
	abort            bool
	timestampMs      int64
}

// readMarker reads the first record of a control batch; ok is false in an empty
// batch, which cleaning leaves behind. The key is a version and a type, the value
// a version and the coordinator's epoch (EndTransactionMarker); later versions may
// only append fields.
func readMarker(v batch.View) (m marker, ok bool, err error) {
	it := v.Records()
	if !it.Next() {
		return marker{}, false, it.Err()
	}
	r := it.Record()
	if len(r.Key) < 4 || len(r.Value) < 6 {
		return marker{}, false, errors.New(errors.CorruptMessage, "control record at offset %d is too short for a transaction marker", v.BaseOffset())
	}
	kind := int16(binary.BigEndian.Uint16(r.Key[2:]))
	if kind != 0 && kind != 1 {
		return marker{}, false, errors.New(errors.CorruptMessage, "control record at offset %d has type %d, which is no transaction marker", v.BaseOffset(), kind)
	}
	m = marker{
		coordinatorEpoch: int32(binary.BigEndian.Uint32(r.Value[2:])),
		abort:            kind == 0,
		timestampMs:      v.BaseTimestamp() + r.TimestampDelta,
	}
	if v.LogAppendTime() {
		m.timestampMs = v.MaxTimestamp()
	}
	return m, true, nil
}

func (s *State) addMarker(v batch.View, transactionVersion int16) error {
	m, ok, err := readMarker(v)
	if err != nil || !ok {
		return err
	}
	u := s.update(v.ProducerID())
	if s.pending.origin != Replication {
		if err := u.checkMarker(m, v.ProducerEpoch(), transactionVersion); err != nil {
			return err
		}
	}
	// A transaction without data has no effect on the last stable offset, and so
	// no entry in the index.
	if u.TransactionFirst != kafka.NoOffset {
		s.pending.completed = append(s.pending.completed, Completed{
			Producer: u.ID, First: u.TransactionFirst, Last: v.BaseOffset(), Aborted: m.abort})
	}
	u.setEpoch(v.ProducerEpoch())
	u.CoordinatorEpoch, u.TimestampMs, u.TransactionFirst = m.coordinatorEpoch, m.timestampMs, kafka.NoOffset
	return nil
}

// checkMarker refuses markers of fenced producers and fenced coordinators. From
// transaction version 2 on every transaction has an epoch of its own (KIP-890), so
// that a marker of the present epoch is stale, too; but a marker that is sent
// again after its transaction has ended is taken, as is one of the last epoch.
func (u *update) checkMarker(m marker, epoch, transactionVersion int16) error {
	stale := epoch < u.Epoch && !planted.Is(planted.MarkerWithoutEpoch)
	if transactionVersion >= 2 && epoch == u.Epoch && !planted.Is(planted.DelayedEndTxn) {
		stale = u.TransactionFirst != kafka.NoOffset && epoch != maxEpoch
	}
	if stale {
		return staleEpoch(u, epoch)
	}
	if u.CoordinatorEpoch > m.coordinatorEpoch && !planted.Is(planted.AnyCoordinatorEpoch) {
		return errors.New(errors.TransactionCoordinatorFenced,
			"marker for producer %d comes from coordinator epoch %d, and epoch %d has been seen", u.ID, m.coordinatorEpoch, u.CoordinatorEpoch)
	}
	return nil
}

const maxEpoch = 1<<15 - 1

// FirstUnstable is the first offset of the oldest transaction that is open or
// whose marker is not below the high watermark yet; false where there is none. The
// last stable offset is this, or the high watermark.
func (s *State) FirstUnstable() (kafka.Offset, bool) {
	switch {
	case len(s.open) == 0 && len(s.unreplicated) == 0:
		return kafka.NoOffset, false
	case len(s.open) == 0:
		return s.unreplicated[0].first, true
	case len(s.unreplicated) == 0:
		return s.open[0].first, true
	}
	return min(s.open[0].first, s.unreplicated[0].first), true
}

// FirstUndecided is the first offset of the oldest open transaction, wherever
// the high watermark is: compaction stops there. False where none is open.
func (s *State) FirstUndecided() (kafka.Offset, bool) {
	if len(s.open) == 0 {
		return kafka.NoOffset, false
	}
	return s.open[0].first, true
}

// OldestTransactionMs is when the producer of the oldest open transaction last
// wrote, or -1: a transaction is late when that is long ago.
func (s *State) OldestTransactionMs() int64 {
	if len(s.open) == 0 {
		return -1
	}
	if e := s.producers[s.open[0].producer]; e != nil {
		return e.TimestampMs
	}
	return -1
}

// HighWatermark makes the transactions stable whose markers are below hw.
func (s *State) HighWatermark(hw kafka.Offset) {
	if len(s.unreplicated) > 0 {
		s.unreplicated = slices.DeleteFunc(s.unreplicated, func(t transaction) bool { return t.last < hw })
	}
}

// LogStart says that the log begins at start now (onLogStartOffsetIncremented).
func (s *State) LogStart(start kafka.Offset) {
	s.HighWatermark(start)
	s.end = max(s.end, start)
}

func (s *State) start(t transaction) { s.open = insert(s.open, t) }

func (s *State) complete(c *Completed) {
	i, found := search(s.open, c.First)
	if !found {
		invariant.Broken("transaction of producer %d at offset %d ends at %d and was never begun", c.Producer, c.First, c.Last)
	}
	t := s.open[i]
	t.last = c.Last
	s.open = slices.Delete(s.open, i, i+1)
	c.LastStable = c.Last + 1
	// The next one may be the same producer's, where a follower appends both at once.
	for _, other := range s.open {
		if other.producer != c.Producer || !planted.Is(planted.ForgetNextOfProducer) {
			c.LastStable = other.first
			break
		}
	}
	s.unreplicated = insert(s.unreplicated, t)
}

// insert puts t where it belongs, which nearly always is the end.
func insert(list []transaction, t transaction) []transaction {
	i, found := search(list, t.first)
	if found {
		list[i] = t
		return list
	}
	return slices.Insert(list, i, t)
}

func search(list []transaction, first kafka.Offset) (int, bool) {
	return slices.BinarySearchFunc(list, first, func(t transaction, o kafka.Offset) int { return compare(t.first, o) })
}
