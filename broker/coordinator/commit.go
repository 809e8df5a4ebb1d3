package coordinator

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/internal/planted"
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
	// inherited is the end of what was loaded.
	inherited kafka.Offset
}

type snapshot struct {
	end   kafka.Offset
	state *group.State
}

type waiting struct {
	end      kafka.Offset
	byMs     int64 // offsets.commit.timeout.ms
	request  *Request
	response kmsg.Response // of a plain request it is made when it is given
}

// maxSnapshots bounds the states that are kept while the high watermark stands
// still; when there are more, the newest stands for those after it.
const maxSnapshots = 64

// view is the state that reads see: what is committed.
func (c *Core) view() *group.State {
	switch {
	case planted.Is(planted.ReadUncommitted):
		return c.state
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
	c.inherited = c.state.End()
	if c.state.End() <= hw {
		c.committed = nil
		return
	}
	if c.committed == nil {
		c.committed = new(group.State)
	}
	c.snapshots = append(c.snapshots, snapshot{c.state.End(), c.state.Clone()})
}

// show answers with committed offsets. A new leader does not know yet how much of its
// log is committed: what the one before it has acknowledged may lie above its high
// watermark, and would seem to go back. Until all of that is committed reads wait.
func (c *Core) show(r *Request) {
	if c.committed == nil || c.committed.End() >= c.inherited || planted.Is(planted.ShowInherited) {
		c.give(waiting{request: r})
		return
	}
	end := c.inherited
	if n := len(c.waiting); n > 0 {
		end = max(end, c.waiting[n-1].end)
	}
	c.reply(r, nil, end)
}

// give gives an answer.
func (c *Core) give(w waiting) {
	if w.request.plain() {
		w.response = fetched(c.view(), w.request.body.(*kmsg.OffsetFetchRequest))
	}
	w.request.done <- result{response: w.response}
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
	for n = 0; n < len(c.waiting) && (c.waiting[n].end <= seen || planted.Is(planted.AnswerUncommitted)); n++ {
		c.give(c.waiting[n])
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
