package raft

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"kvorum/internal/clock"
	"kvorum/internal/kafka"
)

// agreement is what one controller knows while the first membership is not
// settled. It is a value with decisions and no I/O; bootstrapper drives it.
//
// A controller settles a membership when all configured controllers, asked one
// after the other, have named the same formatting for every one of them; or
// when one of them has settled already. Two memberships can then never be
// settled, even when a directory is formatted anew in the middle: whoever
// settles one needs every controller's word for it, and a controller never goes
// back from a newer formatting of a peer to an older one, because it asks one
// question at a time and the older one has stopped to exist when the newer one
// answers. docs/design/0001-raft-identity.md has the argument in full.
type agreement struct {
	self   Replica
	peers  []Peer // all controllers, this one included
	origin origin
	heard  map[kafka.NodeID]exchange // the latest answer of each peer
	why    map[kafka.NodeID]string   // why a peer's answer does not help
}

func newAgreement(self Replica, peers []Peer, o origin) *agreement {
	return &agreement{self: self, peers: peers, origin: o, heard: map[kafka.NodeID]exchange{}, why: map[kafka.NodeID]string{}}
}

// vector is this replica and every peer's as last heard.
func (a *agreement) vector() []Replica {
	out := []Replica{a.self}
	for _, e := range a.heard {
		out = append(out, e.self)
	}
	sortReplicas(out)
	return out
}

// mine is what this controller tells others.
func (a *agreement) mine() exchange {
	return exchange{self: a.self, members: a.vector(), origin: a.origin}
}

// hear takes the answer of the configured peer p, or why there was none.
func (a *agreement) hear(p Peer, e exchange, err error) {
	switch {
	case err != nil:
		a.why[p.NodeID] = err.Error()
	case e.self.NodeID != p.NodeID || e.self.DirectoryID != p.DirectoryID && !e.settled:
		// One that has settled may have been replaced since this directory's list of
		// controllers was written; its membership is the truth, not that list.
		a.why[p.NodeID] = fmt.Sprintf("it is %v, but directory %s is configured", e.self, p.DirectoryID)
	default:
		delete(a.why, p.NodeID)
		a.heard[p.NodeID] = e
	}
}

// settled is the outcome of an agreement.
type settled struct {
	members []Replica
	origin  origin
}

// settle decides. It returns nil to go on asking; an error is final: this
// directory cannot be part of that quorum.
func (a *agreement) settle() (*settled, error) {
	for _, p := range a.peers {
		if e, ok := a.heard[p.NodeID]; ok && e.settled {
			if err := a.included(e); err != nil {
				return nil, err
			}
			if e.origin != a.origin {
				return nil, fmt.Errorf("raft: the quorum began, as node %d says, with %v, but this directory has %v: import the same directories on every controller", e.self.NodeID, e.origin, a.origin)
			}
			return &settled{members: e.members, origin: e.origin}, nil
		}
	}
	vector := a.vector()
	if len(vector) != len(a.peers) {
		return nil, nil
	}
	for _, p := range a.peers {
		if e, ok := a.heard[p.NodeID]; ok && (!slices.Equal(e.members, vector) || e.origin != a.origin) {
			return nil, nil
		}
	}
	return &settled{members: vector, origin: a.origin}, nil
}

// included checks that a settled quorum has this very formatting as a member.
func (a *agreement) included(e exchange) error {
	for _, r := range e.members {
		if r == a.self {
			return nil
		}
		if r.NodeID == a.self.NodeID || r.DirectoryID == a.self.DirectoryID {
			return fmt.Errorf("raft: node %d is known to the quorum (node %d says) as %v, but this directory is %v: its disk was lost or formatted anew, and a replica that forgot its votes must not come back under its old name; run `kvorum storage replace-controller`", a.self.NodeID, e.self.NodeID, r, a.self)
		}
	}
	return fmt.Errorf("raft: the quorum of node %d runs without node %d: its members are %v", e.self.NodeID, a.self.NodeID, e.members)
}

// missing are the controllers that keep the agreement from being settled, with
// what is known about each.
func (a *agreement) missing() []Missing {
	var out []Missing
	vector := a.vector()
	for _, p := range a.peers {
		if p.NodeID == a.self.NodeID {
			continue
		}
		e, ok := a.heard[p.NodeID]
		switch why := a.why[p.NodeID]; {
		case why != "":
			out = append(out, Missing{p.NodeID, why})
		case !ok:
			out = append(out, Missing{p.NodeID, "not heard yet"})
		case e.origin != a.origin:
			out = append(out, Missing{p.NodeID, fmt.Sprintf("it has %v, this one has %v: import the same directories on every controller", e.origin, a.origin)})
		case len(vector) == len(a.peers) && !slices.Equal(e.members, vector):
			out = append(out, Missing{p.NodeID, fmt.Sprintf("it has heard of %d of %d controllers, or of others", len(e.members), len(a.peers))})
		}
	}
	return out
}

// Missing is a controller that the first start of a quorum waits for.
type Missing struct {
	NodeID kafka.NodeID
	Why    string
}

// bootstrapper runs an agreement over the network until it is settled.
type bootstrapper struct {
	net    *network
	logger *slog.Logger
	// every is the time between two questions to one peer, report the time
	// between two lines in the log.
	every, report time.Duration

	mu sync.Mutex // guards the agreement: questions and answers come at once
	a  *agreement
}

const (
	askEvery    = 50 * time.Millisecond
	reportEvery = 5 * time.Second
)

// mine is the answer to a peer's question.
func (b *bootstrapper) mine() exchange {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.a.mine()
}

// missing is agreement.missing for any goroutine.
func (b *bootstrapper) missing() []Missing {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.a.missing()
}

// run asks until the membership is settled or ctx ends.
func (b *bootstrapper) run(ctx context.Context) (*settled, error) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	changed := make(chan struct{}, 1)
	for _, p := range b.a.peers {
		if p.NodeID != b.a.self.NodeID {
			wait.Go(func() { b.askRepeatedly(ctx, p, changed) })
		}
	}
	report := time.NewTicker(b.report)
	defer report.Stop()
	for {
		b.mu.Lock()
		s, err := b.a.settle()
		b.mu.Unlock()
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("raft: stopped while waiting for the first start of the quorum: %w", ctx.Err())
		case <-changed:
		case <-report.C:
			b.logger.Info("raft: waiting for the other controllers to form the quorum", "missing", describeMissing(b.missing()))
		}
	}
}

// askRepeatedly asks one peer, one question after the other: agreement's proof
// needs that no answer overtakes a later one.
func (b *bootstrapper) askRepeatedly(ctx context.Context, p Peer, changed chan<- struct{}) {
	for ctx.Err() == nil {
		askCtx, cancel := context.WithTimeout(ctx, dialTimeout+helloTimeout)
		e, err := b.net.ask(askCtx, p.NodeID, b.mine())
		cancel()
		b.mu.Lock()
		b.a.hear(p, e, err)
		b.mu.Unlock()
		select {
		case changed <- struct{}{}:
		default:
		}
		clock.Rest(ctx, b.every)
	}
}

func describeMissing(missing []Missing) string {
	var parts []string
	for _, m := range missing {
		parts = append(parts, fmt.Sprintf("node %d: %s", m.NodeID, m.Why))
	}
	return strings.Join(parts, "; ")
}
