package quorum

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol"
	"kvorum/protocol/errors"
)

// endpointOf is where a controller listens under the name of the listener that
// the request came in on.
func (c *Controller) endpointOf(id kafka.NodeID, listener string) (record.VoterEndpoint, bool) {
	state := c.state.Load()
	if state.Voters == nil {
		return record.VoterEndpoint{}, false
	}
	for _, v := range state.Voters.Voters {
		if v.VoterID != id {
			continue
		}
		for _, e := range v.Endpoints {
			if e.Name == listener {
				return e, true
			}
		}
	}
	return record.VoterEndpoint{}, false
}

// endpointTypeControllers is DescribeCluster's endpoint type for controllers.
const endpointTypeControllers = 2

// describeCluster tells tools that talk to controllers who they are (KIP-919;
// ControllerApis.handleDescribeCluster).
func (c *Controller) describeCluster(listener string, req *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	state := c.state.Load()
	resp.EndpointType = endpointTypeControllers
	if req.EndpointType != endpointTypeControllers {
		resp.ErrorCode = int16(errors.MismatchedEndpointType)
		text := "The request was sent to an endpoint of the wrong type: this is a controller"
		resp.ErrorMessage = &text
		return resp
	}
	resp.ClusterID = c.cfg.ClusterID
	resp.ControllerID = int32(state.Leader)
	if state.Voters == nil {
		return resp
	}
	for _, v := range state.Voters.Voters {
		if e, ok := c.endpointOf(v.VoterID, listener); ok {
			b := kmsg.NewDescribeClusterResponseBroker()
			b.NodeID, b.Host, b.Port = int32(v.VoterID), e.Host, int32(e.Port)
			resp.Brokers = append(resp.Brokers, b)
		}
	}
	return resp
}

// KRaftVersion is the quorum's kraft.version, 0 until it is known.
func (c *Controller) KRaftVersion() int16 { return c.state.Load().KRaftVersion }

// Features is what ApiVersions says about feature levels.
func (c *Controller) Features() protocol.Features {
	state := c.state.Load()
	f := protocol.Features{Epoch: int64(state.Image.At().Offset), ZkMigrationReady: c.cfg.Core.Settings.ZooKeeperMigration}
	for _, r := range c.cfg.Core.Settings.ControllerFeatures {
		f.Supported = append(f.Supported, protocol.SupportedFeature{Name: r.Name, Min: r.MinSupportedVersion, Max: r.MaxSupportedVersion})
		level := state.Image.FeatureLevel(r.Name)
		if r.Name == image.FeatureKRaftVersion {
			level = state.KRaftVersion
		}
		if level > 0 {
			f.Finalized = append(f.Finalized, protocol.FinalizedFeature{Name: r.Name, Level: level})
		}
	}
	return f
}
