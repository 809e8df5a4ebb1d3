package storage

import (
	"crypto/sha256"
	"encoding/binary"

	"kvorum/internal/kafka"
)

// offsetMap remembers the last offset of each key that a compaction has seen, in
// a bounded memory: of a key it keeps 128 bits of its SHA-256 and no more
// (SkimpyOffsetMap, with MD5 there). Two keys with the same ones would be taken
// for one; nobody knows how to find such a pair.
//
// It grows as it fills, so that small logs cost little, up to the limit that it
// was made with.
type offsetMap struct {
	slots []offsetSlot
	count int
	limit int     // slots at most
	load  float64 // how full the table gets, below 1
	// latest is the offset up to which (inclusive) the log has been looked at.
	latest kafka.Offset
}

// offsetSlot is a place of the table; offset is one more than the key's, so that
// the zero slot is free.
type offsetSlot struct {
	high, low uint64
	offset    int64
}

const (
	slotBytes  = 24
	firstSlots = 1024
)

// newOffsetMap makes a map of at most bytes of memory, of which a share, below 1,
// may be full.
func newOffsetMap(bytes int64, load float64) *offsetMap {
	limit := max(int(bytes/slotBytes), 16)
	return &offsetMap{limit: limit, load: load, slots: make([]offsetSlot, min(firstSlots, limit))}
}

func hashKey(key []byte) (high, low uint64) {
	sum := sha256.Sum256(key)
	return binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])
}

// put sets the last offset of a key; false where there is no room for another
// key.
func (m *offsetMap) put(key []byte, at kafka.Offset) bool {
	high, low := hashKey(key)
	i := m.find(high, low)
	if m.slots[i].offset == 0 {
		if m.count > 0 && float64(m.count+1) > float64(len(m.slots))*m.load {
			if len(m.slots) == m.limit {
				return false
			}
			m.grow()
			i = m.find(high, low)
		}
		m.count++
	}
	m.slots[i] = offsetSlot{high, low, int64(at) + 1}
	return true
}

// get is the last offset of a key, or NoOffset.
func (m *offsetMap) get(key []byte) kafka.Offset {
	return kafka.Offset(m.slots[m.find(hashKey(key))].offset - 1)
}

// find is the slot of a key, or the free one where it belongs. There is always a
// free one.
func (m *offsetMap) find(high, low uint64) int {
	n := uint64(len(m.slots))
	i := high % n
	for m.slots[i].offset != 0 && (m.slots[i].high != high || m.slots[i].low != low) {
		if i++; i == n {
			i = 0
		}
	}
	return int(i)
}

func (m *offsetMap) grow() {
	old := m.slots
	m.slots = make([]offsetSlot, min(2*len(old), m.limit))
	for _, s := range old {
		if s.offset != 0 {
			m.slots[m.find(s.high, s.low)] = s
		}
	}
}
