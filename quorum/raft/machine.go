package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/statemachine"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
	"kvorum/protocol/batch"
)

// Results of a command, in statemachine.Result.Value.
const (
	resultRejected = iota
	resultAccepted
	resultUnknown // no command of this level
)

// machine is the replicated state machine: committed commands become batches of
// the metadata store. It implements dragonboat's IOnDiskStateMachine, which
// calls Update, Sync, PrepareSnapshot, RecoverFromSnapshot and Close one at a
// time.
//
// Durability: Update writes without fsync, atomically with the applied index;
// raft's log is on disk before and gives back what a crash takes. Sync fsyncs,
// and dragonboat calls it before it cuts its log.
//
// Every replica must come to the same state by the same commands: nothing here
// reads a clock, a configuration or anything else of its own.
type machine struct {
	store *metadatalog.Store
	dir   string            // of .checkpoint files
	base  kafka.LeaderEpoch // of epochs, before the first command
	ready chan struct{}     // closed when the start's checks have passed

	// needsCopy is true of a replica that joined a quorum with an imported log:
	// raft's log does not hold what was imported, so that applying it from its
	// beginning would make another state.
	needsCopy bool

	state   atomic.Pointer[State]
	scratch []byte // of a claim's stamped batch
}

// newMachine makes the machine of a store and reads its state. base is the
// quorum's origin.Base.
func newMachine(store *metadatalog.Store, dir string, base kafka.LeaderEpoch) (*machine, error) {
	m := &machine{store: store, dir: dir, base: base, ready: make(chan struct{})}
	return m, m.load()
}

// load publishes the state that is in the store.
func (m *machine) load() error {
	s := firstState()
	s.Base = m.base
	if b, ok := m.store.Private(stateKey); ok {
		var err error
		if s, err = decodeState(b); err != nil {
			return err
		}
	}
	m.state.Store(&s)
	return nil
}

// Open waits for the start's checks and says up to where the store has applied
// the log. Dragonboat applies and votes only after it.
func (m *machine) Open(stop <-chan struct{}) (uint64, error) {
	select {
	case <-m.ready:
		return m.store.AppliedIndex(), nil
	case <-stop:
		return 0, statemachine.ErrOpenStopped
	}
}

// Update applies committed commands in order. An error stops the process: the
// disk failed, or the quorum has gone to a level that this binary lacks.
func (m *machine) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	if m.needsCopy {
		return nil, errors.New("raft: this controller replaces one of a quorum that began with an imported log, and the leader sent commands instead of a copy of its store: start it again when the leader has cut its raft log")
	}
	for i := range entries {
		e := &entries[i]
		value, err := m.apply(e.Cmd, e.Index)
		if err != nil {
			return nil, fmt.Errorf("apply raft index %d at offset %d: %w", e.Index, m.store.EndOffset(), err)
		}
		e.Result = statemachine.Result{Value: value, Data: m.outcome()}
	}
	// Rejected commands change nothing, but a log that is cut behind the last
	// one must not be asked for it again.
	if n := len(entries); n > 0 && m.store.AppliedIndex() < entries[n-1].Index {
		if err := m.store.Append(metadatalog.Append{AppliedIndex: entries[n-1].Index}); err != nil {
			return nil, fmt.Errorf("record applied raft index %d: %w", entries[n-1].Index, err)
		}
	}
	return entries, nil
}

const outcomeSize = 4 + 4 + 8

// outcome is what the proposer learns besides yes or no.
func (m *machine) outcome() []byte {
	s := m.state.Load()
	b := make([]byte, 0, outcomeSize)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Epoch))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Leader))
	return binary.BigEndian.AppendUint64(b, uint64(m.store.EndOffset()))
}

func (m *machine) apply(b []byte, index uint64) (uint64, error) {
	c, err := decodeCommand(b)
	if err != nil {
		return resultUnknown, nil
	}
	switch c.kind {
	case kindAppend:
		return m.append(c, index)
	case kindClaim:
		return m.claim(c, index)
	case kindRaiseBase:
		return m.raiseBase(c, index)
	default:
		return m.raiseLevel(c, index)
	}
}

// append adds a leader's batches when it is still the leader and the log ends
// where it thinks. Both conditions make it safe to propose a command again
// when nobody knows what became of it: at most one copy fits.
func (m *machine) append(c command, index uint64) (uint64, error) {
	if c.epoch != m.state.Load().Epoch || c.base != m.store.EndOffset() || !contiguous(c.batches, c.base, c.epoch) {
		return resultRejected, nil
	}
	return resultAccepted, m.store.Append(metadatalog.Append{Batches: c.batches, AppliedIndex: index})
}

// contiguous checks that batches are what they must be to be stored: whole,
// undamaged, of one epoch and without gaps from base on. The store checks the
// same and fails, which would stop every controller at the same command; here
// the command is rejected instead.
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

// claim makes a node the leader of epoch base + term. Only a greater epoch than
// the current one is a new leader; the same claim again is the same leader.
func (m *machine) claim(c command, index uint64) (uint64, error) {
	s := *m.state.Load()
	if c.term > math.MaxInt32-uint64(s.Base) || c.node < 0 {
		return resultRejected, nil
	}
	epoch := s.Base + kafka.LeaderEpoch(c.term)
	if epoch == s.Epoch && c.node == s.Leader && c.directory == s.Directory {
		return resultAccepted, nil
	}
	if epoch <= s.Epoch || epoch <= m.lastEpoch() {
		return resultRejected, nil
	}
	chosen := c.batches
	if m.store.EndOffset() == 0 {
		chosen = c.batchIfEmpty
	}
	stamped, ok := m.stamp(chosen, epoch)
	if !ok {
		return resultRejected, nil
	}
	s.Epoch, s.Leader, s.Directory, s.Claim = epoch, c.node, c.directory, m.store.EndOffset()
	return resultAccepted, m.write(s, stamped, index)
}

// lastEpoch is the epoch below which no batch can be stored: -1 for an empty
// log, which may begin in any epoch.
func (m *machine) lastEpoch() kafka.LeaderEpoch {
	if m.store.EndOffset() == 0 {
		return kafka.NoEpoch
	}
	return m.store.LastEpoch()
}

// stamp copies one control batch and gives it the log's end and an epoch. The
// command itself belongs to raft's log and is not touched.
func (m *machine) stamp(control []byte, epoch kafka.LeaderEpoch) ([]byte, bool) {
	m.scratch = append(m.scratch[:0], control...)
	v, rest, err := batch.Next(m.scratch)
	if err != nil || len(rest) > 0 || !v.Control() || v.CheckCRC() != nil {
		return nil, false
	}
	batch.Restamp(v, m.store.EndOffset(), epoch)
	return v, true
}

func (m *machine) raiseBase(c command, index uint64) (uint64, error) {
	s := *m.state.Load()
	if c.epoch <= s.Base {
		return resultRejected, nil
	}
	s.Base = c.epoch
	return resultAccepted, m.write(s, nil, index)
}

// raiseLevel changes the rules. A binary without them stops here, before it
// could apply a command by the wrong ones.
func (m *machine) raiseLevel(c command, index uint64) (uint64, error) {
	s := *m.state.Load()
	if c.level <= s.Level {
		return resultRejected, nil
	}
	if c.level > Level {
		return 0, levelTooNew(c.level)
	}
	s.Level = c.level
	return resultAccepted, m.write(s, nil, index)
}

// write stores a new state, with batches, and publishes it.
func (m *machine) write(s State, batches []byte, index uint64) error {
	err := m.store.Append(metadatalog.Append{
		Batches:      batches,
		AppliedIndex: index,
		Private:      map[string][]byte{stateKey: s.append(nil)},
	})
	if err == nil {
		m.state.Store(&s)
	}
	return err
}

// Lookup is not used: readers read the store.
func (m *machine) Lookup(any) (any, error) { return nil, nil }

// Sync makes everything applied durable.
func (m *machine) Sync() error { return m.store.Sync() }

// PrepareSnapshot takes a cheap consistent view.
func (m *machine) PrepareSnapshot() (any, error) { return takeCopy(m.store, m.dir) }

// SaveSnapshot streams a view to a replica that lags.
func (m *machine) SaveSnapshot(taken any, w io.Writer, stop <-chan struct{}) error {
	c := taken.(*stateCopy)
	defer c.close()
	err := c.write(&stoppableWriter{w: w, stop: stop})
	for _, sentinel := range []error{statemachine.ErrSnapshotStreaming, statemachine.ErrSnapshotStopped, statemachine.ErrSnapshotAborted} {
		if errors.Is(err, sentinel) {
			return sentinel // dragonboat compares without unwrapping
		}
	}
	return err
}

// RecoverFromSnapshot replaces the store by what another replica streamed.
func (m *machine) RecoverFromSnapshot(r io.Reader, stop <-chan struct{}) error {
	if err := restoreCopy(m.store, m.dir, &stoppableReader{r: r, stop: stop}); err != nil {
		if errors.Is(err, statemachine.ErrSnapshotStopped) {
			return statemachine.ErrSnapshotStopped
		}
		return err
	}
	m.needsCopy = false
	return m.load()
}

// Close does nothing: the store belongs to who opened it.
func (m *machine) Close() error { return nil }
