package driver

import (
	"fmt"
	"slices"
	"time"

	"kvorum/internal/kafka"
)

// State is where a controller's part in the migration stands.
type State int8

// The states; their strings are Apache's names, but for WaitForStart and the last
// three.
const (
	Inactive         State = iota // another controller leads
	WaitForQuorum                 // some controller of the quorum is not ready
	WaitForBrokers                // some broker has not registered in ZooKeeper mode
	WaitForStart                  // a person has not said yet that it may begin
	BecomeController              // ZooKeeper is being claimed
	Copying                       // the migration transaction is being written
	Syncing                       // the whole image is being written to ZooKeeper
	DualWrite                     // each image is written to ZooKeeper, and told to its brokers
	KRaft                         // the migration is over
	Stopped                       // it cannot go on by itself: Status says why
	RollingBack                   // ZooKeeper is being given back to its brokers
	RolledBack                    // it was: this cluster of controllers is of no more use
)

// String is the name of the state.
func (s State) String() string {
	return [...]string{
		"INACTIVE", "WAIT_FOR_CONTROLLER_QUORUM", "WAIT_FOR_BROKERS", "WAIT_FOR_START", "BECOME_CONTROLLER",
		"ZK_MIGRATION", "SYNC_KRAFT_TO_ZK", "DUAL_WRITE", "KRAFT_MODE", "STOPPED", "ROLLING_BACK", "ROLLED_BACK",
	}[s]
}

const (
	firstRetry = 100 * time.Millisecond // as KRaftMigrationDriver's first
	lastRetry  = 5 * time.Second        // Apache's is a minute; a person waits for this
	lookAgain  = 500 * time.Millisecond // one small read of ZooKeeper, for as long as brokers are awaited
)

// Driver is the state of one controller. The zero value is Inactive. It has one user
// at a time.
type Driver struct {
	state     State
	epoch     kafka.LeaderEpoch // of our leadership
	log       Log
	zookeeper ZooKeeper
	looked    bool // zookeeper is of this leadership
	claimed   bool // ZooKeeper is ours since this leadership began
	busy      bool // an Action is unanswered
	waiting   bool // a Retry is on its way
	onCommand bool // ZooKeeper is not claimed before a person says so
	started   bool // who has, in this leadership
	leaving   bool // a person has asked to go back
	over      bool // and that from Stopped: whoever else has claimed ZooKeeper is to go
	retry     time.Duration
	written   kafka.Offset // what ZooKeeper holds, of this leadership
	reason    string       // why it is Stopped
}

// Status is what a person may ask a driver.
type Status struct {
	State       State
	Controllers []kafka.NodeID   // of the quorum, awaited
	Brokers     []kafka.BrokerID // in ZooKeeper, awaited
	// Lag counts the offsets of the log that are not yet in ZooKeeper in DualWrite.
	Lag    int64
	Reason string // why it is Stopped, and what to do
}

// Status says where the migration stands.
func (d *Driver) Status() Status {
	s := Status{State: d.state, Reason: d.reason}
	switch d.state {
	case WaitForQuorum:
		s.Controllers = slices.Clone(d.log.Unready)
	case WaitForBrokers:
		s.Brokers = d.awaited()
	case DualWrite:
		s.Lag = int64(d.log.Offset - d.written)
	}
	return s
}

// Step takes an event and says what is to be done. Events of a leadership that is
// over change nothing.
func (d *Driver) Step(e Event) []Effect {
	switch e := e.(type) {
	case Elected:
		*d = Driver{state: WaitForQuorum, epoch: e.Epoch, log: d.log, onCommand: e.OnCommand}
	case Deposed:
		*d = Driver{log: d.log}
	case Committed:
		d.commit(e.Log)
	case Retry:
		if e.Epoch != d.epoch {
			return nil
		}
		d.waiting = false
	case Start:
		if e.Epoch != d.epoch {
			return nil
		}
		d.started = true
		d.waiting = d.waiting && d.state != WaitForStart
	case RollBack:
		if e.Epoch != d.epoch {
			return nil
		}
		if d.state == Stopped {
			*d = Driver{state: RollingBack, epoch: d.epoch, log: d.log, over: true}
		}
		d.leaving, d.waiting = true, false
	case Done:
		if e.Epoch != d.epoch || !d.busy {
			return nil
		}
		return d.done(e)
	default:
		panic(fmt.Sprintf("driver: unknown event %T", e))
	}
	return d.next()
}

// commit keeps the newest of what is known of the log: answers and commits come by
// different ways.
func (d *Driver) commit(l Log) {
	if l.Offset >= d.log.Offset {
		d.log = l
	}
}

// done takes an answer in.
func (d *Driver) done(e Done) []Effect {
	d.busy = false
	d.commit(e.Log)
	if d.state == KRaft {
		return nil
	}
	if e.Rival {
		d.stop("another controller has claimed ZooKeeper: stop the one of the two that is not to lead this cluster, then let this migration go on")
		return nil
	}
	if e.Failed {
		d.looked = d.claimed // before the claim anything may have changed in ZooKeeper
		return d.later(min(max(2*d.retry, firstRetry), lastRetry))
	}
	switch d.state {
	case WaitForBrokers, WaitForStart:
		d.zookeeper, d.looked = e.ZooKeeper, true
	case BecomeController:
		d.claimed = true
	case RollingBack:
		d.state = RolledBack
		return nil
	case Syncing, DualWrite:
		d.written = e.Written
		d.state, d.retry = DualWrite, 0
		return append([]Effect{Tell{Offset: e.Written}}, d.next()...)
	}
	d.retry = 0
	return d.next()
}

// next is the decision: what is known of the log and of ZooKeeper says what to do.
func (d *Driver) next() []Effect {
	switch d.state {
	case Inactive, Stopped, KRaft, RolledBack:
		return nil
	}
	if d.log.State == PostMigration {
		d.state = KRaft // an Action on its way is answered in vain
		return nil
	}
	if d.busy || d.waiting {
		return nil
	}
	if d.leaving {
		return d.act(RollingBack, GiveBack)
	}
	if !d.claimed {
		return d.approach()
	}
	switch {
	case d.log.State == None:
		d.stop("the metadata log says that this cluster does not leave ZooKeeper, while it does: format the controllers anew before the next migration")
		return nil
	case d.log.State == Migration && d.state == DualWrite:
		if d.log.Offset > d.written && !d.log.Open { // the image is that before an open transaction
			return d.act(DualWrite, Mirror)
		}
		return nil
	case d.log.State == Migration:
		return d.act(Syncing, Mirror)
	case d.log.Open:
		return d.act(Copying, Abort)
	default:
		return d.act(Copying, Copy)
	}
}

// approach goes up to the claim.
func (d *Driver) approach() []Effect {
	look := WaitForBrokers
	if d.state == WaitForStart {
		look = WaitForStart // who looks again stands where it stood
	}
	d.state = WaitForQuorum
	if d.log.State == None {
		return nil // the log's first records are not committed yet, or it is not to migrate
	}
	if d.log.State == PreMigration && len(d.log.Unready) > 0 {
		return nil
	}
	if !d.looked {
		return d.act(look, Look)
	}
	d.state = WaitForBrokers
	if reason := d.contradiction(); reason != "" {
		d.stop(reason)
		return nil
	}
	if d.log.State == PreMigration && len(d.awaited()) > 0 {
		return d.lookAgain()
	}
	if d.toBeStarted() {
		d.state = WaitForStart
		return d.lookAgain()
	}
	return d.act(BecomeController, Claim)
}

// lookAgain waits: brokers may come and go in ZooKeeper.
func (d *Driver) lookAgain() []Effect {
	d.looked, d.waiting = false, true
	return []Effect{RetryIn{After: lookAgain, Epoch: d.epoch}}
}

// toBeStarted reports whether a person has to say first that ZooKeeper may be claimed.
// What a controller before has claimed has no controller but us: that goes on.
func (d *Driver) toBeStarted() bool {
	return d.onCommand && !d.started && d.log.State == PreMigration && !d.zookeeper.held()
}

// contradiction says how ZooKeeper and the log belong to different migrations. Apache
// goes on in the first case, and copies over what was copied; it stops in silence in
// the second.
//
// A log with the copy and a /migration without an offset alone is none: that is a
// controller that died between the two, as long as /controller is still a KRaft
// controller's. A rollback takes that away.
func (d *Driver) contradiction() string {
	switch z := d.zookeeper; {
	case d.log.State == PreMigration && z.Migration.Copied():
		return fmt.Sprintf("/migration says that controller %d has copied ZooKeeper (offset %d), and the metadata log has no copy: "+
			"another quorum migrates this cluster, or did; end that, or delete /migration after its rollback", z.Migration.ControllerID, z.Migration.Offset)
	case d.log.State == Migration && !z.held():
		return "the metadata log has a copy of ZooKeeper, and /controller is not a KRaft controller's: the migration was rolled back; " +
			"format the controllers anew before the next one"
	}
	return ""
}

// awaited are ZooKeeper's brokers that are not registered in ZooKeeper mode.
func (d *Driver) awaited() []kafka.BrokerID {
	var out []kafka.BrokerID
	for _, b := range d.zookeeper.Brokers {
		if !slices.Contains(d.log.ZooKeeperMode, b) {
			out = append(out, b)
		}
	}
	return out
}

func (d *Driver) act(s State, k ActionKind) []Effect {
	d.state, d.busy = s, true
	return []Effect{Action{Kind: k, Epoch: d.epoch, Over: d.over}}
}

func (d *Driver) later(after time.Duration) []Effect {
	d.waiting, d.retry = true, after
	return []Effect{RetryIn{After: after, Epoch: d.epoch}}
}

func (d *Driver) stop(reason string) { d.state, d.reason = Stopped, reason }
