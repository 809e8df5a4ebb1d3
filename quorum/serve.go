package quorum

import (
	"context"
	"net/netip"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/listener"
	"kvorum/protocol"
	"kvorum/protocol/errors"
	"kvorum/quorum/controller"
)

// Authorizer answers whether a principal, from a host, may do an operation on a
// resource, by the access control entries of the committed image. The codes are
// Kafka's.
type Authorizer func(state *State, principal, host string, operation, resourceType int8, resource string) bool

// origin is who sent a request: a connection, or a client behind an Envelope.
type origin struct {
	principal protocol.Principal
	client    netip.Addr
	listener  string
	conn      listener.ConnID // 0 for a client behind an Envelope
	forwarded bool
}

// caller is who asks, as decisions see it.
func (c *Controller) caller(from origin) controller.Caller {
	return controller.Caller{
		Principal: from.principal.String(), Host: from.client.String(), Allowed: c.allowed(from), Forwarded: from.forwarded,
		// A controller's own listeners are PLAINTEXT, over which nobody may ask for
		// tokens; a broker has checked how its client logged in.
		MayUseTokens: from.forwarded && !from.principal.TokenAuthenticated,
	}
}

// OwnAnswer answers one of kvorum's own requests. Who asks has been authorized by the
// table's rule.
type OwnAnswer func(context.Context, *protocol.Request) kmsg.Response

// Handlers binds everything that a controller serves (ControllerApis).
func (c *Controller) Handlers() *protocol.Handlers[listener.Handler] {
	h := protocol.NewHandlers[listener.Handler](protocol.Controller)
	for key := range deciders {
		h.Bind(protocol.Key(key), c.serve(c.answer))
	}
	for _, key := range directAPIs {
		h.Bind(protocol.Key(key.Int16()), c.serve(c.answer))
	}
	for key, answer := range c.cfg.Own {
		h.Bind(key, c.serve(func(ctx context.Context, _ origin, r *protocol.Request) kmsg.Response { return answer(ctx, r) }))
	}
	h.Bind(protocol.Key(kmsg.Envelope.Int16()), c.serve(func(ctx context.Context, from origin, r *protocol.Request) kmsg.Response {
		return c.envelope(ctx, from, h, r.Body.(*kmsg.EnvelopeRequest))
	}))
	return h
}

// directAPIs are answered without a decision.
var directAPIs = []kmsg.Key{kmsg.Fetch, kmsg.FetchSnapshot, kmsg.DescribeQuorum, kmsg.DescribeCluster, kmsg.DescribeConfigs}

// serve makes a listener's handler: it checks the table's authorization and
// answers.
func (c *Controller) serve(answer func(context.Context, origin, *protocol.Request) kmsg.Response) listener.Handler {
	return func(ctx context.Context, r *listener.Request) (listener.Response, error) {
		from := origin{principal: r.Principal, client: r.Client.Addr(), listener: r.Listener, conn: r.Conn}
		if err := c.authorize(from, r.API); err != nil {
			return listener.Reply(protocol.Failure(r.Request, err)), nil
		}
		response := answer(ctx, from, r.Request)
		if t, ok := response.(kmsg.ThrottleResponse); ok { // who is behind an Envelope is silenced by its broker
			ms, _ := t.Throttle()
			r.Throttle(time.Duration(ms) * time.Millisecond)
		}
		return listener.Reply(response), nil
	}
}

// authorize applies the table's rule for the API; rules with a reason are
// checked by what decides the request.
func (c *Controller) authorize(from origin, api *protocol.API) *errors.Error {
	rule := api.Rule(protocol.Controller)
	if rule.Reason != "" || c.cfg.Authorize == nil {
		return nil
	}
	if c.allowed(from)(int8(rule.Operation), int8(rule.Resource), clusterResource) {
		return nil
	}
	return errors.New(errors.ClusterAuthorizationFailed, "%s", errors.ClusterAuthorizationFailed.Message())
}

// clusterResource is the name of the one CLUSTER resource.
const clusterResource = "kafka-cluster"

func (c *Controller) allowed(from origin) func(operation, resourceType int8, resource string) bool {
	if c.cfg.Authorize == nil {
		return nil
	}
	return func(operation, resourceType int8, resource string) bool {
		return c.cfg.Authorize(c.state.Load(), from.principal.String(), from.client.String(), operation, resourceType, resource)
	}
}

// answer answers a request that may be answered.
func (c *Controller) answer(ctx context.Context, from origin, r *protocol.Request) kmsg.Response {
	switch req := r.Body.(type) {
	case *kmsg.FetchRequest:
		return c.fetch(ctx, from.listener, req)
	case *kmsg.FetchSnapshotRequest:
		return c.fetchSnapshot(from.listener, req)
	case *kmsg.DescribeClusterRequest:
		return c.describeCluster(from.listener, req)
	case *kmsg.DescribeConfigsRequest:
		return c.describeConfigs(from, req)
	}
	switch r.Body.(type) {
	case *kmsg.BrokerRegistrationRequest, *kmsg.BrokerHeartbeatRequest:
		if from.conn != 0 {
			c.watched.Store(from.conn, struct{}{}) // before the loop can know it
		}
	}
	return c.submit(ctx, from, r, timeoutOf(r.Body))
}

// timeoutOf is how long the client of a request waits for its answer.
func timeoutOf(req kmsg.Request) time.Duration {
	if r, ok := req.(kmsg.TimeoutRequest); ok {
		return time.Duration(r.Timeout()) * time.Millisecond
	}
	return 0
}

// envelope answers a request that a broker forwards for its client. The broker
// has not authorised it: that is done here, for the client (KIP-590).
func (c *Controller) envelope(ctx context.Context, from origin, h *protocol.Handlers[listener.Handler], env *kmsg.EnvelopeRequest) kmsg.Response {
	inner, err := protocol.OpenEnvelope(env, func(k protocol.Key, version int16) error {
		_, err := h.Lookup(k, version)
		return err
	})
	if err != nil {
		return protocol.FailEnvelope(err)
	}
	client := origin{principal: inner.Principal, client: inner.Client, listener: from.listener, forwarded: true}
	var answer kmsg.Response
	if err := c.authorize(client, inner.Request.API); err != nil {
		answer = protocol.Failure(inner.Request, err)
	} else {
		answer = c.answer(ctx, client, inner.Request)
	}
	c.cfg.Audit.Answered(listener.Asker{Principal: client.principal, Client: client.client, Listener: client.listener, Forwarder: from.client}, inner.Request, answer)
	return protocol.SealEnvelope(inner.Request, answer)
}
