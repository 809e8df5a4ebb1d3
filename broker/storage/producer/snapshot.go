package producer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"kvorum/internal/kafka"
)

// ErrCorrupt marks a producer snapshot that cannot be believed. The log then
// deletes the file and builds the state from an older one or from its batches.
var ErrCorrupt = errors.New("producer snapshot is corrupt")

// A .snapshot file, big endian (ProducerSnapshot v1). Only the newest batch of
// a producer is in it:
//
//	 0 version   int16   1
//	 2 crc       uint32  CRC-32C of byte 6 to the end
//	 6 count     int32
//	10 entries   count times:
//	    0 producer id               int64
//	    8 epoch                     int16
//	   10 last sequence             int32  -1 without a batch
//	   14 last offset               int64  -1 without a batch
//	   22 offset delta              int32
//	   26 timestamp                 int64
//	   34 coordinator epoch         int32
//	   38 first offset of the open transaction  int64  -1 for none
const (
	snapshotVersion = 1
	snapshotHeader  = 10
	snapshotEntry   = 46
	crcFrom         = 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is that of a whole file.
func checksum(file []byte) uint32 { return crc32.Checksum(file[crcFrom:], castagnoli) }

// AppendSnapshot appends the bytes of a .snapshot file with these entries, in
// their order, to dst.
func AppendSnapshot(dst []byte, entries []Entry) []byte {
	from := len(dst)
	dst = binary.BigEndian.AppendUint16(dst, snapshotVersion)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(entries)))
	for i := range entries {
		e := &entries[i]
		last, _ := e.Last()
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.ID))
		dst = binary.BigEndian.AppendUint16(dst, uint16(e.Epoch))
		dst = binary.BigEndian.AppendUint32(dst, uint32(last.LastSequence))
		dst = binary.BigEndian.AppendUint64(dst, uint64(last.LastOffset))
		dst = binary.BigEndian.AppendUint32(dst, uint32(last.OffsetDelta))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.TimestampMs))
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.CoordinatorEpoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.TransactionFirst))
	}
	binary.BigEndian.PutUint32(dst[from+2:], checksum(dst[from:]))
	return dst
}

// Snapshot is the bytes of a .snapshot file of s at its End.
func (s *State) Snapshot() []byte {
	return AppendSnapshot(make([]byte, 0, snapshotHeader+snapshotEntry*len(s.producers)), s.Entries())
}

// ParseSnapshot reads the bytes of a .snapshot file. It fails with ErrCorrupt.
// The entries take about five times the memory of data.
func ParseSnapshot(data []byte) ([]Entry, error) {
	if len(data) < snapshotHeader {
		return nil, fmt.Errorf("%w: it has %d bytes, and its header %d", ErrCorrupt, len(data), snapshotHeader)
	}
	if v := int16(binary.BigEndian.Uint16(data)); v != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d is not known", ErrCorrupt, v)
	}
	if stored, computed := binary.BigEndian.Uint32(data[2:]), checksum(data); stored != computed {
		return nil, fmt.Errorf("%w: its checksum is %08x, and its bytes have %08x", ErrCorrupt, stored, computed)
	}
	count := int64(int32(binary.BigEndian.Uint32(data[crcFrom:])))
	if rest := int64(len(data) - snapshotHeader); count*snapshotEntry != rest {
		return nil, fmt.Errorf("%w: it declares %d producers in %d bytes", ErrCorrupt, count, rest)
	}
	entries := make([]Entry, 0, count)
	for rest := data[snapshotHeader:]; len(rest) > 0; rest = rest[snapshotEntry:] {
		entries = append(entries, parseEntry(rest))
	}
	return entries, distinct(entries)
}

// distinct refuses two entries of one producer, and two transactions that begin
// at one offset: the state could not hold both, and no log has them.
func distinct(entries []Entry) error {
	producers := make(map[kafka.ProducerID]bool, len(entries))
	transactions := make(map[kafka.Offset]bool)
	for i := range entries {
		e := &entries[i]
		if e.ID < 0 || producers[e.ID] {
			return fmt.Errorf("%w: producer %d is in it twice, or is none", ErrCorrupt, e.ID)
		}
		producers[e.ID] = true
		if e.TransactionFirst == kafka.NoOffset {
			continue
		}
		if transactions[e.TransactionFirst] {
			return fmt.Errorf("%w: two transactions begin at offset %d", ErrCorrupt, e.TransactionFirst)
		}
		transactions[e.TransactionFirst] = true
	}
	return nil
}

func parseEntry(b []byte) Entry {
	e := Entry{
		ID:               kafka.ProducerID(binary.BigEndian.Uint64(b)),
		Epoch:            int16(binary.BigEndian.Uint16(b[8:])),
		TimestampMs:      int64(binary.BigEndian.Uint64(b[26:])),
		CoordinatorEpoch: int32(binary.BigEndian.Uint32(b[34:])),
		TransactionFirst: max(kafka.Offset(binary.BigEndian.Uint64(b[38:])), kafka.NoOffset),
	}
	if last := kafka.Offset(binary.BigEndian.Uint64(b[14:])); last >= 0 {
		e.push(Batch{
			LastSequence: int32(binary.BigEndian.Uint32(b[10:])),
			OffsetDelta:  int32(binary.BigEndian.Uint32(b[22:])),
			LastOffset:   last,
			TimestampMs:  e.TimestampMs,
		})
	}
	return e
}
