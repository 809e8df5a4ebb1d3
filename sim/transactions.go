package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

const (
	transactorCount = 3
	// lateSteps is how long a coordinator's marker may be on its way.
	lateSteps = 3000
)

// transactions are the producers with transactions, the markers of their
// coordinators that are late, who reads what was committed, and what was decided.
type transactions struct {
	rnd         *rand.Rand
	transactors []*transactor
	late        []lateMarker
	readers     []*committedReader
	ledger      ledger
}

// transactor is a transactional producer together with its coordinator, which forgets
// nothing here: it decides, and repeats its markers until all partitions have them;
// where another takes its place that sends all of them again, with an epoch of its
// own. From version 2 of the protocol on every end has an epoch of the producer's
// (KIP-890); before that only a producer that cannot know what is still on its way
// takes another.
type transactor struct {
	id      kafka.ProducerID
	version int16
	epoch   int16
	number  int64 // of the transaction, from 1
	most    int   // batches of a transaction; the first transactor has one in one partition
	left    int   // of those, how many it will still begin
	phase   phase
	lanes   []*transactionLane
	// coordinator is the coordinator's epoch. repeated says that a marker of it was
	// sent more than once, or may arrive when its transaction is over; those of
	// earlier ones are refused by then.
	coordinator int32
	repeated    bool
}

// phase is where a transaction is.
type phase int

const (
	idle phase = iota
	writing
	ending
)

// transactionLane is a lane, and whether the transaction is in its partition: since its
// first batch was sent. Then a marker has to be sent, and acknowledged.
type transactionLane struct {
	lane
	in, marked, ended bool
}

func newTransactions(seed uint64) *transactions {
	t := &transactions{rnd: rand.New(rand.NewPCG(seed, 8)), ledger: newLedger()}
	for i := range transactorCount {
		p := &transactor{id: kafka.ProducerID(2000 + i), version: int16(2 - i%2), most: 1 + 3*i}
		for _, name := range names() {
			p.lanes = append(p.lanes, &transactionLane{lane: lane{name: name}})
		}
		t.transactors = append(t.transactors, p)
	}
	for _, name := range names() {
		t.readers = append(t.readers, &committedReader{lane: lane{name: name}})
	}
	return t
}

// chore is what happens to transactions in a step.
func (t *transactions) chore(w *World) {
	t.sendLate(w)
	switch t.rnd.IntN(32) {
	case 0, 1:
		t.transactors[t.rnd.IntN(len(t.transactors))].chore(w)
	case 2:
		t.readers[t.rnd.IntN(len(t.readers))].chore(w)
	}
}

// chore does what is next in the transaction.
func (p *transactor) chore(w *World) {
	switch p.phase {
	case idle:
		if !w.healing {
			p.number++
			p.phase, p.left = writing, 1+w.transactions.rnd.IntN(p.most)
		}
	case writing:
		if p.left == 0 || w.healing {
			p.finish(w)
		} else {
			p.write(w, p.lanes[w.transactions.rnd.IntN(min(p.most, len(p.lanes)))])
		}
	case ending:
		if w.transactions.rnd.IntN(100) == 0 && p.marking() {
			p.moveCoordinator(w)
		}
		p.mark(w)
	}
}

// write sends a lane's next batch, or the same again.
func (p *transactor) write(w *World, l *transactionLane) {
	to := l.leader(w)
	if to == nil {
		return
	}
	if l.batch == nil {
		p.fill(w, l)
		p.left--
		l.in = true
	}
	l.produce(w, to, func(at kafka.Offset, err error) {
		switch code := errors.CodeOf(err); code {
		case errors.None:
			w.truth.acknowledged(w, l.name, at, p.id, l.next, l.count)
			l.next, l.batch = l.next+l.count, nil
		case errors.OutOfOrderSequenceNumber, errors.InvalidProducerEpoch, errors.CorruptMessage, errors.DuplicateSequenceNumber, errors.InvalidTxnState:
			w.fail("Idempotence", "producer %d got %v from broker %d for sequence %d of epoch %d in %s; %s", p.id, err, to.id, l.next, p.epoch, l.name, w.describe())
		}
	})
}

// fill makes a batch whose records say in which transaction they are.
func (p *transactor) fill(w *World, l *transactionLane) {
	rnd := w.transactions.rnd
	b := batch.NewBuilder(batch.None.Default())
	b.SetProducer(p.id, p.epoch, l.next, true)
	l.count = 1 + rnd.Int32N(2)
	for range l.count {
		value := make([]byte, 16+rnd.IntN(100))
		binary.BigEndian.PutUint64(value, uint64(p.id))
		binary.BigEndian.PutUint64(value[8:], uint64(p.number))
		b.Add(w.now, nil, value)
	}
	l.batch = b.AppendTo(nil, 0, kafka.NoEpoch)
}

// finish decides once everything is acknowledged, or to abort before that.
func (p *transactor) finish(w *World) {
	rnd := w.transactions.rnd
	var pending []*transactionLane
	for _, l := range p.lanes {
		if l.batch != nil {
			pending = append(pending, l)
		}
	}
	switch {
	case len(pending) == 0 && rnd.IntN(3) == 0:
		p.decide(w, aborted, false)
	case len(pending) == 0:
		p.decide(w, committed, false)
	case rnd.IntN(64) == 0:
		p.decide(w, aborted, true)
	default:
		p.write(w, pending[rnd.IntN(len(pending))])
	}
}

// decide ends the transaction. Batches that nobody has acknowledged may still arrive:
// the marker's epoch is one that refuses them.
func (p *transactor) decide(w *World, o outcome, pending bool) {
	w.transactions.ledger.decided[transactionID{p.id, p.number}] = o
	w.event("transaction " + o.String())
	if p.phase, p.repeated = ending, false; p.version >= 2 || pending {
		p.bump()
	}
}

// bump takes the next epoch; sequences begin anew.
func (p *transactor) bump() {
	p.epoch++
	for _, l := range p.lanes {
		l.next, l.batch, l.waiting.until = 0, nil, 0
	}
}

// marking reports whether some marker has been sent.
func (p *transactor) marking() bool {
	return slices.ContainsFunc(p.lanes, func(l *transactionLane) bool { return l.marked })
}

// moveCoordinator lets another coordinator go on, which does not know who has a marker.
func (p *transactor) moveCoordinator(w *World) {
	p.coordinator++
	p.repeated = false
	for _, l := range p.lanes {
		l.marked, l.ended, l.waiting.until = false, false, 0
	}
	w.event("transaction coordinator moved")
}

// mark sends a marker to one of the partitions that have none yet.
func (p *transactor) mark(w *World) {
	var missing []*transactionLane
	for _, l := range p.lanes {
		if l.in && !l.ended {
			missing = append(missing, l)
		}
	}
	if len(missing) == 0 {
		p.rest()
		return
	}
	rnd := w.transactions.rnd
	l := missing[rnd.IntN(len(missing))]
	to := l.leader(w)
	if to == nil {
		return
	}
	m := marker{batch.EndTxn{ProducerID: p.id, ProducerEpoch: p.epoch, CoordinatorEpoch: p.coordinator,
		Commit: w.transactions.ledger.decided[transactionID{p.id, p.number}] == committed}, p.version}
	l.ask(w, to, m.write, func(_ kafka.Offset, err error) {
		switch code := errors.CodeOf(err); code {
		case errors.None:
			l.ended = true
		case errors.InvalidProducerEpoch, errors.TransactionCoordinatorFenced, errors.InvalidTxnState, errors.CorruptMessage:
			w.fail("TransactionsEndAsDecided", "the marker of epoch %d for transaction %d of producer %d got %v from broker %d for %s", p.epoch, p.number, p.id, err, to.id, l.name)
		}
	})
	p.repeated = p.repeated || l.marked
	l.marked = true
	if rnd.IntN(6) == 0 {
		p.repeated = true
		w.transactions.late = append(w.transactions.late, lateMarker{w.step + rnd.IntN(lateSteps), l.name, m})
	}
}

// rest ends the transaction: the next one may begin.
func (p *transactor) rest() {
	p.phase = idle
	for _, l := range p.lanes {
		l.in, l.marked, l.ended = false, false, false
	}
	if p.version < 2 && p.repeated {
		p.bump()
	}
}

// marker is the end of a transaction in a partition (WriteTxnMarkers).
type marker struct {
	batch.EndTxn
	version int16
}

// write lets the leader append it.
func (m marker) write(q *partition, answer func(kafka.Offset, error)) {
	now := q.b.wallClock()
	q.write(batch.AppendEndTxn(nil, 0, q.epoch, now, m.EndTxn),
		storage.AppendOptions{Origin: producer.Coordinator, NowMs: now, TransactionVersion: m.version}, answer)
}

// lateMarker is sent once more at a step, to whoever leads then; the coordinator does
// not wait for its answer.
type lateMarker struct {
	at   int
	name kafka.TopicPartition
	marker
}

func (t *transactions) sendLate(w *World) {
	for i := 0; i < len(t.late); i++ {
		m := t.late[i]
		if m.at > w.step && !w.healing {
			continue
		}
		t.late = append(t.late[:i], t.late[i+1:]...)
		i--
		l := &lane{name: m.name}
		if to := l.leader(w); to != nil {
			l.ask(w, to, m.write, func(_ kafka.Offset, err error) {
				switch errors.CodeOf(err) {
				case errors.InvalidProducerEpoch:
					w.event("late marker refused")
				case errors.TransactionCoordinatorFenced:
					w.event("late marker of a fenced coordinator")
				}
			})
		}
	}
}

// allEnded reports whether every transaction has its end, and every leader knows it.
func (w *World) allEnded() bool {
	if !w.plan.Transactions {
		return true
	}
	for _, p := range w.transactions.transactors {
		if p.phase != idle {
			return false
		}
	}
	for _, name := range names() {
		for _, b := range w.brokers {
			if p := b.partition(name); p == nil || p.leader != nil && p.log.LastStable() != p.log.LogEnd() {
				return false
			}
		}
	}
	return len(w.transactions.late) == 0
}
