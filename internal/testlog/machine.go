package testlog

import (
	"math"

	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/quorum/raft"
)

// Kind says what a command wants.
type Kind int

// The kinds of commands.
const (
	KindAppend Kind = iota
	KindClaim
	KindRaiseBase
)

// Command is what a node proposes; which fields count depends on the kind, as
// in raft.Log's methods.
type Command struct {
	Kind      Kind
	Node      kafka.NodeID      // of a claim
	Directory kafka.DirectoryID // of a claim
	Term      uint64            // of a claim
	Epoch     kafka.LeaderEpoch // of an append; of a RaiseBase the new base
	Base      kafka.Offset      // of an append
	// Batches are an append's, or a claim's control batch; BatchIfEmpty is a
	// claim's for an empty log.
	Batches, BatchIfEmpty []byte
}

// Faults leave a rule out, so that a test can show that it is needed. There is
// none for the epoch of an append: a claim always moves the log's end, so that
// the loop, which has one append in flight, would be refused by its base as well.
type Faults struct {
	AnyBase  bool // append wherever the log ends: offsets are stamped anew
	AnyClaim bool // accept claims of old terms
}

// Machine is the replicated state machine of quorum/raft in memory: the same
// commands in the same order give the same outcomes and the same log. A test
// compares the two.
type Machine struct {
	State  raft.State
	Faults Faults

	end       kafka.Offset
	lastEpoch kafka.LeaderEpoch
}

// NewMachine returns a machine of an empty log.
func NewMachine(base kafka.LeaderEpoch) *Machine {
	return &Machine{
		State:     raft.State{Level: raft.Level, Leader: kafka.NoNode, Claim: kafka.NoOffset, Base: base},
		lastEpoch: kafka.NoEpoch,
	}
}

// End is the exclusive end of the log.
func (m *Machine) End() kafka.Offset { return m.end }

// Apply takes the next command of the log's order. appended are the batches that
// it adds to the log, nil if none.
func (m *Machine) Apply(c Command) (o raft.Outcome, appended []byte) {
	accepted := false
	switch c.Kind {
	case KindAppend:
		accepted, appended = m.append(c)
	case KindClaim:
		accepted, appended = m.claim(c)
	default:
		if accepted = c.Epoch > m.State.Base; accepted {
			m.State.Base = c.Epoch
		}
	}
	for v := range batch.All(appended) {
		m.end, m.lastEpoch = v.EndOffset(), v.Epoch()
	}
	return raft.Outcome{Accepted: accepted, Epoch: m.State.Epoch, Leader: m.State.Leader, End: m.end}, appended
}

func (m *Machine) append(c Command) (bool, []byte) {
	data := append([]byte(nil), c.Batches...)
	if m.Faults.AnyBase {
		restamp(data, m.end, c.Epoch)
		c.Base = m.end
	}
	if c.Epoch != m.State.Epoch || c.Base != m.end || !contiguous(data, c.Base, c.Epoch) {
		return false, nil
	}
	return true, data
}

// restamp moves batches to another place in the log.
func restamp(data []byte, base kafka.Offset, epoch kafka.LeaderEpoch) {
	for v, err := range batch.All(data) {
		if err != nil {
			return
		}
		batch.Restamp(v, base, epoch)
		base = v.EndOffset()
	}
}

func contiguous(batches []byte, base kafka.Offset, epoch kafka.LeaderEpoch) bool {
	if len(batches) == 0 {
		return false
	}
	for v, err := range batch.All(batches) {
		if err != nil || v.BaseOffset() != base || v.Epoch() != epoch || v.Size() > batch.MaxMetadataSize || v.CheckCRC() != nil {
			return false
		}
		base = v.EndOffset()
	}
	return true
}

func (m *Machine) claim(c Command) (bool, []byte) {
	s := &m.State
	if c.Term > math.MaxInt32-uint64(s.Base) || c.Node < 0 {
		return false, nil
	}
	epoch := s.Base + kafka.LeaderEpoch(c.Term)
	if epoch == s.Epoch && c.Node == s.Leader && c.Directory == s.Directory {
		return true, nil
	}
	if m.Faults.AnyClaim {
		epoch = max(epoch, m.lastEpoch)
	} else if epoch <= s.Epoch || epoch <= m.lastEpoch {
		return false, nil
	}
	chosen := c.Batches
	if m.end == 0 {
		chosen = c.BatchIfEmpty
	}
	stamped := append([]byte(nil), chosen...)
	v, rest, err := batch.Next(stamped)
	if err != nil || len(rest) > 0 || !v.Control() || v.CheckCRC() != nil {
		return false, nil
	}
	batch.Restamp(v, m.end, epoch)
	s.Epoch, s.Leader, s.Directory, s.Claim = epoch, c.Node, c.Directory, m.end
	return true, stamped
}
