package robustness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"kvorum/integration/cluster"
	"kvorum/integration/peer"
)

const (
	producers  = 3
	members    = 2
	nodeGroup  = "readers"
	nodeKills  = 3 // of a plain `go test`; KVORUM_ROUNDS says otherwise
	batchLimit = 20
	// nodePause is between two batches of one producer: the histories of hundreds of
	// rounds must fit into memory.
	nodePause = 5 * time.Millisecond
)

// TestKillNode kills a node that is the whole cluster, again and again, under
// idempotent producers and a consumer group whose members come and go, and checks
// that nothing acknowledged was lost, doubled or put out of order.
// KVORUM_BROKER=apache puts Apache's node in kvorum's place, to prove the harness.
func TestKillNode(t *testing.T) {
	ctx := context.Background()
	rounds, seed := number(t, "KVORUM_ROUNDS", nodeKills), number(t, "KVORUM_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	node := startSingle(ctx, t)
	l := startNodeLoad(ctx, t, nil, node.Bootstrap)
	l.untilAfter(t, time.Now())
	var recoveries []time.Duration
	for range rounds {
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond) // so that each kill meets another moment
		killed := time.Now()
		node.Kill()
		node.StartReady(ctx, t)
		l.untilAfter(t, killed)
		recoveries = append(recoveries, time.Since(killed))
	}
	l.finish()
	l.check(ctx, t)
	_, _, records := l.history.Counts()
	polled, committed := l.group.Counts()
	slices.Sort(recoveries)
	t.Logf("%d rounds from seed %d: %d records acknowledged, %d polled, %d committed; from a kill to the next acknowledged record and commit: p50 %v, worst %v",
		rounds, seed, records, polled, committed, recoveries[len(recoveries)/2].Round(time.Millisecond), recoveries[len(recoveries)-1].Round(time.Millisecond))
}

// startSingle starts a node of kvorum's, or of Apache's.
func startSingle(ctx context.Context, t *testing.T) *cluster.Single {
	t.Helper()
	var s *cluster.Single
	if os.Getenv("KVORUM_BROKER") == "apache" {
		kit := peer.Require(t, peer.V43)
		s = cluster.FormatSingleApache(ctx, t, kit, kit.StartDriver(t), nil)
	} else {
		s = cluster.FormatSingleKvorum(ctx, t, nil)
	}
	s.StartReady(ctx, t)
	return s
}

// nodeLoad is the clients of TestKillNode and of those that have six nodes.
type nodeLoad struct {
	bootstrap []string
	history   *History
	group     *GroupHistory
	stop      context.CancelFunc
	running   sync.WaitGroup
	written   atomic.Pointer[time.Time] // when the last acknowledged record was sent
	committed atomic.Pointer[time.Time] // when the last acknowledged commit was sent
	refused   refusals
}

// refusals are what producers were told to be wrong, and for how long nothing was
// acknowledged to any of them.
type refusals struct {
	sync.Mutex
	errors []string // of writes, at most refusalsKept
	// gap is the longest time in which nothing was acknowledged since it was set to
	// 0, and acked when something last was.
	gap   time.Duration
	acked time.Time
}

const refusalsKept = 100

// note notes the outcome of a write.
func (r *refusals) note(err error) {
	r.Lock()
	defer r.Unlock()
	if err == nil {
		now := time.Now()
		r.gap, r.acked = max(r.gap, now.Sub(r.acked)), now
	} else if len(r.errors) < refusalsKept {
		r.errors = append(r.errors, err.Error())
	}
}

// takeGap returns the gap up to now, and begins anew.
func (r *refusals) takeGap() time.Duration {
	r.Lock()
	defer r.Unlock()
	defer func() { r.gap = 0 }()
	return max(r.gap, time.Since(r.acked))
}

// client is one that does not wait long for a node that is silent, nor before it asks
// again (by itself 250 ms): what is measured is the cluster.
func (l *nodeLoad) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(l.bootstrap...), kgo.AlwaysRetryEOF(), kgo.MetadataMinAge(100 * time.Millisecond), kgo.DialTimeout(2 * time.Second),
		kgo.RequestTimeoutOverhead(2 * time.Second), kgo.ProduceRequestTimeout(5 * time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
	}, options...)...)
}

// startNodeLoad makes the records' topic, with as many replicas as there are brokers,
// and starts the clients.
func startNodeLoad(ctx context.Context, t *testing.T, configs map[string]*string, bootstrap ...string) *nodeLoad {
	t.Helper()
	l := &nodeLoad{bootstrap: bootstrap, history: NewHistory(), group: NewGroupHistory()}
	client, err := l.client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, int16(len(bootstrap)), configs, recordsTopic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) { // an election took the answer, and the client asked again
		t.Fatal(err)
	}
	ctx, l.stop = context.WithCancel(ctx)
	t.Cleanup(l.finish)
	for p := range producers {
		l.running.Go(func() { l.produce(ctx, t, p) })
	}
	for m := range members {
		l.running.Go(func() { l.consume(ctx, t, m) })
	}
	return l
}

// finish ends the clients' work and waits for it.
func (l *nodeLoad) finish() {
	l.stop()
	l.running.Wait()
}

// produce sends numbered records by an idempotent producer, some at a time. A
// record that failed is a Maybe, as its number is never sent again.
func (l *nodeLoad) produce(ctx context.Context, t *testing.T, sender int) {
	// Only the end of the test cancels: with its nodes killed after a failure, the
	// client would wait for them for ever.
	client, err := l.client(kgo.DefaultProduceTopic(recordsTopic), kgo.ProducerLinger(time.Millisecond), kgo.AllowIdempotentProduceCancellation())
	if err != nil {
		t.Error(err)
		return
	}
	defer client.Close()
	random := rand.New(rand.NewPCG(uint64(sender), 2))
	for n := 0; ctx.Err() == nil; {
		began := time.Now()
		var records []*kgo.Record
		for range 1 + random.IntN(batchLimit) {
			value := fmt.Sprintf("sender%d-%d", sender, n)
			l.history.Sent(value)
			records = append(records, kgo.KeyStringRecord(fmt.Sprint(n%7), value))
			n++
		}
		for _, result := range client.ProduceSync(ctx, records...) {
			if result.Err == nil {
				l.history.Acked(string(result.Record.Value), Position{result.Record.Partition, result.Record.Offset})
				l.written.Store(&began)
			}
			if ctx.Err() == nil {
				l.refused.note(result.Err)
			}
		}
		time.Sleep(nodePause)
	}
}

// consume is one member of the group: it polls and commits, and now and then
// leaves and joins again, so that kills meet rebalances.
func (l *nodeLoad) consume(ctx context.Context, t *testing.T, member int) {
	random := rand.New(rand.NewPCG(uint64(member), 3))
	for life := 0; ctx.Err() == nil; life++ {
		if err := l.live(ctx, fmt.Sprintf("member%d-%d", member, life), time.Duration(1000+random.IntN(4000))*time.Millisecond); err != nil {
			t.Error(err)
			return
		}
	}
}

// live is one membership.
func (l *nodeLoad) live(ctx context.Context, name string, length time.Duration) error {
	var generation atomic.Int64
	client, err := l.client(
		kgo.ConsumeTopics(recordsTopic), kgo.ConsumerGroup(nodeGroup), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(6*time.Second),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { generation.Add(1) }),
	)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, 500)
		began := time.Now()
		next := map[int32]int64{}
		var records []*kgo.Record
		fetches.EachRecord(func(r *kgo.Record) {
			l.group.Polled(name, int(generation.Load()), Position{r.Partition, r.Offset})
			next[r.Partition], records = r.Offset+1, append(records, r)
		})
		// A commit that was sent is waited for, so that its outcome is known.
		commitCtx, done := context.WithTimeout(context.WithoutCancel(ctx), operationPatience)
		if len(records) > 0 && client.CommitRecords(commitCtx, records...) == nil {
			for partition, offset := range next {
				l.group.Committed(partition, offset)
			}
			l.committed.Store(&began)
		}
		done()
		client.AllowRebalance()
	}
	return nil
}

// untilAfter waits until a record and a commit that began after a moment have been
// acknowledged.
func (l *nodeLoad) untilAfter(t *testing.T, moment time.Time) {
	t.Helper()
	if l.waitAfter(moment) >= 0 {
		return
	}
	t.Fatalf("no record and commit were acknowledged within %v; the last that were began at %v and %v, %v is the moment; the brokers say\n%s",
		recovery, l.written.Load(), l.committed.Load(), moment, l.views(t.Context()))
}

// views are what each broker says of its partitions.
func (l *nodeLoad) views(ctx context.Context) string {
	var all []string
	for _, address := range l.bootstrap {
		all = append(all, inSync(ctx, address))
	}
	return strings.Join(all, "\n")
}

// waitAfter is untilAfter and returns how long that took, -1 if it took too long.
func (l *nodeLoad) waitAfter(moment time.Time) time.Duration {
	for ; time.Since(moment) < recovery; time.Sleep(time.Millisecond) {
		written, committed := l.written.Load(), l.committed.Load()
		if written != nil && committed != nil && written.After(moment) && committed.After(moment) {
			return time.Since(moment)
		}
	}
	return -1
}

// check reads everything back and compares it with the histories.
func (l *nodeLoad) check(ctx context.Context, t *testing.T) {
	t.Helper()
	violations := l.violations(ctx, t)
	for _, v := range violations[:min(len(violations), 20)] {
		t.Error(v)
	}
	if len(violations) > 20 {
		t.Errorf("and %d violations more", len(violations)-20)
	}
}

// violations are what the histories and what is read back do not agree on.
func (l *nodeLoad) violations(ctx context.Context, t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	client, err := l.client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	listed, err := admin.ListEndOffsets(ctx, recordsTopic)
	if err != nil {
		t.Fatal(err)
	}
	offsets, err := admin.FetchOffsets(ctx, nodeGroup)
	if err != nil {
		t.Fatal(err)
	}
	ends, committed := map[int32]int64{}, map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	offsets.Each(func(o kadm.OffsetResponse) { committed[o.Partition] = o.At })
	tr := &traffic{history: l.history}
	observed := tr.observe(ctx, t, l.bootstrap[0])
	return slices.Concat(l.history.checkRecords(observed.Records), checkOrder(observed.Records), l.group.Check(committed, ends))
}
