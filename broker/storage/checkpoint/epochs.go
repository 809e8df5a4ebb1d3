package checkpoint

import (
	"fmt"
	"slices"
	"strconv"

	"kvorum/internal/invariant"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/internal/vfs"
)

// EpochsFile is the name of the file of a partition's leader epochs.
const EpochsFile = "leader-epoch-checkpoint"

// EpochStart is where the records of one leader epoch begin.
type EpochStart struct {
	Epoch kafka.LeaderEpoch
	Start kafka.Offset
}

// Epochs are the leader epochs of a log and where each begins; epochs and
// offsets both ascend strictly (LeaderEpochFileCache). Each ends where the next
// begins, and the last at the log's end.
//
// The file is written before the recovery point moves past a change. Past the
// point it may stay behind, and the log derives the epochs from its batches.
//
// The zero value has no epochs. It is not safe for concurrent use. It grows by 16
// bytes for every change of leader and shrinks as retention moves the log's start.
type Epochs struct {
	starts []EpochStart
}

// Assign says that the records from start on are of epoch; it reports whether
// that is news. Entries that contradict it, of the same or later epochs or
// offsets, are dropped. The epoch and the offset are not negative.
func (e *Epochs) Assign(epoch kafka.LeaderEpoch, start kafka.Offset) bool {
	if epoch < 0 || start < 0 {
		invariant.Broken("leader epoch %d begins at offset %d", epoch, start)
	}
	if last, ok := e.Latest(); ok && last.Epoch == epoch && start >= last.Start && !planted.Is(planted.SameEpochAgain) {
		return false
	}
	n := len(e.starts)
	for n > 0 && (e.starts[n-1].Epoch >= epoch || e.starts[n-1].Start >= start) {
		n--
	}
	e.starts = append(e.starts[:n], EpochStart{epoch, start})
	return true
}

// TruncateEnd forgets the epochs that begin at or after end; it reports whether
// there were any.
func (e *Epochs) TruncateEnd(end kafka.Offset) bool {
	if end < 0 {
		return false
	}
	n := len(e.starts)
	for n > 0 && e.starts[n-1].Start >= end {
		n--
	}
	changed := n < len(e.starts)
	e.starts = e.starts[:n]
	return changed
}

// TruncateAbove forgets the epochs that are later than one; it reports whether
// there were any.
func (e *Epochs) TruncateAbove(epoch kafka.LeaderEpoch) bool {
	n := e.above(epoch)
	changed := n < len(e.starts)
	e.starts = e.starts[:n]
	return changed
}

// TruncateStart forgets what lies before start: the epoch that holds start
// begins there now. It reports whether something changed.
func (e *Epochs) TruncateStart(start kafka.Offset) bool {
	n := 0
	for n < len(e.starts) && e.starts[n].Start <= start {
		n++
	}
	if n == 0 || n == 1 && e.starts[0].Start == start {
		return false
	}
	e.starts = slices.Delete(e.starts, 0, n-1)
	e.starts[0].Start = start
	return true
}

// Clear forgets all epochs.
func (e *Epochs) Clear() { e.starts = nil }

// Len is the number of epochs.
func (e *Epochs) Len() int { return len(e.starts) }

// All copies the epochs, ascending.
func (e *Epochs) All() []EpochStart { return slices.Clone(e.starts) }

// Latest is the last epoch with a record, or the one that a leader has begun.
func (e *Epochs) Latest() (EpochStart, bool) {
	if len(e.starts) == 0 {
		return EpochStart{kafka.NoEpoch, kafka.NoOffset}, false
	}
	return e.starts[len(e.starts)-1], true
}

// Earliest is the epoch that the log begins with.
func (e *Epochs) Earliest() (EpochStart, bool) {
	if len(e.starts) == 0 {
		return EpochStart{kafka.NoEpoch, kafka.NoOffset}, false
	}
	return e.starts[0], true
}

// Previous is the latest epoch before epoch.
func (e *Epochs) Previous(epoch kafka.LeaderEpoch) (EpochStart, bool) {
	if i := e.above(epoch - 1); i > 0 {
		return e.starts[i-1], true
	}
	return EpochStart{kafka.NoEpoch, kafka.NoOffset}, false
}

// ForOffset is the epoch of the record at offset, NoEpoch where that is before
// the first known epoch.
func (e *Epochs) ForOffset(offset kafka.Offset) kafka.LeaderEpoch {
	for i := len(e.starts) - 1; i >= 0; i-- {
		if e.starts[i].Start <= offset {
			return e.starts[i].Epoch
		}
	}
	return kafka.NoEpoch
}

// End answers OffsetForLeaderEpoch and a follower's check before it fetches
// (KIP-101, KIP-279): the largest known epoch that is not above the one asked for,
// and where it ends. The latest epoch ends at logEnd. An epoch before the first
// known one ends where that begins, under the number that was asked for. An epoch
// above all known ones, or NoEpoch, has no answer: NoEpoch and NoOffset.
func (e *Epochs) End(epoch kafka.LeaderEpoch, logEnd kafka.Offset) (kafka.LeaderEpoch, kafka.Offset) {
	if epoch == kafka.NoEpoch {
		return kafka.NoEpoch, kafka.NoOffset
	}
	if last, ok := e.Latest(); ok && last.Epoch == epoch {
		return epoch, logEnd
	}
	next := e.above(epoch)
	switch {
	case next == len(e.starts):
		return kafka.NoEpoch, kafka.NoOffset
	case next == 0:
		return epoch, e.starts[0].Start
	}
	return e.starts[next-1].Epoch, e.starts[next].Start
}

// above is the index of the first epoch above epoch.
func (e *Epochs) above(epoch kafka.LeaderEpoch) int {
	i, found := slices.BinarySearchFunc(e.starts, epoch, func(s EpochStart, to kafka.LeaderEpoch) int {
		return int(s.Epoch) - int(to)
	})
	if found {
		i++
	}
	return i
}

// ReadEpochs reads leader-epoch-checkpoint of a partition's directory; there are
// no epochs where there is no file. A log whose file is damaged can find its
// epochs in its batches.
func ReadEpochs(fs vfs.FS, dir string) (*Epochs, error) {
	path := fs.PathJoin(dir, EpochsFile)
	data, _, err := read(fs, path)
	if err != nil {
		return nil, err
	}
	return ParseEpochs(path, data)
}

// WriteEpochs replaces leader-epoch-checkpoint of a partition's directory
// durably.
func WriteEpochs(fs vfs.FS, dir string, e *Epochs) error {
	path := fs.PathJoin(dir, EpochsFile)
	if err := vfs.Replace(fs, path, e.Append(nil)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// ParseEpochs reads the content of leader-epoch-checkpoint: "epoch offset" a
// line. path is for errors.
func ParseEpochs(path string, data []byte) (*Epochs, error) {
	e := &Epochs{}
	err := entries(path, data, func(line int, fields []string) error {
		if len(fields) != 2 {
			return damaged(path, line, "%d fields instead of epoch and offset", len(fields))
		}
		epoch, err := strconv.ParseInt(fields[0], 10, 32)
		if err != nil || epoch < 0 {
			return damaged(path, line, "%.40q is no leader epoch", fields[0])
		}
		start, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || start < 0 {
			return damaged(path, line, "%.40q is no offset", fields[1])
		}
		next := EpochStart{kafka.LeaderEpoch(epoch), kafka.Offset(start)}
		if last, ok := e.Latest(); ok && (next.Epoch <= last.Epoch || next.Start <= last.Start) {
			return damaged(path, line, "epoch %d at offset %d does not follow epoch %d at offset %d", next.Epoch, next.Start, last.Epoch, last.Start)
		}
		e.starts = append(e.starts, next)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Append appends the content of leader-epoch-checkpoint to dst.
func (e *Epochs) Append(dst []byte) []byte {
	dst = header(dst, len(e.starts))
	for _, s := range e.starts {
		dst = strconv.AppendInt(dst, int64(s.Epoch), 10)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(s.Start), 10)
		dst = append(dst, '\n')
	}
	return dst
}
