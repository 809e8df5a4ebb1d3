package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/describe"
)

// DescribeUserScramCredentials (key 50, version 0;
// KafkaApis.handleDescribeUserScramCredentialsRequest): from the image, without
// keys and salts.
func (h *Handlers) describeScram(_ context.Context, c *call, req *kmsg.DescribeUserSCRAMCredentialsRequest) kmsg.Response {
	return describe.UserScramCredentials(c.image, req)
}
