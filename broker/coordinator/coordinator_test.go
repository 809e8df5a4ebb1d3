package coordinator

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var me = group.Client{ID: "c", Host: "/127.0.0.1"}

// newGroups is a coordinator of one partition, whose log is given.
func newGroups(t testing.TB, m *memLog, change ...func(*Config)) *Groups {
	c := Config{Group: group.Defaults, Random: rand.Reader}
	for _, f := range change {
		f(&c)
	}
	g := New(c)
	t.Cleanup(g.Close)
	g.SetPartitions(1)
	g.elect(m)
	return g
}

func (g *Groups) elect(m *memLog) {
	l := m.lead()
	g.Elect(0, l.led, l)
}

// commit commits an offset from outside of the group.
func (g *Groups) commit(id, topic string, partition int32, offset int64) errors.Code {
	q := commitRequest(id, topic, partition, offset)
	return errors.Code(g.OffsetCommit(context.Background(), me, q).Topics[0].Partitions[0].ErrorCode)
}

func commitRequest(id, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version, q.Group, q.Generation = 9, id, -1
	q.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: partition, Offset: offset, LeaderEpoch: -1}}}}
	return q
}

func (g *Groups) fetched(id, topic string, partition int32, stable bool) (int64, errors.Code) {
	q := kmsg.NewPtrOffsetFetchRequest()
	q.Version, q.RequireStable = 9, stable
	q.Groups = []kmsg.OffsetFetchRequestGroup{{Group: id, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: []int32{partition}}}}}
	r := g.OffsetFetch(context.Background(), me, q).Groups[0]
	if r.ErrorCode != 0 {
		return -1, errors.Code(r.ErrorCode)
	}
	p := r.Topics[0].Partitions[0]
	return p.Offset, errors.Code(p.ErrorCode)
}

// rebalanceTimeoutMs is that of members.
var rebalanceTimeoutMs int32 = 4_000

func joinRequest(id, member string) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Version, q.Group, q.MemberID = 9, id, member
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis, q.ProtocolType = 10_000, rebalanceTimeoutMs, "consumer"
	q.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0}}}
	return q
}

// join joins as a consumer does: for its id first.
func (g *Groups) join(ctx context.Context, id, member string) *kmsg.JoinGroupResponse {
	a := g.JoinGroup(ctx, me, joinRequest(id, member))
	if errors.Code(a.ErrorCode) == errors.MemberIDRequired {
		a = g.JoinGroup(ctx, me, joinRequest(id, a.MemberID))
	}
	return a
}

// sync syncs; the leader gives everybody its own id.
func (g *Groups) sync(ctx context.Context, id string, j *kmsg.JoinGroupResponse) *kmsg.SyncGroupResponse {
	q := kmsg.NewPtrSyncGroupRequest()
	q.Version, q.Group, q.MemberID, q.Generation = 5, id, j.MemberID, j.Generation
	for _, m := range j.Members {
		q.GroupAssignment = append(q.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: m.MemberID, MemberAssignment: []byte(m.MemberID)})
	}
	return g.SyncGroup(ctx, me, q)
}

func (g *Groups) heartbeat(id string, j *kmsg.JoinGroupResponse) errors.Code {
	q := kmsg.NewPtrHeartbeatRequest()
	q.Version, q.Group, q.MemberID, q.Generation = 4, id, j.MemberID, j.Generation
	return errors.Code(g.Heartbeat(context.Background(), me, q).ErrorCode)
}

func (g *Groups) state(id string) string {
	q := &kmsg.DescribeGroupsRequest{Version: 5, Groups: []string{id}}
	d := g.DescribeGroups(context.Background(), q).Groups[0]
	return fmt.Sprintf("%s %d %v", d.State, len(d.Members), errors.Code(d.ErrorCode))
}

// Two consumers form a group, one dies, the broker fails over, the rest goes on.
func TestGroupLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		var joined [2]*kmsg.JoinGroupResponse
		began := time.Now()
		together(2, func(i int) { joined[i] = g.join(ctx, "g", "") })
		if d := time.Since(began); d < 3*time.Second || d > 6*time.Second {
			t.Errorf("the first rebalance took %v", d)
		}
		together(2, func(i int) {
			s := g.sync(ctx, "g", joined[i])
			if joined[i].ErrorCode != 0 || joined[i].Generation != 1 || s.ErrorCode != 0 || string(s.MemberAssignment) != joined[i].MemberID {
				t.Errorf("%+v %+v", joined[i], s)
			}
		})
		if s := g.state("g"); s != "Stable 2 NONE" {
			t.Error(s)
		}
		// A new leader of the partition knows the group, and waits for heartbeats.
		g.elect(m)
		synctest.Wait()
		if s := g.state("g"); s != "Stable 2 NONE" {
			t.Error(s)
		}
		time.Sleep(9 * time.Second)
		if code := g.heartbeat("g", joined[0]); code != errors.None {
			t.Error(code)
		}
		time.Sleep(2 * time.Second) // the other's session is over
		if code := g.heartbeat("g", joined[0]); code != errors.RebalanceInProgress {
			t.Error(code)
		}
		again := g.join(ctx, "g", joined[0].MemberID)
		if again.Generation != 2 || len(again.Members) != 1 || g.sync(ctx, "g", again).ErrorCode != 0 {
			t.Errorf("%+v", again)
		}
		if s := g.state("g"); s != "Stable 1 NONE" {
			t.Error(s)
		}
		time.Sleep(11 * time.Second)
		if s := g.state("g"); s != "Empty 0 NONE" {
			t.Error(s)
		}
		// Nothing is committed: the retention of the group itself is over at the
		// next check.
		time.Sleep(10 * time.Minute)
		if s := g.state("g"); s != "Dead 0 NONE" {
			t.Error(s)
		}
		g.Close()
	})
}

func together(n int, f func(int)) {
	var w sync.WaitGroup
	for i := range n {
		w.Go(func() { f(i) })
	}
	w.Wait()
}

// While one append is under way everything that comes becomes one batch.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		m.entered, m.gate = make(chan struct{}, 100), make(chan struct{})
		g := newGroups(t, m)
		synctest.Wait()
		var w sync.WaitGroup
		commit := func(i int) {
			w.Go(func() {
				if code := g.commit("g", "t", int32(i), int64(i)); code != errors.None {
					t.Error(code)
				}
			})
		}
		commit(0)
		<-m.entered
		for i := 1; i <= 100; i++ {
			commit(i)
		}
		synctest.Wait()
		m.gate <- struct{}{}
		<-m.entered
		m.gate <- struct{}{}
		w.Wait()
		if batches, records := m.count(); batches != 2 || records != 101 {
			t.Errorf("%d batches of %d records", batches, records)
		}
		if n := g.Metrics().Commits.Load(); n != 101 {
			t.Errorf("%d commits are counted", n)
		}
		g.Close()
	})
}

// An append that fails leaves nothing behind, and the next one begins where it
// would have.
func TestFailedAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		if code := g.commit("g", "t", 0, 1); code != errors.None {
			t.Fatal(code)
		}
		m.fail(errors.NotEnoughReplicas.Err())
		if code := g.commit("g", "t", 0, 2); code != errors.CoordinatorNotAvailable {
			t.Error(code)
		}
		if code := g.commit("new", "t", 0, 2); code != errors.CoordinatorNotAvailable {
			t.Error(code)
		}
		if s := g.state("new"); s != "Dead 0 NONE" {
			t.Error(s)
		}
		m.fail(nil)
		if o, _ := g.fetched("g", "t", 0, true); o != 1 {
			t.Errorf("offset %d", o)
		}
		if code := g.commit("g", "t", 0, 3); code != errors.None {
			t.Error(code)
		}
		g.elect(m)
		synctest.Wait()
		if o, _ := g.fetched("g", "t", 0, false); o != 3 {
			t.Errorf("offset %d", o)
		}
		g.Close()
	})
}

// A member whose end could not be written is removed when it can be.
func TestTimerComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		j := g.join(t.Context(), "g", "")
		g.sync(t.Context(), "g", j)
		m.fail(errors.NotEnoughReplicas.Err())
		time.Sleep(11 * time.Second)
		if s := g.state("g"); s != "Stable 1 NONE" {
			t.Error(s)
		}
		m.fail(nil)
		time.Sleep(time.Second)
		if s := g.state("g"); s != "Empty 0 NONE" {
			t.Error(s)
		}
		g.Close()
	})
}

// Until the high watermark moves nothing is answered and nothing is seen, but
// what was committed before is.
func TestUncommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		g.commit("g", "t", 0, 1)
		m.hold(true)
		var codes [3]errors.Code
		var stable int64
		var w sync.WaitGroup
		w.Go(func() { codes[0] = g.commit("g", "t", 0, 2) })
		synctest.Wait()
		w.Go(func() { codes[1] = g.commit("g", "t", 0, 3) })
		w.Go(func() { stable, codes[2] = g.fetched("g", "t", 0, true) })
		synctest.Wait()
		if o, _ := g.fetched("g", "t", 0, false); o != 1 {
			t.Errorf("a read sees %d", o)
		}
		time.Sleep(time.Second)
		m.hold(false)
		w.Wait()
		if codes != [3]errors.Code{} || stable < 2 {
			t.Errorf("%v, the stable offset is %d", codes, stable)
		}
		if o, _ := g.fetched("g", "t", 0, false); o != 3 {
			t.Errorf("a read sees %d", o)
		}
		m.hold(true)
		began := time.Now()
		if code := g.commit("g", "t", 0, 4); code != errors.CoordinatorNotAvailable || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %v", code, time.Since(began))
		}
		if o, _ := g.fetched("g", "t", 0, false); o != 3 {
			t.Errorf("a read sees %d", o)
		}
		g.Close()
	})
}

// What is above the high watermark when a partition is loaded is not seen before
// it is committed, and may have been acknowledged: until then offsets are not shown.
func TestLoadAboveHighWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		g.commit("g", "t", 0, 1)
		m.hold(true)
		g.commit("g", "t", 0, 2) // times out
		g.elect(m)
		synctest.Wait()
		if o, code := g.fetched("g", "t", 0, false); code != errors.CoordinatorNotAvailable {
			t.Errorf("a read sees %d (%v)", o, code)
		}
		var o int64
		var w sync.WaitGroup
		w.Go(func() { o, _ = g.fetched("g", "t", 0, false) })
		synctest.Wait()
		m.hold(false)
		if w.Wait(); o != 2 {
			t.Errorf("a read sees %d", o)
		}
		if o, _ := g.fetched("g", "t", 0, true); o != 2 {
			t.Errorf("a stable read sees %d", o)
		}
		g.Close()
	})
}

func TestLoadingAndResigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		g.commit("g", "t", 0, 1)
		m.loading = make(chan struct{})
		g.elect(m)
		synctest.Wait()
		if code := g.commit("g", "t", 0, 2); code != errors.CoordinatorLoadInProgress {
			t.Error(code)
		}
		if a := g.ListGroups(ctx, &kmsg.ListGroupsRequest{}); errors.Code(a.ErrorCode) != errors.CoordinatorLoadInProgress {
			t.Errorf("%+v", a)
		}
		if code := g.heartbeat("g", &kmsg.JoinGroupResponse{}); code != errors.None {
			t.Error(code)
		}
		if c, whole := g.Count(ctx); !whole || c.ClassicGroups() != 0 || c.Offsets != 0 {
			t.Errorf("while it loads: %+v, %t", c, whole)
		}
		close(m.loading)
		synctest.Wait()
		if c, whole := g.Count(ctx); !whole || c.ClassicGroups() != 1 || c.Offsets != 1 {
			t.Errorf("loaded: %+v, %t", c, whole)
		}
		if a := g.ListGroups(ctx, &kmsg.ListGroupsRequest{}); len(a.Groups) != 1 || a.Groups[0].GroupState != "Empty" {
			t.Errorf("%+v", a)
		}
		// A parked JoinGroup fails when the partition goes.
		answer := make(chan *kmsg.JoinGroupResponse, 1)
		go func() { answer <- g.join(ctx, "h", "") }()
		synctest.Wait()
		m.lead()
		g.Resign(0, 2)
		if a := <-answer; errors.Code(a.ErrorCode) != errors.NotCoordinator {
			t.Errorf("%+v", a)
		}
		if code := g.commit("g", "t", 0, 2); code != errors.NotCoordinator {
			t.Error(code)
		}
		g.SetPartitions(0)
		if code := g.commit("g", "t", 0, 2); code != errors.CoordinatorNotAvailable {
			t.Error(code)
		}
		if c, whole := g.Count(ctx); !whole || c.ClassicGroups() != 0 {
			t.Errorf("resigned: %+v, %t", c, whole)
		}
		g.Close()
	})
}

// A broker that was deposed finds out by its append, and answers nothing with
// success.
func TestDeposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		answer := make(chan *kmsg.JoinGroupResponse, 1)
		go func() { answer <- g.join(context.Background(), "h", "") }()
		synctest.Wait()
		m.lead()
		if code := g.commit("g", "t", 0, 2); code != errors.NotCoordinator {
			t.Error(code)
		}
		if a := <-answer; errors.Code(a.ErrorCode) != errors.NotCoordinator {
			t.Errorf("%+v", a)
		}
		g.Close()
	})
}

// Offsets of a transaction count when its marker is written.
func TestTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		q := kmsg.NewPtrTxnOffsetCommitRequest()
		q.Version, q.Group, q.ProducerID, q.ProducerEpoch = 2, "g", 7, 3
		q.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 5}}}}
		if a := g.TxnOffsetCommit(ctx, me, q); a.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("%+v", a)
		}
		if v := m.batches[0]; !v.Transactional() || v.ProducerID() != 7 || v.ProducerEpoch() != 3 {
			t.Errorf("batch of producer %d %d", v.ProducerID(), v.ProducerEpoch())
		}
		g.elect(m)
		synctest.Wait()
		if _, code := g.fetched("g", "t", 0, true); code != errors.UnstableOffsetCommit {
			t.Error(code)
		}
		if err := g.EndTransaction(ctx, 0, batch.EndTxn{ProducerID: 7, ProducerEpoch: 3, CoordinatorEpoch: 1, Commit: true}, 2); err != nil {
			t.Error(err)
		}
		if last := m.versions[len(m.versions)-1]; last != 2 {
			t.Errorf("the marker was appended as of transaction version %d", last)
		}
		if o, code := g.fetched("g", "t", 0, true); o != 5 || code != errors.None {
			t.Errorf("%d %v", o, code)
		}
		g.elect(m)
		synctest.Wait()
		if o, code := g.fetched("g", "t", 0, true); o != 5 || code != errors.None {
			t.Errorf("%d %v", o, code)
		}
		g.Close()
	})
}

// The offsets of a deleted topic are gone; those of another of its name are not.
func TestTopicsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		m.maxBatch = 300
		g := newGroups(t, m)
		synctest.Wait()
		for i := range int32(30) {
			g.commit("g", "gone", i, 1)
		}
		g.commit("g", "kept", 0, 1)
		g.TopicsDeleted(map[string]kafka.TopicID{"gone": {1}, "never": {2}})
		synctest.Wait()
		for range 2 {
			for i := range int32(30) {
				if o, _ := g.fetched("g", "gone", i, false); o != -1 {
					t.Errorf("partition %d is at %d", i, o)
				}
			}
			if o, _ := g.fetched("g", "kept", 0, false); o != 1 {
				t.Errorf("kept is at %d", o)
			}
			g.elect(m)
			synctest.Wait()
		}
		g.Close()
	})
}

// A group's deletion may need many batches; one commit may not be too large for
// one, and then does no harm to those that came with it.
func TestBatchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		m := newMemLog(t)
		m.maxBatch = 700
		g := newGroups(t, m)
		synctest.Wait()
		together(60, func(i int) {
			if code := g.commit("g", "topic", int32(i), 1); code != errors.None {
				t.Error(code)
			}
		})
		big := kmsg.NewPtrOffsetCommitRequest()
		big.Version, big.Group, big.Generation = 9, "g", -1
		big.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "u", Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 50)}}
		together(10, func(i int) {
			if i == 5 {
				if a := g.OffsetCommit(ctx, me, big); errors.Code(a.Topics[0].Partitions[49].ErrorCode) != errors.InvalidCommitOffsetSize {
					t.Errorf("%+v", a)
				}
			} else if code := g.commit("h", "topic", int32(i), 1); code != errors.None {
				t.Error(code)
			}
		})
		a := g.DeleteGroups(ctx, me, &kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{"g", "g", "none"}})
		if len(a.Groups) != 2 || a.Groups[0].ErrorCode != 0 || errors.Code(a.Groups[1].ErrorCode) != errors.GroupIDNotFound {
			t.Errorf("%+v", a)
		}
		g.elect(m)
		synctest.Wait()
		if l := g.ListGroups(ctx, &kmsg.ListGroupsRequest{}); len(l.Groups) != 1 || l.Groups[0].Group != "h" {
			t.Errorf("%+v", l)
		}
		g.Close()
	})
}

// What Apache Kafka 4.3.1 says: String.hashCode and Utils.abs, modulo 50.
func TestPartitionOf(t *testing.T) {
	for id, want := range map[string]struct{ hash, partition int32 }{
		"": {0, 0}, "a": {97, 47}, "polygenelubricants": {-2147483648, 0}, "consumer-group": {-1738392088, 38},
		"orders": {-1008770331, 31}, "gr\u00fc\u00dfe-\U0001F600": {347391577, 27}, "console-consumer-73921": {164032123, 23},
	} {
		if got := javaHash(id); got != want.hash {
			t.Errorf("%q has hash %d, not %d", id, got, want.hash)
		}
		if got := PartitionOf(id, 50); int32(got) != want.partition {
			t.Errorf("%q is in partition %d, not %d", id, got, want.partition)
		}
	}
}

// Behind a backlog that is not committed, what is acknowledged is seen by reads.
func TestAcknowledgedIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemLog(t)
		g := newGroups(t, m)
		synctest.Wait()
		m.hold(true)
		acknowledged := make([]bool, maxSnapshots+10)
		for i := range acknowledged {
			go func() { acknowledged[i] = g.commit("g", "t", 0, int64(i)) == errors.None }()
			synctest.Wait()
		}
		m.reach(maxSnapshots + 5)
		synctest.Wait()
		if o, code := g.fetched("g", "t", 0, false); code != errors.None || o < maxSnapshots-2 || slices.Contains(acknowledged[o+1:], true) {
			t.Errorf("a read sees %d (%v), acknowledged are %v", o, code, acknowledged)
		}
		m.hold(false)
		synctest.Wait()
		if slices.Contains(acknowledged, false) {
			t.Errorf("acknowledged are %v", acknowledged)
		}
		g.Close()
	})
}

// A leader that has followed meanwhile has another's records below its high
// watermark: they say nothing of its own.
func TestAHighWatermarkOfAnotherEpoch(t *testing.T) {
	m := newMemLog(t)
	l := m.lead()
	c := newCore(l)
	m.hold(true)
	commit := NewRequest(me, commitRequest("g", "t", 0, 7))
	c.Turn([]*Request{commit})
	if _, ok := commit.Answer(); ok {
		t.Fatal("answered before it is committed")
	}
	m.cut(0)
	other := m.lead()
	if _, err := other.Append(m.some(), 0, 0); err != nil {
		t.Fatal(err)
	}
	m.hold(false)
	c.Turn(nil)
	a, ok := commit.Answer()
	if !ok || errors.Code(a.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode) != errors.NotCoordinator {
		t.Errorf("%+v, answered %t", a, ok)
	}
}

// newCore is a core that has loaded.
func newCore(l *ledLog) *Core {
	g := New(Config{Group: group.Defaults, Random: rand.Reader})
	c := newShard(0, l.led, l, g, false).core
	for c.phase != active {
		c.Turn(nil)
	}
	return c
}
