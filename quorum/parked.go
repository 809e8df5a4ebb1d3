package quorum

import (
	"sort"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// parkedReply waits for its records to commit and then, if the request changed
// what clients see, until the brokers know them.
type parkedReply struct {
	id         uint64
	need       kafka.Offset // the committed end that frees it
	deadlineMs int64        // 0: none
	response   kmsg.Response
	err        *errors.Error
	brokers    bool  // wait for the brokers after the commit
	giveUpMs   int64 // when to stop waiting for them; 0 before the commit
}

// parkedReplies holds replies in two stages. Both are ordered by need, since
// needs are given in the order of the log.
type parkedReplies struct {
	uncommitted []parkedReply
	propagating []parkedReply
}

func (p *parkedReplies) len() int { return len(p.uncommitted) + len(p.propagating) }

func (p *parkedReplies) add(r parkedReply) { p.uncommitted = append(p.uncommitted, r) }

// cancel forgets a reply that nobody waits for.
func (p *parkedReplies) cancel(id uint64) {
	drop := func(list []parkedReply) []parkedReply {
		for i := range list {
			if list[i].id == id {
				return append(list[:i], list[i+1:]...)
			}
		}
		return list
	}
	p.uncommitted = drop(p.uncommitted)
	p.propagating = drop(p.propagating)
}

// failAll answers everything that waits. Replies whose records are committed
// are good; the others' fate is not known here.
func (p *parkedReplies) failAll(out *Effects, err *errors.Error) {
	for _, r := range p.propagating {
		out.Replies = append(out.Replies, r.reply())
	}
	for _, r := range p.uncommitted {
		out.Replies = append(out.Replies, Reply{ID: r.id, Err: err})
	}
	p.uncommitted, p.propagating = nil, nil
}

func (r *parkedReply) reply() Reply {
	return Reply{ID: r.id, Response: r.response, Err: r.err, End: r.need}
}

// release moves replies whose records are committed, and answers those that
// need no more.
func (c *Core) release() {
	end := c.end()
	p := &c.parked
	n := 0
	for ; n < len(p.uncommitted) && p.uncommitted[n].need <= end; n++ {
		r := p.uncommitted[n]
		if r.brokers && c.cfg.PropagationWaitMs > 0 && r.err == nil {
			r.giveUpMs = c.now + c.cfg.PropagationWaitMs
			p.propagating = append(p.propagating, r)
			continue
		}
		c.out.Replies = append(c.out.Replies, r.reply())
	}
	p.uncommitted = p.uncommitted[n:]
	c.releasePropagated()
	c.expireParked()
}

// waitsBetween says whether a reply waits for the brokers that needs more than
// from, and no more than to.
func (p *parkedReplies) waitsBetween(from, to kafka.Offset) bool {
	i := sort.Search(len(p.propagating), func(i int) bool { return p.propagating[i].need > from })
	return i < len(p.propagating) && p.propagating[i].need <= to
}

// releasePropagated answers replies whose records every unfenced broker knows,
// or has had long enough to learn.
func (c *Core) releasePropagated() {
	p := &c.parked
	if len(p.propagating) == 0 {
		return
	}
	seen := c.seenByAll()
	n := 0
	for ; n < len(p.propagating); n++ {
		r := p.propagating[n]
		if r.need > seen && c.now < r.giveUpMs {
			break
		}
		if r.need > seen {
			c.stats.RepliesWithoutWait++
			c.noteLate(r.need)
		}
		c.out.Replies = append(c.out.Replies, r.reply())
	}
	p.propagating = p.propagating[n:]
}

// expireParked answers REQUEST_TIMED_OUT to those whose client gives up. Their
// records stay in the log's way: the client must not assume either outcome.
func (c *Core) expireParked() {
	p := &c.parked
	kept := p.uncommitted[:0]
	for _, r := range p.uncommitted {
		if r.deadlineMs > 0 && c.now >= r.deadlineMs {
			c.out.Replies = append(c.out.Replies, Reply{ID: r.id, Err: errors.New(errors.RequestTimedOut,
				"the controllers did not commit the request in time: it may still happen")})
			continue
		}
		kept = append(kept, r)
	}
	p.uncommitted = kept
}

// nextDeadline is the earliest time at which release has something to do, 0 if
// nothing waits.
func (p *parkedReplies) nextDeadline() int64 {
	var next int64
	earliest := func(t int64) {
		if t > 0 && (next == 0 || t < next) {
			next = t
		}
	}
	for i := range p.uncommitted {
		earliest(p.uncommitted[i].deadlineMs)
	}
	if len(p.propagating) > 0 {
		earliest(p.propagating[0].giveUpMs)
	}
	return next
}
