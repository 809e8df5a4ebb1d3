package quorum

import (
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
	"kvorum/quorum/controller"
)

// The voter set in the log (KRaftVoters) is what brokers and tools know of the
// controllers. It follows two things: where the active controller listens, and
// which directory raft's membership has for each controller. Raft decides who
// votes; the record only tells it.

// voterCheckMs is the time between two looks at whether the voter set says what
// the membership does. The first look is that long after the activation, so that
// a membership change that was committed before the claim is known by then.
const voterCheckMs = 1000

// updateOwnEndpoints writes the voter set anew if this controller listens
// elsewhere than it says (KafkaRaftClient's UpdateVoter for the leader itself):
// brokers find the controllers by it.
func (c *Core) updateOwnEndpoints() {
	own := c.cfg.voterEndpoints()
	i := c.voterAt(c.cfg.Self)
	if i < 0 || slices.EqualFunc(c.nextVoters.Voters[i].Endpoints, own, sameEndpoint) {
		return
	}
	c.changeVoter(i, func(v *record.QuorumVoter) { v.Endpoints = own })
	c.note(false, "controller %d listens elsewhere than the voter set says: writing a new one", c.cfg.Self)
}

// followMembership writes the voter set anew for each controller whose directory
// the membership knows by another id: its disk was lost and it was replaced. A
// controller that is not a member is left as it is: it is being replaced.
//
// Each change is a record of its own: brokers stop when one record changes more
// than one voter, that is, when more than one (id, directory id) is new or gone
// (VoterSetHistory.addAt, VoterSet.hasOverlappingMajority).
func (c *Core) followMembership(controller.Input) (controller.Decision, bool) {
	if c.nextVoters == nil {
		return controller.Decision{}, false
	}
	for i := range c.nextVoters.Voters {
		v := c.nextVoters.Voters[i]
		directory, ok := c.members[v.VoterID]
		if !ok || directory == v.VoterDirectoryID {
			continue
		}
		c.changeVoter(i, func(v *record.QuorumVoter) { v.VoterDirectoryID = directory })
		c.note(false, "controller %d has directory %s in the place of %s: writing a new voter set", v.VoterID, directory, v.VoterDirectoryID)
	}
	return controller.Decision{}, false
}

// voterAt is the place of a controller in the newest voter set, -1 if there is
// no set or it is not in it.
func (c *Core) voterAt(id kafka.NodeID) int {
	if c.nextVoters == nil {
		return -1
	}
	return slices.IndexFunc(c.nextVoters.Voters, func(v record.QuorumVoter) bool { return v.VoterID == id })
}

// changeVoter queues a voter set in which one voter is changed.
func (c *Core) changeVoter(i int, change func(*record.QuorumVoter)) {
	updated := &record.KRaftVoters{Version: c.nextVoters.Version, Voters: slices.Clone(c.nextVoters.Voters)}
	change(&updated.Voters[i])
	c.enqueue(pendingBatch{end: c.next + 1, data: controlBatch(c.next, c.epoch, c.now, updated)})
	c.nextVoters = updated
}

func sameEndpoint(a, b record.VoterEndpoint) bool {
	return a.Name == b.Name && a.Host == b.Host && a.Port == b.Port
}
