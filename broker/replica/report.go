package replica

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica/core"
	"kvorum/internal/kafka"
	"kvorum/protocol/errors"
)

// Controller sends one request to the active controller and waits for its
// answer; it looks for the controller by itself until ctx ends.
type Controller interface {
	Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
}

// reports are what the controllers have to be told of this broker's replicas:
// the ISRs that leaders propose and the directories that replicas are in. Both
// are bounded by the partitions of the broker: each has at most one of a kind.
type reports struct {
	wake chan struct{} // one slot

	mu          sync.Mutex
	proposals   map[*Partition]*core.Proposal
	directories map[*Partition]kafka.DirectoryID
}

const (
	// reportTimeout is how long one request looks for a controller. What it says
	// may be out of date by then, so it is made anew.
	reportTimeout = 10 * time.Second
	// reportPause is the rest after a request that failed.
	reportPause = 100 * time.Millisecond
	// maxDirectories is how many replicas one AssignReplicasToDirs names
	// (AssignmentsManager.MAX_ASSIGNMENTS_PER_REQUEST).
	maxDirectories = 2250
)

func newReports() *reports {
	return &reports{wake: make(chan struct{}, 1), proposals: map[*Partition]*core.Proposal{}, directories: map[*Partition]kafka.DirectoryID{}}
}

func (r *reports) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// propose takes note of an ISR; it is called under the partition's mu.
func (r *reports) propose(p *Partition, change *core.Proposal) {
	r.mu.Lock()
	r.proposals[p] = change
	r.mu.Unlock()
	r.signal()
}

func (r *reports) assign(p *Partition, dir kafka.DirectoryID) {
	r.mu.Lock()
	r.directories[p] = dir
	r.mu.Unlock()
	r.signal()
}

// reportISRs sends what leaders propose, one request at a time
// (AlterPartitionManager), until ctx ends.
func (ps *Partitions) reportISRs(ctx context.Context) {
	ps.report(ctx, ps.isrs.wake, func(ctx context.Context) bool {
		ps.isrs.mu.Lock()
		batch := ps.isrs.proposals
		ps.isrs.proposals = map[*Partition]*core.Proposal{}
		ps.isrs.mu.Unlock()
		return len(batch) == 0 || ps.sendISRs(ctx, batch)
	})
}

// reportDirectories sends where replicas are, until the controllers know it.
func (ps *Partitions) reportDirectories(ctx context.Context) {
	ps.report(ctx, ps.homes.wake, func(ctx context.Context) bool { return ps.sendDirectories(ctx) })
}

// report calls send when it is woken, again after a pause where it failed.
func (ps *Partitions) report(ctx context.Context, wake chan struct{}, send func(context.Context) bool) {
	for {
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
		limited, cancel := context.WithTimeout(ctx, reportTimeout)
		ok := send(limited)
		cancel()
		if ok {
			continue
		}
		select {
		case wake <- struct{}{}:
		default:
		}
		timer := ps.clock.NewTimer(reportPause)
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// sendISRs sends proposals and gives each partition its answer. It is false when
// some have to be sent again: their leaders have put them back by then.
func (ps *Partitions) sendISRs(ctx context.Context, batch map[*Partition]*core.Proposal) bool {
	failed := ps.journal.record(batch)
	for p, err := range failed {
		ps.logger.Error("a change of in-sync replicas cannot be noted and is not proposed", "partition", p.name, "error", err)
	}
	req := ps.alterPartition(batch, failed)
	answers := map[partitionKey]core.Answered{}
	if len(req.Topics) > 0 {
		resp, err := ps.controller.Do(ctx, req)
		if alter, ok := resp.(*kmsg.AlterPartitionResponse); err == nil && ok && alter.ErrorCode == 0 {
			answers = answersOf(alter)
		} else if ok {
			err = errors.Code(alter.ErrorCode).Err()
		}
		if err != nil {
			ps.logger.Warn("the controllers did not take changes of in-sync replicas", "partitions", len(batch), "error", err)
		}
	}
	return ps.answer(batch, answers)
}

// answer gives each partition its answer, after the journal has forgotten what is
// withdrawn. It is false when some have to be sent again.
func (ps *Partitions) answer(batch map[*Partition]*core.Proposal, answers map[partitionKey]core.Answered) bool {
	all, withdrawn := make(map[*Partition]core.Answered, len(batch)), map[*Partition]*core.Proposal{}
	for p, change := range batch {
		a, ok := answers[partitionKey{p.topicID, p.name.Partition}]
		if !ok {
			a.Outcome = core.Failed
		}
		if a.Proposal = change; a.Withdrawn() {
			withdrawn[p] = change
		}
		all[p] = a
	}
	failed := ps.journal.forget(withdrawn)
	done := true
	for p, a := range all {
		if err := failed[p]; err != nil {
			ps.logger.Error("a change of in-sync replicas was refused, which cannot be noted; it is proposed again", "partition", p.name, "error", err)
			a.Outcome = core.Failed
		}
		a.NowMs = ps.nowMs()
		p.answered(a)
		ps.counters.decided(a.Outcome, a.Proposal.Expands())
		done = done && a.Outcome != core.Failed
	}
	return done
}

// alterPartition is the request for a batch, without those that could not be
// noted in the journal. What an image has decided meanwhile is taken out of batch.
func (ps *Partitions) alterPartition(batch map[*Partition]*core.Proposal, failed map[*Partition]error) *kmsg.AlterPartitionRequest {
	req := kmsg.NewPtrAlterPartitionRequest()
	req.BrokerID, req.BrokerEpoch = int32(ps.self), int64(ps.brokerEpoch())
	topics := map[kafka.TopicID]int{}
	for p, change := range batch {
		switch {
		case !p.proposes(change):
			delete(batch, p)
			continue
		case failed[p] != nil:
			continue
		}
		at, ok := topics[p.topicID]
		if !ok {
			t := kmsg.NewAlterPartitionRequestTopic()
			t.TopicID, at = p.topicID, len(req.Topics)
			topics[p.topicID], req.Topics = at, append(req.Topics, t)
		}
		req.Topics[at].Partitions = append(req.Topics[at].Partitions, ps.asked(p, change))
	}
	return req
}

type partitionKey struct {
	topic     kafka.TopicID
	partition kafka.PartitionID
}

// asked is a proposal on the wire. Versions of AlterPartition before 3 have no
// broker epochs in the ISR.
func (ps *Partitions) asked(p *Partition, change *core.Proposal) kmsg.AlterPartitionRequestTopicPartition {
	out := kmsg.NewAlterPartitionRequestTopicPartition()
	out.Partition = int32(p.name.Partition)
	out.LeaderEpoch, out.PartitionEpoch = int32(change.LeaderEpoch), int32(change.PartitionEpoch)
	for _, m := range change.ISR {
		e := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		e.BrokerID, e.BrokerEpoch = int32(m.ID), int64(m.Epoch)
		if m.ID == ps.self {
			e.BrokerEpoch = int64(ps.brokerEpoch())
		}
		out.NewISR = append(out.NewISR, int32(m.ID))
		out.NewEpochISR = append(out.NewEpochISR, e)
	}
	return out
}

func answersOf(resp *kmsg.AlterPartitionResponse) map[partitionKey]core.Answered {
	out := map[partitionKey]core.Answered{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out[partitionKey{t.TopidID, kafka.PartitionID(p.Partition)}] = core.Answered{
				Outcome: core.OutcomeOf(errors.Code(p.ErrorCode)), PartitionEpoch: kafka.PartitionEpoch(p.PartitionEpoch)}
		}
	}
	return out
}

// proposes reports whether a proposal is still what the leader wants.
func (p *Partition) proposes(change *core.Proposal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader != nil && p.leader.Proposed() == change
}

func (p *Partition) answered(a core.Answered) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step(a)
}
