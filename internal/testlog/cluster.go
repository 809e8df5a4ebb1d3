package testlog

import (
	"context"
	"fmt"
	"io"
	"sync"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/quorum/raft"
)

// Cluster is a Group with a store and a raft.Log for each node. A proposal is
// placed and applied everywhere at once, unless the test holds it.
type Cluster struct {
	mu     sync.Mutex
	change *sync.Cond // of anything below
	group  *Group
	logs   map[kafka.NodeID]*Log
	held   []*Proposal
	hold   bool
	closed bool

	running sync.WaitGroup
}

// Log is one node's end of a Cluster; it implements raft.Log.
type Log struct {
	cluster   *Cluster
	node      *Node
	directory kafka.DirectoryID
	store     *metadatalog.Store
	deliver   chan raft.Leadership
	done      map[*Proposal]func(raft.Outcome, error)
	paused    bool
}

var _ raft.Log = (*Log)(nil)

// NewCluster returns a quorum over open, empty stores, which it writes to until
// Close and does not close.
func NewCluster(base kafka.LeaderEpoch, stores map[kafka.NodeID]*metadatalog.Store) *Cluster {
	c := &Cluster{logs: map[kafka.NodeID]*Log{}}
	c.change = sync.NewCond(&c.mu)
	var ids []kafka.NodeID
	for id := range stores {
		ids = append(ids, id)
	}
	c.group = NewGroup(base, ids...)
	for id, store := range stores {
		l := &Log{
			cluster: c, node: c.group.Node(id), directory: kafka.DirectoryID{15: byte(id), 0: 0xd},
			store: store, deliver: make(chan raft.Leadership, 1), done: map[*Proposal]func(raft.Outcome, error){},
		}
		c.logs[id] = l
		c.running.Go(l.run)
	}
	return c
}

// Log returns a node's end.
func (c *Cluster) Log(id kafka.NodeID) *Log { return c.logs[id] }

// Close ends the cluster: no outcome is delivered any more.
func (c *Cluster) Close() {
	c.locked(func() { c.closed = true })
	c.running.Wait()
}

func (c *Cluster) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.change.Broadcast()
}

// Elect makes a node the leader of a new term, and lets every node hear it.
func (c *Cluster) Elect(id kafka.NodeID) (term uint64) {
	c.locked(func() {
		term = c.group.Elect(id)
		for _, l := range c.logs {
			if l.node.Hear() {
				l.hear()
			}
		}
	})
	return term
}

// Hold keeps proposals from being placed, as a quorum without a majority does.
func (c *Cluster) Hold() { c.locked(func() { c.hold = true }) }

// Release places what was held, in the order in which it was proposed.
func (c *Cluster) Release() {
	c.locked(func() {
		c.hold = false
		for _, p := range c.held {
			c.group.Place(p)
		}
		c.held = nil
	})
}

// Held is how many proposals are held.
func (c *Cluster) Held() (n int) {
	c.locked(func() { n = len(c.held) })
	return n
}

// DropHeld forgets what was held: it never commits.
func (c *Cluster) DropHeld() { c.locked(func() { c.held = nil }) }

// Pause keeps a node from applying; Resume lets it go on.
func (c *Cluster) Pause(id kafka.NodeID) { c.locked(func() { c.logs[id].paused = true }) }

// Resume lets a node apply again.
func (c *Cluster) Resume(id kafka.NodeID) { c.locked(func() { c.logs[id].paused = false }) }

// Copy gives a paused node what another one's copy of its store would: a log
// that begins at the end of a snapshot. files puts the snapshot where the node
// looks for it, before the store changes.
func (c *Cluster) Copy(id kafka.NodeID, at kafka.EpochOffset, files func() error) (err error) {
	c.locked(func() {
		l := c.logs[id]
		if err = files(); err != nil {
			return
		}
		for l.node.Behind() > 0 && c.group.log[l.node.applied].outcome.End <= at.Offset {
			l.node.Apply()
		}
		err = l.store.Reset(at, uint64(l.node.Applied()), nil)
	})
	return err
}

// hear delivers the newest leadership instead of one that nobody has taken.
func (l *Log) hear() {
	select {
	case <-l.deliver:
	default:
	}
	l.deliver <- l.node.Leadership
}

// run applies the log to the store and delivers outcomes, in order.
func (l *Log) run() {
	c := l.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed {
		if !l.paused && l.node.Behind() > 0 {
			l.apply()
			continue
		}
		p, o, err, ok := l.node.Settle(true)
		if !ok {
			c.change.Wait()
			continue
		}
		done := l.done[p]
		delete(l.done, p)
		c.mu.Unlock()
		done(o, err)
		c.mu.Lock()
	}
}

func (l *Log) apply() {
	batches, _ := l.node.Apply()
	if err := l.store.Append(metadatalog.Append{Batches: batches, AppliedIndex: uint64(l.node.Applied())}); err != nil {
		panic(fmt.Sprintf("testlog: node %d applies command %d: %v", l.node.ID, l.node.Applied(), err))
	}
}

func (l *Log) propose(cmd Command, done func(raft.Outcome, error)) {
	l.cluster.locked(func() {
		p := l.node.Propose(cmd)
		l.done[p] = done
		if l.cluster.hold {
			l.cluster.held = append(l.cluster.held, p)
			return
		}
		l.cluster.group.Place(p)
	})
}

// Append implements raft.Log.
func (l *Log) Append(epoch kafka.LeaderEpoch, base kafka.Offset, batches []byte, done func(raft.Outcome, error)) {
	l.propose(Command{Kind: KindAppend, Epoch: epoch, Base: base, Batches: append([]byte(nil), batches...)}, done)
}

// Claim implements raft.Log.
func (l *Log) Claim(term uint64, batch, batchIfEmpty []byte, done func(raft.Outcome, error)) {
	l.propose(Command{Kind: KindClaim, Node: l.node.ID, Directory: l.directory, Term: term,
		Batches: append([]byte(nil), batch...), BatchIfEmpty: append([]byte(nil), batchIfEmpty...)}, done)
}

// RaiseBase implements raft.Log.
func (l *Log) RaiseBase(base kafka.LeaderEpoch, done func(raft.Outcome, error)) {
	l.propose(Command{Kind: KindRaiseBase, Epoch: base}, done)
}

// Leadership implements raft.Log.
func (l *Log) Leadership() <-chan raft.Leadership { return l.deliver }

// State implements raft.Log; it is that of the whole group.
func (l *Log) State() (s raft.State) {
	l.cluster.locked(func() { s = l.cluster.group.State() })
	return s
}

// Store implements raft.Log.
func (l *Log) Store() *metadatalog.Store { return l.store }

// TransferLeadership implements raft.Log.
func (l *Log) TransferLeadership(node kafka.NodeID) error {
	l.cluster.Elect(node)
	return nil
}

// ReadBarrier implements raft.Log.
func (l *Log) ReadBarrier(context.Context) error {
	c := l.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	for want := len(c.group.log); l.node.Applied() < want && !c.closed; {
		c.change.Wait()
	}
	return nil
}

// Members implements raft.Log.
func (l *Log) Members() []raft.Member { return nil }

// WriteMetrics implements raft.Log.
func (l *Log) WriteMetrics(io.Writer) {}
