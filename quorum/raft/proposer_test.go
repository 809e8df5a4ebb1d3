package raft

import (
	"context"
	"testing"

	"github.com/lni/dragonboat/v4"

	"kvorum/internal/kafka"
)

// proposerOn runs a proposer of its own on a controller, with a say in what
// becomes of each copy of a command.
func proposerOn(t *testing.T, n *testNode, propose func(attempt int, cmd []byte) (*dragonboat.RequestState, error)) (*proposer, func()) {
	attempt := 0
	p := newProposer(n.store, n.host.leads, func(cmd []byte) (*dragonboat.RequestState, error) {
		attempt++
		return propose(attempt, cmd)
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		p.run(ctx)
		close(done)
	}()
	return p, func() { cancel(); <-done }
}

func (p *proposer) appendData(epoch kafka.LeaderEpoch, base kafka.Offset, size int, outcomes chan<- answered) {
	c := command{kind: kindAppend, epoch: epoch, base: base, batches: data(base, epoch, size)}
	p.post(&proposal{cmd: c.append(nil), kind: c.kind, epoch: epoch, base: base, done: func(o Outcome, err error) { outcomes <- answered{o, err} }})
}

// unanswered is a request whose result never comes.
func unanswered() *dragonboat.RequestState {
	//lint:ignore SA1019 there is no other way to make one
	return &dragonboat.RequestState{CompletedC: make(chan dragonboat.RequestResult, 1)}
}

// timedOut is a request that has timed out: the zero result.
func timedOut() *dragonboat.RequestState {
	request := unanswered()
	request.ResultC() <- dragonboat.RequestResult{}
	return request
}

// A copy that is committed although its proposer heard of a timeout is found
// when the next copy is rejected: the records are there once, and the answer is
// yes.
func TestCommittedAfterTimeout(t *testing.T) {
	c := startCluster(t, 1)
	n, claim := c.lead()
	p, stop := proposerOn(t, n, func(attempt int, cmd []byte) (*dragonboat.RequestState, error) {
		request, err := n.host.node.Propose(n.host.node.GetNoOPSession(ShardID), cmd, proposeTimeout)
		if err != nil || attempt > 2 {
			return request, err
		}
		<-request.ResultC() // it is committed
		return timedOut(), nil
	})
	defer stop()
	outcomes := make(chan answered, 2)
	p.appendData(claim.Epoch, claim.End, 10, outcomes)
	p.appendData(claim.Epoch, claim.End+1, 10, outcomes)
	for range 2 {
		if a := <-outcomes; a.err != nil || !a.Accepted || a.End != claim.End+2 {
			t.Errorf("outcome %+v", a)
		}
	}
	if end := n.store.EndOffset(); end != claim.End+2 {
		t.Errorf("the log ends at %d instead of %d", end, claim.End+2)
	}
}

// Records of somebody else at the same offset are no proof.
func TestRejectedAfterTimeout(t *testing.T) {
	c := startCluster(t, 1)
	n, claim := c.lead()
	p, stop := proposerOn(t, n, func(attempt int, cmd []byte) (*dragonboat.RequestState, error) {
		if attempt == 1 {
			if a := n.append(claim.Epoch, claim.End, 11); !a.Accepted {
				t.Errorf("append %+v", a)
			}
			return timedOut(), nil
		}
		return n.host.node.Propose(n.host.node.GetNoOPSession(ShardID), cmd, proposeTimeout)
	})
	defer stop()
	outcomes := make(chan answered, 1)
	p.appendData(claim.Epoch, claim.End, 10, outcomes)
	if a := <-outcomes; a.err != nil || a.Accepted || a.End != claim.End+1 {
		t.Errorf("outcome %+v", a)
	}
}

// A full queue delays proposals and keeps their order; a command that is lost
// makes those behind it wait for its next copy.
func TestBusyAndLost(t *testing.T) {
	c := startCluster(t, 1)
	n, claim := c.lead()
	p, stop := proposerOn(t, n, func(attempt int, cmd []byte) (*dragonboat.RequestState, error) {
		switch {
		case attempt < 4:
			return nil, dragonboat.ErrSystemBusy
		case attempt == 4 || attempt == 7: // lost on the way
			return timedOut(), nil
		}
		return n.host.node.Propose(n.host.node.GetNoOPSession(ShardID), cmd, proposeTimeout)
	})
	defer stop()
	const count = 20
	outcomes := make(chan answered, count)
	for i := range kafka.Offset(count) {
		p.appendData(claim.Epoch, claim.End+i, 10, outcomes)
	}
	for i := range kafka.Offset(count) {
		if a := <-outcomes; a.err != nil || !a.Accepted || a.End < claim.End+i+1 {
			t.Errorf("proposal %d: %+v", i, a)
		}
	}
	if end := n.store.EndOffset(); end != claim.End+count {
		t.Errorf("the log ends at %d instead of %d", end, claim.End+count)
	}
}

// Limits are definite answers, and Close answers what is open.
func TestProposerLimits(t *testing.T) {
	c := startCluster(t, 1)
	n, claim := c.lead()
	p, stop := proposerOn(t, n, func(int, []byte) (*dragonboat.RequestState, error) {
		return unanswered(), nil
	})
	outcomes := make(chan answered, maxOpen+10)
	for range maxOpen {
		p.appendData(claim.Epoch, claim.End, 10, outcomes)
	}
	p.appendData(claim.Epoch, claim.End, 10, outcomes)
	p.appendData(claim.Epoch, claim.End, maxPropose, outcomes)
	stop()
	for i := range maxOpen + 2 {
		want := ErrClosed
		switch i {
		case maxOpen:
			want = ErrBusy
		case maxOpen + 1:
			want = ErrTooLarge
		}
		if a := <-outcomes; a.err != want {
			t.Fatalf("proposal %d: %v instead of %v", i, a.err, want)
		}
	}
	if a := n.append(claim.Epoch, claim.End, maxPropose); a.err != ErrTooLarge {
		t.Errorf("8 MiB and a header: %+v", a)
	}
}
