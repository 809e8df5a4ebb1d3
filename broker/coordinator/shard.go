package coordinator

import (
	"context"
	"sync"
	"time"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
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
	// longest is the longest sleep of a loop.
	longest = time.Hour
)

// shard runs the core of one partition in one leader epoch: the loop (run) that
// owns it, and all that waits.
type shard struct {
	partition kafka.PartitionID
	epoch     kafka.LeaderEpoch
	log       Log
	owner     *Groups
	core      *Core // the loop's
	loads     bool  // the loop has one of owner.loads
	waits     bool  // a goroutine waits for the high watermark

	mu         sync.Mutex
	refused    errors.Code // what requests are told, None when they are taken
	queue      []*Request
	unanswered int   // in queue, and waiting in the core
	waited     bool  // the wait for the high watermark has ended, so:
	waitErr    error // or why it failed
	// wake has one slot: any number of changes wake the loop once.
	wake chan struct{}

	cancel context.CancelFunc
	done   sync.WaitGroup // the loop and its wait for the high watermark
}

func newShard(p kafka.PartitionID, epoch kafka.LeaderEpoch, log Log, owner *Groups, unproven bool) *shard {
	s := &shard{partition: p, epoch: epoch, log: log, owner: owner, wake: make(chan struct{}, 1), refused: errors.CoordinatorLoadInProgress}
	s.core = NewCore(CoreOptions{
		Log: log, Epoch: epoch, Unproven: unproven, Group: owner.config.Load,
		CommitTimeout: owner.commitTimeout, RetentionCheck: owner.retentionCheck, Compression: owner.compression, Random: owner.uuid,
		NowMs: s.nowMs, WallMs: func() int64 { return owner.clock.Now().UnixMilli() }, Metrics: &owner.metrics,
		Logger: owner.logger.With("partition", kafka.TopicPartition{Topic: Topic, Partition: p}.String(), "epoch", int32(epoch)),
	})
	return s
}

// submit gives the shard a request; its answer comes on r.done.
func (s *shard) submit(r *Request) {
	s.mu.Lock()
	code := s.refused
	switch {
	case code != errors.None:
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

func (s *shard) nowMs() int64 { return s.owner.steady.Ms(s.owner.clock.Now()) }

// run is the loop. It ends with ctx; every request has its answer then.
func (s *shard) run(ctx context.Context) {
	defer s.done.Done()
	timer := s.owner.clock.NewTimer(longest)
	defer timer.Stop()
	for ctx.Err() == nil && s.mayLoad(ctx) {
		w := s.turn()
		s.await(ctx, w.UpTo)
		if w.AtMs == 0 {
			continue
		}
		timer.Reset(min(max(millis(min(w.AtMs, s.nowMs()+longest.Milliseconds())-s.nowMs()), 0), longest))
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C():
		}
	}
	s.core.Resign()
	s.show()
	s.endLoad()
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// mayLoad waits until not too many others load, where there is something to load.
// False when ctx ends first.
func (s *shard) mayLoad(ctx context.Context) bool {
	if s.core.phase != loading || s.loads {
		return true
	}
	select {
	case s.owner.loads <- struct{}{}:
		s.loads = true
	case <-ctx.Done():
	}
	return s.loads
}

func (s *shard) endLoad() {
	if s.loads {
		s.loads = false
		<-s.owner.loads
	}
}

// turn gives the core all that has come.
func (s *shard) turn() Wait {
	s.mu.Lock()
	queue, waited, err := s.queue, s.waited, s.waitErr
	s.queue, s.waited = nil, false
	s.mu.Unlock()
	if waited {
		s.waits = false
		if err != nil {
			s.core.Lost(err) // whatever it is, asking again would not help
		}
	}
	w := s.core.Turn(queue)
	if s.core.phase != loading {
		s.endLoad()
	}
	s.show()
	return w
}

// show lets requests be taken or refused as the core is now.
func (s *shard) show() {
	code := s.core.refusal()
	s.mu.Lock()
	var refused []*Request
	if s.refused = code; code != errors.None {
		refused, s.queue = s.queue, nil
	}
	s.unanswered = len(s.queue) + len(s.core.waiting)
	s.mu.Unlock()
	for _, r := range refused {
		r.fail(code)
	}
}

// await has the loop woken up when the high watermark has come to an offset.
func (s *shard) await(ctx context.Context, upTo kafka.Offset) {
	if s.waits || upTo == 0 {
		return
	}
	s.waits = true
	s.done.Go(func() {
		err := s.log.WaitCommitted(ctx, upTo)
		s.mu.Lock()
		s.waited, s.waitErr = true, err
		s.mu.Unlock()
		s.poke()
	})
}

// read runs f on what is committed in a shard.
func (s *shard) read(ctx context.Context, f func(*group.State)) errors.Code {
	return s.ask(ctx, &Request{read: f}).code
}
