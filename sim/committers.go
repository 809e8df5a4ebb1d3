package sim

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/coordinator"
	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

const (
	committerCount = 3
	quietMs        = 2000 // half of the time nobody commits
)

// committer is a client that commits the offsets of a group of its own, rising ones,
// and reads them. It has one request at a time; when it gives one up it closes the
// connection, so that what had not arrived by then never does.
//
// The invariants:
//
//	EpochsFitOffsets      an offset is shown with the leader epoch that it was committed with
//	CommittedOffsetsStay  a coordinator shows every offset that was acknowledged or shown
//	                      when it began, and, as long as nobody was elected after it, when
//	                      it was asked. One that was deposed and has not heard of it may
//	                      show what was committed before its successor, as in Kafka; one
//	                      that restarts without controllers may not.
//	NothingUncommittedIsShown  nothing is shown that was not sent
//	LiveIsReplayed        what a coordinator shows is what its log says
type committer struct {
	index   int
	group   string
	sent    int64 // the newest offset that it has sent
	known   int64 // the newest that was acknowledged, or shown; -1 before
	waiting waiting
	settled bool // it has read its offset since the faults ended
}

// The partitions whose offsets a group commits: one that rises, and one that is
// deleted now and then.
const (
	rising = int32(iota)
	passing
)

func newCommitter(i int) *committer {
	return &committer{index: i, group: string(rune('a' + i)), known: -1}
}

// groupChore is the next thing that happens to groups.
func (w *World) groupChore() {
	if n := w.groups.IntN(3 * brokerCount); n < brokerCount {
		if i := w.groups.IntN(committerCount + memberCount); i < committerCount {
			w.committers[i].chore(w)
		} else {
			w.members[i-committerCount].chore(w)
		}
	} else if b := w.brokers[n%brokerCount]; b.up && !b.paused {
		if w.now >= b.electionAt {
			b.electNow()
		}
		if b.coordination != nil {
			b.coordination.turn()
		}
	}
}

// coordinatorNow asks any live broker who coordinates, as FindCoordinator does.
func (w *World) coordinatorNow() *broker {
	b := w.brokers[w.groups.IntN(brokerCount)]
	if p := partitionIn(b.replay.Image(), offsetsPartition); b.up && p != nil && p.Leader != kafka.NoLeader {
		return w.brokers[p.Leader]
	}
	return nil
}

// chore sends the next request.
func (c *committer) chore(w *World) {
	to := w.coordinatorNow()
	if c.waiting.busy(w.now) || to == nil {
		return
	}
	n := w.groups.IntN(8)
	switch {
	case w.healing:
		c.fetch(w, to, true)
	case w.now/quietMs%2 == 0: // then logs are committed to their ends, and known to be
		c.fetch(w, to, n == 7)
	case n < 4:
		c.commit(w, to, rising)
	case n < 5:
		c.commit(w, to, passing)
	case n < 6:
		c.forget(w, to)
	default:
		c.fetch(w, to, n == 7)
	}
}

func (c *committer) commit(w *World, to *broker, partition int32) {
	c.sent++
	offset := c.sent
	c.ask(w, to, commitRequest(c.group, partition, offset), func(_ *coordination, r kmsg.Response) func() {
		code := errors.Code(r.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
		return func() {
			if code == errors.None && partition == rising {
				c.known = max(c.known, offset)
				w.event("commit acknowledged")
			}
		}
	})
}

// forget deletes the offset that may be deleted.
func (c *committer) forget(w *World, to *broker) {
	q := kmsg.NewPtrOffsetDeleteRequest()
	q.Group = c.group
	q.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topics[0], Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: passing}}}}
	c.ask(w, to, q, func(*coordination, kmsg.Response) func() { return func() {} })
}

// question asks for the rising offset.
func (c *committer) question() *kmsg.OffsetFetchRequestGroup {
	return &kmsg.OffsetFetchRequestGroup{Group: c.group, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: topics[0], Partitions: []int32{rising}}}}
}

func (c *committer) fetch(w *World, to *broker, stable bool) {
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Version, q.RequireStable = 8, stable
	q.Groups = []kmsg.OffsetFetchRequestGroup{*c.question()}
	asked := c.known
	c.ask(w, to, q, func(from *coordination, r kmsg.Response) func() {
		g := r.(*kmsg.OffsetFetchResponse).Groups[0]
		if g.ErrorCode != 0 {
			return func() {}
		}
		at, deposed := g.Topics[0].Partitions[0], from.deposed()
		c.shown(w, from, at, asked, stable)
		return func() { c.settled = w.healing && !deposed }
	})
}

// shown checks an offset that a coordinator answers with.
func (c *committer) shown(w *World, from *coordination, told kmsg.OffsetFetchResponseGroupTopicPartition, asked int64, stable bool) {
	at := told.Offset
	if at >= 0 && told.LeaderEpoch != epochOf(at) {
		w.fail("EpochsFitOffsets", "broker %d shows offset %d of group %s with leader epoch %d, and it was committed with %d", from.b.id, at, c.group, told.LeaderEpoch, epochOf(at))
	}
	if at > c.sent {
		w.fail("NothingUncommittedIsShown", "broker %d shows offset %d of group %s, and %d is the newest that was sent", from.b.id, at, c.group, c.sent)
	}
	w.event("offset shown")
	want := int64(-1)
	if from.known != nil {
		want = from.known[c.index]
	}
	if from.deposed() {
		w.event("zombie coordinator showed an offset")
	} else {
		want = max(want, asked)
	}
	if at < want {
		w.fail("CommittedOffsetsStay", "broker %d, the coordinator in epoch %d, deposed %t, shows offset %d of group %s, stable %t, and %d was committed; %s",
			from.b.id, from.epoch, from.deposed(), at, c.group, stable, want, w.describe())
	}
	c.known = max(c.known, at)
}

func (c *committer) ask(w *World, to *broker, q kmsg.Request, answered func(*coordination, kmsg.Response) func()) {
	w.askCoordinator(&c.waiting, c.group, to, q, answered)
}

// askCoordinator sends a request of a client that waits for nothing else; answered is
// called where the answer is made and returns what happens when it arrives.
func (w *World) askCoordinator(client *waiting, id string, to *broker, q kmsg.Request, answered func(*coordination, kmsg.Response) func()) {
	call := client.begin(w.now)
	over := func() bool { return client.call != call || !client.busy(w.now) }
	w.send(outside, to.node(), func() {
		g := to.coordination
		switch {
		case over():
		case g == nil:
			w.send(to.node(), outside, func() { client.done(call) })
		default:
			r := coordinator.NewRequest(group.Client{ID: id, Host: "/127.0.0.1"}, q)
			g.queue = append(g.queue, &groupRequest{r, over, func(from *coordination, a kmsg.Response) {
				arrived := answered(from, a)
				w.send(to.node(), outside, func() {
					if client.done(call) {
						arrived()
					}
				})
			}})
		}
	})
}

// allCoordinated reports whether every group has been read since the faults ended, all
// members are of one generation, and there is a coordinator whose log is committed.
func (w *World) allCoordinated() bool {
	for _, c := range w.committers {
		if !c.settled {
			return false
		}
	}
	return w.coordinator() != nil && w.allJoined()
}

// coordinator is the one whose log is committed to its end, if there is one.
func (w *World) coordinator() *coordination {
	for _, b := range w.brokers {
		if g := b.coordination; g != nil && g.atEnd() {
			return g
		}
	}
	return nil
}

// compareGroups checks at the end that the coordinator's state is that of its log, and
// has all that was acknowledged.
func (w *World) compareGroups() {
	g := w.coordinator()
	g.checkReplay()
	for _, c := range w.committers {
		at := g.core.State().FetchOffsets(c.question(), true).Topics[0].Partitions[0]
		c.shown(w, g, at, c.known, true)
	}
}
