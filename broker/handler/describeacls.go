package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/describe"
)

// DescribeAcls (key 29, versions 1 to 3; AclApis.handleDescribeAcls): from the
// image. Without an authorizer it is SECURITY_DISABLED.
func (h *Handlers) describeACLs(_ context.Context, c *call, req *kmsg.DescribeACLsRequest) kmsg.Response {
	return describe.ACLs(c.image, h.cfg.Authorizer != nil, req)
}
