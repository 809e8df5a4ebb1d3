package raft

import (
	"context"
	"errors"
	"io"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
)

// Log is the replicated metadata log as the quorum's loop sees it. Host
// implements it; a test may put another log in its place.
type Log interface {
	// Append proposes batches: whole v2 batches of the given epoch, without gaps
	// from base on, at most 8 MiB. They are appended only if epoch is current and
	// base is the end of the log when the command's turn comes. The bytes are
	// copied before Append returns; it does not block.
	//
	// done is called once, from a goroutine of the log, in the order of the
	// calls. While it runs no other outcome is delivered. A nil error is a
	// definite outcome: timeouts and refusals on the way are retried, which the
	// two conditions make safe. ErrIndeterminate says that this replica stopped
	// leading before the outcome was known; the committed log tells it.
	// ErrBusy is definite too: nothing was proposed. After Close done is not
	// called any more.
	Append(epoch kafka.LeaderEpoch, base kafka.Offset, batches []byte, done func(Outcome, error))
	// Claim proposes this node as the leader of epoch State.Base + term, where
	// term is the raft term that it leads by. batch is a control batch
	// (LeaderChange) that begins the epoch; batchIfEmpty takes its place when the
	// log is empty. Their offsets and epochs are stamped when they are applied.
	// done is as in Append.
	Claim(term uint64, batch, batchIfEmpty []byte, done func(Outcome, error))
	// RaiseBase raises State.Base; a base that is not above the present one is
	// rejected. Epochs change with the next claim. done is as in Append.
	RaiseBase(base kafka.LeaderEpoch, done func(Outcome, error))
	// Leadership delivers raft's opinion of who leads: the newest one whenever it
	// changes, without those in between. It is for one reader.
	Leadership() <-chan Leadership
	// State is the committed state. It costs one atomic load.
	State() State
	// Store is the committed log. Only the log writes to it.
	Store() *metadatalog.Store
	// TransferLeadership asks raft to make another node its leader. It is best
	// effort: under load it may not happen.
	TransferLeadership(node kafka.NodeID) error
	// ReadBarrier returns when everything that was committed before the call, by
	// any leader, is applied here.
	ReadBarrier(ctx context.Context) error
	// Members are the replicas of the quorum as this replica has applied them,
	// ordered by node id.
	Members() []Member
	// WriteMetrics writes raft's metrics in Prometheus' text format.
	WriteMetrics(w io.Writer)
}

// Outcome is what became of a proposal. Epoch, Leader and End are the state
// right after it, also when it was not accepted.
type Outcome struct {
	Accepted bool
	Epoch    kafka.LeaderEpoch
	Leader   kafka.NodeID
	// End is the end of the log, exclusive.
	End kafka.Offset
}

// Leadership is raft's opinion of who leads. It is no proof: only a committed
// claim makes a leader.
type Leadership struct {
	// Term is raft's term; it never goes back.
	Term uint64
	// Leader is the leader's node, kafka.NoNode when there is none or its replica
	// is not known.
	Leader kafka.NodeID
	// Self says that this replica leads.
	Self bool
}

// Member is one replica of the quorum.
type Member struct {
	Replica
	// RaftAddress is where it is dialed; "" if the configuration has no address
	// for its node.
	RaftAddress string
}

var (
	// ErrIndeterminate is the outcome of a proposal whose replica stopped leading
	// before it was known: it may be in the log, or come into it yet.
	ErrIndeterminate = errors.New("raft leadership was lost before the proposal's outcome was known")
	// ErrClosed is the outcome of proposals that were open at Close.
	ErrClosed = errors.New("the raft log is closed")
	// ErrBusy is the outcome of a proposal when too many are open.
	ErrBusy = errors.New("too many proposals are open")
	// ErrTooLarge is the outcome of a proposal above 8 MiB.
	ErrTooLarge = errors.New("the proposal is above 8 MiB")
	// ErrUnknownCommand is the outcome of a command that the quorum's level does
	// not have.
	ErrUnknownCommand = errors.New("the quorum's level does not have this command")
)
