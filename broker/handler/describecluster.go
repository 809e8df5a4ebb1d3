package handler

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/protocol/errors"
)

// The endpoint types of DescribeCluster (EndpointType, KIP-919).
const (
	endpointBroker     = 1
	endpointController = 2
)

// DescribeCluster (key 60, versions 0 to 2; KafkaApis.handleDescribeCluster).
//
// v1 adds the endpoint type, of which a broker knows only its own; v2 adds
// fenced brokers, for who asks.
func (h *Handlers) describeCluster(_ context.Context, c *call, req *kmsg.DescribeClusterRequest) kmsg.Response {
	res := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	res.ControllerID, res.ClusterAuthorizedOperations = -1, noOperations
	res.Brokers = []kmsg.DescribeClusterResponseBroker{}
	if req.Version >= 1 && req.EndpointType != endpointBroker {
		code, wanted := errors.UnsupportedEndpointType, "UNKNOWN"
		if req.EndpointType == endpointController {
			code, wanted = errors.MismatchedEndpointType, "CONTROLLER"
		}
		text := "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type " + wanted
		res.ErrorCode, res.ErrorMessage = int16(code), &text
		return res
	}
	res.EndpointType = endpointBroker
	res.ClusterID, res.ControllerID = h.cfg.ClusterID, c.aController()
	res.ClusterAuthorizedOperations = c.clusterOperations(req.IncludeClusterAuthorizedOperations)
	for b, e := range c.reachable(req.Version >= 2 && req.IncludeFencedBrokers) {
		out := kmsg.NewDescribeClusterResponseBroker()
		out.NodeID, out.Host, out.Port, out.Rack, out.IsFenced = int32(b.ID), e.Host, int32(e.Port), b.Rack, b.Fenced
		res.Brokers = append(res.Brokers, out)
	}
	return res
}
