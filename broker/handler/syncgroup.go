package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// SyncGroup (key 14, versions 0 to 5; KafkaApis.handleSyncGroupRequest).
//
// It answers when the group's leader has assigned. v3 adds static members; from
// v5 on the request must name the group's protocol.
func (h *Handlers) syncGroup(ctx context.Context, c *call, req *kmsg.SyncGroupRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.SyncGroupResponse)
	res.MemberAssignment = []byte{}
	switch {
	case req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil):
		res.ErrorCode = int16(errors.InconsistentGroupProtocol)
		return res
	case !c.mayGroup(kmsg.ACLOperationRead, req.Group):
		res.ErrorCode = int16(errors.GroupAuthorizationFailed)
		return res
	}
	return h.cfg.Groups.SyncGroup(ctx, c.client(), req)
}
