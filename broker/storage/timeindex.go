package storage

import (
	"encoding/binary"
	"fmt"

	"kvorum/internal/kafka"
)

// timeIndex maps timestamps to offsets (TimeIndex): an entry says that no record
// up to and including offset has a timestamp above its own. Timestamps ascend
// strictly. The last entry of a segment that has been rolled holds the largest
// timestamp of the segment.
type timeIndex struct {
	entries
	base kafka.Offset
}

const timeEntry = 12

var (
	columnTimestamp  = column{at: 0, width: 8}
	columnTimeOffset = column{at: 8, width: 4}
)

func newTimeIndex(f *file, base kafka.Offset) *timeIndex {
	return &timeIndex{entries: entries{file: f, width: timeEntry}, base: base}
}

// timed is a timestamp (ms) and the last offset of the batch that has it; -1 and
// -1 stand for none.
type timed struct {
	timestamp int64
	offset    kafka.Offset
}

var noTime = timed{timestamp: -1, offset: kafka.NoOffset}

func (x *timeIndex) decode(e entry) timed {
	return timed{timestamp: columnTimestamp.of(e[:]), offset: x.base + kafka.Offset(columnTimeOffset.of(e[:]))}
}

// lookup finds the last entry with a timestamp of at most target.
func (x *timeIndex) lookup(target int64) (timed, error) {
	i, e, err := x.floor(columnTimestamp, target)
	if err != nil || i < 0 {
		return timed{timestamp: -1, offset: x.base}, err
	}
	t := x.decode(e)
	if t.timestamp < 0 || t.offset < x.base {
		return t, fmt.Errorf("%w: %s has timestamp %d for offset %d", errIndex, x.file.name(), t.timestamp, t.offset)
	}
	return t, nil
}

// max is the last entry, noTime where there is none.
func (x *timeIndex) max() (timed, error) {
	e, ok, err := x.last()
	if err != nil || !ok {
		return noTime, err
	}
	return x.decode(e), nil
}

// add appends an entry where its timestamp is above the last one's.
func (x *timeIndex) add(t timed) error {
	last, err := x.max()
	if err != nil || t.timestamp <= last.timestamp || t.offset < x.base {
		return err
	}
	var e [timeEntry]byte
	binary.BigEndian.PutUint64(e[0:], uint64(t.timestamp))
	binary.BigEndian.PutUint32(e[8:], uint32(t.offset-x.base))
	return x.append(e[:])
}
