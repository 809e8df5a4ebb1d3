package coordinator

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// ask sends a request of one group to its shard and waits. When ctx ends first,
// the request may still be carried out.
func (g *Groups) ask(ctx context.Context, id string, c group.Client, q kmsg.Request) kmsg.Response {
	s, code := g.of(id)
	if code != errors.None {
		return version(q, failed(q, code))
	}
	return version(q, s.ask(ctx, &Request{body: q, client: c}).response)
}

func (s *shard) ask(ctx context.Context, r *Request) result {
	r.done = make(chan result, 1)
	s.submit(r)
	select {
	case a := <-r.done:
		return a
	case <-ctx.Done():
		a := result{code: errors.CoordinatorNotAvailable}
		if r.body != nil {
			a.response = failed(r.body, a.code)
		}
		return a
	}
}

func version(q kmsg.Request, a kmsg.Response) kmsg.Response {
	a.SetVersion(q.GetVersion())
	return a
}

// JoinGroup answers when the rebalance is through. The request must not be
// changed before; the same holds for all methods.
func (g *Groups) JoinGroup(ctx context.Context, c group.Client, q *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	return g.ask(ctx, q.Group, c, q).(*kmsg.JoinGroupResponse)
}

// SyncGroup answers when the leader has assigned.
func (g *Groups) SyncGroup(ctx context.Context, c group.Client, q *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	return g.ask(ctx, q.Group, c, q).(*kmsg.SyncGroupResponse)
}

// Heartbeat keeps a member's session.
func (g *Groups) Heartbeat(ctx context.Context, c group.Client, q *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	return g.ask(ctx, q.Group, c, q).(*kmsg.HeartbeatResponse)
}

// LeaveGroup removes members.
func (g *Groups) LeaveGroup(ctx context.Context, c group.Client, q *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	return g.ask(ctx, q.Group, c, q).(*kmsg.LeaveGroupResponse)
}

// OffsetCommit answers when the offsets are committed. The handler has put the
// name of each topic beside its id, and has kept back topics that are not there.
func (g *Groups) OffsetCommit(ctx context.Context, c group.Client, q *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	return g.ask(ctx, q.Group, c, q).(*kmsg.OffsetCommitResponse)
}

// TxnOffsetCommit writes offsets that count when the transaction is committed.
func (g *Groups) TxnOffsetCommit(ctx context.Context, c group.Client, q *kmsg.TxnOffsetCommitRequest) *kmsg.TxnOffsetCommitResponse {
	return g.ask(ctx, q.Group, c, q).(*kmsg.TxnOffsetCommitResponse)
}

// OffsetDelete removes offsets of topics that the group does not read.
func (g *Groups) OffsetDelete(ctx context.Context, c group.Client, q *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	return g.ask(ctx, q.Group, c, q).(*kmsg.OffsetDeleteResponse)
}

// EndTransaction writes the marker that ends a producer's transaction into a
// partition of __consumer_offsets, so that its offsets count or are gone
// (GroupCoordinator.completeTransaction). From transactionVersion 2 on a marker of
// the producer's present epoch is refused where its transaction is open (KIP-890).
// Errors are wire errors.
func (g *Groups) EndTransaction(ctx context.Context, p kafka.PartitionID, marker batch.EndTxn, transactionVersion int16) error {
	s, code := g.shard(p)
	if code == errors.None {
		code = s.ask(ctx, &Request{ending: &ending{marker, transactionVersion}}).code
	}
	return code.Err()
}

// TopicsDeleted has the offsets removed that groups have committed for topics that
// are gone, given by name and id; it does not wait for it. A partition that is
// loading, or whose append fails, keeps them: they expire, and are not found under
// the id of another topic of the same name.
func (g *Groups) TopicsDeleted(topics map[string]kafka.TopicID) {
	for _, s := range g.all() {
		s.submit(&Request{deleted: topics, done: make(chan result, 1)})
	}
}
