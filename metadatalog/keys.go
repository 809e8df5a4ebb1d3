package metadatalog

import (
	"encoding/binary"
	"fmt"

	"kvorum/internal/kafka"
)

// The tables of the store, by the first byte of the key. Batches are keyed by
// their last offset: the batch that holds an offset is then the first key not
// below it, what TruncateTo removes is one range from its argument on, and what
// TrimTo removes is one range below it.
const (
	tableBatch   = 'b' // last offset, 8 bytes big endian → the batch's bytes
	tableEpoch   = 'e' // epoch, 4 bytes big endian → its first offset, 8 bytes
	tableMeta    = 'm' // name → value
	tablePrivate = 'p' // name → value
)

var (
	keyStart   = []byte("mstart")   // log start 8 bytes, epoch before it 4 bytes
	keyBytes   = []byte("mbytes")   // size of all batches together, 8 bytes
	keyApplied = []byte("mapplied") // applied raft index, 8 bytes
)

func batchKey(dst []byte, last kafka.Offset) []byte {
	return binary.BigEndian.AppendUint64(append(dst, tableBatch), uint64(last))
}

func epochKey(dst []byte, epoch kafka.LeaderEpoch) []byte {
	return binary.BigEndian.AppendUint32(append(dst, tableEpoch), uint32(epoch))
}

func privateKey(name string) []byte { return append([]byte{tablePrivate}, name...) }

func offsetValue(o kafka.Offset) []byte { return binary.BigEndian.AppendUint64(nil, uint64(o)) }

func bytesValue(n int64) []byte { return offsetValue(kafka.Offset(n)) }

func startValue(start kafka.Offset, epoch kafka.LeaderEpoch) []byte {
	return binary.BigEndian.AppendUint32(offsetValue(start), uint32(epoch))
}

func parseOffset(key, value []byte) (kafka.Offset, error) {
	if len(value) != 8 || value[0]&0x80 != 0 {
		return 0, fmt.Errorf("%w: key %q has value %x", ErrDamaged, key, value)
	}
	return kafka.Offset(binary.BigEndian.Uint64(value)), nil
}

func parseStart(value []byte) (kafka.Offset, kafka.LeaderEpoch, error) {
	if len(value) != 12 {
		return 0, 0, fmt.Errorf("%w: key %q has value %x", ErrDamaged, keyStart, value)
	}
	start, err := parseOffset(keyStart, value[:8])
	return start, kafka.LeaderEpoch(binary.BigEndian.Uint32(value[8:])), err
}

func parseEpoch(key, value []byte) (EpochStart, error) {
	if len(key) != 5 {
		return EpochStart{}, fmt.Errorf("%w: key %q", ErrDamaged, key)
	}
	start, err := parseOffset(key, value)
	return EpochStart{Epoch: kafka.LeaderEpoch(binary.BigEndian.Uint32(key[1:])), Start: start}, err
}
