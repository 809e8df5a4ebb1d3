package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	dbconfig "github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/statemachine"

	"kvorum/internal/kafka"
	"kvorum/metadatalog"
)

const (
	// maxInMemLog bounds the entries that dragonboat keeps in memory before they
	// are applied, in bytes. It must be well above the largest command: leaders
	// change when a single one comes near it.
	maxInMemLog = 64 << 20
	// maxQueueBytes bounds each of dragonboat's queues to and from a peer.
	maxQueueBytes = 128 << 20
	// workers is the number of goroutines in each of dragonboat's pools. There is
	// one shard, so that one works; the number is bound to the directory.
	workers = 2
)

// Host is one controller's replica of the metadata log. Make it with New, Start
// it once, Close it; it implements Log between the two.
type Host struct {
	cfg     Config
	self    Replica
	id      ReplicaID
	store   *metadatalog.Store
	net     *network
	factory *transportFactory

	// members is the applied membership; nil until the first one is settled.
	members atomic.Pointer[[]Replica]
	boot    atomic.Pointer[bootstrapper] // while the first start waits
	file    *membership                  // owned by Start, then by watch

	machine  *machine
	leads    *leadership
	proposer *proposer
	node     *dragonboat.NodeHost
	moved    chan struct{} // of 1: membership changed
	// replaceBy is Host.replace between serve and Close. replacing is held while
	// it runs: one member at a time, and dragonboat stays open for it.
	replaceBy atomic.Pointer[func(Replica) error]
	replacing sync.Mutex

	stop context.CancelFunc
	wait sync.WaitGroup
}

var _ Log = (*Host)(nil)

// New checks the configuration. store must be open on the metadata log of this
// directory; the host writes to it until Close and does not close it.
func New(cfg Config, store *metadatalog.Store) (*Host, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Peers = slices.Clone(cfg.Peers)
	routeLogs(cfg.Logger)
	h := &Host{cfg: cfg, self: cfg.replica(), id: cfg.replica().ID(), store: store, moved: make(chan struct{}, 1)}
	h.net = &network{
		cluster: cfg.ClusterID, self: h.self, id: h.id, tls: cfg.TLS, logger: cfg.Logger, patience: helloTimeout,
		resolve: func(id kafka.NodeID) (string, bool) { p, ok := cfg.peer(id); return p.RaftAddress, ok },
		answer:  h.answer,
	}
	h.factory = &transportFactory{net: h.net}
	h.leads = newLeadership(h.id, h.nodeOf)
	return h, nil
}

// Start joins the quorum: at the first start of all it waits, until ctx ends,
// for the other controllers (see Missing); later ones do not wait. It returns
// when the replica runs, which is before there is a leader. After an error the
// host is closed.
func (h *Host) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	if h.file, err = readMembership(h.cfg.Dir, h.cfg.ClusterID, h.self); err != nil {
		return err
	}
	if err := h.checkFiles(); err != nil {
		return err
	}
	if h.file != nil {
		h.publishMembers(h.file.replicas())
	}
	if err := h.listen(); err != nil {
		return err
	}
	if h.file == nil {
		if err := h.bootstrap(ctx); err != nil {
			return err
		}
	}
	if h.machine, err = newMachine(h.store, h.cfg.Dir, h.file.origin().Base); err != nil {
		return err
	}
	h.machine.needsCopy = h.file.Join && h.file.OriginOffset > 0 && h.store.AppliedIndex() == 0
	return h.run()
}

func (h *Host) listen() error {
	if h.file == nil {
		h.boot.Store(&bootstrapper{
			net: h.net, logger: h.cfg.Logger, every: askEvery, report: reportEvery,
			a: newAgreement(h.self, h.cfg.Peers, h.origin()),
		})
	}
	return h.net.listen(h.cfg.ListenAddress)
}

// origin is what this directory held before the first start.
func (h *Host) origin() origin {
	end := kafka.EpochOffset{Offset: h.store.EndOffset(), Epoch: h.store.LastEpoch()}
	return origin{End: end, Base: max(h.cfg.EpochBase, end.Epoch)}
}

// checkFiles refuses a directory in which something that must be there is not:
// a replica without its log may vote for two leaders of one term.
func (h *Host) checkFiles() error {
	_, err := os.Stat(filepath.Join(h.cfg.raftDir(), flagFile))
	hasRaft := err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("raft: look for raft's files: %w", err)
	}
	const lost = "this controller's disk has lost data and must not vote under its old name: run `kvorum storage replace-controller`"
	switch applied := h.store.AppliedIndex(); {
	case h.file == nil && (hasRaft || applied > 0):
		return fmt.Errorf("raft: %s holds a raft log or applied commands (raft log: %t, applied index: %d), but %s is missing: %s", h.cfg.Dir, hasRaft, applied, membershipFile, lost)
	case h.file == nil:
		return nil
	case h.file.Started && !hasRaft:
		return fmt.Errorf("raft: %s says that this controller has voted, but the raft log in %s is missing: %s", membershipFile, h.cfg.raftDir(), lost)
	case !h.file.Started && applied > 0:
		return fmt.Errorf("raft: the store has applied raft index %d, but %s says that this controller never started: %s", applied, membershipFile, lost)
	case applied == 0 && h.store.EndOffset() != h.file.OriginOffset && !h.file.Join:
		return fmt.Errorf("raft: the store ends at offset %d, but the quorum began at offset %d: %s", h.store.EndOffset(), h.file.OriginOffset, lost)
	}
	return nil
}

// bootstrap agrees on the first membership and makes it durable.
func (h *Host) bootstrap(ctx context.Context) error {
	b := h.boot.Load()
	s, err := b.run(ctx)
	if err != nil {
		return err
	}
	h.file = firstMembership(h.cfg.ClusterID, h.self, *s)
	if err := h.file.write(h.cfg.Dir); err != nil {
		return fmt.Errorf("raft: write the first membership: %w", err)
	}
	h.publishMembers(s.members)
	h.cfg.Logger.Info("raft: the quorum is formed", "members", fmt.Sprint(s.members))
	return nil
}

// answer answers another controller's question, from any goroutine.
func (h *Host) answer(question exchange) exchange {
	if h.members.Load() == nil {
		return h.boot.Load().mine()
	}
	why := ""
	if question.replace {
		err := errors.New("this controller is starting or stopping")
		if replace := h.replaceBy.Load(); replace != nil {
			err = (*replace)(question.self)
		}
		if err != nil {
			why = err.Error()
			h.cfg.Logger.Warn("raft: a controller is not replaced", "by", question.self.String(), "error", err)
		}
	}
	return exchange{self: h.self, settled: true, members: *h.members.Load(), origin: h.file.origin(), why: why}
}

// Missing are the controllers that the first start waits for; nil at any other
// time. Any goroutine may call it.
func (h *Host) Missing() []Missing {
	if b := h.boot.Load(); b != nil && h.members.Load() == nil {
		return b.missing()
	}
	return nil
}

// run starts dragonboat, checks what it found, and lets it speak.
func (h *Host) run() (err error) {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	if err := adoptHostname(h.cfg.raftDir(), hostname); err != nil {
		return err
	}
	defer func() { // dragonboat reports damage by panics
		if r := recover(); r != nil {
			err = fmt.Errorf("raft: the raft log in %s cannot be used: %v", h.cfg.raftDir(), r)
		}
	}()
	if h.node, err = dragonboat.NewNodeHost(h.nodeConfig()); err != nil {
		return fmt.Errorf("raft: open the raft log in %s: %w", h.cfg.raftDir(), err)
	}
	if h.node == nil { // it keeps such a panic to itself while it opens
		return fmt.Errorf("raft: the raft log in %s cannot be used: dragonboat gave up while it opened it, and the log has its reason, if it gave one", h.cfg.raftDir())
	}
	known := h.node.HasNodeInfo(ShardID, uint64(h.id))
	if h.file.Started && !known {
		return fmt.Errorf("raft: %s says that this controller has voted, but the raft log in %s does not know it: this disk has lost data, run `kvorum storage replace-controller`", membershipFile, h.cfg.raftDir())
	}
	var first map[uint64]dragonboat.Target
	if !known && !h.file.Join {
		first = map[uint64]dragonboat.Target{}
		for _, r := range h.file.replicas() {
			first[uint64(r.ID())] = r.address()
		}
	}
	create := func(uint64, uint64) statemachine.IOnDiskStateMachine { return h.machine }
	if err := h.node.StartOnDiskReplica(first, h.file.Join && !known, create, h.replicaConfig()); err != nil {
		return fmt.Errorf("raft: start the replica: %w", err)
	}
	if err := h.checkLog(); err != nil {
		return err
	}
	if !h.file.Started {
		h.file.Started = true
		if err := h.file.write(h.cfg.Dir); err != nil {
			return fmt.Errorf("raft: %w", err)
		}
	}
	h.serve()
	return nil
}

// serve opens the network and the state machine to raft, and starts the
// goroutines that Close ends.
func (h *Host) serve() {
	h.factory.created.open()
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	session := h.node.GetNoOPSession(ShardID)
	h.proposer = newProposer(h.store, h.leads, func(cmd []byte) (*dragonboat.RequestState, error) {
		return h.node.Propose(session, cmd, proposeTimeout)
	})
	h.wait.Go(func() { h.proposer.run(ctx) })
	h.wait.Go(func() { h.watch(ctx) })
	close(h.machine.ready)
	replace := func(by Replica) error { return h.replace(ctx, by) }
	h.replaceBy.Store(&replace)
}

// checkLog compares raft's log with the store, before either is used. Both are
// written so that the log is never behind: a log that is has lost its end, with
// votes and entries that a majority counts on.
func (h *Host) checkLog() error {
	log, err := h.node.GetLogReader(ShardID)
	if err != nil {
		return fmt.Errorf("raft: read the raft log: %w", err)
	}
	first, last := log.GetRange()
	snapshot := log.Snapshot()
	last = max(last, snapshot.Index)
	applied := h.store.AppliedIndex()
	switch {
	case applied > last:
		return fmt.Errorf("raft: the raft log ends at index %d, but the store has applied index %d: the raft log has lost its end, and with it what this controller promised to others; run `kvorum storage replace-controller`", last, applied)
	case applied < snapshot.OnDiskIndex && snapshot.Dummy, applied+1 < first && snapshot.Index == 0:
		return fmt.Errorf("raft: the store has applied raft index %d, but the raft log was cut up to index %d: the store in %s was lost or put back from an old copy; run `kvorum storage replace-controller`", applied, max(snapshot.OnDiskIndex, first-1), h.cfg.Dir)
	}
	return nil
}

func (h *Host) timing() Timing {
	if len(*h.members.Load()) == 1 {
		return singleTiming()
	}
	return h.cfg.Timing
}

// DragonboatFS is what dragonboat's own log is written to; nil is the operating
// system's. Only the program that loses its page caches (cmd/kvorum with the tag
// planted) sets another one, before anything runs.
var DragonboatFS dbconfig.IFS

func (h *Host) nodeConfig() dbconfig.NodeHostConfig {
	logs := dbconfig.GetTinyMemLogDBConfig()
	logs.Shards = 1
	return dbconfig.NodeHostConfig{
		NodeHostDir:         h.cfg.raftDir(),
		RTTMillisecond:      uint64(h.timing().RTT / time.Millisecond),
		RaftAddress:         h.self.address(),
		EnableMetrics:       true,
		RaftEventListener:   h.leads,
		SystemEventListener: &events{moved: h.moved},
		MaxSendQueueSize:    maxQueueBytes,
		MaxReceiveQueueSize: maxQueueBytes,
		Expert: dbconfig.ExpertConfig{
			TransportFactory: h.factory,
			LogDB:            logs,
			FS:               DragonboatFS,
			Engine:           dbconfig.EngineConfig{ExecShards: workers, CommitShards: workers, ApplyShards: workers, SnapshotShards: workers, CloseShards: workers},
		},
	}
}

func (h *Host) replicaConfig() dbconfig.Config {
	t := h.timing()
	return dbconfig.Config{
		ShardID: ShardID, ReplicaID: uint64(h.id),
		CheckQuorum: true, PreVote: true,
		ElectionRTT: t.Election, HeartbeatRTT: t.Heartbeat,
		SnapshotEntries: h.cfg.SnapshotEntries, CompactionOverhead: h.cfg.CompactionOverhead,
		OrderedConfigChange: true,
		MaxInMemLogSize:     maxInMemLog,
	}
}

// Close leaves the quorum and waits for everything that it started. Proposals
// that are open end with ErrClosed. The store stays open.
func (h *Host) Close() {
	h.replaceBy.Store(nil)
	if h.stop != nil {
		h.stop()
		h.wait.Wait()
	}
	h.replacing.Lock()
	if h.node != nil {
		h.node.Close()
		h.node = nil
	}
	h.replacing.Unlock()
	h.net.close()
}

// State is the committed state.
func (h *Host) State() State { return *h.machine.state.Load() }

// Store is the committed log.
func (h *Host) Store() *metadatalog.Store { return h.store }

// Leadership delivers raft's opinion of who leads.
func (h *Host) Leadership() <-chan Leadership { return h.leads.deliver }

// WriteMetrics writes dragonboat's metrics. They are the process's: with
// several hosts in one process each writes those of all.
func (h *Host) WriteMetrics(w io.Writer) { dragonboat.WriteHealthMetrics(w) }

// Append proposes batches; see Log.
func (h *Host) Append(epoch kafka.LeaderEpoch, base kafka.Offset, batches []byte, done func(Outcome, error)) {
	h.propose(command{kind: kindAppend, epoch: epoch, base: base, batches: batches}, done)
}

// Claim proposes this node as leader; see Log.
func (h *Host) Claim(term uint64, batch, batchIfEmpty []byte, done func(Outcome, error)) {
	h.propose(command{kind: kindClaim, term: term, node: h.self.NodeID, directory: h.self.DirectoryID, batches: batch, batchIfEmpty: batchIfEmpty}, done)
}

// RaiseBase proposes a higher State.Base; see Log.
func (h *Host) RaiseBase(base kafka.LeaderEpoch, done func(Outcome, error)) {
	h.propose(command{kind: kindRaiseBase, epoch: base}, done)
}

func (h *Host) propose(c command, done func(Outcome, error)) {
	h.proposer.post(&proposal{cmd: c.append(make([]byte, 0, c.size())), kind: c.kind, epoch: c.epoch, base: c.base, done: done})
}
