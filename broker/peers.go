package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/replica"
)

// peers reaches the other brokers, at the listener that inter.broker.listener.name
// names: replica.Peers.
type peers struct {
	listener string
	clientID string
}

// Endpoint implements replica.Peers.
func (p *peers) Endpoint() string { return p.listener }

// Dial implements replica.Peers.
func (p *peers) Dial(ctx context.Context, address string) (replica.Link, error) {
	c, err := dialPeer(ctx, "broker", address, p.clientID)
	if err != nil {
		return nil, err
	}
	c.reuses = true
	return link{c}, nil
}

// link is a connection to another broker: replica.Link.
type link struct{ *conn }

// Do implements replica.Link.
func (l link) Do(ctx context.Context, req kmsg.Request) (kmsg.Response, error) { return l.do(ctx, req) }

// Close implements replica.Link.
func (l link) Close() { l.close() }
