package core

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kvorum/internal/kafka"
)

// The simulation runs leaders and followers over logs that are slices, under a
// controller that is a list of committed states, in any order: brokers see the
// states late, answers come late or never, brokers are killed and come back
// without what was in memory. An oracle holds what was ever committed.

// entry is a record: a number that no other record has, and its leader epoch.
type entry struct {
	id    int
	epoch kafka.LeaderEpoch
}

// replica is one broker: a log, and a core for its role in the state that it has
// seen.
type replica struct {
	id         kafka.BrokerID
	log        []entry
	starts     []kafka.EpochOffset // leader epochs and where they begin
	hw         kafka.Offset
	seen       int // index of the newest committed state it has applied; -1: it is down
	leader     *Leader
	follower   *Follower
	registered kafka.BrokerEpoch
	journal    *Proposal // the expansion on its disk
}

func (r *replica) end() kafka.Offset { return kafka.Offset(len(r.log)) }

func (r *replica) lastEpoch() kafka.LeaderEpoch {
	if len(r.starts) == 0 {
		return kafka.NoEpoch
	}
	return r.starts[len(r.starts)-1].Epoch
}

func (r *replica) begin(epoch kafka.LeaderEpoch, at kafka.Offset) {
	if epoch > r.lastEpoch() {
		r.starts = append(r.starts, kafka.EpochOffset{Epoch: epoch, Offset: at})
	}
}

// epochEnd is the largest epoch up to one, and its end, found the slow way.
func (r *replica) epochEnd(epoch kafka.LeaderEpoch) kafka.EpochOffset {
	found := kafka.EpochOffset{Epoch: kafka.NoEpoch, Offset: kafka.NoOffset}
	if epoch > r.lastEpoch() {
		return found
	}
	if len(r.starts) > 0 && epoch < r.starts[0].Epoch && epoch != kafka.NoEpoch {
		return kafka.EpochOffset{Epoch: epoch, Offset: r.starts[0].Offset}
	}
	for i, s := range r.starts {
		if s.Epoch <= epoch {
			found = kafka.EpochOffset{Epoch: s.Epoch, Offset: r.end()}
			if i+1 < len(r.starts) {
				found.Offset = r.starts[i+1].Offset
			}
		}
	}
	return found
}

func (r *replica) truncate(to kafka.Offset) {
	r.log = r.log[:min(to, r.end())]
	r.starts = slices.DeleteFunc(r.starts, func(s kafka.EpochOffset) bool { return s.Offset >= to })
	r.hw = min(r.hw, r.end())
}

// reply is an answer under way to a follower.
type reply struct {
	to, from kafka.BrokerID
	life     kafka.BrokerEpoch
	asked    Ask
	answer   Answer
	records  []entry
}

// proposal is an ISR under way to the controller, or its answer back.
type proposal struct {
	from   *Leader
	by     kafka.BrokerID
	change *Proposal
	answer *Answered
}

type sim struct {
	t        *rapid.T
	replicas []*replica
	states   []State // committed by the controller; the image is an index
	leaders  []kafka.BrokerID
	replies  []reply
	asks     []proposal
	nowMs    int64
	nextID   int
	nextLife kafka.BrokerEpoch
	minISR   int

	committed []entry // the oracle
}

const simLag = 10

func newSim(t *rapid.T) *sim {
	s := &sim{t: t, nowMs: 1_000_000, nextLife: 100, minISR: rapid.IntRange(1, 3).Draw(t, "min ISR")}
	first := State{LeaderEpoch: 0, PartitionEpoch: 0, MinISR: s.minISR}
	for id := kafka.BrokerID(1); id <= 3; id++ {
		s.nextLife++
		s.replicas = append(s.replicas, &replica{id: id, seen: -1, registered: s.nextLife})
		first.Replicas = append(first.Replicas, Replica{ID: id, Epoch: s.nextLife, Active: true})
		first.ISR = append(first.ISR, id)
	}
	s.states, s.leaders = []State{first}, []kafka.BrokerID{1}
	for _, r := range s.replicas {
		s.see(r, 0)
	}
	return s
}

func (s *sim) now() (State, kafka.BrokerID) {
	return s.states[len(s.states)-1], s.leaders[len(s.leaders)-1]
}

// commit is a decision of the controller: a copy of the state with a change.
func (s *sim) commit(leader kafka.BrokerID, change func(*State)) {
	old, was := s.now()
	next := old
	next.ISR, next.Replicas = slices.Clone(old.ISR), slices.Clone(old.Replicas)
	change(&next)
	if leader != was {
		next.LeaderEpoch++
	}
	if leader != was || !slices.Equal(next.ISR, old.ISR) {
		next.PartitionEpoch++
	}
	s.states, s.leaders = append(s.states, next), append(s.leaders, leader)
	if leader != was && leader != kafka.NoLeader {
		s.complete(s.replicas[leader-1])
	}
}

// complete checks LeaderCompleteness: whoever is elected has what is committed.
func (s *sim) complete(r *replica) {
	if len(r.log) < len(s.committed) || !slices.Equal(r.log[:len(s.committed)], s.committed) {
		s.t.Fatalf("broker %d is elected with %v, and %v is committed", r.id, r.log, s.committed)
	}
}

// see lets a broker apply a committed state.
func (s *sim) see(r *replica, index int) {
	r.seen = index
	state, leader := s.states[index], s.leaders[index]
	switch {
	case leader != r.id:
		if r.follower == nil {
			r.follower = NewFollower(state.LeaderEpoch)
		}
		r.leader = nil
		r.follower.Elected(state.LeaderEpoch)
	case r.leader == nil:
		r.follower = nil
		r.begin(state.LeaderEpoch, r.end())
		var e Effects
		r.leader, e = NewLeader(LeaderOptions{Self: r.id, LagMaxMs: simLag, State: state, End: r.end(), HighWatermark: r.hw, Proposed: r.journal, NowMs: s.nowMs})
		s.effects(r, e)
	default:
		if state.LeaderEpoch > r.leader.Epoch() {
			r.begin(state.LeaderEpoch, r.end())
		}
		s.step(r, ImageChanged{State: state, NowMs: s.nowMs})
	}
}

func (s *sim) step(r *replica, e Event) { s.effects(r, r.leader.Step(e)) }

func (s *sim) effects(r *replica, e Effects) {
	if e.Propose != nil {
		if e.Propose.Expands() {
			r.journal = e.Propose
		}
		s.asks = append(s.asks, proposal{from: r.leader, by: r.id, change: e.Propose})
	}
	if !e.HighWatermarkMoved {
		return
	}
	if hw := r.leader.HighWatermark(); hw < r.hw || hw > r.end() {
		s.t.Fatalf("broker %d moves its high watermark from %d to %d of %d", r.id, r.hw, hw, r.end())
	}
	r.hw = r.leader.HighWatermark()
	// ConsistentRead: whatever is below a leader's high watermark stays there for
	// everybody and ever.
	for i, e := range r.log[:r.hw] {
		switch {
		case i == len(s.committed):
			s.committed = append(s.committed, e)
		case s.committed[i] != e:
			s.t.Fatalf("broker %d shows %v at offset %d, where %v was committed", r.id, e, i, s.committed[i])
		}
	}
}

func (s *sim) pick(label string, ok func(*replica) bool) *replica {
	var of []*replica
	for _, r := range s.replicas {
		if ok(r) {
			of = append(of, r)
		}
	}
	if len(of) == 0 {
		s.t.Skip("nobody")
	}
	return rapid.SampledFrom(of).Draw(s.t, label)
}

func up(r *replica) bool       { return r.seen >= 0 }
func leading(r *replica) bool  { return up(r) && r.leader != nil }
func followed(r *replica) bool { return up(r) && r.follower != nil }

// Append writes records as any broker that believes that it leads.
func (s *sim) Append(t *rapid.T) {
	s.t = t
	r := s.pick("leader", leading)
	for range rapid.IntRange(1, 3).Draw(t, "records") {
		s.nextID++
		r.log = append(r.log, entry{s.nextID, r.leader.Epoch()})
	}
	s.step(r, Appended{End: r.end(), NowMs: s.nowMs})
}

// Fetch lets a follower ask the leader that it knows; the answer is under way.
func (s *sim) Fetch(t *rapid.T) {
	s.t = t
	f := s.pick("follower", followed)
	s.fetch(f, func(most int) int { return rapid.IntRange(0, most).Draw(t, "records") })
}

func (s *sim) fetch(f *replica, some func(most int) int) {
	leader := s.leaders[f.seen]
	ask, ok := f.follower.Ask(Position{End: f.end(), HighWatermark: f.hw, LastEpoch: f.lastEpoch()})
	if !ok || leader == kafka.NoLeader || !up(s.replicas[leader-1]) {
		return
	}
	l := s.replicas[leader-1]
	re := reply{to: f.id, from: l.id, life: f.registered, asked: ask}
	re.answer.Diverging = kafka.EpochOffset{Epoch: kafka.NoEpoch}
	switch {
	case l.leader == nil || ask.LeaderEpoch > l.leader.Epoch() || !l.leader.Admits(f.id, f.registered):
		return // NOT_LEADER_OR_FOLLOWER, UNKNOWN_LEADER_EPOCH: it asks again
	case ask.LeaderEpoch < l.leader.Epoch():
		re.answer.Fenced = true
	case ask.LastEpoch != kafka.NoEpoch:
		end := l.epochEnd(ask.LastEpoch)
		if end.Epoch == kafka.NoEpoch {
			re.answer.OutOfRange, re.answer.LogEnd = true, l.end()
		} else if end.Epoch < ask.LastEpoch || end.Offset < ask.Offset {
			re.answer.Diverging = end
		}
	}
	if a := &re.answer; !a.Fenced && !a.OutOfRange && a.Diverging.Epoch == kafka.NoEpoch {
		if ask.Offset > l.end() {
			a.OutOfRange, a.LogEnd = true, l.end()
		} else {
			n := some(int(l.end() - ask.Offset))
			re.records = slices.Clone(l.log[ask.Offset : int(ask.Offset)+n])
			a.Records, a.HighWatermark, a.LogStart = n > 0, l.hw, 0
			s.step(l, FollowerFetched{ID: f.id, BrokerEpoch: f.registered, Offset: ask.Offset, NowMs: s.nowMs})
		}
	}
	s.replies = append(s.replies, re)
}

// Deliver brings one answer of a fetch to its follower.
func (s *sim) Deliver(t *rapid.T) {
	s.t = t
	if len(s.replies) == 0 {
		t.Skip("nothing under way")
	}
	s.deliver(rapid.IntRange(0, len(s.replies)-1).Draw(t, "reply"))
}

func (s *sim) deliver(i int) {
	re := s.replies[i]
	s.replies = slices.Delete(s.replies, i, i+1)
	f := s.replicas[re.to-1]
	if !followed(f) || f.registered != re.life {
		return // it was killed meanwhile
	}
	at := Position{End: f.end(), HighWatermark: f.hw, LastEpoch: f.lastEpoch()}
	d, ok := f.follower.Take(re.asked, re.answer, at, f.epochEnd)
	if !ok {
		return
	}
	if d.Truncate {
		f.truncate(d.To)
	}
	if d.Append {
		for _, e := range re.records {
			if e.epoch > d.UpToEpoch {
				break
			}
			f.begin(e.epoch, f.end())
			f.log = append(f.log, e)
		}
	}
	f.hw = min(max(f.hw, d.HighWatermark), f.end())
}

// heal ends all faults: everybody is up, sees the newest state, and every message
// arrives. Then the logs become one, all of it is committed, and all are in sync.
func (s *sim) heal(t *rapid.T) {
	s.t, s.replies, s.asks = t, nil, nil
	for _, r := range s.replicas {
		if state, _ := s.now(); !state.Replicas[r.id-1].Active {
			s.restart(r)
		}
	}
	for range 100 {
		for _, r := range s.replicas {
			s.see(r, len(s.states)-1)
			if leading(r) && r.leader.Proposed() != nil {
				s.step(r, s.decide(proposal{from: r.leader, by: r.id, change: r.leader.Proposed()}))
			}
		}
		for _, r := range s.replicas {
			if followed(r) {
				s.fetch(r, func(most int) int { return most })
			}
		}
		for len(s.replies) > 0 {
			s.deliver(0)
		}
		s.check(t)
		if s.healed() {
			return
		}
	}
	state, leader := s.now()
	for _, r := range s.replicas {
		t.Logf("broker %d: %v, epochs %v, high watermark %d", r.id, r.log, r.starts, r.hw)
	}
	t.Fatalf("the replicas do not become one, with leader %d in %+v", leader, state)
}

func (s *sim) healed() bool {
	state, _ := s.now()
	for _, r := range s.replicas {
		if !slices.Equal(r.log, s.replicas[0].log) || !slices.Equal(r.log, s.committed) {
			return false
		}
	}
	return len(state.ISR) == len(s.replicas)
}

// Publish lets a broker see the next committed states.
func (s *sim) Publish(t *rapid.T) {
	s.t = t
	r := s.pick("broker", func(r *replica) bool { return up(r) && r.seen < len(s.states)-1 })
	s.see(r, rapid.IntRange(r.seen+1, len(s.states)-1).Draw(t, "state"))
}

// Alter takes a proposal to the controller, or its answer to the leader.
func (s *sim) Alter(t *rapid.T) {
	s.t = t
	if len(s.asks) == 0 {
		t.Skip("nothing is proposed")
	}
	i := rapid.IntRange(0, len(s.asks)-1).Draw(t, "proposal")
	p := s.asks[i]
	s.asks = slices.Delete(s.asks, i, i+1)
	if p.answer != nil || rapid.IntRange(0, 4).Draw(t, "lost") == 0 {
		a := Answered{Proposal: p.change, Outcome: Failed}
		if p.answer != nil {
			a = *p.answer
		}
		a.NowMs = s.nowMs
		if r := s.replicas[p.by-1]; r.leader == p.from && r.leader != nil {
			s.step(r, a)
		}
		return
	}
	a := s.decide(p)
	p.answer = &a
	s.asks = append(s.asks, p)
}

// decide is the controller's AlterPartition.
func (s *sim) decide(p proposal) Answered {
	state, leader := s.now()
	a := Answered{Proposal: p.change, Outcome: Superseded}
	if leader != p.by || p.change.LeaderEpoch != state.LeaderEpoch || p.change.PartitionEpoch != state.PartitionEpoch {
		return a
	}
	var isr []kafka.BrokerID
	for _, m := range p.change.ISR {
		r := state.Replicas[m.ID-1]
		if !r.Active || (m.ID != p.by && m.Epoch != kafka.NoBrokerEpoch && m.Epoch != r.Epoch) {
			a.Outcome = Refused
			return a
		}
		isr = append(isr, m.ID)
	}
	s.commit(leader, func(st *State) { st.ISR = isr })
	state, _ = s.now()
	a.Outcome, a.PartitionEpoch = Accepted, state.PartitionEpoch
	return a
}

// Kill ends a process: the controller fences it, elects another leader from the
// ISR if it can, and the broker's memory is gone. Its log stays.
func (s *sim) Kill(t *rapid.T) {
	s.t = t
	r := s.pick("broker", up)
	r.seen, r.leader, r.follower = -1, nil, nil
	s.fence(r.id)
	if r.hw > 0 {
		r.hw = kafka.Offset(rapid.IntRange(0, int(r.hw)).Draw(t, "checkpoint"))
	}
}

// Resume kills a process that comes back at once as the same incarnation, before
// any controller hears of it: what was in memory is gone, the image, the log and
// the journal are there.
func (s *sim) Resume(t *rapid.T) {
	s.t = t
	r := s.pick("broker", up)
	r.leader, r.follower = nil, nil
	if r.hw > 0 {
		r.hw = kafka.Offset(rapid.IntRange(0, int(r.hw)).Draw(t, "checkpoint"))
	}
	s.see(r, r.seen)
}

// MinISR changes min.insync.replicas; brokers learn of it with the image.
func (s *sim) MinISR(t *rapid.T) {
	s.t = t
	_, leader := s.now()
	min := rapid.IntRange(1, 3).Draw(t, "min ISR")
	s.commit(leader, func(st *State) { st.MinISR = min })
}

// Fence takes a broker out that lives: it goes on as a zombie.
func (s *sim) Fence(t *rapid.T) {
	s.t = t
	state, _ := s.now()
	r := s.pick("broker", func(r *replica) bool { return up(r) && state.Replicas[r.id-1].Active })
	s.fence(r.id)
}

func (s *sim) fence(id kafka.BrokerID) {
	state, leader := s.now()
	isr := slices.Clone(state.ISR)
	if slices.Contains(isr, id) && len(isr) > 1 {
		isr = slices.DeleteFunc(isr, func(b kafka.BrokerID) bool { return b == id })
	}
	if leader == id {
		leader = kafka.NoLeader
		for _, b := range isr {
			if b != id && state.Replicas[b-1].Active {
				leader = b
				break
			}
		}
	}
	s.commit(leader, func(st *State) { st.ISR, st.Replicas[id-1].Active = isr, false })
}

// Restart brings a broker back as a new incarnation, or unfences one that lives.
func (s *sim) Restart(t *rapid.T) {
	s.t = t
	state, _ := s.now()
	s.restart(s.pick("broker", func(r *replica) bool { return !state.Replicas[r.id-1].Active }))
}

func (s *sim) restart(r *replica) {
	state, leader := s.now()
	down := !up(r)
	if down {
		s.nextLife++
		r.registered = s.nextLife
	}
	if leader == kafka.NoLeader && slices.Contains(state.ISR, r.id) {
		leader = r.id
	}
	s.commit(leader, func(st *State) { st.Replicas[r.id-1] = Replica{ID: r.id, Epoch: r.registered, Active: true} })
	if down {
		s.see(r, len(s.states)-1)
	}
}

// Wait lets time go by and leaders look for followers that lag.
func (s *sim) Wait(t *rapid.T) {
	s.t = t
	s.nowMs += int64(rapid.IntRange(1, simLag).Draw(t, "ms"))
	for _, r := range s.replicas {
		if leading(r) {
			s.step(r, Tick{NowMs: s.nowMs})
		}
	}
}

// check is called after each action: LogMatching, and the cores agree with the
// logs.
func (s *sim) check(t *rapid.T) {
	for i, a := range s.replicas {
		for _, b := range s.replicas[i+1:] {
			same := true
			for o := min(len(a.log), len(b.log)) - 1; o >= 0; o-- {
				if a.log[o].epoch == b.log[o].epoch {
					same = slices.Equal(a.log[:o+1], b.log[:o+1])
					break
				}
			}
			if !same {
				t.Fatalf("the logs of %d and %d differ below an offset where they have the same epoch: %v and %v", a.id, b.id, a.log, b.log)
			}
		}
		if a.leader != nil && (a.leader.End() != a.end() || a.leader.HighWatermark() > a.end()) {
			t.Fatalf("leader %d: %s", a.id, fmt.Sprint(a.leader.End(), a.end()))
		}
	}
}

func TestReplicasKeepWhatIsCommitted(t *testing.T) {
	most, moved := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t)
		t.Repeat(map[string]func(*rapid.T){
			"": s.check, "append": s.Append, "fetch": s.Fetch, "fetch again": s.Fetch, "deliver": s.Deliver, "deliver again": s.Deliver,
			"publish": s.Publish, "publish again": s.Publish, "alter": s.Alter, "kill": s.Kill, "resume": s.Resume, "min ISR": s.MinISR, "fence": s.Fence, "restart": s.Restart, "restart again": s.Restart, "wait": s.Wait,
		})
		s.heal(t)
		most = max(most, len(s.committed))
		if len(s.committed) > 0 && s.leaders[len(s.leaders)-1] != s.leaders[0] {
			moved++
		}
	})
	if most < 5 || moved == 0 {
		t.Fatalf("at most %d records were committed and %d runs changed the leader: the simulation does nothing", most, moved)
	}
}
