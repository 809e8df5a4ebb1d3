package replica

import (
	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// coreState is what an image says about a partition, for the leader core.
func coreState(a assignment, im *image.Image, minISR int) core.State {
	s := core.State{LeaderEpoch: a.state.LeaderEpoch, PartitionEpoch: a.state.PartitionEpoch, ISR: a.state.ISR, MinISR: minISR}
	s.Replicas = make([]core.Replica, len(a.state.Replicas))
	for i, id := range a.state.Replicas {
		r := core.Replica{ID: id, Epoch: kafka.NoBrokerEpoch}
		if b := im.Broker(id); b != nil {
			r.Epoch, r.Active = b.Epoch, b.Active()
		}
		s.Replicas[i] = r
	}
	return s
}

// assume makes the partition lead or follow as the image says.
func (p *Partition) assume(a assignment, s core.State) {
	leads := a.state.Leader == p.owner.self
	p.mu.Lock()
	if leads == (p.leader != nil) && a.state.LeaderEpoch == p.epoch {
		p.leaderID = a.state.Leader
		p.step(core.ImageChanged{State: s, NowMs: p.owner.nowMs()})
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	if a.state.LeaderEpoch < p.epoch {
		return // an older image says nothing new; only Publish writes epoch
	}
	// Appends of the old epoch end before the new one begins.
	p.role.Lock()
	defer p.role.Unlock()
	if leads {
		p.owner.fetchers.assign(p, kafka.NoLeader)
		p.lead(s)
		return
	}
	p.follow(a.state)
	p.owner.fetchers.assign(p, a.state.Leader)
}

// follow begins to follow a leader (Partition.makeFollower). Its log stays as it
// is: where it parts from the leader's is found by the first fetch.
func (p *Partition) follow(state *image.Partition) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leader, p.epoch, p.leaderID = nil, state.LeaderEpoch, state.Leader
	if p.follower == nil {
		p.follower = core.NewFollower(state.LeaderEpoch)
	}
	p.follower.Elected(state.LeaderEpoch)
	p.upset()
}

// lead begins a leader epoch (Partition.makeLeader). The epoch gets its start in
// the log's epoch cache before anything is served, so that followers find where
// their logs part from this one.
func (p *Partition) lead(s core.State) {
	end := p.Log().LogEnd()
	p.Log().AssignEpochStart(s.LeaderEpoch, end)
	nowMs := p.owner.nowMs()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch, p.leaderID, p.follower = s.LeaderEpoch, p.owner.self, nil
	if p.leader != nil {
		p.step(core.ImageChanged{State: s, NowMs: nowMs})
	} else {
		p.begin(s, end)
	}
	p.upset()
}
