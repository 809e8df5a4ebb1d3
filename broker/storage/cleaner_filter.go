package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
)

// A batch's attributes bit 6 says that its base timestamp is the delete horizon:
// the time from which its tombstones, or its transaction marker, need not be kept
// (KIP-534). The records' timestamps are relative to it as to any base timestamp.
const horizonBit = 0x40

// Places of header fields that a rewritten batch has anew.
const (
	lengthAt        = 8
	attributesAt    = 21
	baseTimestampAt = 27
	maxTimestampAt  = 35
	countAt         = 57
)

// maxInflated bounds the records of one compressed batch in memory. A broker
// takes no batch that inflates to more.
const maxInflated = 512 << 20

// deleteHorizon is the delete horizon of a batch, if it has one.
func deleteHorizon(v batch.View) (int64, bool) {
	return v.BaseTimestamp(), v.Attributes()&horizonBit != 0
}

// filter decides which records of a log stay, batch after batch (Cleaner
// .cleanInto and MemoryRecords.filterTo in Apache Kafka 4.3). It is given the
// batches of one log in order.
type filter struct {
	offsets           *offsetMap
	transactions      *cleanedTransactions
	nowMs             int64
	deleteRetentionMs int64
	// end is where the round of cleaning ends: the batch before it stays, if only
	// as an empty one, so that the log's offsets stay known.
	end kafka.Offset
	// active are the producers that the log remembers: the last batch of each stays,
	// or the producer's sequence number would be lost with it.
	active map[kafka.ProducerID]producer.Entry

	inflated, records, packed []byte // kept from batch to batch
}

// add appends what stays of a batch to dst.
func (f *filter) add(dst []byte, v batch.View) ([]byte, error) {
	if err := v.CheckCRC(); err != nil {
		return dst, err
	}
	discardable, err := f.transactions.read(v)
	if err != nil {
		return dst, err
	}
	horizon, has := deleteHorizon(v)
	discard := discardable && (!v.Control() || has && horizon <= f.nowMs)
	keepEmpty := f.isLastOfProducer(v) || v.EndOffset() == f.end
	if discard && !keepEmpty {
		return dst, nil
	}
	kept := kept{horizon: horizon, hasHorizon: has}
	if !discard {
		if err := f.choose(v, &kept); err != nil {
			return dst, err
		}
	}
	switch {
	case kept.count == 0 && keepEmpty:
		return appendEmpty(dst, v), nil
	case kept.count == 0:
		return dst, nil
	}
	// A tombstone, and the marker of a transaction without records, get their time
	// to go when they are first met.
	if !has && (kept.tombstones || discardable && v.Control()) {
		kept.horizon, kept.hasHorizon, kept.moved = f.nowMs+f.deleteRetentionMs, true, true
	}
	if kept.count == v.Count() && !kept.moved {
		return append(dst, v...), nil
	}
	return f.rewrite(dst, v, &kept)
}

// isLastOfProducer reports whether a batch is the last one that the log
// remembers of its producer; of one that has only a marker left, the marker.
func (f *filter) isLastOfProducer(v batch.View) bool {
	e, ok := f.active[v.ProducerID()]
	if !ok {
		return false
	}
	if last, has := e.Last(); has {
		return v.LastOffset() == last.LastOffset
	}
	return v.Control() && v.ProducerEpoch() == e.Epoch
}

// kept is what stays of a batch.
type kept struct {
	count      int32
	tombstones bool
	maxMs      int64
	horizon    int64
	hasHorizon bool
	moved      bool // the base timestamp is another one now
	places     []int32
}

// walk starts a walk over the records of v.
func (f *filter) walk(v batch.View) (batch.RecordIter, error) {
	if v.Codec() == batch.None {
		return v.Records(), nil
	}
	var err error
	if f.inflated, err = v.AppendInflated(f.inflated[:0], maxInflated); err != nil {
		return batch.RecordIter{}, err
	}
	return v.RecordsIn(f.inflated), nil
}

// choose counts the records that stay and remembers which.
func (f *filter) choose(v batch.View, k *kept) error {
	it, err := f.walk(v)
	if err != nil {
		return err
	}
	k.maxMs = -1
	for i := int32(0); it.Next(); i++ {
		r := it.Record()
		if !f.keep(v, r, it.Offset(), k) {
			continue
		}
		k.places = append(k.places, i)
		k.count++
		k.maxMs = max(k.maxMs, v.BaseTimestamp()+r.TimestampDelta)
		k.tombstones = k.tombstones || r.Value == nil && !v.Control()
	}
	return it.Err()
}

// keep reports whether a record stays: it is past what was looked at, or the
// last one of its key and no tombstone whose time is over. A record without a key
// cannot be compacted and goes.
func (f *filter) keep(v batch.View, r batch.Record, at kafka.Offset, k *kept) bool {
	if v.Control() || at > f.offsets.latest {
		return true
	}
	if r.Key == nil || at < f.offsets.get(r.Key) {
		return false
	}
	return r.Value != nil || !k.hasHorizon || f.nowMs < k.horizon
}

// rewrite appends a batch with the records that stay; offsets, sequence numbers,
// epochs and codec are those of v.
func (f *filter) rewrite(dst []byte, v batch.View, k *kept) ([]byte, error) {
	it, err := f.walk(v)
	if err != nil {
		return dst, err
	}
	base := v.BaseTimestamp()
	if k.moved {
		base = k.horizon
	}
	f.records = f.records[:0]
	for i, next := int32(0), 0; next < len(k.places) && it.Next(); i++ {
		if i == k.places[next] {
			f.records = f.appendRecord(f.records, it.Record(), v.BaseTimestamp()-base)
			next++
		}
	}
	if err := it.Err(); err != nil {
		return dst, err
	}
	from := len(dst)
	dst = append(dst, v[:batch.HeaderSize]...)
	if v.Codec() == batch.None {
		dst = append(dst, f.records...)
	} else {
		dst = v.Codec().Default().AppendCompressed(dst, f.records)
	}
	b := dst[from:]
	if k.hasHorizon {
		b[attributesAt+1] |= horizonBit
	}
	binary.BigEndian.PutUint64(b[baseTimestampAt:], uint64(base))
	if !v.LogAppendTime() {
		binary.BigEndian.PutUint64(b[maxTimestampAt:], uint64(k.maxMs))
	}
	binary.BigEndian.PutUint32(b[countAt:], uint32(k.count))
	seal(b)
	return dst, nil
}

// appendRecord encodes a record; shift is added to its timestamp delta.
func (f *filter) appendRecord(dst []byte, r batch.Record, shift int64) []byte {
	b := f.packed[:0]
	b = append(b, 0) // attributes, unused
	b = binary.AppendVarint(b, r.TimestampDelta+shift)
	b = binary.AppendVarint(b, int64(r.OffsetDelta))
	b = appendNullable(b, r.Key)
	b = appendNullable(b, r.Value)
	b = binary.AppendVarint(b, int64(r.HeaderCount))
	for key, value := range r.Headers() {
		b = appendNullable(b, key)
		b = appendNullable(b, value)
	}
	f.packed = b
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

func appendNullable(dst, x []byte) []byte {
	if x == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(x)))
	return append(dst, x...)
}

// appendEmpty appends v without its records, as Kafka writes it
// (DefaultRecordBatch.writeEmptyHeader): no codec, no base timestamp.
func appendEmpty(dst []byte, v batch.View) []byte {
	from := len(dst)
	dst = append(dst, v[:batch.HeaderSize]...)
	b := dst[from:]
	const codecBits = 0x07
	b[attributesAt+1] &^= codecBits | horizonBit
	binary.BigEndian.PutUint64(b[baseTimestampAt:], ^uint64(0))
	binary.BigEndian.PutUint32(b[countAt:], 0)
	seal(b)
	return dst
}

// seal sets the length and the checksum of a batch.
func seal(b []byte) {
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-batch.LogOverhead))
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[crcFrom:], castagnoli))
}

// cleanedTransactions knows, at each batch of a log, whether it belongs to an
// aborted transaction, and whether a marker still has records to speak of
// (Cleaner.CleanedTransactionMetadata).
type cleanedTransactions struct {
	pending   []AbortedTransaction // not begun yet, by first offset
	aborted   map[kafka.ProducerID]*abortedTransaction
	committed map[kafka.ProducerID]bool
	// ended is called with the aborted transactions whose records are still there
	// when their marker is met; nil where nobody asks.
	ended func(AbortedTransaction) error
}

type abortedTransaction struct {
	AbortedTransaction
	seen bool // one of its batches was met
}

func newCleanedTransactions(ended func(AbortedTransaction) error) *cleanedTransactions {
	return &cleanedTransactions{aborted: map[kafka.ProducerID]*abortedTransaction{}, committed: map[kafka.ProducerID]bool{}, ended: ended}
}

// expect adds the aborted transactions of the batches that come next.
func (c *cleanedTransactions) expect(list []AbortedTransaction) {
	for _, a := range list {
		i := len(c.pending)
		for i > 0 && c.pending[i-1].First > a.First {
			i--
		}
		c.pending = append(c.pending, AbortedTransaction{})
		copy(c.pending[i+1:], c.pending[i:])
		c.pending[i] = a
	}
}

// read takes the next batch into account. It reports whether it may be dropped
// as a whole: the records of an aborted transaction, or a marker without records.
func (c *cleanedTransactions) read(v batch.View) (discardable bool, err error) {
	for len(c.pending) > 0 && c.pending[0].First <= v.LastOffset() {
		a := c.pending[0]
		c.pending = c.pending[1:]
		if c.aborted[a.Producer] == nil {
			c.aborted[a.Producer] = &abortedTransaction{AbortedTransaction: a}
		}
	}
	if v.Control() {
		return c.readMarker(v)
	}
	if !v.Transactional() {
		return false, nil
	}
	if a := c.aborted[v.ProducerID()]; a != nil {
		a.seen = true
		return true, nil
	}
	c.committed[v.ProducerID()] = true
	return false, nil
}

func (c *cleanedTransactions) readMarker(v batch.View) (bool, error) {
	if v.Count() == 0 {
		return true, nil // left behind by an earlier round
	}
	m, ok, err := v.EndTxn()
	if err != nil || !ok {
		return false, err
	}
	id := v.ProducerID()
	if m.Commit {
		had := c.committed[id]
		delete(c.committed, id)
		return !had, nil
	}
	a := c.aborted[id]
	delete(c.aborted, id)
	if a == nil || !a.seen {
		return true, nil
	}
	if c.ended != nil {
		if err := c.ended(a.AbortedTransaction); err != nil {
			return false, fmt.Errorf("index the aborted transaction of producer %d at offset %d: %w", id, a.First, err)
		}
	}
	return false, nil
}
