package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"kvorum/internal/kafka"
)

// ControlRecord is the key and value of one control record, both encoded and
// not empty.
type ControlRecord struct {
	Key, Value []byte
}

// AppendData appends one batch of metadata records to dst and returns the
// longer slice. The bytes are those of Apache's BatchBuilder: no compression,
// create time, no producer, one timestamp for all records, null keys.
//
// It panics when there are no values or one is empty: no reader accepts that,
// and a value that is encoded has at least its frame. Whoever groups records
// keeps DataSize within MaxMetadataSize.
func AppendData(dst []byte, base kafka.Offset, epoch kafka.LeaderEpoch, timestampMs int64, values [][]byte) []byte {
	if len(values) == 0 {
		panic(fmt.Sprintf("batch: no records for the batch at offset %d", base))
	}
	start := len(dst)
	dst = appendHeader(dst, base, epoch, 0, len(values), timestampMs)
	for i, value := range values {
		if len(value) == 0 {
			panic(fmt.Sprintf("batch: record %d of the batch at offset %d is empty", i, base))
		}
		dst = appendRecord(dst, i, nil, value)
	}
	return seal(dst, start)
}

// AppendControl appends one batch of control records to dst, with the bytes of
// Apache's MemoryRecordsBuilder: attributes 0x20, otherwise as AppendData. It
// panics when there are no records or a key or value is empty.
func AppendControl(dst []byte, base kafka.Offset, epoch kafka.LeaderEpoch, timestampMs int64, records []ControlRecord) []byte {
	if len(records) == 0 {
		panic(fmt.Sprintf("batch: no control records for the batch at offset %d", base))
	}
	start := len(dst)
	dst = appendHeader(dst, base, epoch, attrControl, len(records), timestampMs)
	for i, r := range records {
		if len(r.Key) == 0 || len(r.Value) == 0 {
			panic(fmt.Sprintf("batch: control record %d of the batch at offset %d is empty", i, base))
		}
		dst = appendRecord(dst, i, r.Key, r.Value)
	}
	return seal(dst, start)
}

// DataSize is the size in bytes of the batch that AppendData makes of values.
func DataSize(values [][]byte) int {
	size := HeaderSize
	for i, value := range values {
		size += RecordSize(i, len(value))
	}
	return size
}

// RecordSize is the size in bytes of the index-th data record of a batch, with
// a value of valueLen bytes.
func RecordSize(index, valueLen int) int {
	body := recordBodySize(index, -1, valueLen)
	return varintSize(int64(body)) + body
}

// Restamp writes another base offset and leader epoch into the one batch that
// b holds, in place; the checksum stays right because it does not cover them.
func Restamp(b View, base kafka.Offset, epoch kafka.LeaderEpoch) {
	binary.BigEndian.PutUint64(b[offBaseOffset:], uint64(base))
	binary.BigEndian.PutUint32(b[offEpoch:], uint32(epoch))
}

func appendHeader(dst []byte, base kafka.Offset, epoch kafka.LeaderEpoch, attributes uint16, count int, timestampMs int64) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(base))
	dst = be.AppendUint32(dst, 0) // length: seal
	dst = be.AppendUint32(dst, uint32(epoch))
	dst = append(dst, magicV2)
	dst = be.AppendUint32(dst, 0) // CRC: seal
	dst = be.AppendUint16(dst, attributes)
	dst = be.AppendUint32(dst, uint32(count-1))
	dst = be.AppendUint64(dst, uint64(timestampMs))
	dst = be.AppendUint64(dst, uint64(timestampMs))
	dst = be.AppendUint64(dst, math.MaxUint64) // no producer id
	dst = be.AppendUint16(dst, math.MaxUint16) // no producer epoch
	dst = be.AppendUint32(dst, math.MaxUint32) // no sequence
	return be.AppendUint32(dst, uint32(count))
}

// seal fills in the length and the checksum of the batch that begins at start.
func seal(dst []byte, start int) []byte {
	b := dst[start:]
	if len(b)-LogOverhead > math.MaxInt32 {
		panic(fmt.Sprintf("batch: %d bytes do not fit a batch", len(b)))
	}
	binary.BigEndian.PutUint32(b[offLength:], uint32(len(b)-LogOverhead))
	binary.BigEndian.PutUint32(b[offCRC:], crc32.Checksum(b[offAttributes:], castagnoli))
	return dst
}

func appendRecord(dst []byte, index int, key, value []byte) []byte {
	keyLen := -1
	if key != nil {
		keyLen = len(key)
	}
	dst = binary.AppendVarint(dst, int64(recordBodySize(index, keyLen, len(value))))
	dst = append(dst, 0, 0) // attributes, timestamp delta
	dst = binary.AppendVarint(dst, int64(index))
	dst = binary.AppendVarint(dst, int64(keyLen))
	dst = append(dst, key...)
	dst = binary.AppendVarint(dst, int64(len(value)))
	dst = append(dst, value...)
	return append(dst, 0) // headers
}

func recordBodySize(index, keyLen, valueLen int) int {
	return 2 + varintSize(int64(index)) + varintSize(int64(keyLen)) + max(keyLen, 0) +
		varintSize(int64(valueLen)) + valueLen + 1
}

// varintSize is the number of bytes of the zig-zag varint of x.
func varintSize(x int64) int {
	u := uint64(x)<<1 ^ uint64(x>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
