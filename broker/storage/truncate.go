package storage

import (
	stderrors "errors"
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/errors"
)

// TruncateTo drops every batch that ends after an offset, so that the log ends
// at it, or before it where it is inside a batch or a gap. An offset at or after
// the end drops nothing but epochs that begin there. The high watermark follows
// the end. Nothing below the recovery point that is dropped can come back after a
// crash (see Options.LowerRecoveryPoint).
func (l *Log) TruncateTo(to kafka.Offset) error {
	if to < 0 {
		panic(fmt.Sprintf("storage: truncate %s to offset %d", l.options.Partition, to))
	}
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.check(); err != nil {
		return err
	}
	if to >= l.LogEnd() {
		l.forgetEpochs(to)
		return nil
	}
	err := l.lowerRecoveryPoint(to)
	if err == nil {
		if to < (*l.segments.Load())[0].base {
			err = l.startAt(to)
		} else {
			err = l.truncate(to)
		}
	}
	if err != nil {
		return l.fail(fmt.Errorf("truncate the log of %s to offset %d: %w", l.options.Partition, to, err))
	}
	return nil
}

// TruncateFullyAndStartAt drops everything; the log begins and ends at an offset
// then.
func (l *Log) TruncateFullyAndStartAt(at kafka.Offset) error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.check(); err != nil {
		return err
	}
	err := l.lowerRecoveryPoint(at)
	if err == nil {
		err = l.startAt(at)
	}
	if err != nil {
		return l.fail(fmt.Errorf("start the log of %s anew at offset %d: %w", l.options.Partition, at, err))
	}
	return nil
}

func (l *Log) lowerRecoveryPoint(to kafka.Offset) error {
	if to >= l.RecoveryPoint() {
		return nil
	}
	// The point first: a checkpoint that is being written now must not put the
	// higher one back.
	l.recoveryPoint.Store(int64(to))
	if l.options.LowerRecoveryPoint != nil {
		return l.options.LowerRecoveryPoint(l, to)
	}
	return nil
}

func (l *Log) forgetEpochs(end kafka.Offset) {
	l.epochLock.Lock()
	defer l.epochLock.Unlock()
	l.newEpochs = l.epochs.TruncateEnd(end) || l.newEpochs
}

// truncate cuts the log inside of its segments.
func (l *Log) truncate(to kafka.Offset) error {
	all := *l.segments.Load()
	keep := floor(all, to) + 1
	kept := all[:keep:keep]
	l.end.Store(int64(min(to, l.LogEnd())))
	l.segments.Store(&kept)
	if err := l.drop(all[keep:]); err != nil {
		return err
	}
	s := kept[keep-1]
	end, err := l.cutSegment(s, to)
	if err != nil {
		return err
	}
	l.end.Store(int64(end))
	l.start.Store(min(l.start.Load(), int64(end)))
	l.forgetEpochs(end)
	return l.rewindProducers(end)
}

// cutPoint finds the first batch that ends after an offset: where it begins, or the
// segment's end if there is none, and the offset after the batch before it.
func (s *segment) cutPoint(f vfs.File, to kafka.Offset) (position int64, end kafka.Offset, err error) {
	position = s.size.Load()
	h, found, err := s.seek(f, to, position, true)
	if err != nil {
		return 0, 0, err
	}
	if found {
		position = h.position
	}
	end, err = s.endBefore(f, position)
	return position, end, err
}

// cutSegment cuts the active segment before the first batch that ends after an
// offset, and returns where the log ends then: after the batch before it, as it
// will be found when the log is opened again.
func (l *Log) cutSegment(s *segment, to kafka.Offset) (kafka.Offset, error) {
	f, err := s.log.acquire()
	if err != nil {
		return 0, err
	}
	size, end, err := s.cutPoint(f, to)
	if stderrors.Is(err, errIndex) {
		if err = l.rebuildIndexes(s, s.size.Load()); err == nil {
			size, end, err = s.cutPoint(f, to)
		}
	}
	s.log.release()
	if err != nil {
		return 0, err
	}
	if err := s.cutIndexes(size, end); err != nil {
		return 0, err
	}
	return end, s.cut(size)
}

// startAt drops all segments and begins one.
func (l *Log) startAt(at kafka.Offset) error {
	if err := l.makeDir(); err != nil {
		return err
	}
	old := *l.segments.Load()
	if err := l.drop(old); err != nil {
		return err
	}
	s, err := createSegment(l.files, l.dir, at, "", l.options.NowMs)
	if err != nil {
		return err
	}
	l.newFiles = true
	l.segments.Store(&[]*segment{s})
	l.start.Store(int64(at))
	l.end.Store(int64(at))
	l.epochLock.Lock()
	l.newEpochs = l.epochs.Len() > 0 || l.newEpochs
	l.epochs.Clear()
	l.epochLock.Unlock()
	if err := l.dropSnapshots(0); err != nil {
		return err
	}
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.Clear(at)
	l.high.Store(int64(at))
	l.showUnstable()
	return nil
}

// DeleteRecordsTo makes an offset the log's start: what lies before it is not
// read any more, and retention removes the segments that lie wholly before it.
// It may not be above the high watermark (OFFSET_OUT_OF_RANGE); one below the
// start changes nothing. It returns the log's start. That it survives a crash is
// for the log-start checkpoint to see to.
func (l *Log) DeleteRecordsTo(to kafka.Offset) (kafka.Offset, error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.check(); err != nil {
		return 0, err
	}
	if hw := l.HighWatermark(); to > hw {
		return 0, errors.New(errors.OffsetOutOfRange, "offset %d of %s is above the high watermark %d", to, l.options.Partition, hw)
	}
	l.moveStart(to)
	return l.LogStart(), nil
}

// moveStart moves the log's start forwards; appending is held.
func (l *Log) moveStart(to kafka.Offset) {
	if to <= l.LogStart() {
		return
	}
	l.start.Store(int64(to))
	l.epochLock.Lock()
	l.newEpochs = l.epochs.TruncateStart(to) || l.newEpochs
	l.epochLock.Unlock()
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.LogStart(to)
	l.showUnstable()
}
