package quorum

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/metadatalog"
	"kvorum/metadatalog/record"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
	"kvorum/quorum/controller"
)

// stepLeadership follows the raft group's leader. A new term is claimed before
// anything is decided in it: the claim's commit, not raft's opinion, begins the
// KRaft epoch, so that an epoch can never have two leaders.
func (c *Core) stepLeadership(ev Leadership) {
	if ev.Term < c.term {
		return // news of a term that has passed
	}
	if ev.Self && ev.Term == c.term && c.role != follower {
		return
	}
	c.renounce("another raft term began")
	c.raftTerm, c.reclaimAt = 0, 0
	if ev.Self {
		c.raftTerm = ev.Term
		c.claim(ev.Term)
	}
}

// reclaimDelayMs is how long a controller that raft still takes for the leader
// waits before it claims again after a claim or its epoch came to nothing. Raft
// reports a term once, so that nobody else would wake it up.
const reclaimDelayMs = 500

// reclaim claims the raft term again that this node still leads. The log accepts
// the claim of the same node for the same epoch once more.
func (c *Core) reclaim() {
	switch {
	case c.role != follower || c.raftTerm == 0:
		c.reclaimAt = 0
	case c.reclaimAt == 0:
		c.reclaimAt = c.now + reclaimDelayMs
	case c.now >= c.reclaimAt:
		c.reclaimAt = 0
		c.claim(c.raftTerm)
	}
}

func (c *Core) claim(term uint64) {
	c.role, c.term = claiming, term
	c.out.Claim = &Claim{
		Term:         term,
		Batch:        c.claimBatch(false),
		BatchIfEmpty: c.claimBatch(true),
	}
}

// claimBatch is the control batch that an epoch begins with
// (LeaderState.appendStartOfEpochControlRecords): a LeaderChange, on an empty
// log followed by the kraft.version and the voters.
func (c *Core) claimBatch(empty bool) []byte {
	change := &record.LeaderChange{LeaderID: c.cfg.Self}
	for _, v := range c.cfg.Voters.Voters {
		change.Voters = append(change.Voters, record.Voter{VoterID: v.VoterID})
	}
	// Raft does not say who voted; the claim itself is granted by a majority, and
	// this node is surely among it.
	change.GrantingVoters = []record.Voter{{VoterID: c.cfg.Self}}
	controls := []record.Control{change}
	if empty {
		controls = append(controls, &record.KRaftVersion{KRaftVersion: kraftVersion}, &c.cfg.Voters)
	}
	return controlBatch(0, 0, c.now, controls...)
}

// kraftVersion is the only kraft.version that kvorum runs at: brokers find the
// controllers' endpoints in the log's KRaftVoters record (KIP-853).
const kraftVersion = 1

// controlBatch encodes control records as one batch. The records are our own,
// so that one that cannot be written is a programmer's error.
func controlBatch(base kafka.Offset, epoch kafka.LeaderEpoch, nowMs int64, controls ...record.Control) []byte {
	encoded, err := metadatalog.EncodeControls(controls...)
	if err != nil {
		panic("quorum: " + err.Error())
	}
	return batch.AppendControl(nil, base, epoch, nowMs, encoded)
}

func (c *Core) stepClaimed(ev Claimed) {
	if c.role != claiming || ev.Term != c.term {
		return
	}
	if !ev.Accepted {
		c.note(false, "claim of raft term %d was not accepted", ev.Term)
		c.role, c.term = follower, 0
		return
	}
	c.role, c.claimEpoch, c.claimEnd = activating, ev.Epoch, ev.End
	c.activateIfCaughtUp()
}

// activateIfCaughtUp makes this node active once the claim itself is folded: it
// then has every record of every earlier epoch, and nobody else can append. If a
// later claim is folded already, the epoch is over before it began here.
func (c *Core) activateIfCaughtUp() {
	if c.role != activating || c.end() < c.claimEnd {
		return
	}
	if c.epoch != c.claimEpoch {
		c.renounce(fmt.Sprintf("controller %d claimed epoch %d", c.leader, c.epoch))
		return
	}
	// The claim's own record says so, unless it lies before a loaded snapshot.
	c.role, c.leader = active, c.cfg.Self
	c.pending, c.next, c.transaction = c.committed(), c.end(), nil
	c.queue, c.inFlight, c.bytes = nil, 0, 0
	c.nextVoters = c.voters
	c.sessions = controller.NewSessions()
	c.sessions.Reset(c.pending, c.now)
	s := &c.cfg.Settings
	if !planted.Is(planted.ForgetHeldBack) {
		c.sessions.Inherit(c.now + s.SessionTimeoutMs)
	}
	if s.FenceOnDeath {
		c.sessions.PresumeFenced(c.pending, c.now+s.SessionTimeoutMs)
		c.deaths.begin(c.pending, c.now, c.local)
	}
	c.replicas.begin()
	c.brokers.begin()
	c.timers = c.newTimers()
	c.changed = true
	c.note(false, "active controller of epoch %d, log end %d", c.epoch, c.next)
	if err := c.activate(); err != nil {
		c.note(true, "this controller cannot be active: %v", err)
		c.renounce("the first records of the epoch were refused")
	}
}

// activate decides what a new active controller writes by itself: the bootstrap
// records or the end of an interrupted transaction, its own registration, and
// its endpoints in the voter set if they moved.
func (c *Core) activate() error {
	_, open := c.replay.InTransaction()
	d, note, err := controller.Activate(c.input(controller.Caller{}), c.cfg.Bootstrap, open)
	if note != "" {
		c.note(true, "%s", note)
	}
	if err == nil {
		err = c.apply(d)
	}
	if err != nil {
		return err
	}
	c.updateOwnEndpoints()
	r := c.pending.Controller(c.cfg.Self)
	if c.pending.MetadataVersion() < minRegistrationVersion || r != nil && r.IncarnationID == c.cfg.Incarnation {
		return nil
	}
	d, _ = controller.RegisterController(c.input(controller.Caller{}), c.cfg.registration())
	return c.apply(d)
}

// renounce stops deciding: what is pending may or may not commit, so it is
// dropped, and whoever waits for it is told to ask the next controller.
func (c *Core) renounce(why string) {
	if c.role == follower {
		return
	}
	if c.role == active {
		c.note(false, "no longer the active controller of epoch %d: %s", c.epoch, why)
		c.changed = true
	}
	c.role, c.term = follower, 0
	if c.leader == c.cfg.Self {
		c.leader = kafka.NoNode
	}
	c.pending, c.queue, c.inFlight, c.bytes, c.nextVoters, c.transaction = nil, nil, 0, 0, nil, nil
	c.deaths = deathWatch{number: c.deaths.number} // an answer to an earlier dial stays one
	c.parked.failAll(c.out, errors.New(errors.NotController, "%s", errors.NotController.Message()))
}

// observeControl is told of every control record in the committed log, in order.
func (c *Core) observeControl(_ kafka.Offset, epoch kafka.LeaderEpoch, control record.Control) {
	switch control := control.(type) {
	case *record.LeaderChange:
		c.epoch, c.leader, c.changed = epoch, control.LeaderID, true
		c.stats.NewActiveControllers++
	case *record.KRaftVersion:
		c.kraft, c.changed = control.KRaftVersion, true
	case *record.KRaftVoters:
		c.voters, c.changed = control, true
	}
}
