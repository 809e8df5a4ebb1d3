package sim

import (
	"cmp"
	"slices"

	"kvorum/broker/storage"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// committedReader reads the committed records of a partition (read_committed), from
// whoever leads it or follows; now and then it begins anew somewhere.
type committedReader struct {
	lane
	position kafka.Offset
}

func (r *committedReader) chore(w *World) {
	to := r.leader(w)
	if to == nil {
		return
	}
	rnd := w.transactions.rnd
	if rnd.IntN(2) == 0 { // followers serve consumers, too (KIP-392)
		to = w.brokers[rnd.IntN(brokerCount)]
	}
	if known := w.truth.logs[r.name].batches; len(known) > 0 && rnd.IntN(10) == 0 {
		r.position = known[rnd.IntN(len(known))].base
	}
	call, from, size := r.waiting.begin(w.now), r.position, 1+rnd.IntN(8<<10)
	w.send(outside, to.node(), func() {
		q := to.partition(r.name)
		if q == nil {
			return
		}
		data, hidden := q.readCommitted(from, q.log.LastStable(), size)
		w.send(to.node(), outside, func() {
			if r.waiting.done(call) {
				r.position = w.checkCommitted(to, r.name, from, data, hidden)
			}
		})
	})
}

// readCommitted is a fetch of committed records: what is below an offset, at most the
// last stable one, and which transactions in it were aborted.
func (p *partition) readCommitted(from, upTo kafka.Offset, maxBytes int) ([]byte, []storage.AbortedTransaction) {
	if from >= upTo {
		return nil, nil
	}
	s, hidden, err := p.log.ReadCommitted(from, maxBytes, upTo, true)
	if err != nil {
		p.b.w.fail("ReadCommitted", "broker %d cannot read what is committed in %s from %d: %v", p.b.id, p.name, from, err)
	}
	if s.Len() == 0 {
		return nil, nil
	}
	defer s.Release()
	data, err := s.AppendTo(nil)
	if err != nil {
		p.b.w.fail("ReadCommitted", "broker %d cannot read what is committed in %s from %d: %v", p.b.id, p.name, from, err)
	}
	return data, hidden
}

// checkCommitted leaves out what consumers leave out, and checks what it leaves in:
// every transaction that is seen is committed, every one that is not is aborted. It
// returns where to read on.
func (w *World) checkCommitted(from *broker, name kafka.TopicPartition, at kafka.Offset, data []byte, hidden []storage.AbortedTransaction) kafka.Offset {
	hidden = slices.Clone(hidden)
	slices.SortFunc(hidden, func(a, b storage.AbortedTransaction) int { return cmp.Compare(a.First, b.First) })
	skipped := map[kafka.ProducerID]bool{}
	for v, err := range batch.All(data) {
		if err != nil {
			w.fail("ReadCommitted", "broker %d shows a broken batch of %s at %d: %v", from.id, name, at, err)
		}
		e := entryOf(v)
		if e.base != at || !w.truth.logs[name].has(e) {
			w.fail("ReadCommitted", "broker %d shows %v of %s at %d, which is not what was committed there", from.id, e, name, at)
		}
		for len(hidden) > 0 && hidden[0].First < e.end {
			skipped[hidden[0].Producer] = true
			hidden = hidden[1:]
		}
		at = e.end
		switch is := w.transactions.ledger.decided[transactionID{e.producer, e.stamp.number}]; {
		case e.stamp.end == aborted:
			delete(skipped, e.producer)
		case e.stamp.number == 0:
		case is == undecided, skipped[e.producer] != (is == aborted):
			w.fail("ReadCommitted", "broker %d shows %v of %s; hidden: %t; it is %v", from.id, e, name, skipped[e.producer], is)
		case is == aborted:
			w.event("aborted records hidden")
		default:
			w.event("committed records read")
		}
	}
	return at
}

// compareCommitted reads the whole log, up to an offset with no open transaction below.
func (p *partition) compareCommitted(upTo kafka.Offset) {
	if !p.b.w.plan.Transactions {
		return
	}
	for at := kafka.Offset(0); at < upTo; {
		data, hidden := p.readCommitted(at, upTo, 64<<10)
		next := p.b.w.checkCommitted(p.b, p.name, at, data, hidden)
		if next == at {
			p.b.w.fail("ReadCommitted", "broker %d shows nothing of %s at %d of %d", p.b.id, p.name, at, upTo)
		}
		at = next
	}
}

// fetchSize is how much a follower takes at once: much where transactions are, so that
// one that catches up appends whole ones.
func (w *World) fetchSize() int {
	n := 1 + w.rnd.IntN(4<<10)
	if w.plan.Transactions {
		n *= 16
	}
	return n
}
