package batch

import (
	"encoding/binary"
	"fmt"

	"kvorum/internal/kafka"
)

// Types of control records, the second int16 of their key after its version
// (ControlRecordType).
const (
	controlAbort  = 0
	controlCommit = 1
)

// EndTxn is the marker that ends a producer's transaction in one partition
// (EndTransactionMarker): a control batch of one record, whose key is version 0
// and type 0 (abort) or 1 (commit), and whose value is version 0 and the epoch
// of the transaction coordinator that wrote it.
type EndTxn struct {
	ProducerID       kafka.ProducerID
	ProducerEpoch    int16
	Commit           bool
	CoordinatorEpoch int32
}

// AppendEndTxn appends the batch of a marker to dst, with the bytes of Apache's
// MemoryRecords.withEndTransactionMarker.
func AppendEndTxn(dst []byte, base kafka.Offset, epoch kafka.LeaderEpoch, timestampMs int64, m EndTxn) []byte {
	kind := byte(controlAbort)
	if m.Commit {
		kind = controlCommit
	}
	value := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.CoordinatorEpoch))
	b := NewBuilder(Compression{})
	b.SetProducer(m.ProducerID, m.ProducerEpoch, -1, true)
	b.SetControl()
	b.Add(timestampMs, []byte{0, 0, 0, kind}, value)
	return b.AppendTo(dst, base, epoch)
}

// EndTxn reads the marker that v is. ok is false for a batch that is no control
// batch, or whose control record is of another type (leader changes, and types
// that a later version of Kafka may define); err is for one that does not parse.
// It allocates nothing unless it fails.
func (v View) EndTxn() (m EndTxn, ok bool, err error) {
	if !v.Control() {
		return EndTxn{}, false, nil
	}
	it := v.Records()
	if !it.Next() {
		if it.Err() == nil {
			return EndTxn{}, false, nil // compaction leaves empty batches behind
		}
		return EndTxn{}, false, it.Err()
	}
	key, value := it.rec.Key, it.rec.Value
	if len(key) < 4 || int16(binary.BigEndian.Uint16(key)) < 0 {
		return EndTxn{}, false, fmt.Errorf("read control record at offset %d: %w: key %x", it.Offset(), ErrCorrupt, key)
	}
	kind := binary.BigEndian.Uint16(key[2:])
	if kind != controlAbort && kind != controlCommit {
		return EndTxn{}, false, nil
	}
	if len(value) < 6 || int16(binary.BigEndian.Uint16(value)) < 0 {
		return EndTxn{}, false, fmt.Errorf("read end of transaction at offset %d: %w: value %x", it.Offset(), ErrCorrupt, value)
	}
	return EndTxn{
		ProducerID: v.ProducerID(), ProducerEpoch: v.ProducerEpoch(),
		Commit: kind == controlCommit, CoordinatorEpoch: int32(binary.BigEndian.Uint32(value[2:])),
	}, true, nil
}
