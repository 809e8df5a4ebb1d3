package raft

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/protocol/batch"
)

const (
	// maxOpen and maxOpenBytes bound the proposals without an outcome. The bytes
	// are those that dragonboat would hold in memory at most.
	maxOpen      = 1024
	maxOpenBytes = maxInMemLog
	// proposeTimeout ends dragonboat's wait for one copy of a command. Another
	// copy follows while this replica leads.
	proposeTimeout = 2 * time.Second
	// retryAfter is the pause before a command is proposed again.
	retryAfter = 5 * time.Millisecond
)

// proposal is a command on its way to an outcome.
type proposal struct {
	cmd  []byte
	kind commandKind
	// epoch and base are an append's conditions.
	epoch kafka.LeaderEpoch
	base  kafka.Offset
	// term is the raft term by which this replica led when it was made.
	term uint64
	done func(Outcome, error)
	// refused is an outcome that needed no proposal.
	refused error

	// request is the copy that dragonboat has; nil when there is none.
	request *dragonboat.RequestState
	// first says that nothing was open before it when that copy was made.
	first bool
	// unknown says that an earlier copy may have been committed.
	unknown bool
}

// proposer brings proposals to their outcome, in order. Its goroutine runs from
// start to stop; everything but the inbox belongs to it.
type proposer struct {
	propose func(cmd []byte) (*dragonboat.RequestState, error)
	leads   *leadership
	store   *metadatalog.Store

	mu    sync.Mutex
	inbox []*proposal
	open  int // proposals without an outcome, and their bytes
	bytes int
	ended bool // the goroutine takes no more

	posted chan struct{} // of 1
	queue  []*proposal
	// pause is set after a refusal: nothing is proposed until it fires.
	pause  *time.Timer
	paused bool
}

func newProposer(store *metadatalog.Store, leads *leadership, propose func([]byte) (*dragonboat.RequestState, error)) *proposer {
	return &proposer{propose: propose, leads: leads, store: store, posted: make(chan struct{}, 1)}
}

// post takes a proposal; its done will be called by the goroutine.
func (p *proposer) post(x *proposal) {
	x.term = p.leads.now.Load().Term
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	switch {
	case len(x.cmd) > claimFixed+2*maxPropose || x.kind == kindAppend && len(x.cmd) > appendHead+maxPropose:
		x.refused = ErrTooLarge
	case p.open >= maxOpen || p.bytes+len(x.cmd) > maxOpenBytes:
		x.refused = ErrBusy
	}
	p.open++
	p.bytes += len(x.cmd)
	p.inbox = append(p.inbox, x) // refused ones, too: their callers wait for done
	wake(p.posted)
}

// run is the goroutine. It ends with ctx; what is open then is ErrClosed.
func (p *proposer) run(ctx context.Context) {
	p.pause = time.NewTimer(time.Hour)
	defer p.pause.Stop()
	for {
		p.mu.Lock()
		p.queue, p.inbox = append(p.queue, p.inbox...), nil
		p.mu.Unlock()
		p.dropStale()
		p.submit()
		var result chan dragonboat.RequestResult
		if len(p.queue) > 0 && p.queue[0].request != nil {
			result = p.queue[0].request.ResultC()
		}
		select {
		case r := <-result:
			p.settle(p.queue[0], r)
		case <-p.posted:
		case <-p.leads.changed:
		case <-p.pause.C:
			p.paused = false
		case <-ctx.Done():
			p.mu.Lock()
			p.queue, p.inbox, p.ended = append(p.queue, p.inbox...), nil, true
			p.mu.Unlock()
			for len(p.queue) > 0 {
				err := ErrClosed
				if refused := p.queue[0].refused; refused != nil {
					err = refused
				}
				p.finish(Outcome{}, err)
			}
			return
		}
	}
}

// dropStale ends what cannot be proposed again, because the leadership by which
// it was made is over, so that the claim of a new one does not wait for it.
func (p *proposer) dropStale() {
	for len(p.queue) > 0 {
		x := p.queue[0]
		switch {
		case x.refused != nil:
			p.finish(Outcome{}, x.refused)
		case !p.leads.leads(x.term):
			p.finish(Outcome{}, ErrIndeterminate)
		default:
			return
		}
	}
}

// submit gives dragonboat a copy of every command that has none, in order. It
// stops at the first that is refused, so that no later one overtakes it.
func (p *proposer) submit() {
	if p.paused {
		return
	}
	for i, x := range p.queue {
		if x.request != nil || x.refused != nil {
			continue
		}
		if i > 0 && p.queue[i-1].request == nil && p.queue[i-1].refused == nil {
			return
		}
		request, err := p.propose(x.cmd)
		if err != nil { // full or not ready: nothing was proposed
			p.wait()
			return
		}
		x.request, x.first = request, i == 0
	}
}

func (p *proposer) wait() {
	p.paused = true
	p.pause.Reset(retryAfter)
}

// settle takes the result of the first proposal's copy.
func (p *proposer) settle(x *proposal, r dragonboat.RequestResult) {
	x.request.Release()
	x.request = nil
	switch {
	case r.Completed():
		p.judge(x, r.GetResult().Value, r.GetResult().Data)
	case r.Terminated():
		p.finish(Outcome{}, ErrClosed)
	case r.Dropped():
		p.wait()
	default: // timed out: it may be committed, and may be yet
		x.unknown = true
		p.wait()
	}
}

// judge turns the state machine's answer to one copy into an outcome, unless
// the answer only says that the copy came at the wrong moment.
func (p *proposer) judge(x *proposal, value uint64, data []byte) {
	if value == resultUnknown || len(data) != outcomeSize {
		p.finish(Outcome{}, ErrUnknownCommand)
		return
	}
	o := Outcome{
		Accepted: value == resultAccepted,
		Epoch:    kafka.LeaderEpoch(binary.BigEndian.Uint32(data)),
		Leader:   kafka.NodeID(binary.BigEndian.Uint32(data[4:])),
		End:      kafka.Offset(binary.BigEndian.Uint64(data[8:])),
	}
	if !o.Accepted && x.kind == kindAppend && o.Epoch == x.epoch {
		switch {
		case o.End < x.base && !x.first:
			return // it overtook one that is proposed again; its turn comes
		case o.End > x.base && x.unknown && p.stored(x):
			o.Accepted = true // by an earlier copy
		}
	}
	p.finish(o, nil)
}

// stored reports whether the log holds exactly the batches of an append at its
// base: within one epoch only its leader appends, each offset once.
func (p *proposer) stored(x *proposal) bool {
	want := x.cmd[appendHead:]
	for at := x.base; len(want) > 0; {
		data, err := p.store.Read(at, len(want))
		if err != nil || len(data) == 0 || len(data) > len(want) || !bytes.Equal(data, want[:len(data)]) {
			return false
		}
		want = want[len(data):]
		at = endOf(data)
	}
	return true
}

// finish gives the first proposal its outcome.
func (p *proposer) finish(o Outcome, err error) {
	x := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.mu.Lock()
	p.open--
	p.bytes -= len(x.cmd)
	p.mu.Unlock()
	x.done(o, err)
}

// endOf is the offset after whole batches of the store.
func endOf(batches []byte) kafka.Offset {
	end := kafka.NoOffset
	for v, err := range batch.All(batches) {
		if err != nil {
			return kafka.NoOffset
		}
		end = v.EndOffset()
	}
	return end
}
