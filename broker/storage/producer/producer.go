// Package producer is the state that one partition keeps about the producers
// that write to it: enough to recognise a batch that was sent twice, to refuse
// one that is out of order or comes from a fenced producer, and to know which
// transactions are open (ProducerStateManager, ProducerStateEntry and
// ProducerAppendInfo in Apache Kafka 4.3).
//
// A partition's log owns one State and calls it under its append lock:
//
//	s.Begin(origin)
//	for every batch that has a producer id:
//		earlier, duplicate, err := s.Add(view, transactionVersion)
//	... write the batches ...
//	completed := s.Commit(end)   // aborted ones go into the transaction index
//
// Nothing changes before Commit; the next Begin drops what was not committed.
// The package is pure: times come in as values, and files are its caller's. It
// reads and writes bytes of .snapshot files (Snapshot).
//
// Memory: an entry is about 200 bytes. Entries go away after
// producer.id.expiration.ms without a batch (Expire), and there are never more
// than MaxIdle of them without an open transaction: past that the longest idle
// are forgotten as if they had expired. Those with an open transaction stay
// whatever happens; a transaction coordinator lets in one per transactional id and
// ends it after transaction.max.timeout.ms.
package producer

import (
	"math"
	"slices"

	"kvorum/internal/kafka"
)

// MaxIdle bounds the producers without an open transaction that a partition
// remembers. Kafka has no such bound; it is here because every InitProducerId is
// another id and a day of short-lived clients would otherwise fill the memory.
const MaxIdle = 100_000

// Retained is how many batches of a producer are remembered: a client has at
// most five requests under way (ProducerStateEntry.NUM_BATCHES_TO_RETAIN).
const Retained = 5

// NoEpoch is the epoch of a producer that has not written, and of a batch
// without a producer.
const NoEpoch int16 = -1

// NoSequence is the sequence number of batches that have none: coordinators'.
const NoSequence int32 = -1

// Origin says who wrote a batch, and so how much of it is checked (AppendOrigin).
type Origin uint8

const (
	// Client: a producer. Duplicates, epoch and sequence are checked.
	Client Origin = iota
	// Coordinator: the group or transaction coordinator of this broker. It has no
	// sequence numbers; the epoch is checked.
	Coordinator
	// Replication: the partition's leader, or the log itself at recovery. The leader
	// has checked already, so nothing is refused for its epoch or sequence.
	Replication
)

// Batch is the memory of one batch that was appended.
type Batch struct {
	// LastSequence is the sequence number of its last record.
	LastSequence int32
	// OffsetDelta is LastOffset minus the first record's offset.
	OffsetDelta int32
	LastOffset  kafka.Offset
	// TimestampMs is the batch's largest timestamp.
	TimestampMs int64
}

// FirstOffset is the offset of the batch's first record.
func (b Batch) FirstOffset() kafka.Offset { return b.LastOffset - kafka.Offset(b.OffsetDelta) }

// FirstSequence is the sequence number of the batch's first record.
func (b Batch) FirstSequence() int32 { return Decrement(b.LastSequence, b.OffsetDelta) }

// Increment adds by to a sequence number; after the largest int32 comes 0
// (DefaultRecordBatch.incrementSequence).
func Increment(sequence, by int32) int32 {
	if sequence > math.MaxInt32-by {
		return by - (math.MaxInt32 - sequence) - 1
	}
	return sequence + by
}

// Decrement is the reverse of Increment.
func Decrement(sequence, by int32) int32 {
	if sequence < by {
		return math.MaxInt32 - (by - sequence) + 1
	}
	return sequence - by
}

// Entry is what is known of one producer.
type Entry struct {
	ID    kafka.ProducerID
	Epoch int16 // NoEpoch before its first batch or marker
	// CoordinatorEpoch is that of the last marker, -1 before the first.
	CoordinatorEpoch int32
	// TimestampMs is when it last wrote, by its batch's largest timestamp or its
	// marker's; expiry counts from here.
	TimestampMs int64
	// TransactionFirst is the first offset of the open transaction, or NoOffset.
	TransactionFirst kafka.Offset

	// batches[:count] are the last batches, oldest first, all of Epoch.
	batches [Retained]Batch
	count   uint8
}

// blank is a producer that is not known.
func blank(id kafka.ProducerID) Entry {
	return Entry{ID: id, Epoch: NoEpoch, CoordinatorEpoch: -1, TimestampMs: -1, TransactionFirst: kafka.NoOffset}
}

// Batches are the batches that are remembered, oldest first. They are e's own.
func (e *Entry) Batches() []Batch { return e.batches[:e.count] }

// Last is the newest batch; false where none is remembered.
func (e *Entry) Last() (Batch, bool) {
	if e.count == 0 {
		return Batch{LastSequence: NoSequence, LastOffset: kafka.NoOffset}, false
	}
	return e.batches[e.count-1], true
}

// LastSequence is the sequence number of the newest record, or NoSequence.
func (e *Entry) LastSequence() int32 { b, _ := e.Last(); return b.LastSequence }

func (e *Entry) setEpoch(epoch int16) {
	if e.Epoch != epoch {
		e.Epoch, e.count = epoch, 0
	}
}

func (e *Entry) push(b Batch) {
	if e.count == Retained {
		copy(e.batches[:], e.batches[1:])
		e.count--
	}
	e.batches[e.count] = b
	e.count++
}

// find returns the remembered batch with exactly these sequence numbers.
func (e *Entry) find(epoch int16, first, last int32) (Batch, bool) {
	if e.Epoch != epoch {
		return Batch{}, false
	}
	for _, b := range e.batches[:e.count] {
		if b.LastSequence == last && b.FirstSequence() == first {
			return b, true
		}
	}
	return Batch{}, false
}

// State is a partition's memory of its producers. It is not safe for
// concurrent use: the log's append lock guards it. The zero value is no State;
// use New.
type State struct {
	expirationMs int64
	producers    map[kafka.ProducerID]*Entry
	// idle counts the producers without an open transaction.
	idle int
	// open has the transactions without an end, unreplicated those whose end is at
	// or above the high watermark; both ascend by first offset.
	open, unreplicated []transaction
	// end is the offset up to which the log is folded into the state.
	end     kafka.Offset
	pending pending
}

// transaction is one producer's range of offsets; last is where its marker is.
type transaction struct {
	producer    kafka.ProducerID
	first, last kafka.Offset
}

// New makes the state of a log that begins at start; expirationMs is
// producer.id.expiration.ms.
func New(start kafka.Offset, expirationMs int64) *State {
	return &State{expirationMs: expirationMs, end: start}
}

// SetExpiration changes producer.id.expiration.ms.
func (s *State) SetExpiration(ms int64) { s.expirationMs = ms }

// End is the offset (exclusive) up to which the log has been folded into s
// (mapEndOffset).
func (s *State) End() kafka.Offset { return s.end }

// SetEnd says that the log up to end holds nothing more for s: batches without
// producers were appended, or a replay is over.
func (s *State) SetEnd(end kafka.Offset) { s.end = end }

// Len is the number of producers that are remembered.
func (s *State) Len() int { return len(s.producers) }

// Get returns what is known of a producer.
func (s *State) Get(id kafka.ProducerID) (Entry, bool) {
	if e := s.producers[id]; e != nil {
		return *e, true
	}
	return Entry{}, false
}

// Entries copies what is known of all producers, by ascending id
// (DescribeProducers; Snapshot).
func (s *State) Entries() []Entry {
	all := make([]Entry, 0, len(s.producers))
	for _, e := range s.producers {
		all = append(all, *e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return compare(a.ID, b.ID) })
	return all
}

// Clear forgets everything; the log now begins and ends at offset
// (truncateFullyAndStartAt, and the first half of truncateAndReload).
func (s *State) Clear(offset kafka.Offset) {
	clear(s.producers)
	s.open, s.unreplicated, s.idle = nil, nil, 0
	s.pending.reset(s.pending.origin)
	s.end = offset
}

// Load replaces the state by the entries of a snapshot taken at offset; nowMs
// decides which of them have expired. The caller then adds the log's batches from
// offset on.
func (s *State) Load(entries []Entry, offset kafka.Offset, nowMs int64) {
	s.Clear(offset)
	for i := range entries {
		e := entries[i]
		if s.expired(&e, nowMs) {
			continue
		}
		s.put(&e)
		if e.TransactionFirst != kafka.NoOffset {
			s.start(transaction{producer: e.ID, first: e.TransactionFirst, last: kafka.NoOffset})
		}
	}
}

// Expire forgets the producers that have not written for
// producer.id.expiration.ms and have no open transaction; it returns how many.
func (s *State) Expire(nowMs int64) int {
	before := len(s.producers)
	for id, e := range s.producers {
		if s.expired(e, nowMs) {
			delete(s.producers, id)
			s.idle--
		}
	}
	return before - len(s.producers)
}

func (s *State) expired(e *Entry, nowMs int64) bool {
	return e.TransactionFirst == kafka.NoOffset && nowMs-e.TimestampMs >= s.expirationMs
}

// put makes e the entry of its producer and keeps idle and MaxIdle.
func (s *State) put(e *Entry) {
	if s.producers == nil {
		s.producers = make(map[kafka.ProducerID]*Entry)
	}
	old := s.producers[e.ID]
	if old != nil && old.TransactionFirst == kafka.NoOffset {
		s.idle--
	}
	if e.TransactionFirst == kafka.NoOffset {
		s.idle++
	}
	if old != nil {
		*old = *e
	} else {
		kept := *e
		s.producers[e.ID] = &kept
	}
	if s.idle > MaxIdle {
		s.evict()
	}
}

// evict forgets the sixteenth of the idle producers that wrote longest ago, so
// that the sort is paid for by as many appends.
func (s *State) evict() {
	idle := make([]*Entry, 0, s.idle)
	for _, e := range s.producers {
		if e.TransactionFirst == kafka.NoOffset {
			idle = append(idle, e)
		}
	}
	slices.SortFunc(idle, func(a, b *Entry) int {
		if c := compare(a.TimestampMs, b.TimestampMs); c != 0 {
			return c
		}
		return compare(a.ID, b.ID)
	})
	for _, e := range idle[:MaxIdle/16] {
		delete(s.producers, e.ID)
		s.idle--
	}
}

func compare[T ~int64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
