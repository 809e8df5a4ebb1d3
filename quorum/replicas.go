package quorum

import (
	"maps"
	"slices"

	"kvorum/internal/kafka"
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
// for DescribeQuorum and to know what the brokers have.
type replicaPositions struct {
	positions map[replicaKey]*replicaPosition
	progress  map[kafka.NodeID]progress // of all copies of a node
}

// progress is how far a node's Fetches have come.
type progress struct {
	reached kafka.Offset // the highest that was asked for: it has everything below
	passed  kafka.Offset // the highest that counts as seen by the Fetch rule
}

func newReplicaPositions() replicaPositions {
	return replicaPositions{positions: map[replicaKey]*replicaPosition{}, progress: map[kafka.NodeID]progress{}}
}

// begin forgets everything: a new active controller has not been fetched from.
func (r *replicaPositions) begin() {
	clear(r.positions)
	clear(r.progress)
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
	node := c.replicas.progress[ev.Replica]
	c.replicas.progress[ev.Replica] = progress{reached: max(node.reached, ev.Offset), passed: max(node.passed, seen)}
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
