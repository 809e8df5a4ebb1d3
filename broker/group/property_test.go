package group

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// population is a world with clients that do anything, most of it plausible.
type population struct {
	*world
	rt          *rapid.T
	ids         map[string][]string // member ids that were given out, by group
	generations map[string]int32    // the highest that was seen
	settled     int                 // times that settle made a group stable
}

var (
	groupNames    = []string{"g", "h"}
	instanceNames = []string{"", "", "i1", "i2"}
)

func (p *population) pick(label string, from []string) string {
	return rapid.SampledFrom(from).Draw(p.rt, label)
}

func (p *population) member(group string) string {
	return p.pick("member", append([]string{"", "stranger"}, p.ids[group]...))
}

func (p *population) instance() *string {
	if i := p.pick("instance", instanceNames); i != "" {
		return &i
	}
	return nil
}

func (p *population) generation(group string) int32 {
	if g, ok := p.state.groups.Get(group); ok && rapid.IntRange(0, 9).Draw(p.rt, "right") > 0 {
		return g.generation
	}
	return rapid.Int32Range(-1, 3).Draw(p.rt, "generation")
}

// matching gives a request of a static member its instance id, mostly.
func (p *population) matching(group, member string) *string {
	if g, ok := p.state.groups.Get(group); ok && rapid.IntRange(0, 9).Draw(p.rt, "honest") > 0 {
		if m := g.member(member); m != nil {
			return m.instance
		}
		return nil
	}
	return p.instance()
}

func subscription(topics ...string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics = topics
	return m.AppendTo(nil)
}

func (p *population) join() {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Group = p.pick("group", groupNames)
	q.Version = rapid.Int16Range(0, 9).Draw(p.rt, "version")
	q.MemberID = p.member(q.Group)
	q.InstanceID = p.matching(q.Group, q.MemberID)
	if q.MemberID == "" {
		q.InstanceID = p.instance()
	}
	q.SessionTimeoutMillis = int32(rapid.SampledFrom([]int{6000, 10000, 30000}).Draw(p.rt, "session"))
	q.RebalanceTimeoutMillis = int32(rapid.SampledFrom([]int{1000, 5000, 60000}).Draw(p.rt, "rebalance"))
	q.ProtocolType = p.pick("type", []string{"consumer", "consumer", "consumer", "connect"})
	topic := p.pick("topic", []string{"t", "u"})
	q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscription(topic)}}
	if rapid.Bool().Draw(p.rt, "sticky") {
		q.Protocols = slices.Insert(q.Protocols, 0, kmsg.JoinGroupRequestProtocol{Name: "sticky", Metadata: subscription(topic, "v")})
	}
	p.request("client", q)
}

func (p *population) sync() {
	q := kmsg.NewPtrSyncGroupRequest()
	q.Group = p.pick("group", groupNames)
	q.MemberID = p.member(q.Group)
	q.InstanceID, q.Generation = p.matching(q.Group, q.MemberID), p.generation(q.Group)
	for _, id := range p.ids[q.Group] {
		if rapid.Bool().Draw(p.rt, "assigned") {
			q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: id, MemberAssignment: []byte("for " + id)})
		}
	}
	p.request("client", q)
}

// settle brings a group to rest as well-behaved clients do: everybody joins, and
// syncs.
func (p *population) settle() {
	group := p.pick("group", groupNames)
	p.join()
	p.learn()
	g, ok := p.state.groups.Get(group)
	if !ok {
		return
	}
	for _, id := range slices.Concat(g.members.Keys(), g.joining.Keys()) {
		if m := g.member(id); m != nil && m.join != 0 {
			continue
		}
		q := kmsg.NewPtrJoinGroupRequest()
		q.Group, q.Version, q.MemberID, q.ProtocolType = group, 9, id, consumerType
		q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = 10000, 5000
		q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscription("t")}}
		if m := g.member(id); m != nil {
			q.InstanceID = m.instance
		}
		p.request("client", q)
	}
	p.advance(4000)
	g, _ = p.state.groups.Get(group)
	for _, id := range g.members.Keys() {
		q := kmsg.NewPtrSyncGroupRequest()
		q.Group, q.MemberID, q.Generation, q.InstanceID = group, id, g.generation, g.member(id).instance
		if id == g.leader {
			q.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: id, MemberAssignment: []byte("all")}}
		}
		p.request("client", q)
	}
	if g, _ = p.state.groups.Get(group); g != nil && g.phase == Stable {
		p.settled++
	}
}

func (p *population) heartbeat() {
	q := kmsg.NewPtrHeartbeatRequest()
	q.Group = p.pick("group", groupNames)
	q.MemberID = p.member(q.Group)
	q.InstanceID, q.Generation = p.matching(q.Group, q.MemberID), p.generation(q.Group)
	p.request("client", q)
}

func (p *population) leave() {
	q := kmsg.NewPtrLeaveGroupRequest()
	q.Group = p.pick("group", groupNames)
	if q.Version = 2; rapid.Bool().Draw(p.rt, "batched") {
		q.Version = 5
	}
	q.MemberID = p.member(q.Group)
	for range rapid.IntRange(0, 2).Draw(p.rt, "leaving") {
		id := p.member(q.Group)
		q.Members = append(q.Members, kmsg.LeaveGroupRequestMember{MemberID: id, InstanceID: p.matching(q.Group, id)})
	}
	p.request("client", q)
}

func (p *population) commit() {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.Version = p.pick("group", append([]string{"simple"}, groupNames...)), 9
	if rapid.IntRange(0, 9).Draw(p.rt, "retention") == 0 {
		q.Version, q.RetentionTimeMillis = 3, 10_000
	}
	q.MemberID = p.member(q.Group)
	q.InstanceID, q.Generation = p.matching(q.Group, q.MemberID), p.generation(q.Group)
	q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: p.pick("topic", []string{"t", "u"}), Partitions: []kmsg.OffsetCommitRequestTopicPartition{
		{Partition: rapid.Int32Range(0, 2).Draw(p.rt, "partition"), Offset: rapid.Int64Range(0, 99).Draw(p.rt, "offset"), LeaderEpoch: -1},
	}}}
	p.request("client", q)
}

func (p *population) commitInTransaction() {
	q := kmsg.NewPtrTxnOffsetCommitRequest()
	q.Group, q.Version = p.pick("group", append([]string{"simple"}, groupNames...)), 3
	q.ProducerID = rapid.Int64Range(1, 3).Draw(p.rt, "producer")
	q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: p.pick("topic", []string{"t", "u"}), Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{
		{Partition: rapid.Int32Range(0, 2).Draw(p.rt, "partition"), Offset: rapid.Int64Range(0, 99).Draw(p.rt, "offset")},
	}}}
	p.request("client", q)
}

func (p *population) end() {
	p.step(Ended{kafka.ProducerID(rapid.Int64Range(1, 3).Draw(p.rt, "producer")), rapid.Bool().Draw(p.rt, "commit")})
}

func (p *population) deleteOffsets() {
	q := kmsg.NewPtrOffsetDeleteRequest()
	q.Group = p.pick("group", append([]string{"simple"}, groupNames...))
	q.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: p.pick("topic", []string{"t", "u"}), Partitions: []kmsg.OffsetDeleteRequestTopicPartition{
		{Partition: rapid.Int32Range(0, 2).Draw(p.rt, "partition")},
	}}}
	p.request("client", q)
}

func (p *population) deleteGroups() {
	q := kmsg.NewPtrDeleteGroupsRequest()
	q.Groups = []string{p.pick("group", append([]string{"simple"}, groupNames...)), p.pick("group", groupNames)}
	p.request("client", q)
}

func (p *population) expire() {
	limit := rapid.IntRange(1, 4).Draw(p.rt, "limit")
	for from, n := "", 0; ; n++ {
		out := p.step(Expire{From: from, Limit: limit})
		if from = out.Next; from == "" {
			return
		}
		if n > 1000 {
			p.rt.Fatal("expiry does not come to an end")
		}
	}
}

// learn remembers what answers say and checks what every history must keep.
func (p *population) learn() {
	for _, a := range p.answered {
		r, ok := a.Response.(*kmsg.JoinGroupResponse)
		if !ok || r.MemberID == "" || r.MemberID == "stranger" {
			continue
		}
		if code := errors.Code(r.ErrorCode); code == errors.None || code == errors.MemberIDRequired {
			for g := range p.ids {
				if !slices.Contains(p.ids[g], r.MemberID) && len(p.ids[g]) < 6 {
					p.ids[g] = append(p.ids[g], r.MemberID)
				}
			}
		}
	}
}

// invariants of each group.
func (p *population) invariants() {
	tokens := map[Token]bool{}
	for _, g := range p.state.groups.Values() {
		waiting, static, bytes := 0, 0, 0
		for _, m := range g.all() {
			bytes += size(m.protocols)
			for _, o := range m.protocols {
				if n, _ := g.known.Get(o.name); n == 0 {
					p.rt.Fatalf("nobody knows %s", o.name)
				}
			}
			if m.join != 0 {
				waiting++
				tokens[m.join] = true
			}
			if m.sync != 0 {
				tokens[m.sync] = true
			}
			if m.instance != nil {
				static++
				if id, _ := g.static.Get(*m.instance); id != m.id {
					p.rt.Fatalf("instance %s is %s, not %s", *m.instance, id, m.id)
				}
			}
			if g.isJoining(m.id) {
				p.rt.Fatalf("%s is a member and an id that has not joined", m.id)
			}
			if p.timers[Timer{SessionTimer, g.id, m.id}] == 0 && !m.satisfied() {
				p.rt.Fatalf("nobody watches %+v", *m)
			}
		}
		switch {
		case waiting != g.waiting:
			p.rt.Fatalf("%d members wait, %d are counted", waiting, g.waiting)
		case bytes != g.bytes:
			p.rt.Fatalf("%d bytes of metadata, %d are counted", bytes, g.bytes)
		case static != g.static.Len():
			p.rt.Fatalf("%d static members, %d known", static, g.static.Len())
		case g.members.Len() > 0 && g.member(g.leader) == nil:
			p.rt.Fatalf("leader %q of %v", g.leader, g.members.Keys())
		case g.phase == Empty && g.members.Len() > 0, (g.phase == Stable || g.phase == CompletingRebalance) && g.members.Len() == 0:
			p.rt.Fatalf("%v with %d members", g.phase, g.members.Len())
		case g.phase == PreparingRebalance && p.timers[Timer{JoinTimer, g.id, ""}] == 0:
			p.rt.Fatalf("group %s rebalances without an end", g.id)
		case g.generation < p.generations[g.id]:
			p.rt.Fatalf("group %s went from generation %d to %d", g.id, p.generations[g.id], g.generation)
		}
		p.generations[g.id] = g.generation
	}
	for id := range p.generations {
		if _, ok := p.state.groups.Get(id); !ok {
			delete(p.generations, id)
		}
	}
	if len(tokens) != len(p.parked) {
		p.rt.Fatalf("%d tokens in the state, %d requests wait", len(tokens), len(p.parked))
	}
	for token := range p.parked {
		if !tokens[token] {
			p.rt.Fatalf("nobody will answer token %d", token)
		}
	}
}

// A group's live state is what its records make of it, after any history: the
// bug class of coordinators that remember something else than they wrote.
// A Clone is not touched by what comes after it, and can be gone on from.
func TestLiveStateIsReplayedState(t *testing.T) {
	settled := 0
	defer func() {
		if settled < 50 {
			t.Errorf("groups were stable %d times only: the histories say little", settled)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.config.MaxSize = rapid.SampledFrom([]int{2, 1000}).Draw(rt, "max size")
		p := &population{world: w, rt: rt, ids: map[string][]string{"g": nil, "h": nil}, generations: map[string]int32{}}
		actions := map[string]func(*rapid.T){
			"tick":   func(*rapid.T) { p.advance(rapid.Int64Range(1, 8000).Draw(p.rt, "ms")) },
			"expire": func(*rapid.T) { p.expire() },
			"topic deleted": func(t *rapid.T) {
				p.step(TopicsDeleted{map[string]kafka.TopicID{rapid.SampledFrom([]string{"t", "u"}).Draw(t, "topic"): {}}})
			},
		}
		for name, f := range map[string]func(){
			"join": p.join, "join again": p.join, "sync": p.sync, "settle": p.settle, "settle again": p.settle, "heartbeat": p.heartbeat, "leave": p.leave, "commit": p.commit,
			"txn": p.commitInTransaction, "end": p.end, "delete offsets": p.deleteOffsets, "delete groups": p.deleteGroups,
		} {
			actions[name] = func(t *rapid.T) { p.rt = t; f() }
		}
		actions["failover"] = func(*rapid.T) { p.failover() }
		var frozen *State
		var before string
		actions["clone"] = func(*rapid.T) {
			if frozen != nil && frozen.describe(nil) != before {
				rt.Fatalf("a clone has changed:\n%s\n%s", before, frozen.describe(nil))
			}
			frozen = p.state.Clone()
			before = frozen.describe(nil)
		}
		actions[""] = func(t *rapid.T) {
			p.rt = t
			p.learn()
			p.answered = nil
			p.invariants()
			p.check()
			p.checkCompacted()
		}
		rt.Repeat(actions)
		settled += p.settled
		p.advance(3_600_000)
		if len(p.parked) > 0 {
			rt.Fatalf("%d requests are never answered: %v", len(p.parked), p.parked)
		}
		p.check()
	})
}

// compacted is the log as the cleaner leaves it: the last record of each key,
// without those of aborted transactions; all markers, and no tombstones. nil
// while a transaction is open: nothing from its first record on is cleaned.
func (w *world) compacted() []logged {
	committed := map[int]bool{}
	open := map[kafka.ProducerID][]int{}
	for i, l := range w.log {
		switch {
		case l.end:
			for _, j := range open[l.producer] {
				committed[j] = l.commit
			}
			delete(open, l.producer)
		case l.producer >= 0:
			open[l.producer] = append(open[l.producer], i)
		default:
			committed[i] = true
		}
	}
	if len(open) > 0 {
		return nil
	}
	last := map[string]int{}
	for i, l := range w.log {
		if committed[i] && !l.end {
			last[string(l.record.Key)] = i
		}
	}
	kept := []logged{}
	for i, l := range w.log {
		if l.end || committed[i] && last[string(l.record.Key)] == i && l.record.Value != nil {
			kept = append(kept, l)
		}
	}
	return kept
}

// checkCompacted compares the State with the one that a cleaned log makes. A
// group without a record, whose offsets have been deleted, is forgotten by it.
func (p *population) checkCompacted() {
	log := p.compacted()
	if log == nil {
		return
	}
	live := p.replayed()
	for _, g := range live.groups.Values() {
		written := slices.ContainsFunc(log, func(l logged) bool { return string(l.record.Key) == string(groupKey(g.id)) })
		none := true
		live.eachOffset(g.id, func(string, *Committed) bool { none = false; return false })
		if none && !written {
			live.groups.Delete(g.id)
		}
	}
	if want, got := live.describe(nil), fold(p.t, log).describe(nil); want != got {
		p.rt.Fatalf("replayed:\n%s\nfrom the cleaned log:\n%s", want, got)
	}
}

// failover goes on with the replayed state: parked requests fail with the shell.
func (p *population) failover() {
	for _, g := range p.state.groups.Values() {
		if d, again := g.generation, p.replayed(); true {
			r, ok := again.groups.Get(g.id)
			if !ok || r.generation > d {
				p.rt.Fatalf("group %s of generation %d is %v after a failover", g.id, d, r)
			}
			p.generations[g.id] = r.generation
		}
	}
	p.state = p.replayed()
	clear(p.parked)
	clear(p.timers)
	p.step(Loaded{})
}

func ExampleState_List() {
	s := new(State)
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Group, q.Generation = "simple", -1
	q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 7}}}}
	out := s.Step(Env{NowMs: 1, Config: &Defaults}, Request{Token: 1, Body: q})
	fmt.Println(len(out.Records), strings.TrimSpace(s.List(nil, nil)[0].Group))
	// Output: 1 simple
}
