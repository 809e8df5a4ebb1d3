package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/coordinator"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// The kinds of coordinator (FindCoordinatorRequest.CoordinatorType).
const (
	coordinatorGroup       = 0
	coordinatorTransaction = 1
	coordinatorShare       = 2
)

// FindCoordinator (key 10, versions 0 to 6; KafkaApis.handleFindCoordinatorRequest).
//
// v1 adds transactions, v4 several keys at once, v6 share groups. The
// coordinator of a group is the leader of its partition of __consumer_offsets,
// which is made when it is first asked for; until then the answer is
// COORDINATOR_NOT_AVAILABLE. The coordinators of transactions and share groups
// are not served: none of their topics is made here, so that nobody who comes
// later finds one without its coordinator.
func (h *Handlers) findCoordinator(ctx context.Context, c *call, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	res.NodeID, res.Port = -1, -1
	if req.Version < 4 {
		found := c.coordinator(ctx, req, req.CoordinatorKey)
		text := "NONE" // Errors.NONE.message()
		if found.ErrorCode != 0 {
			text = errors.Code(found.ErrorCode).Message()
		}
		res.ErrorCode, res.ErrorMessage = found.ErrorCode, &text
		res.NodeID, res.Host, res.Port = found.NodeID, found.Host, found.Port
		return res
	}
	res.Coordinators = make([]kmsg.FindCoordinatorResponseCoordinator, 0, len(req.CoordinatorKeys))
	for _, key := range req.CoordinatorKeys {
		res.Coordinators = append(res.Coordinators, c.coordinator(ctx, req, key))
	}
	return res
}

func (c *call) coordinator(ctx context.Context, req *kmsg.FindCoordinatorRequest, key string) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	text := ""
	out.Key, out.NodeID, out.Port, out.ErrorMessage = key, -1, -1, &text
	b, e, code := c.findCoordinator(ctx, req, key)
	if code != errors.None {
		out.ErrorCode = int16(code)
		if req.CoordinatorType < coordinatorGroup || req.CoordinatorType > coordinatorShare {
			text = code.Message() // Apache fails the whole request
		}
		return out
	}
	out.NodeID, out.Host, out.Port = int32(b), e.Host, int32(e.Port)
	return out
}

func (c *call) findCoordinator(ctx context.Context, req *kmsg.FindCoordinatorRequest, key string) (kafka.BrokerID, image.Endpoint, errors.Code) {
	none := func(code errors.Code) (kafka.BrokerID, image.Endpoint, errors.Code) {
		return -1, image.Endpoint{}, code
	}
	switch kind := req.CoordinatorType; {
	case kind == coordinatorGroup && !c.mayGroup(kmsg.ACLOperationDescribe, key):
		return none(errors.GroupAuthorizationFailed)
	case kind == coordinatorTransaction && !c.may(kmsg.ACLOperationDescribe, kmsg.ACLResourceTypeTransactionalId, key):
		return none(errors.TransactionalIDAuthorizationFailed)
	case kind == coordinatorGroup:
	case kind == coordinatorTransaction, kind == coordinatorShare && req.Version >= 6:
		return none(errors.CoordinatorNotAvailable)
	default:
		return none(errors.InvalidRequest)
	}
	topic := c.image.TopicByName(coordinator.Topic)
	if topic == nil {
		if topic = c.createOffsetsTopic(ctx); topic == nil {
			return none(errors.CoordinatorNotAvailable)
		}
	}
	p := topic.Partition(coordinator.PartitionOf(key, int32(topic.PartitionCount())))
	if b, e, ok := c.alive(p.Leader); ok {
		return b.ID, e, errors.None
	}
	return none(errors.CoordinatorNotAvailable)
}

// createOffsetsTopic has the topic of the group coordinators made, and waits a
// moment for it.
func (c *call) createOffsetsTopic(ctx context.Context) *image.Topic {
	ctx, cancel := context.WithTimeout(ctx, creationWait)
	defer cancel()
	c.cfg.AutoCreate.Create(ctx, []string{coordinator.Topic})
	c.image = c.cfg.Image()
	return c.image.TopicByName(coordinator.Topic)
}
