package core

import (
	"slices"
	"testing"

	"kvorum/internal/kafka"
)

const lag = 30_000

// state is an image's view with replicas 1..n, all active under epoch 10+id.
func state(leaderEpoch, partitionEpoch, n, minISR int, isr ...kafka.BrokerID) State {
	s := State{LeaderEpoch: kafka.LeaderEpoch(leaderEpoch), PartitionEpoch: kafka.PartitionEpoch(partitionEpoch), ISR: isr, MinISR: minISR}
	for i := 1; i <= n; i++ {
		s.Replicas = append(s.Replicas, Replica{ID: kafka.BrokerID(i), Epoch: kafka.BrokerEpoch(10 + i), Active: true})
	}
	return s
}

func lead(s State, end, hw kafka.Offset) *Leader {
	l, _ := NewLeader(LeaderOptions{Self: 1, LagMaxMs: lag, State: s, End: end, HighWatermark: hw, NowMs: 1000})
	return l
}

func fetch(id kafka.BrokerID, offset kafka.Offset, nowMs int64) FollowerFetched {
	return FollowerFetched{ID: id, BrokerEpoch: kafka.BrokerEpoch(10 + id), Offset: offset, NowMs: nowMs}
}

func wantHW(t *testing.T, l *Leader, want kafka.Offset) {
	t.Helper()
	if l.HighWatermark() != want {
		t.Fatalf("high watermark is %d, want %d", l.HighWatermark(), want)
	}
}

func members(p *Proposal) []kafka.BrokerID {
	if p == nil {
		return nil
	}
	var ids []kafka.BrokerID
	for _, m := range p.ISR {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestAloneEverythingIsCommittedAtOnce(t *testing.T) {
	l := lead(state(3, 5, 1, 2, 1), 40, 12)
	wantHW(t, l, 40) // min.insync.replicas is at most the number of replicas
	if !l.Settled() || l.UnderMinISR() {
		t.Fatal("a leader without followers is settled and in sync")
	}
	if e := l.Step(Appended{End: 50, NowMs: 1001}); !e.HighWatermarkMoved {
		t.Fatal("an append did not move the high watermark")
	}
	if e := l.Step(Appended{End: 45, NowMs: 1002}); e.HighWatermarkMoved {
		t.Fatal("a late event of an earlier append moved the high watermark")
	}
	wantHW(t, l, 50)
}

func TestItWaitsForTheSlowestInSync(t *testing.T) {
	l := lead(state(1, 1, 3, 2, 1, 2, 3), 10, 4)
	wantHW(t, l, 4) // nothing is known of 2 and 3
	l.Step(fetch(2, 10, 1001))
	wantHW(t, l, 4)
	if l.Settled() {
		t.Fatal("settled before the beginning of its epoch is committed")
	}
	l.Step(fetch(3, 8, 1002))
	wantHW(t, l, 8)
	l.Step(fetch(3, 10, 1003))
	wantHW(t, l, 10)
	l.Step(Appended{End: 12, NowMs: 1004})
	l.Step(fetch(3, 12, 1005))
	wantHW(t, l, 10)
	l.Step(fetch(3, 7, 1006)) // it lost its tail
	l.Step(fetch(2, 12, 1007))
	wantHW(t, l, 10) // never back, and not on
}

func TestUnderMinISRNothingMoves(t *testing.T) {
	l := lead(state(1, 1, 3, 2, 1), 10, 4)
	l.Step(fetch(2, 10, 1001))
	l.Step(Appended{End: 12, NowMs: 1002})
	wantHW(t, l, 4)
	if !l.UnderMinISR() {
		t.Fatal("an ISR of one is enough for min.insync.replicas 2")
	}
	// The answer alone does not count, the image does.
	p := l.Proposed()
	if !slices.Equal(members(p), []kafka.BrokerID{1, 2}) {
		t.Fatalf("proposed %v, want 1 and 2", members(p))
	}
	l.Step(Answered{Proposal: p, Outcome: Accepted, PartitionEpoch: 2, NowMs: 1003})
	l.Step(fetch(2, 12, 1004))
	wantHW(t, l, 4)
	l.Step(ImageChanged{State: state(1, 2, 3, 2, 1, 2), NowMs: 1005})
	wantHW(t, l, 12)
}

func TestMinISRComesFromTheImage(t *testing.T) {
	l := lead(state(1, 1, 2, 2, 1), 10, 4)
	wantHW(t, l, 4)
	l.Step(ImageChanged{State: state(1, 1, 2, 1, 1), NowMs: 90_000})
	wantHW(t, l, 10)
}

func TestAShrinkWaitsForTheImage(t *testing.T) {
	l := lead(state(1, 1, 3, 1, 1, 2, 3), 10, 0)
	l.Step(fetch(2, 10, 1000+lag))
	e := l.Step(Tick{NowMs: 1001 + lag})
	if !slices.Equal(members(e.Propose), []kafka.BrokerID{1, 2}) {
		t.Fatalf("proposed %v, want 1 and 2", members(e.Propose))
	}
	if e := l.Step(Tick{NowMs: 1002 + lag}); e.Propose != nil {
		t.Fatal("a second proposal while one is in flight")
	}
	l.Step(Answered{Proposal: e.Propose, Outcome: Accepted, PartitionEpoch: 2})
	wantHW(t, l, 0) // 3 is still in the ISR of the image
	l.Step(ImageChanged{State: state(1, 2, 3, 1, 1, 2), NowMs: 1003 + lag})
	wantHW(t, l, 10)
	if l.Proposed() != nil {
		t.Fatal("a decided proposal is still held")
	}
}

func TestAProposedMemberIsWaitedFor(t *testing.T) {
	l := lead(state(1, 1, 2, 1, 1), 10, 10)
	e := l.Step(fetch(2, 10, 2000))
	if e.Propose == nil {
		t.Fatal("a follower at the log end is not proposed")
	}
	// It lags for ever from now on; the controller may have taken it in.
	l.Step(Appended{End: 20, NowMs: 3000 + 2*lag})
	wantHW(t, l, 10)
	l.Step(Answered{Proposal: e.Propose, Outcome: Superseded, NowMs: 3001 + 2*lag})
	wantHW(t, l, 10)
	if again := l.Step(Answered{Proposal: e.Propose, Outcome: Failed}); again.Propose != e.Propose {
		t.Fatal("a failed proposal is not sent again")
	}
	l.Step(Answered{Proposal: e.Propose, Outcome: Refused, NowMs: 3002 + 2*lag})
	wantHW(t, l, 20)
}

func TestWhoMayJoin(t *testing.T) {
	fenced := state(1, 1, 2, 1, 1)
	fenced.Replicas[1].Active = false
	newer := state(1, 1, 2, 1, 1)
	newer.Replicas[1].Epoch = 99
	for name, c := range map[string]struct {
		state  State
		offset kafka.Offset
		joins  bool
	}{
		"at the end":                          {state(1, 1, 2, 1, 1), 10, true},
		"below the high watermark":            {state(1, 1, 2, 1, 1), 9, false},
		"a fenced broker":                     {fenced, 10, false},
		"an incarnation that lost its seat":   {newer, 10, false},
		"a broker that is no replica":         {state(1, 1, 1, 1, 1), 10, false},
		"an offset after the leader's end":    {state(1, 1, 2, 1, 1), 11, false},
		"one that is a member already":        {state(1, 1, 2, 1, 1, 2), 10, false},
		"below the beginning of the epoch":    {state(1, 1, 2, 2, 1), 9, false},
		"under min ISR, at the epoch's start": {state(1, 1, 2, 2, 1), 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := lead(c.state, 10, 3)
			if e := l.Step(fetch(2, c.offset, 2000)); (e.Propose != nil) != c.joins {
				t.Fatalf("proposed %v", members(e.Propose))
			}
		})
	}
}

func TestAStaleIncarnationIsNotAdmitted(t *testing.T) {
	l := lead(state(1, 1, 2, 1, 1, 2), 10, 0)
	for epoch, admitted := range map[kafka.BrokerEpoch]bool{11: false, 12: true, 13: true, kafka.NoBrokerEpoch: true} {
		if l.Admits(2, epoch) != admitted {
			t.Errorf("epoch %d: admitted is %v", epoch, !admitted)
		}
	}
	if l.Admits(7, kafka.NoBrokerEpoch) {
		t.Error("a broker that is no replica is admitted")
	}
}

func TestAnOlderImageChangesNothing(t *testing.T) {
	l := lead(state(2, 7, 2, 1, 1, 2), 10, 0)
	l.Step(ImageChanged{State: state(2, 6, 2, 1, 1)})
	l.Step(ImageChanged{State: state(1, 9, 2, 1, 1)})
	wantHW(t, l, 0)
	if l.PartitionEpoch() != 7 || l.Epoch() != 2 {
		t.Fatalf("at partition epoch %d, leader epoch %d", l.PartitionEpoch(), l.Epoch())
	}
}

func TestANewEpochOfTheSameLeader(t *testing.T) {
	l := lead(state(1, 1, 2, 1, 1, 2), 10, 0)
	l.Step(fetch(2, 10, 1001))
	l.Step(Appended{End: 15, NowMs: 1002})
	l.Step(ImageChanged{State: state(2, 2, 2, 1, 1, 2), NowMs: 1003})
	if l.Epoch() != 2 || l.EpochStart() != 15 || l.Settled() {
		t.Fatalf("epoch %d from %d, settled %v", l.Epoch(), l.EpochStart(), l.Settled())
	}
	l.Step(fetch(2, 15, 1004))
	wantHW(t, l, 15)
}

func TestHotStepsDoNotAllocate(t *testing.T) {
	l := lead(state(1, 1, 3, 2, 1, 2, 3), 0, 0)
	end := kafka.Offset(0)
	allocs := testing.AllocsPerRun(100, func() {
		end += 10
		l.Step(Appended{End: end, NowMs: 1001})
		l.Step(fetch(2, end, 1001))
		l.Step(fetch(3, end, 1001))
	})
	if allocs != 0 {
		t.Fatalf("%v allocations", allocs)
	}
	wantHW(t, l, end)
}
