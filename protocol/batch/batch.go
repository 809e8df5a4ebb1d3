// Package batch reads and builds Kafka record batches of format v2 (magic 2,
// DefaultRecordBatch in Apache Kafka).
//
// Everything that is stored or sent as "records" is a string of such batches:
// the metadata log, its snapshots, partition logs, and the record fields of
// Produce and Fetch. The package is a leaf: it works on bytes that its caller
// owns, never copies them to read them, and never trusts them. It has no state
// but pools of the codecs' tables.
//
// Header, big endian, 61 bytes:
//
//	 0 baseOffset            int64
//	 8 batchLength           int32   bytes after this field
//	12 partitionLeaderEpoch  int32
//	16 magic                 int8    2
//	17 crc                   uint32  CRC-32C of byte 21 to the end
//	21 attributes            int16
//	23 lastOffsetDelta       int32
//	27 baseTimestamp         int64   ms since the epoch
//	35 maxTimestamp          int64
//	43 producerId            int64   -1 where unused, as the two that follow
//	51 producerEpoch         int16
//	53 baseSequence          int32
//	57 recordsCount          int32
//	61 records
//
// baseOffset and partitionLeaderEpoch lie before the CRC's range, so that a
// leader may stamp a batch without touching its checksum (Restamp).
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"math"

	"kvorum/internal/kafka"
)

// Sizes of the format, in bytes.
const (
	// HeaderSize is the size of a batch without records, and so of the smallest
	// batch.
	HeaderSize = 61
	// LogOverhead is what precedes the bytes that batchLength counts.
	LogOverhead = 12
	// MaxMetadataSize bounds one batch of the metadata log
	// (KafkaRaftClient.MAX_BATCH_SIZE_BYTES); a broker refuses a longer one.
	MaxMetadataSize = 8 << 20
)

// Places of the header's fields.
const (
	offBaseOffset    = 0
	offLength        = 8
	offEpoch         = 12
	offMagic         = 16
	offCRC           = 17
	offAttributes    = 21
	offLastDelta     = 23
	offBaseTimestamp = 27
	offMaxTimestamp  = 35
	offProducerID    = 43
	offProducerEpoch = 51
	offBaseSequence  = 53
	offCount         = 57
)

const magicV2 = 2

// Bits of the attributes field.
const (
	attrCompression   = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
)

var (
	// ErrShort marks bytes that end before the batch does: the torn tail of a
	// file, or the cut end of a fetch response.
	ErrShort = errors.New("batch is cut short")
	// ErrCorrupt marks bytes that no writer of the format produces, or whose
	// checksum does not match.
	ErrCorrupt = errors.New("batch is corrupt")
	// ErrMagic marks a batch of the formats before v2, which is not read here.
	ErrMagic = errors.New("batch is not of format v2")
	// ErrCompressed is what Records of a compressed batch gives: RecordsIn walks
	// what AppendInflated made of it.
	ErrCompressed = errors.New("batch is compressed")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// View is the bytes of exactly one batch. It does not own them: it is valid as
// long as they are not changed. Only Next and All make one; its header has been
// validated there, so the accessors cannot fail. Its CRC has not been checked.
type View []byte

// Next returns the first batch of data and the bytes after it. It reads only
// the header. It fails with ErrShort, ErrMagic or ErrCorrupt, and never looks
// further than data reaches, whatever the header declares.
func Next(data []byte) (v View, rest []byte, err error) {
	if len(data) < LogOverhead {
		return nil, data, fmt.Errorf("%w: %d bytes instead of a %d byte header", ErrShort, len(data), HeaderSize)
	}
	base := int64(binary.BigEndian.Uint64(data[offBaseOffset:]))
	length := int64(int32(binary.BigEndian.Uint32(data[offLength:])))
	if len(data) > offMagic && data[offMagic] < magicV2 {
		return nil, data, fmt.Errorf("%w: magic %d at offset %d", ErrMagic, data[offMagic], base)
	}
	if length < HeaderSize-LogOverhead {
		return nil, data, fmt.Errorf("%w: declared length %d at offset %d is below the smallest batch", ErrCorrupt, length, base)
	}
	if int64(len(data)) < LogOverhead+length {
		return nil, data, fmt.Errorf("%w: %d of %d bytes at offset %d", ErrShort, len(data), LogOverhead+length, base)
	}
	end := int(LogOverhead + length)
	v = View(data[:end:end])
	if err := v.validateHeader(); err != nil {
		return nil, data, err
	}
	return v, data[end:], nil
}

// All iterates over a string of whole batches. At the first bytes that are no
// batch it yields their error and stops; a batch before them has been yielded.
// The walk takes at most len(data)/HeaderSize steps.
func All(data []byte) iter.Seq2[View, error] {
	return func(yield func(View, error) bool) {
		for len(data) > 0 {
			v, rest, err := Next(data)
			if !yield(v, err) || err != nil {
				return
			}
			data = rest
		}
	}
}

func (v View) validateHeader() error {
	if v[offMagic] != magicV2 {
		return fmt.Errorf("%w: magic %d at offset %d", ErrMagic, int8(v[offMagic]), v.BaseOffset())
	}
	base, delta := v.BaseOffset(), v.lastOffsetDelta()
	if base < 0 || delta < 0 || int64(base) > math.MaxInt64-1-int64(delta) {
		return fmt.Errorf("%w: base offset %d with last offset delta %d", ErrCorrupt, base, delta)
	}
	// A compacted batch may hold fewer records than offsets, never more. The
	// smallest record is 7 bytes, but 1 is bound enough here and holds for
	// compressed batches, too, once they are inflated.
	if count := v.Count(); count < 0 || int64(count) > int64(delta)+1 {
		return fmt.Errorf("%w: %d records over %d offsets at offset %d", ErrCorrupt, count, int64(delta)+1, base)
	}
	return nil
}

func (v View) i32(at int) int32 { return int32(binary.BigEndian.Uint32(v[at:])) }
func (v View) i64(at int) int64 { return int64(binary.BigEndian.Uint64(v[at:])) }
func (v View) i16(at int) int16 { return int16(binary.BigEndian.Uint16(v[at:])) }

// Size is the batch's whole length in bytes.
func (v View) Size() int { return len(v) }

// BaseOffset is the offset of the first record.
func (v View) BaseOffset() kafka.Offset { return kafka.Offset(v.i64(offBaseOffset)) }

func (v View) lastOffsetDelta() int32 { return v.i32(offLastDelta) }

// LastOffset is the offset of the last record (inclusive).
func (v View) LastOffset() kafka.Offset {
	return v.BaseOffset() + kafka.Offset(v.lastOffsetDelta())
}

// EndOffset is the offset after the last record (exclusive).
func (v View) EndOffset() kafka.Offset { return v.LastOffset() + 1 }

// Epoch is the epoch of the leader that appended the batch.
func (v View) Epoch() kafka.LeaderEpoch { return kafka.LeaderEpoch(v.i32(offEpoch)) }

// Attributes is the raw attributes field.
func (v View) Attributes() int16 { return v.i16(offAttributes) }

// Compression is the number of the codec of the records.
func (v View) Compression() int8 { return int8(v.Attributes() & attrCompression) }

// Control reports whether the batch holds control records.
func (v View) Control() bool { return v.Attributes()&attrControl != 0 }

// Transactional reports whether the batch is part of a producer's transaction.
func (v View) Transactional() bool { return v.Attributes()&attrTransactional != 0 }

// LogAppendTime reports whether MaxTimestamp is the broker's append time.
func (v View) LogAppendTime() bool { return v.Attributes()&attrLogAppendTime != 0 }

// BaseTimestamp is what the records' timestamp deltas are added to, in ms.
func (v View) BaseTimestamp() int64 { return v.i64(offBaseTimestamp) }

// MaxTimestamp is the largest timestamp of the records, in ms.
func (v View) MaxTimestamp() int64 { return v.i64(offMaxTimestamp) }

// ProducerID is the idempotent producer's id, or -1.
func (v View) ProducerID() kafka.ProducerID { return kafka.ProducerID(v.i64(offProducerID)) }

// ProducerEpoch is the idempotent producer's epoch, or -1.
func (v View) ProducerEpoch() int16 { return v.i16(offProducerEpoch) }

// BaseSequence is the producer's sequence number of the first record, or -1.
func (v View) BaseSequence() int32 { return v.i32(offBaseSequence) }

// Count is the declared number of records.
func (v View) Count() int32 { return v.i32(offCount) }

// CRC is the stored checksum.
func (v View) CRC() uint32 { return binary.BigEndian.Uint32(v[offCRC:]) }

// CheckCRC compares the stored checksum with that of the bytes; it fails with
// ErrCorrupt. It covers everything but baseOffset, batchLength,
// partitionLeaderEpoch and magic.
func (v View) CheckCRC() error {
	if sum := crc32.Checksum(v[offAttributes:], castagnoli); sum != v.CRC() {
		return fmt.Errorf("%w: checksum of the batch at offset %d is %08x, stored is %08x",
			ErrCorrupt, v.BaseOffset(), sum, v.CRC())
	}
	return nil
}
