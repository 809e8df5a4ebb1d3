package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// DescribeGroups (key 15, versions 0 to 6; KafkaApis.handleDescribeGroupsRequest):
// v3 adds authorized operations, v4 static members; from v6 on a group that is
// not there is GROUP_ID_NOT_FOUND, before it is Dead.
func (h *Handlers) describeGroups(ctx context.Context, c *call, req *kmsg.DescribeGroupsRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	allowed := *req
	allowed.Groups = nil
	for _, id := range req.Groups {
		if c.mayGroup(kmsg.ACLOperationDescribe, id) {
			allowed.Groups = append(allowed.Groups, id)
			continue
		}
		g := kmsg.NewDescribeGroupsResponseGroup()
		g.Group, g.ErrorCode = id, int16(errors.GroupAuthorizationFailed)
		res.Groups = append(res.Groups, g)
	}
	for _, g := range h.cfg.Groups.DescribeGroups(ctx, &allowed).Groups {
		g.AuthorizedOperations = noOperations
		if req.IncludeAuthorizedOperations && g.ErrorCode == 0 {
			g.AuthorizedOperations = c.operations(kmsg.ACLResourceTypeGroup, g.Group)
		}
		res.Groups = append(res.Groups, g)
	}
	return res
}
