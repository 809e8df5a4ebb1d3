package coordinator

import (
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
}

type snapshot struct {
	end   kafka.Offset
	state *group.State
}

type waiting struct {
	end      kafka.Offset
	byMs     int64 // offsets.commit.timeout.ms
	request  *Request
	response kmsg.Response
}

// maxSnapshots bounds the states that are kept while the high watermark stands
// still; when there are more, the newest stands for those after it.
const maxSnapshots = 64

// view is the state that reads see: what is committed.
func (c *Core) view() *group.State {
	switch {
	case c.committed != nil:
		return c.committed
	case c.saved != nil:
		return c.saved
	default:
		return c.state
	}
}

// loaded begins with a state of which a part may not be committed.
func (c *Core) loaded(hw kafka.Offset) {
	if c.state.End() <= hw {
		c.committed = nil
		return
	}
	if c.committed == nil {
		c.committed = new(group.State)
	}
	c.snapshots = append(c.snapshots, snapshot{c.state.End(), c.state.Clone()})
}

// appended notes the state after an append.
func (c *Core) appended(end kafka.Offset) {
	if c.committed == nil {
		c.committed = c.saved.Clone()
	}
	n := snapshot{end, c.state.Clone()}
	if len(c.snapshots) == maxSnapshots {
		c.snapshots[maxSnapshots-1] = n
	} else {
		c.snapshots = append(c.snapshots, n)
	}
}

// reply gives an answer when all below end is committed.
func (c *Core) reply(r *Request, response kmsg.Response, end kafka.Offset) {
	c.waiting = append(c.waiting, waiting{end, c.NowMs() + c.CommitTimeout.Milliseconds(), r, response})
}

// settle gives the answers that the high watermark has reached.
func (c *Core) settle() {
	hw, err := c.Log.HighWatermark()
	if err != nil {
		c.Lost(err)
		return
	}
	n := 0
	for n < len(c.snapshots) && c.snapshots[n].end <= hw {
		c.committed = c.snapshots[n].state
		n++
	}
	c.snapshots = drop(c.snapshots, n)
	if len(c.snapshots) == 0 {
		c.committed = nil
	}
	seen := hw // by reads: nothing is answered that they do not see
	if c.committed != nil {
		seen = min(hw, c.committed.End())
	}
	for n = 0; n < len(c.waiting) && c.waiting[n].end <= seen; n++ {
		w := &c.waiting[n]
		w.request.done <- result{response: w.response}
	}
	c.waiting = drop(c.waiting, n)
}

// giveUp answers those that have waited too long. What they asked for may still
// be committed, as with any timeout.
func (c *Core) giveUp(nowMs int64) {
	n := 0
	for n < len(c.waiting) && c.waiting[n].byMs <= nowMs {
		c.waiting[n].request.fail(errors.CoordinatorNotAvailable)
		n++
	}
	c.waiting = drop(c.waiting, n)
	c.Metrics.CommitTimeouts.Add(int64(n))
}

// drop removes the first n of a queue; the memory of an empty one is kept.
func drop[T any](q []T, n int) []T {
	rest := copy(q, q[n:])
	clear(q[rest:])
	return q[:rest]
}
