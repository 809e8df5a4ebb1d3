package quorum

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/quorum/controller"
)

// describeConfigs answers from the committed image: it changes nothing and needs
// no active controller.
func (c *Controller) describeConfigs(from origin, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	state := c.state.Load()
	in := controller.Input{
		Image:    state.Image,
		Settings: &c.cfg.Core.Settings,
		Caller:   c.caller(from),
	}
	return controller.DescribeConfigs(in, req)
}
