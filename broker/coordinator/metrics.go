package coordinator

import (
	"sync/atomic"

	"kvorum/broker/group"
)

// Metrics are counters of the coordinator since its start (GroupCoordinatorMetrics
// and GroupMetadataManager's meters in Apache Kafka).
type Metrics struct {
	Requests       atomic.Int64 // that were decided
	Appends        atomic.Int64 // batches of decisions, with records or without
	FailedAppends  atomic.Int64
	Commits        atomic.Int64 // offsets committed
	Expirations    atomic.Int64 // offsets expired
	Deletions      atomic.Int64 // offsets deleted
	Rebalances     atomic.Int64 // completed
	Loads          atomic.Int64 // partitions
	LoadFailures   atomic.Int64
	CommitTimeouts atomic.Int64 // answers that did not wait for the high watermark any longer
}

// Metrics are the coordinator's counters.
func (g *Groups) Metrics() *Metrics { return &g.metrics }

func (m *Metrics) count(decisions []decision, err error) {
	m.Appends.Add(1)
	if err != nil {
		m.FailedAppends.Add(1)
		return
	}
	var sum group.Effects
	for i := range decisions {
		d := &decisions[i]
		if d.request != nil {
			m.Requests.Add(1)
		}
		sum.Commits += d.effects.Commits
		sum.Expirations += d.effects.Expirations
		sum.Deletions += d.effects.Deletions
		sum.Rebalances += d.effects.Rebalances
	}
	m.Commits.Add(int64(sum.Commits))
	m.Expirations.Add(int64(sum.Expirations))
	m.Deletions.Add(int64(sum.Deletions))
	m.Rebalances.Add(int64(sum.Rebalances))
}
