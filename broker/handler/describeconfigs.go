package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/describe"
)

// DescribeConfigs (key 32, versions 1 to 4; ConfigHelper.describeConfigs): topics,
// groups and client metrics from the image with what they fall back to on this
// broker; of brokers this one, and the default for all. v3 adds types and
// documentation.
func (h *Handlers) describeConfigs(_ context.Context, c *call, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	return describe.Configs(c.image, describe.Node{
		ID: int32(h.cfg.Self), Layers: h.cfg.Layers(),
		May: func(resourceType int8, name string) bool {
			return c.may(kmsg.ACLOperationDescribeConfigs, kmsg.ACLResourceType(resourceType), name)
		},
	}, req)
}
