package coordinator

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

const (
	// maxUnanswered bounds the requests of one partition that wait to be decided
	// or to be committed. Each holds a decoded request and a goroutine of its
	// connection; more than this are a backlog that no timeout would let through.
	maxUnanswered = 16_384
	// retryTimer is when a timer fires again whose records could not be appended.
	retryTimer = 500 * time.Millisecond
	// reloadAfter is the pause before a partition that could not be read is tried
	// again.
	reloadAfter = 5 * time.Second
	// expiredAtOnce is how many tombstones one step of expiry writes, so that the
	// requests of clients come between them.
	expiredAtOnce = 500
)

// phase is what a shard is doing.
type phase uint8

const (
	loading phase = iota
	active
	gone // somebody else leads
)

// shard coordinates the groups of one partition in one leader epoch. Its loop
// (run) owns everything but what mu guards.
type shard struct {
	partition kafka.PartitionID
	epoch     kafka.LeaderEpoch
	log       Log
	owner     *Groups
	logger    *slog.Logger

	mu         sync.Mutex
	phase      phase
	queue      []*request
	unanswered int   // in queue and waiting
	waited     bool  // the wait for the high watermark has ended, so:
	waitErr    error // or why it failed
	// wake has one slot: any number of changes wake the loop once.
	wake chan struct{}

	state  *group.State
	timers *timers
	parked map[group.Token]*request // requests that the state will answer
	tokens group.Token
	deciding
	committing
	expireAtMs int64
	expireFrom string
	expiring   bool
	broken     bool // the log is not as thought: load again
	unproven   bool // that this broker leads is not shown yet: see prove

	cancel context.CancelFunc
	done   sync.WaitGroup // the loop and its wait for the high watermark
}

func newShard(p kafka.PartitionID, epoch kafka.LeaderEpoch, log Log, owner *Groups) *shard {
	return &shard{
		partition: p, epoch: epoch, log: log, owner: owner, wake: make(chan struct{}, 1),
		logger: owner.logger.With("partition", kafka.TopicPartition{Topic: Topic, Partition: p}.String(), "epoch", int32(epoch)),
	}
}

// submit gives the shard a request; its answer comes on r.done.
func (s *shard) submit(r *request) {
	s.mu.Lock()
	code := errors.None
	switch {
	case s.phase == loading:
		code = errors.CoordinatorLoadInProgress
	case s.phase == gone:
		code = errors.NotCoordinator
	case s.unanswered >= maxUnanswered:
		code = errors.CoordinatorLoadInProgress // clients come again after a pause
	default:
		s.queue = append(s.queue, r)
		s.unanswered++
	}
	s.mu.Unlock()
	if code != errors.None {
		r.fail(code)
		return
	}
	s.poke()
}

func (s *shard) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *shard) enter(p phase) {
	s.mu.Lock()
	s.phase = p
	s.mu.Unlock()
}

// wallMs is what goes into records, and what was committed is aged by.
func (s *shard) wallMs() int64 { return s.owner.clock.Now().UnixMilli() }

// nowMs is what everything is waited by: a wall clock that is set ends no session.
func (s *shard) nowMs() int64 { return s.owner.steady.Ms(s.owner.clock.Now()) }

// run is the loop. It ends with ctx; every request has its answer then.
func (s *shard) run(ctx context.Context) {
	defer s.done.Done()
	timer := s.owner.clock.NewTimer(time.Hour)
	defer timer.Stop()
	for s.begin(ctx, timer.C(), timer.Reset) {
		for ctx.Err() == nil && !s.broken {
			s.turn(ctx)
			if at, ok := s.deadline(); ok {
				timer.Reset(time.Duration(max(at-s.nowMs(), 0)) * time.Millisecond)
			} else {
				timer.Reset(time.Hour)
			}
			select {
			case <-ctx.Done():
			case <-s.wake:
			case <-timer.C():
			}
		}
		if ctx.Err() == nil {
			s.abandon(loading, errors.CoordinatorLoadInProgress)
		}
	}
	s.abandon(gone, errors.NotCoordinator)
}

// begin loads the state; a log that cannot be read is tried again until ctx
// ends, which begin reports by false.
func (s *shard) begin(ctx context.Context, fired <-chan time.Time, reset func(time.Duration) bool) bool {
	for ctx.Err() == nil {
		err := s.prove(ctx)
		if err == nil {
			err = s.load(ctx)
		}
		if err == nil {
			s.enter(active)
			return true
		}
		if ctx.Err() != nil {
			break
		}
		s.owner.metrics.LoadFailures.Add(1)
		s.logger.Error("the groups of this partition cannot be loaded; clients are told to wait, and it is tried again", "error", err, "pause", reloadAfter)
		reset(reloadAfter)
		select {
		case <-fired:
		case <-ctx.Done():
		}
	}
	return false
}

// turn does all that there is to do now.
func (s *shard) turn(ctx context.Context) {
	s.mu.Lock()
	queue, waited, err := s.queue, s.waited, s.waitErr
	s.queue, s.waited = nil, false
	s.unanswered -= len(queue)
	s.mu.Unlock()
	if waited {
		s.waitOver(err)
	}
	s.settle()
	for _, r := range queue {
		s.take(r)
	}
	now := s.nowMs()
	for s.usable() {
		t, ok := s.timers.due(now)
		if !ok {
			break
		}
		s.decide(decision{event: group.Fired{Timer: t}})
	}
	s.expire(now)
	s.flush()
	s.settle()
	s.giveUp(now)
	s.await(ctx)
}

// take handles one request.
func (s *shard) take(r *request) {
	switch {
	case s.phase != active: // lost while the queue was being worked on
		r.fail(errors.NotCoordinator)
	case s.broken:
		r.fail(errors.CoordinatorLoadInProgress)
	case r.read != nil:
		r.read(s.view())
		r.done <- result{}
	case r.ending != nil:
		e := r.ending
		s.decide(decision{request: r, event: group.Ended{Producer: e.marker.ProducerID, Commit: e.marker.Commit}})
	case r.deleted != nil:
		s.decide(decision{request: r, event: group.TopicsDeleted{Topics: r.deleted}})
	default:
		s.tokens++
		r.token = s.tokens
		s.parked[r.token] = r
		s.decide(decision{request: r, event: group.Request{Token: r.token, Client: r.client, Body: r.body}})
	}
}

// count counts the answers that wait to be committed.
func (s *shard) count(n int) {
	s.mu.Lock()
	s.unanswered += n
	s.mu.Unlock()
}

// usable reports whether the state may be gone on with.
func (s *shard) usable() bool { return s.phase == active && !s.broken }

// expire lets offsets and groups expire, a part of them in each turn.
func (s *shard) expire(nowMs int64) {
	if !s.usable() || nowMs < s.expireAtMs && !s.expiring {
		return
	}
	if !s.expiring {
		s.expiring, s.expireFrom = true, ""
	}
	s.decide(decision{event: group.Expire{From: s.expireFrom, Limit: expiredAtOnce}})
}

// expired notes how far an expiry came.
func (s *shard) expired(next string) {
	s.expireFrom = next
	if next == "" {
		s.expiring = false
		s.expireAtMs = s.nowMs() + s.owner.retentionCheck.Milliseconds()
		return
	}
	s.poke()
}

// deadline is when the loop has something to do next.
func (s *shard) deadline() (int64, bool) {
	if s.phase != active {
		return 0, false
	}
	at := s.expireAtMs
	if t, ok := s.timers.next(); ok {
		at = min(at, t)
	}
	if len(s.waiting) > 0 {
		at = min(at, s.waiting[0].byMs)
	}
	return at, true
}

// depose ends the work of a shard whose broker does not lead any more, before
// Resign says so.
func (s *shard) depose(err error) {
	s.logger.Info("this broker leads the partition no longer", "error", err)
	s.abandon(gone, errors.NotCoordinator)
}

// abandon fails everything that waits and forgets the state.
func (s *shard) abandon(p phase, code errors.Code) {
	s.mu.Lock()
	queue := s.queue
	s.phase, s.queue, s.unanswered = p, nil, 0
	s.mu.Unlock()
	for _, r := range queue {
		r.fail(code)
	}
	for _, w := range s.waiting {
		w.request.fail(code)
	}
	for _, r := range s.parked {
		r.fail(code)
	}
	s.state, s.timers, s.parked = new(group.State), newTimers(), map[group.Token]*request{}
	s.deciding.reset()
	s.committing = committing{waits: s.waits}
	s.broken = false
}

// load folds the log into a new state.
func (s *shard) load(ctx context.Context) error {
	select {
	case s.owner.loads <- struct{}{}:
		defer func() { <-s.owner.loads }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := s.owner.clock.Now()
	s.abandon(loading, errors.CoordinatorLoadInProgress)
	from, end, hw := s.log.Start(), s.log.End(), s.log.HighWatermark()
	var data, scratch []byte
	for from < end && ctx.Err() == nil {
		var err error
		if data, err = s.log.Read(data[:0], from, loadBytes); err != nil {
			return err
		}
		if len(data) == 0 {
			break // the last offsets are gone by compaction
		}
		if from, scratch, err = s.fold(data, from, hw, scratch); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.state.Advance(end)
	s.loaded(hw)
	s.expireAtMs = s.nowMs() + s.owner.retentionCheck.Milliseconds()
	s.apply(s.state.Step(s.env(), group.Loaded{}), s.state.End())
	s.owner.metrics.Loads.Add(1)
	s.logger.Info("loaded the groups of this partition", "end", int64(end), "took", s.owner.clock.Now().Sub(began))
	return nil
}

// loadBytes is how much of the log is read at a time (offsets.load.buffer.size).
const loadBytes = 1 << 20

// fold loads batches; what lies below from was loaded before.
func (s *shard) fold(data []byte, from, hw kafka.Offset, scratch []byte) (kafka.Offset, []byte, error) {
	for v, err := range batch.All(data) {
		if err != nil {
			return from, scratch, err
		}
		if v.EndOffset() <= from {
			continue
		}
		if err := v.CheckCRC(); err != nil {
			return from, scratch, err
		}
		if s.committed == nil && v.EndOffset() > hw {
			s.committed = s.state.Clone()
		}
		if scratch, err = s.state.LoadBatch(v, scratch); err != nil {
			return from, scratch, err
		}
		from = v.EndOffset()
	}
	return from, scratch, nil
}

func (s *shard) env() group.Env {
	return group.Env{NowMs: s.nowMs(), WallMs: s.wallMs(), Random: s.owner.uuid(), Config: s.owner.config.Load()}
}
