package coordinator

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/group"
	"kvorum/internal/kafka"
	"kvorum/protocol/batch"
	"kvorum/protocol/errors"
)

// Request is one thing that a core is asked to do, and the place where its answer
// comes.
type Request struct {
	// One of these is set: a client's request, the end of a transaction, topics
	// that are gone, or a read of what is committed.
	body    kmsg.Request
	ending  *ending
	deleted map[string]kafka.TopicID
	read    func(*group.State)

	client group.Client
	token  group.Token
	// done gets the answer; it has room for it, so that nobody waits for a caller
	// that has gone. It has no response unless there is a body.
	done chan result
}

// ending is the end of a transaction, which is to be written to the partition.
type ending struct {
	marker             batch.EndTxn
	transactionVersion int16
}

type result struct {
	response kmsg.Response
	code     errors.Code // of endings and reads
}

// NewRequest is a request of a client.
func NewRequest(c group.Client, q kmsg.Request) *Request {
	return &Request{client: c, body: q, done: make(chan result, 1)}
}

// Answer is the response to NewRequest's, once there is one; it is given once.
func (r *Request) Answer() (kmsg.Response, bool) {
	select {
	case a := <-r.done:
		return a.response, true
	default:
		return nil, false
	}
}

// plain reports whether it reads committed offsets, without waiting for what this
// coordinator has written after them.
func (r *Request) plain() bool {
	q, ok := r.body.(*kmsg.OffsetFetchRequest)
	return ok && !q.RequireStable
}

func fetched(s *group.State, q *kmsg.OffsetFetchRequest) kmsg.Response {
	a := kmsg.NewPtrOffsetFetchResponse()
	for i := range q.Groups {
		a.Groups = append(a.Groups, s.FetchOffsets(&q.Groups[i], false))
	}
	return a
}

// fail answers with an error.
func (r *Request) fail(code errors.Code) {
	if r.body == nil {
		r.done <- result{code: code}
		return
	}
	r.done <- result{response: failed(r.body, code), code: code}
}

// failed is the response to a request that failed as a whole.
func failed(q kmsg.Request, code errors.Code) kmsg.Response {
	c := int16(code)
	switch q := q.(type) {
	case *kmsg.JoinGroupRequest:
		a := kmsg.NewPtrJoinGroupResponse()
		a.MemberID, a.ErrorCode = q.MemberID, c
		return a
	case *kmsg.SyncGroupRequest:
		a := kmsg.NewPtrSyncGroupResponse()
		a.ErrorCode = c
		return a
	case *kmsg.HeartbeatRequest:
		a := kmsg.NewPtrHeartbeatResponse()
		if code != errors.CoordinatorLoadInProgress {
			a.ErrorCode = c // while it is loading, its member is thought to live
		}
		return a
	case *kmsg.LeaveGroupRequest:
		a := kmsg.NewPtrLeaveGroupResponse()
		a.ErrorCode = c
		return a
	case *kmsg.OffsetCommitRequest:
		return failedCommit(q, code)
	case *kmsg.TxnOffsetCommitRequest:
		return failedTransaction(q, c)
	case *kmsg.OffsetDeleteRequest:
		a := kmsg.NewPtrOffsetDeleteResponse()
		a.ErrorCode = c
		return a
	case *kmsg.DeleteGroupsRequest:
		a := kmsg.NewPtrDeleteGroupsResponse()
		for _, id := range q.Groups {
			a.Groups = append(a.Groups, kmsg.DeleteGroupsResponseGroup{Group: id, ErrorCode: c})
		}
		return a
	case *kmsg.OffsetFetchRequest:
		a := kmsg.NewPtrOffsetFetchResponse()
		for _, g := range q.Groups {
			a.Groups = append(a.Groups, kmsg.OffsetFetchResponseGroup{Group: g.Group, ErrorCode: c})
		}
		return a
	}
	return nil
}

func failedCommit(q *kmsg.OffsetCommitRequest, code errors.Code) kmsg.Response {
	if code == errors.UnknownServerError {
		code = errors.InvalidCommitOffsetSize // the commit does not fit a batch
	}
	a := kmsg.NewPtrOffsetCommitResponse()
	for _, t := range q.Topics {
		r := kmsg.OffsetCommitResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			r.Partitions = append(r.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: int16(code)})
		}
		a.Topics = append(a.Topics, r)
	}
	return a
}

func failedTransaction(q *kmsg.TxnOffsetCommitRequest, code int16) kmsg.Response {
	a := kmsg.NewPtrTxnOffsetCommitResponse()
	for _, t := range q.Topics {
		r := kmsg.TxnOffsetCommitResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			r.Partitions = append(r.Partitions, kmsg.TxnOffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
		}
		a.Topics = append(a.Topics, r)
	}
	return a
}
