package quorum

import (
	"fmt"
	"math/rand/v2"

	"kvorum/internal/kafka"
	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/metadatalog/replay"
	"kvorum/quorum/controller"
)

// Limits of the core; each bounds something that a peer can grow.
const (
	// maxPendingBytes bounds batches that are decided and not yet committed. When
	// the quorum is slow, further requests are refused instead of filling memory.
	maxPendingBytes = 64 << 20
	// maxReplicas bounds the observers that are remembered for DescribeQuorum:
	// more than any cluster has brokers, and a limit for clients that invent ids.
	maxReplicas = 4096
	// maxProposalBytes bounds one raft proposal; near 1 MiB they do not disturb
	// heartbeats (measured on dragonboat).
	maxProposalBytes = 1 << 20
)

// limits are those of the limits that a simulation meets with little.
type limits struct {
	pendingBytes, proposalBytes int
	// batchRecords and batchBytes are those of one batch; atomicBytes is that of
	// one that may not be split.
	batchRecords, batchBytes, atomicBytes int
}

var defaultLimits = limits{
	pendingBytes: maxPendingBytes, proposalBytes: maxProposalBytes,
	batchRecords: maxBatchRecords, batchBytes: maxBatchBytes, atomicBytes: maxAtomicBytes,
}

// role is where a controller stands. follower → claiming → activating → active,
// and from each back to follower when raft leadership is lost.
type role int

const (
	follower   role = iota // another node leads, or none
	claiming               // this node leads the raft group and its claim is in flight
	activating             // the claim is committed, the log up to it is not yet folded
	active                 // this node decides
)

// Config is what a core is made of.
type Config struct {
	Self        kafka.NodeID
	DirectoryID kafka.DirectoryID
	// Incarnation is this process's id in RegisterControllerRecord.
	Incarnation kafka.UUID
	// Endpoints are this controller's advertised listeners.
	Endpoints []image.Endpoint
	// Voters is the quorum as formatted, written at the start of an empty log.
	Voters record.KRaftVoters
	// Bootstrap are the records that an empty log begins with.
	Bootstrap []record.Message
	Settings  controller.Settings
	// MaxIdleMs is metadata.max.idle.interval.ms; 0 writes no NoOpRecords.
	MaxIdleMs int64
	// PropagationWaitMs bounds how long a reply waits until every unfenced broker
	// knows its records; 0 turns the wait off.
	PropagationWaitMs int64
	// InterBrokerListener names the listener of brokers that is asked which
	// metadata they have applied, if they have it without TLS; else another.
	InterBrokerListener string
	// BalanceIntervalMs is leader.imbalance.check.interval.seconds; 0 if
	// auto.leader.rebalance.enable is false.
	BalanceIntervalMs int64
	// UncleanIntervalMs is unclean.leader.election.interval.ms.
	UncleanIntervalMs int64
	// MaxParked bounds the replies that wait for a commit or for the brokers
	// (kvorum.controller.max.inflight): each holds a request and a response.
	MaxParked int
	// BatchRecords bounds the records of a batch that decisions are split into, at most
	// Kafka's 10,000; 0 is that. Only simulations have a reason for less.
	BatchRecords int
	// MutationWindow is controller.quota.window.num and .size.seconds; zero is
	// Kafka's default.
	MutationWindow quota.Window
	// Seed seeds the randomness of decisions.
	Seed [2]uint64
}

// Core is the controller's loop as a value. Not safe for concurrent use: one
// shell owns it.
type Core struct {
	cfg    Config
	limits limits
	role   role
	term   uint64 // the raft term that is led or claimed; 0 as follower
	// raftTerm is the raft term that raft says this node leads, 0 if it does not;
	// reclaimAt is when to claim it again, 0 if there is no need.
	raftTerm  uint64
	reclaimAt int64
	rand      *rand.Rand
	mutations mutations

	// Committed state.
	replay *replay.Replayer
	epoch  kafka.LeaderEpoch // of the newest applied claim
	leader kafka.NodeID
	voters *record.KRaftVoters
	kraft  int16

	// Active state. Invariant: pending is the fold of committed and of queue, and
	// next is the offset after the last queued batch.
	claimEpoch kafka.LeaderEpoch
	claimEnd   kafka.Offset
	pending    *image.Image
	next       kafka.Offset
	queue      []pendingBatch
	inFlight   int // how many of queue are in the append in flight, 0 if none is
	bytes      int // in queue
	// nextVoters is the newest voter set, queued ones included.
	nextVoters *record.KRaftVoters
	// transaction is that of a migration from ZooKeeper, nil if none is open.
	transaction *openTransaction

	// members are the directories of raft's membership as last heard; nil before.
	members map[kafka.NodeID]kafka.DirectoryID

	sessions *controller.Sessions
	deaths   deathWatch
	memo     controller.Memo
	parked   parkedReplies
	replicas replicaPositions
	// local is the broker in this process, kafka.NoLeader if there is none, and
	// localEnd how far it is.
	local    kafka.BrokerID
	localEnd kafka.Offset
	brokers  observedBrokers
	timers   []timer

	committedBytes int64
	stats          Stats
	out            *Effects // of the step in progress
	now            int64    // of the step in progress
	changed        bool     // the public state changed in this step
}

// pendingBatch is one batch that was decided and is not committed.
type pendingBatch struct {
	end  kafka.Offset
	data []byte
}

// NewCore returns a core that has read nothing yet; feed it Loaded or Committed
// events from offset 0 first.
func NewCore(cfg Config) *Core {
	c := &Core{
		cfg:      cfg,
		limits:   defaultLimits,
		rand:     rand.New(rand.NewPCG(cfg.Seed[0], cfg.Seed[1])),
		epoch:    0,
		leader:   kafka.NoNode,
		sessions: controller.NewSessions(),
		replicas: newReplicaPositions(),
		local:    kafka.NoLeader,
		brokers:  observedBrokers{image: image.Empty(), preferred: cfg.InterBrokerListener},
	}
	if cfg.BatchRecords > 0 {
		c.limits.batchRecords = min(cfg.BatchRecords, maxBatchRecords)
	}
	c.mutations = newMutations(cfg.MutationWindow)
	c.replay = replay.New(c.observeControl)
	c.timers = c.newTimers()
	return c
}

// Step takes one event at a time in milliseconds since 1970 and returns what is
// to be done. An error means that the committed log cannot be understood; the
// controller must stop, since it can no longer know the state.
func (c *Core) Step(nowMs int64, ev Event) (Effects, error) {
	var out Effects
	c.out, c.now, c.changed = &out, nowMs, false
	c.stats.EventsHandled++
	var err error
	switch ev := ev.(type) {
	case Leadership:
		c.stepLeadership(ev)
	case Claimed:
		c.stepClaimed(ev)
	case Appended:
		c.stepAppended(ev)
	case Committed:
		err = c.stepCommitted(ev)
	case Loaded:
		err = c.stepLoaded(ev)
	case Request:
		c.stepRequest(ev)
	case MigrationBatch:
		c.stepMigrationBatch(ev)
	case Cancelled:
		c.parked.cancel(ev.ID)
	case Fetched:
		c.stepFetched(ev)
	case Probed:
		c.stepProbed(ev)
	case Applied:
		c.local, c.localEnd = ev.Broker, max(c.localEnd, ev.End)
	case ConnectionEnded:
		c.stepConnectionEnded(ev)
	case Dialed:
		c.stepDialed(ev)
	case Membership:
		c.members = ev.Directories
	case Tick:
	default:
		panic(fmt.Sprintf("quorum: unknown event %T", ev))
	}
	if err != nil {
		return out, err
	}
	c.reclaim()
	c.watchDeaths()
	c.abortIdle()
	c.runTimers()
	c.propose()
	c.release()
	c.probe()
	out.WakeAtMs = c.nextWake()
	if c.changed {
		out.State = c.state()
	}
	return out, nil
}

// committed is the committed image.
func (c *Core) committed() *image.Image { return c.replay.Image() }

// end is the exclusive end of the committed log.
func (c *Core) end() kafka.Offset { return c.replay.NextOffset() }

func (c *Core) state() *State {
	_, open := c.replay.InTransaction()
	return &State{
		OpenTransaction: open,

		Active:         c.role == active,
		Epoch:          c.epoch,
		Leader:         c.leader,
		Image:          c.committed(),
		End:            c.end(),
		Voters:         c.voters,
		KRaftVersion:   c.kraft,
		CommittedBytes: c.committedBytes,

		UnprobedBrokers: c.unprobed(),
		BrokersInSight:  c.deaths.inSight(),

		Stats: c.stats,
	}
}

// note adds a line for the log.
func (c *Core) note(isError bool, format string, args ...any) {
	c.out.Notes = append(c.out.Notes, Note{Error: isError, Text: fmt.Sprintf(format, args...)})
}
