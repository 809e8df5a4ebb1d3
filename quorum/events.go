package quorum

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
	"kvorum/quorum/controller"
	"kvorum/snapshot"
)

// Event is something that happened to the core: one of the types below.
type Event interface{ event() }

// Leadership reports who leads the raft group.
type Leadership struct {
	// Term is the raft term; it only grows.
	Term uint64
	// Self is true if this node leads the term.
	Self bool
}

// Claimed reports what became of the core's last Claim effect.
type Claimed struct {
	Term uint64
	// Accepted is false if another controller's claim came first.
	Accepted bool
	// Epoch is the KRaft epoch that the claim began, End the end of the log
	// right after the claim's batch.
	Epoch kafka.LeaderEpoch
	End   kafka.Offset
}

// Appended reports what became of the core's Append effect in flight.
type Appended struct {
	// Accepted is true if it was committed. If not, it was rejected or its fate is
	// unknown; either way this controller's pending state is no longer true.
	Accepted bool
}

// Committed carries committed batches, contiguous with what came before.
type Committed struct{ Batches []byte }

// Loaded replaces the whole state by a snapshot's, as at start or after the
// store was replaced by another controller's.
type Loaded struct {
	// ID is the snapshot's name: the offset after its last record, and its epoch.
	ID kafka.EpochOffset
	// Snapshot is read to its end within the step, and not closed.
	Snapshot *snapshot.Reader
}

// Request is one request that the loop answers: an admin request, or one of a
// broker. It is answered by exactly one Reply.
type Request struct {
	ID     uint64
	Caller controller.Caller
	Body   kmsg.Request
	// Connection numbers the connection that it came over, 0 if there is none.
	Connection uint64
	// DeadlineMs is when the client stops waiting; the reply is then
	// REQUEST_TIMED_OUT though the change may still be committed.
	DeadlineMs int64
}

// MigrationBatch is one batch of records that a migration from ZooKeeper appends
// as they are. It is answered by exactly one Reply, without a Response.
type MigrationBatch struct {
	ID uint64
	// Epoch is that of the leadership that the migration goes on under.
	Epoch   kafka.LeaderEpoch
	Records []record.Message
}

// Cancelled says that nobody waits for the reply any more.
type Cancelled struct{ ID uint64 }

// Fetched says how far a replica of the metadata log has got: it has everything
// below Offset.
type Fetched struct {
	Replica   kafka.NodeID
	Directory kafka.DirectoryID
	Offset    kafka.Offset
	// Arriving is true for the replica's first Fetch at Offset; it counts what came
	// before Offset as seen by the replica, and the next Fetch counts the rest.
	Arriving bool
}

// Probed reports what became of a Probe.
type Probed struct {
	// Broker, Epoch and Leader are the probe's.
	Broker kafka.BrokerID
	Epoch  kafka.BrokerEpoch
	Leader kafka.LeaderEpoch
	// Applied is the last offset that the broker has in its metadata cache.
	Applied kafka.Offset
	// Problem says why there is no answer that can be used; empty if there is.
	Problem string
}

// Applied says that the broker in this process acts upon everything below End:
// what others have to be asked, it tells.
type Applied struct {
	Broker kafka.BrokerID
	End    kafka.Offset
}

// ConnectionEnded says that a connection over which a broker registered or sent
// heartbeats is no more.
type ConnectionEnded struct {
	Connection uint64
	// ByPeer is true if the other end closed or reset it, false if we did or the
	// network gave up.
	ByPeer bool
}

// Dialed reports what became of a Dial.
type Dialed struct {
	// Broker, Epoch and Number are the dial's.
	Broker kafka.BrokerID
	Epoch  kafka.BrokerEpoch
	Number uint64
	// Answers are those of the dial's addresses, in order.
	Answers []DialAnswer
}

// DialAnswer is what one address answered.
type DialAnswer struct {
	// Reached is the numerical address that took a connection, empty if none did.
	Reached string
	// Refused is true if the address answered with a reset. Everything else, time
	// that passes above all, is silence.
	Refused bool
}

// Membership says which directory each member of the raft group has. A controller
// whose disk was lost and that was replaced has another one than before.
type Membership struct {
	Directories map[kafka.NodeID]kafka.DirectoryID
}

// Tick says that time has passed; the core asked for it with Effects.WakeAtMs.
type Tick struct{}

func (Leadership) event()      {}
func (Claimed) event()         {}
func (Appended) event()        {}
func (Committed) event()       {}
func (Loaded) event()          {}
func (Request) event()         {}
func (MigrationBatch) event()  {}
func (Cancelled) event()       {}
func (Fetched) event()         {}
func (Probed) event()          {}
func (Applied) event()         {}
func (Membership) event()      {}
func (ConnectionEnded) event() {}
func (Dialed) event()          {}
func (Tick) event()            {}

// Effects is what the shell has to do after a step. At most one claim and one
// append are ever in flight.
type Effects struct {
	// Claim asks to propose the claim of a raft term.
	Claim *Claim
	// Append asks to propose batches under the conditional-append rule.
	Append *Append
	// Replies are to be sent, in any order.
	Replies []Reply
	// Probes are to be made; each is followed by a Probed. At most one is in flight
	// for each broker.
	Probes []Probe
	// Dials are to be made; each is followed by a Dialed. At most one is in flight
	// for each incarnation of a broker.
	Dials []Dial
	// State is the new public state, nil if it has not changed.
	State *State
	// Changes lead to the committed image from the one before the step, in order.
	Changes []*image.Changes
	// WakeAtMs is when the core wants its next Tick, in milliseconds since 1970.
	WakeAtMs int64
	// Notes are for the log, typed so that the core does no logging.
	Notes []Note
}

// Claim is a proposal to begin a new KRaft epoch with this node as its leader.
// The log's state machine stamps base offset and epoch into the batch that it
// uses.
type Claim struct {
	Term uint64
	// Batch is the LeaderChange control batch.
	Batch []byte
	// BatchIfEmpty is used instead if the log is empty: it carries the quorum's
	// kraft.version and voters as well.
	BatchIfEmpty []byte
}

// Append is a proposal that may commit only if the log ends at Base and Epoch
// is still the newest.
type Append struct {
	Epoch   kafka.LeaderEpoch
	Base    kafka.Offset
	Batches []byte
}

// Probe asks a broker which metadata it has applied.
type Probe struct {
	Broker kafka.BrokerID
	Epoch  kafka.BrokerEpoch
	// Leader is the epoch of this controller: what it asked in an older one is no
	// answer any more.
	Leader   kafka.LeaderEpoch
	Endpoint image.Endpoint
}

// Dial asks to connect to every address, and to close the connections at once.
type Dial struct {
	Broker kafka.BrokerID
	Epoch  kafka.BrokerEpoch
	Number uint64
	// Addresses are host:port.
	Addresses []string
}

// Reply answers a Request. Either Response or Err is set; with Err the wire side
// builds the response of the request's API that says so everywhere.
type Reply struct {
	ID       uint64
	Response kmsg.Response
	Err      *errors.Error
	// End is the end of the log that it waited for.
	End kafka.Offset
}

// Note is something worth a line in the log.
type Note struct {
	// Error is true for what an operator should look at.
	Error bool
	Text  string
}

// State is what the wire side needs to know, as one immutable value.
type State struct {
	// Active is true from the moment when the claim is applied until leadership
	// is lost.
	Active bool
	// Epoch and Leader are those of the newest applied claim; Leader is
	// kafka.NoNode while this node knows that it leads no more but not who does.
	Epoch  kafka.LeaderEpoch
	Leader kafka.NodeID
	// Image is the committed image and End the end of the committed log.
	Image *image.Image
	End   kafka.Offset
	// OpenTransaction says that End lies within a metadata transaction, of which
	// Image has nothing.
	OpenTransaction bool
	// Voters and KRaftVersion are from the newest control records.
	Voters       *record.KRaftVoters
	KRaftVersion int16
	// UnprobedBrokers counts the unfenced brokers that do not tell this active
	// controller which metadata they have applied.
	UnprobedBrokers int
	// BrokersInSight counts the brokers whose death this active controller would
	// notice at once.
	BrokersInSight int
	// SnapshotBytes counts committed bytes since the last Loaded or start.
	CommittedBytes int64
	Stats          Stats
}

// Stats are counters of the core since it was made.
type Stats struct {
	NewActiveControllers int64 // claims accepted, here or elsewhere
	TimedOutHeartbeats   int64
	FencedBySession      int64
	FencedOnDeath        int64 // brokers whose process was proven to be gone
	EventsHandled        int64
	DecisionRecords      int64
	RepliesWithoutWait   int64 // replies that did not wait for all brokers: the limit came first
}
