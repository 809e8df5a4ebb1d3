package sim

import (
	"path"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica/core"
	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// partition is one replica: the production log, the production core of its role,
// and the shell between them.
type partition struct {
	b       *broker
	name    kafka.TopicPartition
	topicID kafka.TopicID
	log     *storage.Log

	leader   *core.Leader
	follower *core.Follower
	tenure   int // counts how often it has begun to lead
	epoch    kafka.LeaderEpoch
	leaderID kafka.BrokerID

	proposal *core.Proposal // to be sent
	fetching waiting
	altering waiting
	parked   []parked
}

// parked is a produce request that waits for the high watermark.
type parked struct {
	upTo   kafka.Offset
	tenure int
	answer func(error)
}

const lagMaxMs = 1500 // replica.lag.time.max.ms

// open opens the log as the disk has it.
func (b *broker) open(name kafka.TopicPartition, id kafka.TopicID) *partition {
	dir := "/" + name.String()
	if err := b.fs.MkdirAll(dir, 0o755); err != nil {
		panic(err)
	}
	syncFile(b, "/")
	c := b.checkpoints[name]
	p := &partition{b: b, name: name, topicID: id, epoch: kafka.NoEpoch, leaderID: kafka.NoLeader}
	o := storage.Options{Partition: name, TopicID: id, Dir: dir, Files: b.files, Config: b.w.logConfig(), RecoveryPoint: c.recovery,
		ProducerExpirationMs: 1 << 40, NowMs: b.wallClock(), LowerRecoveryPoint: func(_ *storage.Log, to kafka.Offset) error {
			c := b.checkpoints[name]
			c.recovery = to
			b.checkpoints[name] = c
			return nil
		}}
	log, err := storage.Open(o)
	if err != nil {
		b.w.fail("Recovery", "broker %d cannot open %s: %v", b.id, path.Base(dir), err)
	}
	log.SetHighWatermark(c.highWatermark)
	p.log = log
	return p
}

func syncFile(b *broker, name string) {
	f, err := b.fs.OpenDir(name)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		panic(err)
	}
	_ = f.Close()
}

// logConfig has small segments, so that a run crosses many of their borders.
func (w *World) logConfig() storage.LogConfig {
	c := storage.NewLogConfig(config.Layers{}, nil)
	c.SegmentBytes, c.IndexIntervalBytes = 16<<10, 512
	c.RetentionMs, c.RetentionBytes = -1, -1
	if w.plan.Flush {
		c.FlushMessages = 1
	}
	return c
}

// assume makes the partition what the image says.
func (p *partition) assume(im *image.Image, state *image.Partition) {
	if state.LeaderEpoch < p.epoch {
		return
	}
	leads := state.Leader == p.b.id
	s := p.coreState(im, state)
	if j := p.b.journal[p.name]; j != nil && j.DecidedBy(state.LeaderEpoch, state.PartitionEpoch) {
		delete(p.b.journal, p.name)
	}
	changed := state.LeaderEpoch != p.epoch || leads != (p.leader != nil)
	p.epoch, p.leaderID = state.LeaderEpoch, state.Leader
	switch {
	case leads && changed:
		p.lead(s)
	case leads:
		p.carryOut(p.leader.Step(core.ImageChanged{State: s, NowMs: p.b.w.now}))
	case p.follower == nil:
		p.resign()
		p.follower = core.NewFollower(state.LeaderEpoch)
	default:
		p.follower.Elected(state.LeaderEpoch)
	}
}

func (p *partition) coreState(im *image.Image, state *image.Partition) core.State {
	minISR := 1
	if v, ok := im.ConfigValue(image.Resource{Type: image.ResourceTopic, Name: p.name.Topic}, "min.insync.replicas"); ok {
		minISR = int(v[0] - '0')
	}
	s := core.State{LeaderEpoch: state.LeaderEpoch, PartitionEpoch: state.PartitionEpoch, ISR: state.ISR, MinISR: minISR}
	for _, id := range state.Replicas {
		r := core.Replica{ID: id, Epoch: kafka.NoBrokerEpoch}
		if b := im.Broker(id); b != nil {
			r.Epoch, r.Active = b.Epoch, b.Active()
		}
		s.Replicas = append(s.Replicas, r)
	}
	return s
}

// lead begins a leader epoch.
func (p *partition) lead(s core.State) {
	p.log.AssignEpochStart(s.LeaderEpoch, p.log.LogEnd())
	p.b.w.truth.elected(p, s.LeaderEpoch)
	if p.leader != nil {
		p.carryOut(p.leader.Step(core.ImageChanged{State: s, NowMs: p.b.w.now}))
		return
	}
	p.follower = nil
	p.tenure++
	p.b.w.tell("broker %d leads %s in epoch %d from %d, high watermark %d", p.b.id, p.name, s.LeaderEpoch, p.log.LogEnd(), p.log.HighWatermark())
	p.b.w.event("leader began")
	var e core.Effects
	p.leader, e = core.NewLeader(core.LeaderOptions{Self: p.b.id, LagMaxMs: lagMaxMs, State: s, End: p.log.LogEnd(),
		HighWatermark: p.log.HighWatermark(), Proposed: p.b.journal[p.name], NowMs: p.b.w.now})
	p.carryOut(e)
}

// resign ends leadership: who waits is told.
func (p *partition) resign() {
	p.leader, p.proposal = nil, nil
	p.release()
}

func (p *partition) carryOut(e core.Effects) {
	if e.HighWatermarkMoved {
		p.log.SetHighWatermark(p.leader.HighWatermark())
		p.b.w.truth.committed(p)
	}
	if e.Propose != nil {
		if p.proposal = e.Propose; e.Propose.Expands() {
			p.b.journal[p.name] = e.Propose
		}
	}
	p.release()
}

// release answers who need not wait any more.
func (p *partition) release() {
	kept := p.parked[:0]
	for _, q := range p.parked {
		switch err, done := p.reached(q); {
		case done:
			q.answer(err)
		default:
			kept = append(kept, q)
		}
	}
	p.parked = kept
}

// reached is Partition.checkEnoughReplicasReachOffset.
func (p *partition) reached(q parked) (error, bool) {
	switch {
	case p.leader == nil || p.tenure != q.tenure:
		return errors.New(errors.NotLeaderOrFollower, "not the leader any more"), true
	case p.leader.HighWatermark() < q.upTo:
		return nil, false
	case p.leader.UnderMinISR():
		return errors.New(errors.NotEnoughReplicasAfterAppend, "the ISR is too small"), true
	default:
		return nil, true
	}
}

func (p *partition) tick() {
	if p.leader != nil {
		p.carryOut(p.leader.Step(core.Tick{NowMs: p.b.w.now}))
	}
}

// produce appends a client's batch with acks=all.
func (p *partition) produce(records []byte, answer func(kafka.Offset, error)) {
	p.write(records, storage.AppendOptions{Origin: producer.Client, NowMs: p.b.wallClock()}, answer)
}

// write appends what a client or a coordinator wrote, and answers when it is
// committed.
func (p *partition) write(records []byte, o storage.AppendOptions, answer func(kafka.Offset, error)) {
	if p.leader == nil {
		answer(0, errors.New(errors.NotLeaderOrFollower, "not the leader"))
		return
	}
	if p.leader.UnderMinISR() {
		p.b.w.event("produce refused under min ISR")
		answer(0, errors.New(errors.NotEnoughReplicas, "the ISR is too small"))
		return
	}
	if p.deposed() {
		p.b.w.event("zombie leader appended")
	}
	done, err := p.log.AppendLeader(records, p.leader.Epoch(), o)
	if err != nil {
		answer(0, err)
		return
	}
	if done.Duplicate {
		p.b.w.event("duplicate recognised")
	} else {
		p.carryOut(p.leader.Step(core.Appended{End: done.Last + 1, NowMs: p.b.w.now}))
	}
	p.parked = append(p.parked, parked{upTo: done.Last + 1, tenure: p.tenure, answer: func(err error) { answer(done.First, err) }})
	p.release()
}

// deposed reports whether the controllers have gone on to a later leader epoch.
func (p *partition) deposed() bool {
	newest := partitionIn(p.b.w.truth.newest, p.name)
	return newest != nil && newest.LeaderEpoch > p.epoch
}

// proposeAgain sends the ISR that the leader wants, as long as it is not decided.
func (p *partition) proposeAgain() {
	change := p.proposal
	if p.leader == nil || change == nil || p.altering.busy(p.b.w.now) {
		return
	}
	if p.leader.Proposed() != change {
		p.proposal = nil
		return
	}
	req := kmsg.NewPtrAlterPartitionRequest()
	req.Version = 3
	req.BrokerID, req.BrokerEpoch = int32(p.b.id), int64(p.b.epoch)
	t := kmsg.NewAlterPartitionRequestTopic()
	t.TopicID = p.topicID
	part := kmsg.NewAlterPartitionRequestTopicPartition()
	part.Partition, part.LeaderEpoch, part.PartitionEpoch = int32(p.name.Partition), int32(change.LeaderEpoch), int32(change.PartitionEpoch)
	for _, m := range change.ISR {
		e := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		e.BrokerID, e.BrokerEpoch = int32(m.ID), int64(m.Epoch)
		if m.ID == p.b.id {
			e.BrokerEpoch = int64(p.b.epoch)
		}
		part.NewEpochISR = append(part.NewEpochISR, e)
	}
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	call := p.altering.begin(p.b.w.now)
	p.b.w.event("ISR change proposed")
	p.b.w.ask(p.b.node(), p.b.someController(), req, func(r kmsg.Response) {
		if p.altering.done(call) {
			p.altered(change, r)
		}
	})
	p.b.w.proposed(p, change)
}

func (p *partition) altered(change *core.Proposal, r kmsg.Response) {
	a := core.Answered{Proposal: change, Outcome: core.Failed, NowMs: p.b.w.now}
	if resp, ok := r.(*kmsg.AlterPartitionResponse); ok && resp.ErrorCode == 0 && len(resp.Topics) == 1 {
		part := resp.Topics[0].Partitions[0]
		a.Outcome, a.PartitionEpoch = core.OutcomeOf(errors.Code(part.ErrorCode)), kafka.PartitionEpoch(part.PartitionEpoch)
	}
	if a.Withdrawn() && p.b.journal[p.name] == change {
		delete(p.b.journal, p.name)
	}
	if p.leader != nil {
		p.carryOut(p.leader.Step(a))
	}
}

// position is where the log ends.
func (p *partition) position() core.Position {
	return core.Position{End: p.log.LogEnd(), HighWatermark: p.log.HighWatermark(), LastEpoch: p.log.LatestEpoch()}
}

// fetch asks the leader for what comes next.
func (p *partition) fetch() {
	if p.follower == nil || p.leaderID == kafka.NoLeader || p.fetching.busy(p.b.w.now) {
		return
	}
	ask, ok := p.follower.Ask(p.position())
	if !ok {
		return
	}
	call, leader := p.fetching.begin(p.b.w.now), p.b.w.brokers[p.leaderID]
	me, epoch, life := p.b.id, p.b.epoch, p.b.lives
	p.b.w.send(p.b.node(), leader.node(), func() {
		a, records, ok := leader.serve(p.name, me, epoch, ask)
		p.b.w.send(leader.node(), p.b.node(), func() {
			if p.b.lives == life && p.fetching.done(call) && ok {
				p.take(ask, a, records)
			}
		})
	})
}

// serve answers a follower's fetch; false is an error that it has to ask again
// for.
func (b *broker) serve(name kafka.TopicPartition, from kafka.BrokerID, epoch kafka.BrokerEpoch, ask core.Ask) (a core.Answer, records []byte, ok bool) {
	a.Diverging = kafka.EpochOffset{Epoch: kafka.NoEpoch}
	p := b.partition(name)
	if p == nil || p.leader == nil || ask.LeaderEpoch > p.epoch || !p.leader.Admits(from, epoch) {
		return a, nil, false
	}
	if ask.LeaderEpoch < p.epoch {
		a.Fenced = true
		return a, nil, true
	}
	a.HighWatermark, a.LogStart, a.LogEnd = p.log.HighWatermark(), p.log.LogStart(), p.log.LogEnd()
	if ask.LastEpoch != kafka.NoEpoch {
		switch e, end := p.log.EpochEnd(ask.LastEpoch); {
		case e == kafka.NoEpoch || end == kafka.NoOffset:
			a.OutOfRange = true
			return a, nil, true
		case e < ask.LastEpoch || end < ask.Offset:
			a.Diverging = kafka.EpochOffset{Epoch: e, Offset: end}
			b.w.event("divergence told")
			return a, nil, true
		}
	}
	if ask.Offset < a.LogStart || ask.Offset > a.LogEnd {
		a.OutOfRange = true
		return a, nil, true
	}
	if ask.Offset < a.LogEnd {
		records = p.read(ask.Offset, a.LogEnd, b.w.fetchSize())
		a.Records = len(records) > 0
	}
	p.carryOut(p.leader.Step(core.FollowerFetched{ID: from, BrokerEpoch: epoch, Offset: ask.Offset, LogStart: a.LogStart, NowMs: b.w.now}))
	return a, records, true
}

// read is whole batches from an offset on.
func (p *partition) read(from, upTo kafka.Offset, maxBytes int) []byte {
	s, err := p.log.Read(from, maxBytes, upTo, true)
	if err != nil {
		p.b.w.fail("ConsistentRead", "broker %d cannot read %s from %d: %v", p.b.id, p.name, from, err)
	}
	if s.Len() == 0 {
		return nil
	}
	defer s.Release()
	data, err := s.AppendTo(nil)
	if err != nil {
		panic(err)
	}
	return data
}

// take does to the log what the follower's core decides.
func (p *partition) take(ask core.Ask, a core.Answer, records []byte) {
	if p.follower == nil {
		return
	}
	d, ok := p.follower.Take(ask, a, p.position(), func(e kafka.LeaderEpoch) kafka.EpochOffset {
		epoch, end := p.log.EpochEnd(e)
		return kafka.EpochOffset{Epoch: epoch, Offset: end}
	})
	if !ok {
		return
	}
	var err error
	switch {
	case d.Truncate:
		p.b.w.tell("broker %d cuts %s from %d to %d", p.b.id, p.name, p.log.LogEnd(), d.To)
		p.b.w.event("follower truncated")
		err = p.log.TruncateTo(d.To)
	case d.Restart:
		err = p.log.TruncateFullyAndStartAt(d.To)
	case d.Append:
		err = p.append(records, d.UpToEpoch)
	}
	if err != nil {
		p.b.w.fail("LogMatching", "broker %d cannot take what leader %d sent of %s at %d: %v", p.b.id, p.leaderID, p.name, ask.Offset, err)
	}
	p.log.SetHighWatermark(max(p.log.HighWatermark(), d.HighWatermark))
}

// append appends the batches of epochs up to one.
func (p *partition) append(records []byte, upTo kafka.LeaderEpoch) error {
	n := 0
	for v, err := range batch.All(records) {
		if err != nil {
			return err
		}
		if v.Epoch() > upTo {
			break
		}
		n += v.Size()
	}
	if n == 0 {
		return nil
	}
	_, err := p.log.AppendFollower(records[:n], p.b.wallClock())
	return err
}
