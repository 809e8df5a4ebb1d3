package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// Heartbeat (key 12, versions 0 to 4; KafkaApis.handleHeartbeatRequest): v3 adds
// static members.
func (h *Handlers) heartbeat(ctx context.Context, c *call, req *kmsg.HeartbeatRequest) kmsg.Response {
	if !c.mayGroup(kmsg.ACLOperationRead, req.Group) {
		res := req.ResponseKind().(*kmsg.HeartbeatResponse)
		res.ErrorCode = int16(errors.GroupAuthorizationFailed)
		return res
	}
	return h.cfg.Groups.Heartbeat(ctx, c.client(), req)
}
