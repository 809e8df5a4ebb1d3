package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// JoinGroup (key 11, versions 0 to 9; KafkaApis.handleJoinGroupRequest).
//
// It answers when the rebalance is through. v1 adds the time a rebalance may
// take, v4 the member id that is asked for first (KIP-394), v5 static members
// (KIP-345), v7 the protocol type, v9 assignments that are skipped (KIP-814).
func (h *Handlers) joinGroup(ctx context.Context, c *call, req *kmsg.JoinGroupRequest) kmsg.Response {
	if !c.mayGroup(kmsg.ACLOperationRead, req.Group) {
		res := req.ResponseKind().(*kmsg.JoinGroupResponse)
		res.ErrorCode, res.Generation = int16(errors.GroupAuthorizationFailed), -1
		res.Members = []kmsg.JoinGroupResponseMember{}
		return res
	}
	return h.cfg.Groups.JoinGroup(ctx, c.client(), req)
}
