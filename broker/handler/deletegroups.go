package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// DeleteGroups (key 42, versions 0 to 2; KafkaApis.handleDeleteGroupsRequest).
func (h *Handlers) deleteGroups(ctx context.Context, c *call, req *kmsg.DeleteGroupsRequest) kmsg.Response {
	allowed := *req
	allowed.Groups = nil
	var refused []kmsg.DeleteGroupsResponseGroup
	for _, id := range req.Groups {
		if c.mayGroup(kmsg.ACLOperationDelete, id) {
			allowed.Groups = append(allowed.Groups, id)
		} else {
			refused = append(refused, kmsg.DeleteGroupsResponseGroup{Group: id, ErrorCode: int16(errors.GroupAuthorizationFailed)})
		}
	}
	res := h.cfg.Groups.DeleteGroups(ctx, c.client(), &allowed)
	res.Groups = append(res.Groups, refused...)
	return res
}
