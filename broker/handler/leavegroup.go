package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// LeaveGroup (key 13, versions 0 to 5; KafkaApis.handleLeaveGroupRequest): one
// member before v3, any number from then on, v5 with a reason.
func (h *Handlers) leaveGroup(ctx context.Context, c *call, req *kmsg.LeaveGroupRequest) kmsg.Response {
	if !c.mayGroup(kmsg.ACLOperationRead, req.Group) {
		res := req.ResponseKind().(*kmsg.LeaveGroupResponse)
		res.ErrorCode = int16(errors.GroupAuthorizationFailed)
		return res
	}
	return h.cfg.Groups.LeaveGroup(ctx, c.client(), req)
}
