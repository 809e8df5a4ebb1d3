package handler

import (
	"iter"
	"math/rand/v2"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// endpoint is where a broker listens under the name of the listener that the
// client is connected to; false for a broker that is not registered or has no
// listener of that name.
func (c *call) endpoint(id kafka.BrokerID) (image.Endpoint, bool) {
	return endpointOf(c.image.Broker(id), c.Listener)
}

// alive is a broker that is not fenced, and where the client finds it.
func (c *call) alive(id kafka.BrokerID) (*image.Broker, image.Endpoint, bool) {
	b := c.image.Broker(id)
	e, ok := endpointOf(b, c.Listener)
	return b, e, ok && !b.Fenced
}

func endpointOf(b *image.Broker, listener string) (image.Endpoint, bool) {
	if b == nil {
		return image.Endpoint{}, false
	}
	for _, e := range b.Endpoints {
		if e.Name == listener {
			return e, true
		}
	}
	return image.Endpoint{}, false
}

// reachable iterates over the brokers that the client can connect to, by id;
// fenced ones only if they are wanted.
func (c *call) reachable(fenced bool) iter.Seq2[*image.Broker, image.Endpoint] {
	return func(yield func(*image.Broker, image.Endpoint) bool) {
		for b := range c.image.Brokers() {
			if e, ok := endpointOf(b, c.Listener); ok && (fenced || !b.Fenced) && !yield(b, e) {
				return
			}
		}
	}
}

// aController is the broker that clients are told is the controller: any that is
// alive, as every broker forwards to the real one (KIP-590). -1 if none is. Who is alone
// names itself: of the others it does not know.
func (c *call) aController() int32 {
	if own := c.image.Broker(c.cfg.Self); own != nil && !own.Fenced && c.cfg.Alone != nil && c.cfg.Alone() {
		return int32(own.ID)
	}
	alive, chosen := 0, kafka.NoLeader
	for b := range c.image.Brokers() {
		if b.Fenced {
			continue
		}
		if alive++; rand.IntN(alive) == 0 {
			chosen = b.ID
		}
	}
	return int32(chosen)
}

// offline are the replicas that cannot be read from this client's listener
// (KRaftMetadataCache.isReplicaOffline).
func (c *call) offline(p *image.Partition) []int32 {
	out := []int32{}
	for _, id := range p.Replicas {
		b := c.image.Broker(id)
		if _, ok := endpointOf(b, c.Listener); !ok || b.Fenced || !b.HasDirectory(p.Directory(id)) {
			out = append(out, int32(id))
		}
	}
	return out
}
