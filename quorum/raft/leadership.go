package raft

import (
	"sync/atomic"

	"github.com/lni/dragonboat/v4/raftio"

	"kvorum/internal/kafka"
)

// leadership passes raft's opinion on, from dragonboat's goroutine, which must
// never wait, to one reader and to the proposer.
type leadership struct {
	self   ReplicaID
	nodeOf func(ReplicaID) kafka.NodeID
	// now is stored before it is delivered: who acts on a delivered one finds at
	// least that one here.
	now     atomic.Pointer[Leadership]
	deliver chan Leadership // of 1: the newest
	changed chan struct{}   // of 1: wakes the proposer
}

func newLeadership(self ReplicaID, nodeOf func(ReplicaID) kafka.NodeID) *leadership {
	l := &leadership{self: self, nodeOf: nodeOf, deliver: make(chan Leadership, 1), changed: make(chan struct{}, 1)}
	l.now.Store(&Leadership{Leader: kafka.NoNode})
	return l
}

// LeaderUpdated is called by one goroutine of dragonboat.
func (l *leadership) LeaderUpdated(info raftio.LeaderInfo) {
	n := Leadership{Term: info.Term, Leader: kafka.NoNode, Self: info.LeaderID == uint64(l.self)}
	if info.LeaderID != raftio.NoLeader {
		n.Leader = l.nodeOf(ReplicaID(info.LeaderID))
	}
	l.now.Store(&n)
	wake(l.changed)
	for {
		select {
		case l.deliver <- n:
			return
		default:
		}
		select {
		case <-l.deliver: // an older one that nobody has taken
		default:
		}
	}
}

// leads reports whether this replica leads by a term.
func (l *leadership) leads(term uint64) bool {
	n := l.now.Load()
	return n.Self && n.Term == term
}

// wake makes a channel of one element ready.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
