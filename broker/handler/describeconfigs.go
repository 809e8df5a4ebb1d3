package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/describe"
	"kvorum/metadatalog/image"
	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// DescribeConfigs (key 32, versions 1 to 4; ConfigHelper.describeConfigs): topics,
// groups and client metrics from the image with what they fall back to on this
// broker; of brokers this one, and the default for all. v3 adds types and
// documentation.
//
// A resource of a type that nobody knows fails the whole request.
func (h *Handlers) describeConfigs(_ context.Context, c *call, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	for i := range req.Resources {
		switch image.ResourceType(req.Resources[i].ResourceType) {
		case image.ResourceTopic, image.ResourceBroker, image.ResourceBrokerLogger, image.ResourceClientMetrics, image.ResourceGroup:
		default:
			return refuseConfigs(c, errors.InvalidRequest)
		}
	}
	return describe.Configs(c.image, describe.Node{
		ID: int32(h.cfg.Self), Layers: h.cfg.Layers(),
		May: func(resourceType int8, name string) bool {
			return c.may(kmsg.ACLOperationDescribeConfigs, kmsg.ACLResourceType(resourceType), name)
		},
	}, req)
}

// refuseConfigs fails all resources, with the code's own text.
func refuseConfigs(c *call, code errors.Code) kmsg.Response {
	answer := protocol.Failure(c.Request.Request, code.Err())
	text := code.Message()
	for i := range answer.(*kmsg.DescribeConfigsResponse).Resources {
		answer.(*kmsg.DescribeConfigsResponse).Resources[i].ErrorMessage = &text
	}
	return answer
}
