package storage

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/protocol/batch"
)

// segment is one file of batches with its indexes (LogSegment). The log's lock
// guards what changes it; lookups and reads run beside one append.
type segment struct {
	base    kafka.Offset
	log     *file
	offsets *offsetIndex
	times   *timeIndex
	aborted *txnIndex

	// size is how many bytes of the file are whole batches of the log. It is
	// stored after Log.end, so that who reads it first and the end of the log
	// then knows an end that is not before those bytes.
	size atomic.Int64

	synced atomic.Int64 // bytes known to be on the disk

	// The rest belongs to the appender.

	// prepare is not nil where the segment has no file yet: it makes ready what its
	// first bytes need.
	prepare    func() error
	sinceIndex int64 // bytes since the last entry of the index
	largest    timed // timestamp so far
	timeKnown  bool  // largest has been read from the time index
	timeRight  bool  // and was compared with the batches
	createdMs  int64 // when this process made or opened it
	first      int64 // timestamp of the first batch; noFirst: not read yet
	modified   int64 // ms, of the file, when it was opened
}

// noFirst stands for a first timestamp that has not been read.
const noFirst = math.MinInt64

// newSegment describes the segment at base of a directory; extra is the suffix
// of files that are not part of the log yet.
func newSegment(files *Files, dir string, base kafka.Offset, extra string, nowMs int64) *segment {
	at := func(suffix string) *file { return files.file(files.fs.PathJoin(dir, fileName(base, suffix+extra))) }
	return &segment{
		base: base, log: at(logSuffix),
		offsets: newOffsetIndex(at(indexSuffix), base),
		times:   newTimeIndex(at(timeIndexSuffix), base),
		aborted: newTxnIndex(at(txnIndexSuffix)),
		largest: noTime, createdMs: nowMs, first: noFirst,
	}
}

// freshSegment describes an empty segment that has no file yet: the first append
// makes its log file, and who finishes its indexes makes theirs. prepare is called
// before.
func freshSegment(files *Files, dir string, base kafka.Offset, nowMs int64, prepare func() error) *segment {
	s := newSegment(files, dir, base, "", nowMs)
	s.empty()
	s.offsets.unmade, s.times.unmade = true, true
	s.prepare = prepare
	return s
}

// empty says that the segment has no batch and its indexes no entry.
func (s *segment) empty() {
	s.offsets.loaded, s.times.loaded = true, true
	s.timeKnown, s.timeRight = true, true
}

// createSegment makes the files of an empty segment. They replace what has
// their names: remains of a segment whose log file is gone.
func createSegment(files *Files, dir string, base kafka.Offset, extra string, nowMs int64) (*segment, error) {
	s := newSegment(files, dir, base, extra, nowMs)
	for _, h := range []*file{s.log, s.offsets.file, s.times.file} {
		if err := createEmpty(files.fs, h.name()); err != nil {
			return nil, err
		}
	}
	if err := files.fs.Remove(s.aborted.file.name()); err != nil && !errors.Is(err, errNotExist) {
		return nil, fmt.Errorf("remove the index of a segment that is gone: %w", err)
	}
	s.empty()
	return s, nil
}

func createEmpty(fs vfs.FS, path string) error {
	f, err := vfs.Create(fs, path)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return nil
}

// append writes whole batches, whose offsets are right, to the end of the file
// and indexes them (LogSegment.append). The bytes are not counted in size yet:
// publish does that. interval is index.interval.bytes.
func (s *segment) append(records []byte, interval int64) error {
	if s.prepare != nil {
		if err := s.prepare(); err != nil {
			return err
		}
		s.prepare = nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	position := s.size.Load()
	if n, err := f.WriteAt(records, position); err != nil {
		return fmt.Errorf("write %d bytes at position %d of %s (%d written): %w", len(records), position, s.log.name(), n, err)
	}
	return s.index(records, position, interval)
}

// index adds the entries for batches at a position.
func (s *segment) index(records []byte, position, interval int64) error {
	for len(records) > 0 {
		v, rest, err := batch.Next(records)
		if err != nil {
			panic(fmt.Sprintf("storage: index batches that were not checked: %v", err))
		}
		h := header{position: position, size: int64(v.Size()), base: v.BaseOffset(), last: v.LastOffset(), maxTimestamp: v.MaxTimestamp()}
		if err := s.note(h, interval); err != nil {
			return err
		}
		position += h.size
		records = rest
	}
	return nil
}

// note takes one batch into account: its timestamp, and an entry in the indexes
// when enough bytes have passed since the last one.
func (s *segment) note(h header, interval int64) error {
	if err := s.knowTime(); err != nil {
		return err
	}
	if h.maxTimestamp > s.largest.timestamp {
		s.largest = timed{timestamp: h.maxTimestamp, offset: h.last}
	}
	if h.position == 0 {
		s.first = h.maxTimestamp
	}
	if s.sinceIndex > interval {
		if err := s.offsets.add(h.last, h.position); err != nil {
			return err
		}
		if err := s.times.add(s.largest); err != nil {
			return err
		}
		s.sinceIndex = 0
	}
	s.sinceIndex += h.size
	return nil
}

// knowTime reads the largest timestamp of a segment that was there before this
// process.
func (s *segment) knowTime() error {
	if s.timeKnown {
		return nil
	}
	t, err := s.times.max()
	if err != nil {
		return err
	}
	s.largest, s.timeKnown = t, true
	return nil
}

// firstTimestamp is the largest timestamp of the segment's first batch, -1 where
// it has none (LogSegment.loadFirstBatchTimestamp).
func (s *segment) firstTimestamp() (int64, error) {
	if s.first != noFirst {
		return s.first, nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return 0, err
	}
	defer s.log.release()
	w := walk(f, s.log.name())
	defer w.done()
	h, err := w.next(0, s.size.Load())
	if err != nil {
		return 0, err
	}
	s.first = h.maxTimestamp
	return s.first, nil
}

// seal finishes the indexes of a segment that takes no more appends. One that has
// no file has no indexes either.
func (s *segment) seal() error {
	if s.prepare != nil {
		return nil
	}
	if err := s.knowTime(); err != nil {
		return err
	}
	if err := s.times.add(s.largest); err != nil {
		return err
	}
	return errors.Join(s.offsets.flush(), s.times.flush())
}

// rest closes the segment's files until they are used again.
func (s *segment) rest() error {
	return errors.Join(s.log.rest(), s.offsets.file.rest(), s.times.file.rest(), s.aborted.file.rest())
}

// forget closes the segment's files as soon as nobody reads them.
func (s *segment) forget() error {
	return errors.Join(s.log.forget(), s.offsets.file.forget(), s.times.file.forget(), s.aborted.file.forget())
}
