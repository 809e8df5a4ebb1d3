package storage

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/batch"
)

// The leader epochs are derived from the batches past the recovery point, so
// their file may lag behind there, with epochs of records that were cut off, too:
// Flush writes it before it moves the point. Becoming the leader of thousands of
// partitions costs no fsync that way.

// AssignEpochStart says that the records from the log's end on will be of this
// epoch: the broker has become the leader. An epoch that is not new changes
// nothing.
func (l *Log) AssignEpochStart(epoch kafka.LeaderEpoch, start kafka.Offset) {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.assign(epoch, start)
}

// assign notes where an epoch begins; appending is held. A batch below epoch 0 is
// of none: no checksum covers a batch's epoch, so a damaged one may say anything
// (LogSegment.recover).
func (l *Log) assign(epoch kafka.LeaderEpoch, start kafka.Offset) {
	if epoch < 0 {
		return
	}
	l.epochLock.Lock()
	defer l.epochLock.Unlock()
	if latest, ok := l.epochs.Latest(); ok && epoch <= latest.Epoch && !planted.Is(planted.SameEpochAgain) {
		return
	}
	l.newEpochs = l.epochs.Assign(epoch, start) || l.newEpochs
}

// doubtEpochs sets the epochs that begin past the recovery point aside, before the
// log is recovered: they may be of records that were cut off.
func (l *Log) doubtEpochs() {
	for _, e := range l.epochs.All() {
		if e.Start >= l.options.RecoveryPoint {
			l.doubted = append(l.doubted, e)
		}
	}
	l.newEpochs = l.epochs.TruncateEnd(l.options.RecoveryPoint) || l.newEpochs
}

// deriveEpoch notes the epoch of a batch that is recovered, from base on. Past the
// recovery point it is right where it contradicts the file, whose later epochs are
// of a log that this one was begun anew after. An epoch that was doubted and begins
// where no batch is, between after and base, began there: compaction took what was
// in between.
func (l *Log) deriveEpoch(epoch kafka.LeaderEpoch, after, base kafka.Offset) {
	if epoch < 0 {
		return
	}
	start := base
	if base >= l.options.RecoveryPoint {
		l.newEpochs = l.epochs.TruncateAbove(epoch) || l.newEpochs
		for _, e := range l.doubted {
			if e.Epoch == epoch && after <= e.Start && e.Start <= base {
				start = e.Start
			}
		}
	}
	l.assign(epoch, start)
}

// noteEpochs takes the epochs of appended batches into account.
func (l *Log) noteEpochs(records []byte, r run) {
	if latest := l.LatestEpoch(); r.epoch <= latest {
		return
	}
	for rest := records; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err != nil {
			panic(fmt.Sprintf("storage: batches that were not checked: %v", err))
		}
		l.assign(v.Epoch(), v.BaseOffset())
		rest = after
	}
}

// LatestEpoch is the epoch of the last record, or the one that a leader has
// begun; NoEpoch where there is none.
func (l *Log) LatestEpoch() kafka.LeaderEpoch {
	l.epochLock.Lock()
	defer l.epochLock.Unlock()
	if latest, ok := l.epochs.Latest(); ok {
		return latest.Epoch
	}
	return kafka.NoEpoch
}

// EpochEnd answers OffsetForLeaderEpoch: the largest epoch that is not above the
// one asked for, and where it ends; NoEpoch and NoOffset where that is not known
// (KIP-101, KIP-279).
func (l *Log) EpochEnd(epoch kafka.LeaderEpoch) (kafka.LeaderEpoch, kafka.Offset) {
	l.epochLock.Lock()
	defer l.epochLock.Unlock()
	return l.epochs.End(epoch, l.LogEnd())
}

// EpochAt is the epoch of the record at an offset, NoEpoch where it is not
// known.
func (l *Log) EpochAt(at kafka.Offset) kafka.LeaderEpoch {
	l.epochLock.Lock()
	defer l.epochLock.Unlock()
	return l.epochs.ForOffset(at)
}
