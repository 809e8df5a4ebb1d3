package producer

import (
	"kvorum/internal/invariant"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// pending is an append that is checked but not yet written. Its memory is kept
// from one append to the next.
type pending struct {
	origin    Origin
	updates   []update
	index     map[kafka.ProducerID]int // into updates
	started   []transaction
	completed []Completed
}

// update is what a producer's entry will be.
type update struct {
	Entry
	// unknown: there was no entry before this append, so any sequence number is
	// taken (the records of the producer may be gone by retention).
	unknown bool
}

func (p *pending) reset(origin Origin) {
	p.origin = origin
	clear(p.index)
	p.updates, p.started, p.completed = p.updates[:0], p.started[:0], p.completed[:0]
}

// Begin starts an append and drops the one before if it was not committed.
func (s *State) Begin(origin Origin) { s.pending.reset(origin) }

// Add checks one batch of the append, after the batches added before it. Its
// offsets are final. A batch without a producer id changes nothing.
//
// A client's batch that is remembered is a duplicate: the earlier one is
// returned, and the append must not be written. transactionVersion is that of the
// WriteTxnMarkers request and only matters to markers; 0 where none is known.
//
// Errors are wire errors: OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH,
// TRANSACTION_COORDINATOR_FENCED, INVALID_TXN_STATE (a batch outside the open
// transaction of its own producer), CORRUPT_MESSAGE (a marker that is none).
// UNKNOWN_PRODUCER_ID is not among them: since 2.4 a producer that is not known
// may begin with any sequence number. After an error the append must be dropped.
func (s *State) Add(v batch.View, transactionVersion int16) (earlier Batch, duplicate bool, err error) {
	id := v.ProducerID()
	if id < 0 {
		return Batch{}, false, nil
	}
	if v.Control() {
		return Batch{}, false, s.addMarker(v, transactionVersion)
	}
	first, last := v.BaseSequence(), sequenceOfLast(v)
	if s.pending.origin == Client {
		if e := s.producers[id]; e != nil {
			if b, found := e.find(v.ProducerEpoch(), first, last); found {
				return b, true, nil
			}
		}
	}
	u := s.update(id)
	if err := s.checkData(u, v.ProducerEpoch(), first); err != nil {
		return Batch{}, false, err
	}
	return Batch{}, false, s.addData(u, v, last)
}

func sequenceOfLast(v batch.View) int32 {
	if v.BaseSequence() == NoSequence {
		return NoSequence
	}
	return Increment(v.BaseSequence(), int32(v.LastOffset()-v.BaseOffset()))
}

// update returns the pending entry of a producer.
func (s *State) update(id kafka.ProducerID) *update {
	p := &s.pending
	if i, ok := p.index[id]; ok {
		return &p.updates[i]
	}
	u := update{unknown: true, Entry: blank(id)}
	if e := s.producers[id]; e != nil {
		u = update{Entry: *e, unknown: e.Epoch == NoEpoch}
	}
	if p.index == nil {
		p.index = make(map[kafka.ProducerID]int)
	}
	p.index[id] = len(p.updates)
	p.updates = append(p.updates, u)
	return &p.updates[len(p.updates)-1]
}

func (s *State) checkData(u *update, epoch int16, first int32) error {
	if s.pending.origin == Replication {
		return nil
	}
	if epoch < u.Epoch {
		return staleEpoch(u, epoch)
	}
	if s.pending.origin == Client {
		return u.checkSequence(epoch, first)
	}
	return nil
}

func staleEpoch(u *update, epoch int16) error {
	return errors.New(errors.InvalidProducerEpoch, "producer %d wrote with epoch %d, and its epoch is %d already", u.ID, epoch, u.Epoch)
}

func (u *update) checkSequence(epoch int16, first int32) error {
	if epoch != u.Epoch {
		if first != 0 && u.Epoch != NoEpoch {
			return errors.New(errors.OutOfOrderSequenceNumber,
				"producer %d begins epoch %d with sequence number %d instead of 0 (its epoch was %d)", u.ID, epoch, first, u.Epoch)
		}
		return nil
	}
	last := u.LastSequence()
	// Not Increment: it would let -1 follow nothing, and Kafka counts in 64 bits.
	if u.unknown || int64(first) == int64(last)+1 || first == 0 && last == maxSequence {
		return nil
	}
	return errors.New(errors.OutOfOrderSequenceNumber,
		"producer %d sent sequence number %d, and its last was %d", u.ID, first, last)
}

const maxSequence = 1<<31 - 1

func (s *State) addData(u *update, v batch.View, lastSequence int32) error {
	u.setEpoch(v.ProducerEpoch())
	u.push(Batch{
		LastSequence: lastSequence,
		OffsetDelta:  int32(v.LastOffset() - v.BaseOffset()),
		LastOffset:   v.LastOffset(),
		TimestampMs:  v.MaxTimestamp(),
	})
	u.TimestampMs = v.MaxTimestamp()
	switch open := u.TransactionFirst != kafka.NoOffset; {
	case open && !v.Transactional():
		return errors.New(errors.InvalidTxnState,
			"producer %d wrote outside of its transaction, which is open since offset %d", u.ID, u.TransactionFirst)
	case !open && v.Transactional():
		u.TransactionFirst = v.BaseOffset()
		s.pending.started = append(s.pending.started, transaction{producer: u.ID, first: v.BaseOffset(), last: kafka.NoOffset})
	}
	return nil
}

// Commit makes the append part of the state, once it is written; end is the
// log's end after it. It returns the transactions that the append ended, in the
// order of their markers: the aborted ones belong in the transaction index. The
// slice is valid until the next Begin.
func (s *State) Commit(end kafka.Offset) []Completed {
	p := &s.pending
	for i := range p.updates {
		s.put(&p.updates[i].Entry)
	}
	for _, t := range p.started {
		s.start(t)
	}
	for i := range p.completed {
		s.complete(&p.completed[i])
	}
	if end < s.end {
		invariant.Broken("producer state goes from offset %d back to %d", s.end, end)
	}
	s.end = end
	done := p.completed
	clear(p.index)
	p.updates, p.started, p.completed = p.updates[:0], p.started[:0], p.completed[:0]
	return done
}
