package storage

import (
	stderrors "errors"
	"fmt"
	"math"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// AppendOptions say who appends and when.
type AppendOptions struct {
	Origin producer.Origin
	NowMs  int64
	// TransactionVersion is that of the request that writes a marker; 0 where
	// none is known.
	TransactionVersion int16
}

// Appended is where an append went.
type Appended struct {
	// First and Last are the offsets of the first and last record (inclusive).
	First, Last kafka.Offset
	LogStart    kafka.Offset
	// LogAppendTimeMs is the broker's timestamp of the records, -1 where they
	// keep their own.
	LogAppendTimeMs int64
	MaxTimestampMs  int64
	// Duplicate says that the producer had sent the batch before: nothing was
	// written, and the offsets are those of the first time.
	Duplicate bool
}

// run is what one walk over the batches of an append found.
type run struct {
	batches      int
	size         int64
	first, last  kafka.Offset
	maxTimestamp int64
	produced     bool // a batch has a producer id
	epoch        kafka.LeaderEpoch
}

func (r *run) add(v batch.View) {
	if r.batches == 0 {
		r.first, r.maxTimestamp, r.epoch = v.BaseOffset(), v.MaxTimestamp(), v.Epoch()
	}
	r.batches++
	r.size += int64(v.Size())
	r.last = v.LastOffset()
	r.maxTimestamp = max(r.maxTimestamp, v.MaxTimestamp())
	r.produced = r.produced || v.ProducerID() >= 0
	r.epoch = max(r.epoch, v.Epoch())
}

// AppendLeader gives a client's or coordinator's batches the next offsets and
// the leader's epoch, in place, and writes them to the end of the log with one
// write. A client's are one batch, which is validated (batch.Rules). When it
// returns they are in the page cache, or fsynced where flush.messages asks for
// it; whether they are committed is for the high watermark to say. records is the
// caller's again afterwards, perhaps changed.
//
// Errors that are the client's fault are wire errors (MESSAGE_TOO_LARGE,
// CORRUPT_MESSAGE, OUT_OF_ORDER_SEQUENCE_NUMBER ..., or a *batch.Refusal), and
// nothing is written then. KAFKA_STORAGE_ERROR means that the log is offline now.
func (l *Log) AppendLeader(records []byte, epoch kafka.LeaderEpoch, o AppendOptions) (Appended, error) {
	ready, err := l.config.Load().check(records, o)
	if err != nil {
		return Appended{}, err
	}
	l.appending.Lock()
	a, err := l.appendLeader(ready.records, epoch, o)
	a.LogAppendTimeMs = ready.logAppendTimeMs
	due := err == nil && l.flushDue()
	l.appending.Unlock()
	if due {
		err = l.Flush()
	}
	return a, err
}

// flushDue reports whether flush.messages asks for a flush; appending is held.
func (l *Log) flushDue() bool { return l.unflushed >= l.config.Load().FlushMessages }

func (l *Log) appendLeader(records []byte, epoch kafka.LeaderEpoch, o AppendOptions) (Appended, error) {
	if err := l.check(); err != nil {
		return Appended{}, err
	}
	var r run
	next := l.LogEnd()
	for rest := records; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err != nil {
			return Appended{}, refusal(err)
		}
		batch.Restamp(v, next, epoch)
		r.add(v)
		next = v.EndOffset()
		rest = after
	}
	return l.append(records, r, o)
}

// AppendFollower writes batches as the leader has them: with its offsets, which
// may leave gaps, and its epochs. It fails, and writes nothing, where they do
// not continue the log. As with AppendLeader they are fsynced when it returns where
// flush.messages asks for it: the next fetch tells the leader that they are here.
func (l *Log) AppendFollower(records []byte, nowMs int64) (Appended, error) {
	var r run
	next := l.LogEnd()
	for v, err := range batch.All(records) {
		if err != nil {
			return Appended{}, refusal(err)
		}
		if err := v.CheckCRC(); err != nil {
			return Appended{}, refusal(err)
		}
		if v.BaseOffset() < next {
			return Appended{}, fmt.Errorf("append to the follower's log of %s: a batch at offset %d where %d or more is next", l.options.Partition, v.BaseOffset(), next)
		}
		r.add(v)
		next = v.EndOffset()
	}
	if r.batches == 0 {
		return Appended{First: next, Last: next - 1, LogStart: l.LogStart(), LogAppendTimeMs: -1, MaxTimestampMs: -1}, nil
	}
	a, due, err := l.appendFollower(records, r, nowMs)
	if due {
		err = l.Flush()
	}
	return a, err
}

func (l *Log) appendFollower(records []byte, r run, nowMs int64) (a Appended, due bool, err error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	if err := l.check(); err != nil {
		return Appended{}, false, err
	}
	if r.first < l.LogEnd() {
		return Appended{}, false, fmt.Errorf("append to the follower's log of %s: a batch at offset %d while another append moved the end to %d", l.options.Partition, r.first, l.LogEnd())
	}
	r.produced = r.produced && !planted.Is(planted.ForgetProducers)
	a, err = l.append(records, r, AppendOptions{Origin: producer.Replication, NowMs: nowMs})
	return a, err == nil && l.flushDue(), err
}

// append writes checked batches with their final offsets; appending is held.
func (l *Log) append(records []byte, r run, o AppendOptions) (Appended, error) {
	a := Appended{First: r.first, Last: r.last, LogStart: l.LogStart(), LogAppendTimeMs: -1, MaxTimestampMs: r.maxTimestamp}
	c := l.config.Load()
	if r.size > c.SegmentBytes {
		return Appended{}, errors.New(errors.RecordListTooLarge, "the %d bytes of batches are more than a segment holds (segment.bytes is %d)", r.size, c.SegmentBytes)
	}
	if r.produced {
		earlier, duplicate, err := l.admit(records, o)
		if err != nil {
			return Appended{}, err
		}
		if duplicate {
			a.First, a.Last, a.Duplicate = earlier.FirstOffset(), earlier.LastOffset, true
			return a, nil
		}
	}
	s, err := l.room(r, c, o.NowMs)
	if err != nil {
		return Appended{}, l.fail(err)
	}
	if err := s.append(records, c.IndexIntervalBytes); err != nil {
		return Appended{}, l.fail(err)
	}
	if err := l.settle(s, r); err != nil {
		return Appended{}, l.fail(err)
	}
	l.noteEpochs(records, r)
	l.end.Store(int64(r.last) + 1)
	s.size.Add(r.size)
	l.unflushed += int64(r.last-r.first) + 1
	return a, nil
}

// admit checks the batches against what is known of their producers.
func (l *Log) admit(records []byte, o AppendOptions) (earlier producer.Batch, duplicate bool, err error) {
	l.producing.Lock()
	defer l.producing.Unlock()
	l.producers.Begin(o.Origin)
	for rest := records; len(rest) > 0; {
		v, after, err := batch.Next(rest)
		if err != nil {
			panic(fmt.Sprintf("storage: batches that were not checked: %v", err))
		}
		rest = after
		if v.ProducerID() < 0 {
			continue
		}
		earlier, duplicate, err = l.producers.Add(v, o.TransactionVersion)
		if err != nil || duplicate {
			return earlier, duplicate, err
		}
	}
	return producer.Batch{}, false, nil
}

// settle makes the producers' part of an append that has been written count.
func (l *Log) settle(s *segment, r run) error {
	l.producing.Lock()
	defer l.producing.Unlock()
	if !r.produced {
		l.producers.SetEnd(r.last + 1)
		return nil
	}
	if err := s.abort(l.producers.Commit(r.last + 1)); err != nil {
		return err
	}
	l.showUnstable()
	return nil
}

// room returns the segment that takes an append, a new one where the active one
// is full or old (LogSegment.shouldRoll).
func (l *Log) room(r run, c *settings, nowMs int64) (*segment, error) {
	s := l.active()
	size := s.size.Load()
	full := size > 0 && (size+r.size > min(c.SegmentBytes, math.MaxInt32) ||
		s.offsets.full(c.IndexBytes) || s.times.full(c.IndexBytes))
	if !full && int64(r.last-s.base) <= math.MaxInt32 {
		old, err := l.old(s, r, c, nowMs)
		if err != nil || !old {
			return s, err
		}
	}
	return l.roll(r.first, nowMs)
}

// old reports whether the active segment has been filled for segment.ms: by the
// timestamps of its first batch and of the new ones, by the broker's clock where
// records carry none.
func (l *Log) old(s *segment, r run, c *settings, nowMs int64) (bool, error) {
	if s.size.Load() == 0 {
		return false, nil
	}
	first, err := s.firstTimestamp()
	if err != nil {
		return false, err
	}
	age := nowMs - s.createdMs
	if first >= 0 {
		age = r.maxTimestamp - first
	}
	return age > c.SegmentMs-min(l.options.JitterMs, c.SegmentJitterMs), nil
}

// refusal is the wire error of bytes that are no batches.
func refusal(err error) error {
	code := errors.CorruptMessage
	if stderrors.Is(err, batch.ErrMagic) {
		code = errors.UnsupportedForMessageFormat
	}
	return errors.New(code, "%v", err)
}
