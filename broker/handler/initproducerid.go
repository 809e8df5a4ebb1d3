package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// InitProducerId (key 22, versions 0 to 5; KafkaApis.handleInitProducerIdRequest).
//
// An idempotent producer gets an id that nobody had before, whatever it says of
// an older one. Transactions are not served: a request with a transactional id
// gets what a broker answers that is not the producer's coordinator.
func (h *Handlers) initProducerID(ctx context.Context, c *call, req *kmsg.InitProducerIDRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	res.ProducerID, res.ProducerEpoch = -1, -1
	switch {
	case req.TransactionalID != nil && !c.may(kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTransactionalId, *req.TransactionalID):
		res.ErrorCode = int16(errors.TransactionalIDAuthorizationFailed)
	case req.TransactionalID == nil && !c.mayCluster(kmsg.ACLOperationIdempotentWrite) && !c.maySome(kmsg.ACLOperationWrite, kmsg.ACLResourceTypeTopic):
		res.ErrorCode = int16(errors.ClusterAuthorizationFailed)
	case req.Version >= 3 && (req.ProducerID == -1) != (req.ProducerEpoch == -1), req.TransactionalID != nil && *req.TransactionalID == "":
		res.ErrorCode = int16(errors.InvalidRequest)
	case req.TransactionalID != nil:
		res.ErrorCode = int16(errors.CoordinatorNotAvailable)
	default:
		id, err := h.cfg.ProducerIDs.Next(ctx)
		if err != nil {
			res.ErrorCode = int16(errors.CodeOf(err))
			return res
		}
		res.ProducerID, res.ProducerEpoch = int64(id), 0
	}
	return res
}
