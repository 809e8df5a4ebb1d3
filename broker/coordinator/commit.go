package coordinator

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// committing is what is appended and not yet below the high watermark.
type committing struct {
	// committed is the state that reads see; nil while that is the newest.
	committed *group.State
	// snapshots are the states after each append, oldest first.
	snapshots []snapshot
	// waiting are the answers, in the order of what they wait for.
	waiting []waiting
	waits   bool // a goroutine waits for the high watermark
}

type snapshot struct {
	end   kafka.Offset
	state *group.State
}

type waiting struct {
	end      kafka.Offset
	byMs     int64 // offsets.commit.timeout.ms
	request  *request
	response kmsg.Response
}

// maxSnapshots bounds the states that are kept while the high watermark stands
// still; when there are more, the newest stands for those after it.
const maxSnapshots = 64

// view is the state that reads see: what is committed.
func (s *shard) view() *group.State {
	switch {
	case s.committed != nil:
		return s.committed
	case s.saved != nil:
		return s.saved
	default:
		return s.state
	}
}

// loaded begins with a state of which a part may not be committed.
func (s *shard) loaded(hw kafka.Offset) {
	if s.state.End() <= hw {
		s.committed = nil
		return
	}
	if s.committed == nil {
		s.committed = new(group.State)
	}
	s.snapshots = append(s.snapshots, snapshot{s.state.End(), s.state.Clone()})
}

// appended notes the state after an append.
func (s *shard) appended(end kafka.Offset) {
	if s.committed == nil {
		s.committed = s.saved.Clone()
	}
	n := snapshot{end, s.state.Clone()}
	if len(s.snapshots) == maxSnapshots {
		s.snapshots[maxSnapshots-1] = n
	} else {
		s.snapshots = append(s.snapshots, n)
	}
}

// reply gives an answer when all below end is committed.
func (s *shard) reply(r *request, response kmsg.Response, end kafka.Offset) {
	s.waiting = append(s.waiting, waiting{end, s.nowMs() + s.owner.commitTimeout.Milliseconds(), r, response})
	s.count(1)
}

// settle gives the answers that the high watermark has reached.
func (s *shard) settle() {
	if s.phase != active {
		return
	}
	hw := s.log.HighWatermark()
	n := 0
	for n < len(s.snapshots) && s.snapshots[n].end <= hw {
		s.committed = s.snapshots[n].state
		n++
	}
	s.snapshots = drop(s.snapshots, n)
	if len(s.snapshots) == 0 {
		s.committed = nil
	}
	for n = 0; n < len(s.waiting) && s.waiting[n].end <= hw; n++ {
		w := &s.waiting[n]
		w.request.done <- result{response: w.response}
	}
	s.waiting = drop(s.waiting, n)
	s.count(-n)
}

// giveUp answers those that have waited too long. What they asked for may still
// be committed, as with any timeout.
func (s *shard) giveUp(nowMs int64) {
	n := 0
	for n < len(s.waiting) && s.waiting[n].byMs <= nowMs {
		s.waiting[n].request.fail(errors.CoordinatorNotAvailable)
		n++
	}
	s.waiting = drop(s.waiting, n)
	s.count(-n)
	s.owner.metrics.CommitTimeouts.Add(int64(n))
}

// drop removes the first n of a queue; the memory of an empty one is kept.
func drop[T any](q []T, n int) []T {
	rest := copy(q, q[n:])
	clear(q[rest:])
	return q[:rest]
}

// await has the loop woken up when the high watermark moves as far as the first
// who waits needs.
func (s *shard) await(ctx context.Context) {
	if s.waits || s.phase != active || len(s.snapshots) == 0 {
		return
	}
	upTo := s.snapshots[0].end
	s.waits = true
	s.done.Go(func() {
		err := s.log.WaitCommitted(ctx, upTo)
		s.mu.Lock()
		s.waited, s.waitErr = true, err
		s.mu.Unlock()
		s.poke()
	})
}

func (s *shard) waitOver(err error) {
	s.waits = false
	if err != nil && s.phase == active {
		s.depose(err) // whatever it is, asking again would not help
	}
}
