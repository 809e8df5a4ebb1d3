package controller

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/describe"
)

// DescribeClientQuotas answers DescribeClientQuotas (key 48, versions 0 and 1)
// from the image.
func DescribeClientQuotas(in Input, req *kmsg.DescribeClientQuotasRequest) *kmsg.DescribeClientQuotasResponse {
	if err := in.Caller.mayCluster(opDescribeConfigs); err != nil {
		res := req.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
		res.ErrorCode, res.ErrorMessage = report(err)
		return res
	}
	return describe.ClientQuotas(in.Image, req)
}
