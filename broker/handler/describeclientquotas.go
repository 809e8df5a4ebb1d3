package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/describe"
)

// DescribeClientQuotas (key 48, versions 0 and 1;
// KafkaApis.handleDescribeClientQuotasRequest): from the image.
func (h *Handlers) describeClientQuotas(_ context.Context, c *call, req *kmsg.DescribeClientQuotasRequest) kmsg.Response {
	return describe.ClientQuotas(c.image, req)
}
