package batch

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"kvorum/internal/kafka"
)

// Header is a header of a record. A nil value is null.
type Header struct {
	Key   string
	Value []byte
}

// Builder makes one batch of records after the other: for coordinators, which
// write their own partitions, for tools and tests. The zero value, after Reset,
// compresses nothing. A Builder keeps its buffers, so that building does not
// allocate once they have grown. It is not safe for concurrent use.
//
//	b := batch.NewBuilder(batch.LZ4.Default())
//	b.Add(nowMs, key, value)
//	records = b.AppendTo(records, base, epoch)
//	b.Reset()
type Builder struct {
	compression Compression
	attributes  uint16
	producerID  kafka.ProducerID
	producerEp  int16
	sequence    int32

	count        int
	base, newest int64 // timestamps, ms
	records      []byte
	body         []byte // of one record
}

// NewBuilder makes a builder of batches that are compressed so.
func NewBuilder(c Compression) *Builder {
	if !c.Codec.Valid() {
		panic(fmt.Sprintf("batch: builder with %s", c.Codec))
	}
	b := &Builder{compression: c}
	b.Reset()
	return b
}

// Reset drops the records and the producer. The compression stays.
func (b *Builder) Reset() {
	b.attributes, b.count, b.records = uint16(b.compression.Codec), 0, b.records[:0]
	b.producerID, b.producerEp, b.sequence = -1, -1, -1
}

// SetProducer makes the batch one of an idempotent producer, and of its
// transaction if transactional. sequence is that of the first record.
func (b *Builder) SetProducer(id kafka.ProducerID, epoch int16, sequence int32, transactional bool) {
	b.producerID, b.producerEp, b.sequence = id, epoch, sequence
	b.attributes &^= attrTransactional
	if transactional {
		b.attributes |= attrTransactional
	}
}

// SetControl makes the batch one of control records.
func (b *Builder) SetControl() { b.attributes |= attrControl }

// SetLogAppendTime says that the timestamps are the broker's own.
func (b *Builder) SetLogAppendTime() { b.attributes |= attrLogAppendTime }

// Count is the number of records added since Reset.
func (b *Builder) Count() int { return b.count }

// Size is the size in bytes of the batch as it is, before compression.
func (b *Builder) Size() int { return HeaderSize + len(b.records) }

// Add adds a record. A nil key or value is null, an empty one is empty. Nothing
// of the arguments is kept. It panics on timestamps whose difference does not
// fit 64 bits, and beyond 2 GiB.
func (b *Builder) Add(timestampMs int64, key, value []byte, headers ...Header) {
	if b.count == 0 {
		b.base, b.newest = timestampMs, timestampMs
	}
	b.newest = max(b.newest, timestampMs)
	body := append(b.body[:0], 0) // attributes
	body = binary.AppendVarint(body, timestampMs-b.base)
	body = binary.AppendVarint(body, int64(b.count))
	body = appendBytes(body, key)
	body = appendBytes(body, value)
	body = binary.AppendVarint(body, int64(len(headers)))
	for _, h := range headers {
		body = binary.AppendVarint(body, int64(len(h.Key)))
		body = append(body, h.Key...)
		body = appendBytes(body, h.Value)
	}
	b.records = binary.AppendVarint(b.records, int64(len(body)))
	b.records = append(b.records, body...)
	b.body = body
	b.count++
	if len(b.records) > math.MaxInt32-HeaderSize {
		panic(fmt.Sprintf("batch: %d bytes do not fit a batch", len(b.records)))
	}
}

// AppendTo appends the batch of the records added since Reset to dst. It panics
// without records. The builder still has them afterwards.
func (b *Builder) AppendTo(dst []byte, base kafka.Offset, epoch kafka.LeaderEpoch) []byte {
	if b.count == 0 {
		panic(fmt.Sprintf("batch: no records for the batch at offset %d", base))
	}
	start := len(dst)
	dst = appendHeader(dst, base, epoch, b.attributes, b.count, b.base)
	h := dst[start:]
	binary.BigEndian.PutUint64(h[offMaxTimestamp:], uint64(b.newest))
	binary.BigEndian.PutUint64(h[offProducerID:], uint64(b.producerID))
	binary.BigEndian.PutUint16(h[offProducerEpoch:], uint16(b.producerEp))
	binary.BigEndian.PutUint32(h[offBaseSequence:], uint32(b.sequence))
	return seal(b.compression.AppendCompressed(dst, b.records), start)
}

// appendBytes appends a nullable byte string of a record.
func appendBytes(dst, x []byte) []byte {
	if x == nil {
		return append(dst, 1) // -1
	}
	dst = binary.AppendVarint(slices.Grow(dst, len(x)+binary.MaxVarintLen32), int64(len(x)))
	return append(dst, x...)
}
