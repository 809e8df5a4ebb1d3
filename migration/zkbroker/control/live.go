package control

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// Target reports whether a broker gets control requests: it is in ZooKeeper mode,
// and it is there.
func Target(b *image.Broker) bool { return b.IsMigratingZkBroker && !b.Fenced }

// Endpoint is where a broker listens under a listener's name.
func Endpoint(b *image.Broker, listener string) (image.Endpoint, bool) {
	for _, e := range b.Endpoints {
		if e.Name == listener {
			return e, true
		}
	}
	return image.Endpoint{}, false
}

// live are the brokers that clients and other brokers may be sent to, by id: those
// that are not fenced, and fenced ones in ZooKeeper mode that lead something. A
// broker that has just registered is fenced for a while and serves nevertheless;
// one that is really gone leads nothing.
type live []*image.Broker

// liveIn takes time in the number of partitions only while a broker in ZooKeeper
// mode is fenced.
func liveIn(im *image.Image) live {
	var l live
	var leads map[kafka.BrokerID]bool
	for b := range im.Brokers() {
		if b.Fenced && b.IsMigratingZkBroker && leads == nil {
			leads = leaders(im)
		}
		if !b.Fenced || b.IsMigratingZkBroker && leads[b.ID] {
			l = append(l, b)
		}
	}
	return l
}

// leaders are the brokers that lead a partition.
func leaders(im *image.Image) map[kafka.BrokerID]bool {
	out := map[kafka.BrokerID]bool{}
	for t := range im.Topics() {
		for _, p := range t.Partitions() {
			out[p.Leader] = true
		}
	}
	return out
}

func (l live) has(id kafka.BrokerID) bool {
	_, ok := slices.BinarySearchFunc(l, id, func(b *image.Broker, id kafka.BrokerID) int { return cmp.Compare(b.ID, id) })
	return ok
}

// same reports whether clients see the same brokers at the same places.
func (l live) same(other live) bool {
	return slices.EqualFunc(l, other, func(a, b *image.Broker) bool {
		return a == b || a.ID == b.ID && sameRack(a.Rack, b.Rack) && slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint)
	})
}

func sameEndpoint(a, b image.Endpoint) bool {
	return a.Name == b.Name && a.Host == b.Host && a.Port == b.Port && a.SecurityProtocol == b.SecurityProtocol
}

func sameRack(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// brokers is the list of live brokers of an UpdateMetadata.
func (l live) brokers() []kmsg.UpdateMetadataRequestLiveBroker {
	out := make([]kmsg.UpdateMetadataRequestLiveBroker, 0, len(l))
	for _, b := range l {
		w := kmsg.NewUpdateMetadataRequestLiveBroker()
		w.ID, w.Rack = int32(b.ID), b.Rack
		for _, e := range b.Endpoints {
			p := kmsg.NewUpdateMetadataRequestLiveBrokerEndpoint()
			p.Host, p.Port, p.ListenerName, p.SecurityProtocol = e.Host, int32(e.Port), e.Name, e.SecurityProtocol
			w.Endpoints = append(w.Endpoints, p)
		}
		out = append(out, w)
	}
	return out
}

// leaders is the list of live leaders of a LeaderAndIsr: where followers fetch.
func (l live) leaders(h Head, leads map[kafka.BrokerID]bool) []kmsg.LeaderAndISRRequestLiveLeader {
	var out []kmsg.LeaderAndISRRequestLiveLeader
	for _, b := range l {
		e, ok := Endpoint(b, h.Listener)
		if !leads[b.ID] || !ok {
			continue
		}
		w := kmsg.NewLeaderAndISRRequestLiveLeader()
		w.BrokerID, w.Host, w.Port = int32(b.ID), e.Host, int32(e.Port)
		out = append(out, w)
	}
	return out
}
