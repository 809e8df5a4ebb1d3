package sim

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/coordinator"
	"kvorum/broker/group"
	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// In a plan with groups the topic of committed offsets is there, of one partition,
// and whoever leads it runs the production coordinator (coordinator.Core). The world
// is its shell: it gives it turns at moments of its own choice, also between the one
// in which the broker begins to follow and the one in which its coordinator hears of
// it, as goroutines do.

// offsetsPartition is the only partition of __consumer_offsets.
var offsetsPartition = kafka.TopicPartition{Topic: coordinator.Topic}

const (
	commitTimeoutMs = 600 // offsets.commit.timeout.ms, below what clients wait
	retentionCheck  = time.Hour
)

// coordination is a core, in memory, of a broker that leads or thinks so.
type coordination struct {
	b     *broker
	core  *coordinator.Core
	epoch kafka.LeaderEpoch
	queue []*groupRequest
	open  []*groupRequest // the core has them
	// known is what every client knows to be committed, by the begin of this
	// coordinator: it has to know it, too. Nil where it need not: it was elected by an
	// image that was old, and confirmed as all that the broker could know.
	known []int64
}

// groupRequest is a client's request at a coordinator.
type groupRequest struct {
	*coordinator.Request
	over   func() bool // its client has closed the connection
	answer func(from *coordination, r kmsg.Response)
}

// coordinate lets the broker's coordinator hear of an image that its replicas follow
// already. That happens soon, or late, but before the next image.
func (b *broker) coordinate(im *image.Image) {
	p := b.partition(offsetsPartition)
	state := partitionIn(im, offsetsPartition)
	if p == nil || state == nil {
		return
	}
	b.electionAt = b.w.now + b.w.groups.Int64N(10)
	if b.w.groups.IntN(3) == 0 { // it is busy with other partitions
		b.electionAt += b.w.groups.Int64N(commitTimeoutMs)
	}
	b.election = func() {
		switch g := b.coordination; {
		case g != nil && state.Leader != b.id && g.epoch <= state.LeaderEpoch:
			b.resign()
		case state.Leader == b.id && (g == nil || g.epoch < state.LeaderEpoch):
			b.resign()
			b.elect(p, state.LeaderEpoch)
		}
	}
}

// electNow does what coordinate has left to be done.
func (b *broker) electNow() {
	if b.election != nil {
		b.election()
		b.election = nil
	}
}

// returnAlone kills a broker, which finds nobody but clients when it starts again:
// whatever it led, somebody else leads by then, and has gone on.
func (w *World) returnAlone(b *broker, steps int) {
	start := w.down(b, b.kill)
	if start == nil {
		return
	}
	w.open = append(w.open, undo{w.step + 3000 + steps, func() {
		if !w.healing {
			w.event("broker came back alone")
			w.open = append(w.open, undo{w.step + 3000 + steps, w.isolate(b.node())})
		}
		start()
	}})
}

func (b *broker) resign() {
	g := b.coordination
	if g == nil {
		return
	}
	b.w.tell("broker %d no longer coordinates in epoch %d", b.id, g.epoch)
	g.core.Resign()
	g.answers()
	b.coordination = nil
}

func (b *broker) elect(p *partition, epoch kafka.LeaderEpoch) {
	w, log := b.w, offsetsLog{p, epoch}
	g := &coordination{b: b, epoch: epoch}
	b.w.tell("broker %d coordinates in epoch %d, to be proven: %t", b.id, epoch, b.unconfirmed)
	w.event("coordinator began")
	if b.unconfirmed {
		w.event("coordinator had to prove itself")
	}
	if b.unconfirmed || !log.deposed() {
		for _, c := range w.committers {
			g.known = append(g.known, c.known)
		}
	}
	config := group.Defaults
	config.InitialRebalanceDelayMs, config.MinSessionTimeoutMs = 50, memberSessionMs
	g.core = coordinator.NewCore(coordinator.CoreOptions{Log: log, Epoch: epoch, Unproven: b.unconfirmed, Group: func() *group.Config { return &config },
		CommitTimeout: commitTimeoutMs * time.Millisecond, RetentionCheck: retentionCheck, Random: func() [16]byte { return randomID(w.groups) },
		NowMs: func() int64 { return w.now }, WallMs: b.wallClock, Metrics: new(coordinator.Metrics), Logger: slog.New(slog.DiscardHandler)})
	b.coordination = g
}

func randomID(rnd *rand.Rand) (id [16]byte) {
	for i := range id {
		id[i] = byte(rnd.IntN(256))
	}
	return id
}

// turn lets the core do what there is to do.
func (g *coordination) turn() {
	var requests []*coordinator.Request
	for _, r := range g.queue {
		if !r.over() {
			requests, g.open = append(requests, r.Request), append(g.open, r)
		}
	}
	g.queue = nil
	g.core.Turn(requests)
	g.answers()
	if g.b.w.groups.IntN(50) == 0 {
		g.checkReplay()
	}
}

// answers sends what the core has answered.
func (g *coordination) answers() {
	open := g.open[:0]
	for _, r := range g.open {
		if a, ok := r.Answer(); ok {
			r.answer(g, a)
		} else {
			open = append(open, r)
		}
	}
	g.open = open
}

// deposed reports whether the controllers have elected somebody in a later epoch.
func (g *coordination) deposed() bool {
	newest := partitionIn(g.b.w.truth.newest, offsetsPartition)
	return newest != nil && newest.LeaderEpoch > g.epoch
}

// atEnd reports whether the coordinator shows all that its log says, since all of that
// is committed.
func (g *coordination) atEnd() bool {
	live, p := g.core.State(), g.b.partition(offsetsPartition)
	return live != nil && !g.deposed() && p.epoch == g.epoch && live.End() == p.log.LogEnd() && p.log.HighWatermark() >= live.End()
}

// checkReplay checks that what the coordinator shows is what its log says.
func (g *coordination) checkReplay() {
	w, p := g.b.w, g.b.partition(offsetsPartition)
	if !g.atEnd() {
		return
	}
	live := g.core.State()
	w.event("live offsets compared with replayed ones")
	replayed := new(group.State)
	for at := p.log.LogStart(); at < live.End(); at = replayed.End() {
		if err := replayAll(replayed, p.read(at, live.End(), 1<<20)); err != nil {
			w.fail("LiveIsReplayed", "the log of the coordinator on broker %d cannot be replayed: %v", g.b.id, err)
		}
	}
	if a, b := stateText(live, live), stateText(replayed, live); a != b {
		w.fail("LiveIsReplayed", "the coordinator on broker %d in epoch %d shows\n%s\nand its log says\n%s", g.b.id, g.epoch, a, b)
	}
}

func replayAll(s *group.State, data []byte) error {
	var scratch []byte
	for v, err := range batch.All(data) {
		if err != nil {
			return err
		}
		if scratch, err = s.LoadBatch(v, scratch); err != nil {
			return err
		}
	}
	return nil
}

// stateText is all that is to be seen of a state: of groups whose members come and go
// only the offsets, since that is written when they are through with it.
func stateText(s, live *group.State) string {
	text := ""
	for _, g := range s.List(nil, nil) {
		text += g.Group + "\n"
		if state := live.Describe(5, g.Group).State; state == "Stable" || state == "Empty" {
			text += fmt.Sprintf("%+v %+v\n", g, s.Describe(5, g.Group))
		}
		for _, t := range s.FetchOffsets(&kmsg.OffsetFetchRequestGroup{Group: g.Group}, true).Topics {
			for _, p := range t.Partitions {
				text += fmt.Sprintf("  %s-%d: %d %d %s %d\n", t.Topic, p.Partition, p.Offset, p.LeaderEpoch, *p.Metadata, p.ErrorCode)
			}
		}
	}
	return text
}

// offsetsLog is the partition as its coordinator sees it, as in package broker.
type offsetsLog struct {
	p     *partition
	epoch kafka.LeaderEpoch
}

func (l offsetsLog) Start() kafka.Offset { return l.p.log.LogStart() }
func (l offsetsLog) End() kafka.Offset   { return l.p.log.LogEnd() }
func (l offsetsLog) MaxBatch() int       { return 1 << 20 }

func (l offsetsLog) deposed() bool {
	newest := partitionIn(l.p.b.w.truth.newest, l.p.name)
	return newest != nil && newest.LeaderEpoch > l.epoch
}

// led is replica.Partition's led: there is no leader but in the epoch.
func (l offsetsLog) led() error {
	switch {
	case l.p.epoch != l.epoch:
		return errors.New(errors.FencedLeaderEpoch, "epoch %d is over", l.epoch)
	case l.p.leader == nil:
		return errors.New(errors.NotLeaderOrFollower, "not the leader")
	}
	return nil
}

// HighWatermark implements coordinator.Partition.
func (l offsetsLog) HighWatermark() (kafka.Offset, error) {
	if core.CountsFor(l.epoch, l.p.epoch, l.p.leader != nil) {
		return l.p.log.HighWatermark(), nil
	}
	return kafka.NoOffset, l.led()
}

// Append implements coordinator.Partition.
func (l offsetsLog) Append(records []byte, nowMs int64, transactionVersion int16) (kafka.Offset, error) {
	p, w := l.p, l.p.b.w
	if err := l.led(); err != nil {
		return 0, err
	}
	if p.leader.UnderMinISR() {
		w.event("commit refused under min ISR")
		return 0, errors.New(errors.NotEnoughReplicas, "the ISR is too small")
	}
	if p.deposed() {
		w.event("zombie coordinator appended")
	}
	done, err := p.log.AppendLeader(records, l.epoch, storage.AppendOptions{Origin: producer.Coordinator, NowMs: nowMs, TransactionVersion: transactionVersion})
	if err != nil {
		return 0, err
	}
	p.carryOut(p.leader.Step(core.Appended{End: done.Last + 1, NowMs: w.now}))
	return done.First, nil
}

// Read implements coordinator.Partition.
func (l offsetsLog) Read(dst []byte, from kafka.Offset, maxBytes int) ([]byte, error) {
	s, err := l.p.log.Read(from, maxBytes, l.p.log.LogEnd(), true)
	if err != nil || s.Len() == 0 {
		return dst, err
	}
	defer s.Release()
	return s.AppendTo(dst)
}
