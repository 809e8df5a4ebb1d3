package handler

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListGroups (key 16, versions 0 to 5; KafkaApis.handleListGroupsRequest): the
// groups that this broker coordinates. v4 filters by state, v5 by type.
func (h *Handlers) listGroups(ctx context.Context, c *call, req *kmsg.ListGroupsRequest) kmsg.Response {
	res := h.cfg.Groups.ListGroups(ctx, req)
	for i := range res.Groups {
		res.Groups[i].GroupType = strings.ToLower(res.Groups[i].GroupType) // as Apache writes it
	}
	if !c.mayCluster(kmsg.ACLOperationDescribe) {
		res.Groups = slices.DeleteFunc(res.Groups, func(g kmsg.ListGroupsResponseGroup) bool { return !c.mayGroup(kmsg.ACLOperationDescribe, g.Group) })
	}
	return res
}
