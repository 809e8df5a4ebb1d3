package robustness

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kvorum/integration/cluster"
	"kvorum/integration/network"
)

// faultShare are the counts of faults for KVORUM_ROUNDS=200: those of a full run.
// Other numbers of rounds have their share, and at least one of each.
var faultShare = []struct {
	full int
	do   func(*six)
}{
	{300, (*six).killOne},
	{50, (*six).killAll},
	{100, (*six).pause},
	{20, (*six).cutOneWay},
	{20, (*six).cutToRing},
	{20, (*six).isolate},
}

// TestSix lets every kind of fault happen to three controllers and three brokers under
// idempotent producers and a consumer group, in a drawn order, and checks that nothing
// acknowledged is lost, doubled or out of order, that no committed offset goes back and
// that the replicas are equal at the end. 85 s for KVORUM_ROUNDS=20.
func TestSix(t *testing.T) {
	s := startSix(t)
	rounds := number(t, "KVORUM_ROUNDS", 2)
	var plan []func(*six)
	for _, f := range faultShare {
		plan = append(plan, slices.Repeat([]func(*six){f.do}, max(1, f.full*rounds/200))...)
	}
	s.random.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	for _, fault := range plan {
		time.Sleep(s.upTo(150 * time.Millisecond)) // so that each fault meets another moment
		fault(s)
	}
	s.validate()
}

// longest is how long a pause or a partition lasts at most: longer than a session.
// KVORUM_LONGEST says otherwise, in seconds.
func (s *six) longest() time.Duration {
	return time.Duration(number(s.t, "KVORUM_LONGEST", 3)) * time.Second
}

func (s *six) upTo(d time.Duration) time.Duration { return time.Duration(s.random.Int64N(int64(d))) }

func (s *six) any() *cluster.Node { return s.nodes[s.random.IntN(sixNodes)] }

// killOne kills a node and starts it again a moment later.
func (s *six) killOne() {
	n, away := s.any(), s.upTo(600*time.Millisecond)
	s.tell("kill", n.String(), func() {
		n.Kill()
		time.Sleep(away)
		n.Start(s.t)
		n.WaitReady(s.ctx, s.t)
	})
}

// killAll kills all nodes and starts them in any order.
func (s *six) killAll() {
	order := s.random.Perm(sixNodes)
	s.tell("kill all", fmt.Sprintf("all, started in the order %v", order), func() {
		for _, i := range order {
			s.nodes[i].Kill()
		}
		for _, i := range order {
			s.nodes[i].Start(s.t)
		}
		for _, i := range order {
			s.nodes[i].WaitReady(s.ctx, s.t)
		}
	})
}

// pause stops a node's threads for a while.
func (s *six) pause() {
	n, length := s.any(), s.upTo(s.longest())
	s.tell("pause", n.String(), func() {
		n.Pause()
		time.Sleep(length)
		n.Resume()
	})
}

// cutOneWay drops what one node sends to another.
func (s *six) cutOneWay() {
	pair := s.random.Perm(sixNodes)[:2]
	s.partition("one way", fmt.Sprintf("from %s to %s", s.nodes[pair[0]], s.nodes[pair[1]]), func() { s.network.Cut(pair[0], pair[1]) })
}

// cutToRing lets each node talk to two others only.
func (s *six) cutToRing() {
	ring := s.random.Perm(sixNodes)
	var names []string
	for _, i := range ring {
		names = append(names, s.nodes[i].String())
	}
	s.partition("ring", strings.Join(names, ", "), func() {
		for i := range ring {
			for j := range ring {
				if far := (i - j + sixNodes) % sixNodes; far > 1 && far < sixNodes-1 {
					s.network.Cut(ring[i], ring[j])
				}
			}
		}
	})
}

// isolate cuts a node off from all others and from the clients.
func (s *six) isolate() {
	n := s.random.IntN(sixNodes)
	s.partition("isolate", s.nodes[n].String(), func() {
		for other := network.Outside; other < sixNodes; other++ {
			if other != n {
				s.network.Cut(n, other)
				s.network.Cut(other, n)
			}
		}
	})
}

func (s *six) partition(kind, what string, cut func()) {
	length := time.Second + s.upTo(s.longest()-time.Second)
	s.tell(kind, what, func() {
		cut()
		time.Sleep(length)
		s.network.Heal()
	})
}

// TestRollingRestart stops and starts each of six nodes in order under load: no client
// is told an error. 5 s.
func TestRollingRestart(t *testing.T) {
	s := startSix(t)
	for range max(1, number(t, "KVORUM_ROUNDS", 1)/20) {
		for _, n := range s.nodes {
			s.awaitInSync()
			s.tell("restart", n.String(), func() {
				n.Stop(t)
				n.Start(t)
				n.WaitReady(s.ctx, t)
			})
		}
	}
	s.validate()
	for _, e := range s.load.refused.errors {
		t.Error(e)
	}
}
