package coordinator

import (
	"context"
	"sync"
	"testing"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// memLog is a partition in memory, with faults.
type memLog struct {
	t  testing.TB
	mu sync.Mutex
	// changed is closed and replaced when the high watermark or the leader changes.
	changed  chan struct{}
	batches  []batch.View
	versions []int16 // transaction versions of the appends
	end, hw  kafka.Offset
	epoch    kafka.LeaderEpoch
	maxBatch int
	held     bool // the high watermark stays where it is
	refuse   error
	// entered gets a value when an append begins, and the append goes on when gate
	// gives one; nil: at once.
	entered, gate chan struct{}
	loading       chan struct{} // Read waits until it is closed; nil: does not
	appends       int
}

func newMemLog(t testing.TB) *memLog {
	return &memLog{t: t, changed: make(chan struct{}), maxBatch: 1 << 20}
}

// lead begins a leader epoch and returns the log as its leader sees it.
func (m *memLog) lead() *ledLog {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	m.wakeUp()
	return &ledLog{m, m.epoch}
}

func (m *memLog) wakeUp() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// hold stops the high watermark, or lets it go to the end.
func (m *memLog) hold(held bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held = held; !held {
		m.hw = m.end
		m.wakeUp()
	}
}

// reach moves a high watermark that is held.
func (m *memLog) reach(hw kafka.Offset) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hw = hw
	m.wakeUp()
}

// some is a batch that a coordinator could have written.
func (m *memLog) some() []byte {
	r := group.Nothing()
	b := batch.NewBuilder(batch.None.Default())
	b.SetProducer(-1, -1, 0, false)
	b.Add(0, r.Key, r.Value)
	return b.AppendTo(nil, 0, 0)
}

func (m *memLog) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

// cut loses batches from the tail, as a failover does to what is not committed.
func (m *memLog) cut(keep int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.batches) > keep && m.batches[len(m.batches)-1].BaseOffset() >= m.hw {
		m.batches = m.batches[:len(m.batches)-1]
	}
	m.end = 0
	if n := len(m.batches); n > 0 {
		m.end = m.batches[n-1].EndOffset()
	}
}

func (m *memLog) count() (batches, records int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.batches {
		records += int(b.Count())
	}
	return len(m.batches), records
}

// ledLog is a memLog in one leader epoch.
type ledLog struct {
	*memLog
	led kafka.LeaderEpoch
}

func (l *ledLog) Start() kafka.Offset { return 0 }

func (l *ledLog) End() kafka.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

func (l *ledLog) HighWatermark() (kafka.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hw, l.check()
}

func (l *ledLog) MaxBatch() int { return l.maxBatch }

func (l *ledLog) check() error {
	if l.epoch != l.led {
		return errors.New(errors.NotLeaderOrFollower, "epoch %d leads, not %d", l.epoch, l.led)
	}
	return nil
}

func (l *ledLog) Append(records []byte, _ int64, transactionVersion int16) (kafka.Offset, error) {
	if l.gate != nil {
		l.entered <- struct{}{}
		<-l.gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.versions = append(l.versions, transactionVersion)
	if err := l.check(); err != nil {
		return 0, err
	}
	if l.refuse != nil {
		return 0, l.refuse
	}
	v, rest, err := batch.Next(append([]byte(nil), records...))
	if err != nil || len(rest) > 0 || v.CheckCRC() != nil || v.Size() > l.maxBatch {
		l.t.Errorf("append of %d bytes: %v, %d bytes after it", len(records), err, len(rest))
	}
	if !v.Control() && v.BaseSequence() != 0 { // as in Apache 4.3.1's logs
		l.t.Errorf("a coordinator's batch of producer %d has sequence %d", v.ProducerID(), v.BaseSequence())
	}
	first := l.end
	batch.Restamp(v, first, l.led)
	l.batches = append(l.batches, v)
	l.end = v.EndOffset()
	l.appends++
	if !l.held {
		l.hw = l.end
		l.wakeUp()
	}
	return first, nil
}

func (l *ledLog) Read(dst []byte, from kafka.Offset, maxBytes int) ([]byte, error) {
	if l.loading != nil {
		<-l.loading
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(); err != nil {
		return dst, err
	}
	n := 0
	for _, b := range l.batches {
		if b.EndOffset() <= from {
			continue
		}
		if n > 0 && n+len(b) > maxBytes {
			break
		}
		dst, n = append(dst, b...), n+len(b)
	}
	return dst, nil
}

func (l *ledLog) WaitCommitted(ctx context.Context, upTo kafka.Offset) error {
	for {
		l.mu.Lock()
		err, hw, changed := l.check(), l.hw, l.changed
		l.mu.Unlock()
		if err != nil || hw >= upTo {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
