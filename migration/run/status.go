package run

import (
	"time"

	"kvorum/internal/kafka"
	"kvorum/migration/driver"
	"kvorum/migration/zkbroker"
)

// Status is where a controller's part of the migration stands.
type Status struct {
	driver.Status
	Leads bool
	Epoch kafka.LeaderEpoch // of the last leadership
	// Offset is the last committed one, and LogState the state of the migration there.
	Offset   kafka.Offset
	LogState driver.LogState
	// ZooKeeperMode and KRaftMode are the registered brokers, by id.
	ZooKeeperMode, KRaftMode []kafka.BrokerID

	// Of this leadership:

	// Action is the step under way, since Since; "" if there is none.
	Action string
	Since  time.Time
	// Err is why the last step failed, "" if it did not. It is tried again.
	Err string
	// Read is the number of nodes that were read for the copy.
	Read int
	// ControllerEpoch is /controller_epoch of our claim, 0 before it.
	ControllerEpoch int32
	// Written is the offset up to which ZooKeeper holds the metadata, -1 if this
	// leadership has not written yet.
	Written kafka.Offset
	// Told says how far each broker in ZooKeeper mode has been told.
	Told []zkbroker.Status

	sender *zkbroker.Sender
	backs  int // how many calls of RollBack this is later than
}

// Status says where the migration stands, as far as this controller knows.
func (r *Runner) Status() Status {
	r.mu.Lock()
	s, newest := r.status, r.newest
	r.mu.Unlock()
	s.Offset = newest.Offset
	if im := newest.Image; im != nil {
		s.LogState = driver.LogState(im.ZkMigrationState())
		for b := range im.Brokers() {
			if b.IsMigratingZkBroker {
				s.ZooKeeperMode = append(s.ZooKeeperMode, b.ID)
			} else {
				s.KRaftMode = append(s.KRaftMode, b.ID)
			}
		}
	}
	if s.sender != nil {
		s.Told, s.sender = s.sender.Status(), nil
	}
	return s
}

// publish takes over what the loop knows.
func (r *Runner) publish(s driver.Status, leads bool, epoch kafka.LeaderEpoch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Status, r.status.Leads, r.status.Epoch = s, leads, epoch
	if !r.back {
		r.status.backs = r.backs
	}
	close(r.moved)
	r.moved = make(chan struct{})
}

// forget drops what is known of a leadership that is over.
func (r *Runner) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current, r.status = nil, Status{Written: kafka.NoOffset}
}

// note changes what is known of a term, unless there is a newer one.
func (r *Runner) note(t *term, change func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == t {
		change(&r.status)
	}
}
