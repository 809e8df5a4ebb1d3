package handler

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/listener"
	"kvorum/protocol"
)

// forwardTimeout bounds a forwarded request (the 60 s of Apache's ForwardingManager).
// One that says itself how long it may take is answered in that time, but for what
// is less than minForwardTimeout: nobody would find a controller after a failover.
const forwardTimeout, minForwardTimeout = 60 * time.Second, time.Second

// forwarded are the requests that the active controller answers: they go to it
// in an Envelope with who sent them, and their answers come back as they are
// (KIP-590). The controller authorizes them, item by item where need be; rules of
// the API table that speak of the cluster alone have been checked here too.
//
// All served versions of CreateTopics (19), DeleteTopics (20), CreateAcls (30),
// DeleteAcls (31), CreatePartitions (37), ElectLeaders (43),
// AlterPartitionReassignments (45), ListPartitionReassignments (46),
// AlterClientQuotas (49), AlterUserScramCredentials (51), DescribeQuorum (55),
// UpdateFeatures (57), UnregisterBroker (64), AddRaftVoter (80) and
// RemoveRaftVoter (81).
var forwarded = []kmsg.Key{
	kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreateACLs, kmsg.DeleteACLs, kmsg.CreatePartitions, kmsg.ElectLeaders,
	kmsg.AlterPartitionAssignments, kmsg.ListPartitionReassignments, kmsg.AlterClientQuotas, kmsg.AlterUserSCRAMCredentials,
	kmsg.DescribeQuorum, kmsg.UpdateFeatures, kmsg.UnregisterBroker, kmsg.AddRaftVoter, kmsg.RemoveRaftVoter,
}

func (h *Handlers) forward(ctx context.Context, c *call) (listener.Response, error) {
	return listener.Reply(h.ask(ctx, c, c.Body, true)), nil
}

// ask forwards a body in the client's name. A request that no controller took is
// failed as a whole. all says that body is all of the client's request: then the
// controller that took it is who audits it.
func (h *Handlers) ask(ctx context.Context, c *call, body kmsg.Request, all bool) kmsg.Response {
	limit := forwardTimeout
	if t, ok := body.(kmsg.TimeoutRequest); ok {
		limit = min(limit, max(minForwardTimeout, time.Duration(t.Timeout())*time.Millisecond))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	inner := &protocol.Request{Header: c.Header, API: c.API, Body: body}
	began := c.cfg.Clock.Now()
	answer, err := h.cfg.Controllers.Forward(ctx, c.Principal, c.Client.Addr(), inner)
	c.Waited(c.cfg.Clock.Now().Sub(began))
	c.Exempt() // as for Apache, what is throttled is what the controller says
	if err != nil {
		return protocol.Failure(inner, err)
	}
	if all {
		c.AuditedByController()
	}
	if t, ok := answer.(kmsg.ThrottleResponse); ok {
		ms, _ := t.Throttle()
		c.Throttle(time.Duration(ms) * time.Millisecond)
	}
	return answer
}
