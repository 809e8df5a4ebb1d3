package driver

import (
	"time"

	"kvorum/internal/kafka"
	"kvorum/migration/znode"
)

// LogState is the state of a ZkMigrationStateRecord.
type LogState int8

// The codes of ZkMigrationState, but for 4 (ZK), which no controller writes.
const (
	None          LogState = 0 // the cluster was never to leave ZooKeeper
	Migration     LogState = 1 // the copy is in the log
	PreMigration  LogState = 2 // the log is there for a copy
	PostMigration LogState = 3 // ZooKeeper is done with
)

// Log is what the driver has to know of the committed metadata log. Its slices are
// not changed after they were handed over.
type Log struct {
	Offset kafka.Offset
	State  LogState
	// Open says that a metadata transaction was begun and neither ended nor aborted.
	Open bool
	// Unready are controllers of the quorum that have not registered as ready
	// (zkMigrationReady).
	Unready []kafka.NodeID
	// ZooKeeperMode are the brokers that are registered in ZooKeeper mode, fenced or
	// not: a broker stays fenced until it is told of its partitions.
	ZooKeeperMode []kafka.BrokerID
}

// ZooKeeper is what the driver has to know of ZooKeeper.
type ZooKeeper struct {
	Migration     znode.Migration // znode.NoMigration if there is no /migration
	Controller    znode.Controller
	HasController bool // /controller is there
	// Brokers are those in /brokers/ids and those that a partition is assigned to.
	Brokers []kafka.BrokerID
}

// held reports whether a KRaft controller has ZooKeeper. Its /controller stays when
// it dies; only an operator who rolls back, or a rival, takes it away.
func (z ZooKeeper) held() bool { return z.HasController && z.Controller.KRaftEpoch >= 0 }

// Event is something that happened.
type Event interface{ event() }

// Elected says that this controller leads the quorum at an epoch. Given again for the
// same epoch it lets a Stopped driver look again where things stand, when a person
// has put them in order.
type Elected struct {
	Epoch kafka.LeaderEpoch
	// OnCommand says that ZooKeeper is not claimed before Start.
	OnCommand bool
}

// Deposed says that it leads no longer.
type Deposed struct{}

// Committed says how far the metadata log has come.
type Committed struct{ Log Log }

// Retry says that the time of a RetryIn is over.
type Retry struct{ Epoch kafka.LeaderEpoch }

// Start says that a person wants the migration to begin; it is forgotten with the
// leadership. One that begins by itself, or has begun, goes on as it would.
type Start struct{ Epoch kafka.LeaderEpoch }

// RollBack says that a person wants to go back to ZooKeeper: nothing else is begun
// from now on. A Stopped driver begins with it, too.
type RollBack struct{ Epoch kafka.LeaderEpoch }

// Done answers an Action, after everything that it appended to the log is committed
// or was refused; Log says what is committed then. Nothing else need be known of a
// failure: the driver looks where things stand and goes on from there.
type Done struct {
	Epoch  kafka.LeaderEpoch // the Action's
	Failed bool
	// Rival: it failed because another controller has claimed ZooKeeper. Only the
	// next leadership may claim it again.
	Rival     bool
	Log       Log
	ZooKeeper ZooKeeper    // the answer to Look
	Written   kafka.Offset // the answer to Mirror: ZooKeeper holds the image at this offset
}

func (Elected) event()   {}
func (Deposed) event()   {}
func (Committed) event() {}
func (Retry) event()     {}
func (Start) event()     {}
func (RollBack) event()  {}
func (Done) event()      {}

// Effect is something to carry out.
type Effect interface{ effect() }

// Action is work that is answered with Done. There is at most one at a time, and it
// is given up, unanswered, at Deposed.
type Action struct {
	Kind  ActionKind
	Epoch kafka.LeaderEpoch
	// Over says of GiveBack that the migration had stopped: another KRaft controller that
	// has claimed ZooKeeper since is replaced, whatever its epoch.
	Over bool
}

// ActionKind is a kind of work.
type ActionKind int8

// The kinds of work.
const (
	Look   ActionKind = iota // read what ZooKeeper says
	Claim                    // take /controller and /migration, as zk.Client.Claim
	Abort                    // abort the open metadata transaction
	Copy                     // read ZooKeeper, and commit the migration transaction with MIGRATION at its end
	Mirror                   // write the newest image to ZooKeeper, as mirror.Mirror.Apply
	// GiveBack stops the metadata log, writes what ZooKeeper lacks, gives it back to its
	// brokers, and says None in the log, in this order.
	GiveBack
)

// String is the kind's name.
func (k ActionKind) String() string {
	return [...]string{"look", "claim", "abort", "copy", "mirror", "give back"}[k]
}

// Tell hands the newest image that is in ZooKeeper to the brokers in ZooKeeper mode
// (zkbroker.Sender.Publish). It is not answered.
type Tell struct{ Offset kafka.Offset }

// RetryIn asks for a Retry. It replaces one that is on its way.
type RetryIn struct {
	After time.Duration
	Epoch kafka.LeaderEpoch
}

func (Action) effect()  {}
func (Tell) effect()    {}
func (RetryIn) effect() {}
