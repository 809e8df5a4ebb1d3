package quorum

import (
	"maps"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// replicaKey names one copy of the metadata log: a node that lost its disk comes
// back as another one.
type replicaKey struct {
	ID        kafka.NodeID
	Directory kafka.DirectoryID
}

// replicaPosition is how far a replica is, as its Fetches tell.
type replicaPosition struct {
	Offset         kafka.Offset
	LastFetchMs    int64 // milliseconds since 1970, -1 if it never fetched
	LastCaughtUpMs int64

	endAtLastFetch kafka.Offset
}

// replicaPositions remembers the fetch positions of brokers and controllers,
// for DescribeQuorum and to know what the brokers have seen.
type replicaPositions struct {
	positions map[replicaKey]*replicaPosition
	furthest  map[kafka.NodeID]kafka.Offset // of all copies of a node
	unfenced  []kafka.BrokerID
	image     *image.Image
}

func newReplicaPositions() replicaPositions {
	return replicaPositions{positions: map[replicaKey]*replicaPosition{}, furthest: map[kafka.NodeID]kafka.Offset{}, image: image.Empty()}
}

// begin forgets everything: a new active controller has not been fetched from.
func (r *replicaPositions) begin() {
	clear(r.positions)
	clear(r.furthest)
}

// stepFetched notes a replica's position (LeaderState.updateObserverState).
func (c *Core) stepFetched(ev Fetched) {
	if c.role != active {
		return
	}
	key := replicaKey{ev.Replica, ev.Directory}
	p := c.replicas.positions[key]
	if p == nil {
		if len(c.replicas.positions) >= maxReplicas {
			return
		}
		p = &replicaPosition{LastFetchMs: -1, LastCaughtUpMs: -1}
		c.replicas.positions[key] = p
	}
	switch end := c.end(); {
	case ev.Offset >= end:
		p.LastCaughtUpMs = c.now
	case p.LastFetchMs >= 0 && ev.Offset >= p.endAtLastFetch:
		p.LastCaughtUpMs = max(p.LastCaughtUpMs, p.LastFetchMs)
	}
	p.endAtLastFetch = c.end()
	seen := ev.Offset
	if ev.Arriving {
		seen = min(seen, p.Offset)
	}
	p.Offset, p.LastFetchMs = ev.Offset, c.now
	c.replicas.furthest[ev.Replica] = max(c.replicas.furthest[ev.Replica], seen)
}

// brokersChanged refreshes the list of unfenced brokers when registrations
// changed.
func (r *replicaPositions) brokersChanged(after *image.Image) {
	if r.image.SameBrokers(after) {
		return
	}
	r.image, r.unfenced = after, r.unfenced[:0]
	for b := range after.Brokers() {
		if !b.Fenced {
			r.unfenced = append(r.unfenced, b.ID)
		}
	}
}

// lowestUnfenced is the offset below which every unfenced broker has fetched; a
// broker that never fetched from this controller counts as 0. Without unfenced
// brokers there is nobody to wait for.
func (r *replicaPositions) lowestUnfenced() kafka.Offset {
	lowest := kafka.Offset(1<<63 - 1)
	for _, id := range r.unfenced {
		lowest = min(lowest, r.furthest[kafka.NodeID(id)])
	}
	return lowest
}

// sorted lists the known replicas by id, then directory.
func (r *replicaPositions) sorted() []replicaKey {
	return slices.SortedFunc(maps.Keys(r.positions), func(a, b replicaKey) int {
		if a.ID != b.ID {
			return int(a.ID) - int(b.ID)
		}
		return a.Directory.Compare(b.Directory)
	})
}
