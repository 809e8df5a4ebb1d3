package replica

import (
	"sync/atomic"

	"kvorum/broker/replica/core"
	"kvorum/protocol/errors"
)

// counters count what goes through. They are sums over all topics; what is
// counted per topic is the handlers' business.
type counters struct {
	messagesIn, bytesIn, bytesOut                        atomic.Int64
	replicationBytesOut, replicationBytesIn              atomic.Int64
	produceRequests, failedProduce, fetches, failedFetch atomic.Int64
	isrShrinks, isrExpands, failedISRUpdates             atomic.Int64
}

// Counts are counters at one moment, and gauges over the partitions. The names
// are those of Kafka's BrokerTopicMetrics and ReplicaManager groups.
type Counts struct {
	// Sums since the start, over partitions: one request counts once for each.
	MessagesIn, BytesIn, BytesOut, ReplicationBytesOut, ReplicationBytesIn     int64
	ProduceRequests, FailedProduceRequests, FetchRequests, FailedFetchRequests int64
	ISRShrinks, ISRExpands, FailedISRUpdates                                   int64
	// Partitions as they are now.
	Partitions, Leaders, UnderReplicated, UnderMinISR, AtMinISR, Offline int
}

func (c *counters) produced(r *ProduceResult) {
	c.produceRequests.Add(1)
	if r.Err != nil {
		if code := errors.CodeOf(r.Err); code != errors.RequestTimedOut {
			c.failedProduce.Add(1)
		}
		return
	}
	c.bytesIn.Add(int64(r.bytes))
	if !r.Duplicate {
		c.messagesIn.Add(int64(r.Last - r.First + 1))
	}
}

func (c *counters) fetched(follower bool, r *FetchResult) {
	c.fetches.Add(1)
	switch {
	case r.Err != nil:
		c.failedFetch.Add(1)
	case follower:
		c.replicationBytesOut.Add(int64(r.Records.Len()))
	default:
		c.bytesOut.Add(int64(r.Records.Len()))
	}
}

// decided counts what became of a proposed ISR.
func (c *counters) decided(o core.Outcome, grows bool) {
	switch {
	case o == core.Accepted && grows:
		c.isrExpands.Add(1)
	case o == core.Accepted:
		c.isrShrinks.Add(1)
	case o != core.Failed:
		c.failedISRUpdates.Add(1)
	}
}

// Counts reads the counters and goes through the partitions.
func (ps *Partitions) Counts() Counts {
	c := &ps.counters
	out := Counts{
		MessagesIn: c.messagesIn.Load(), BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(), ReplicationBytesOut: c.replicationBytesOut.Load(), ReplicationBytesIn: c.replicationBytesIn.Load(),
		ProduceRequests: c.produceRequests.Load(), FailedProduceRequests: c.failedProduce.Load(),
		FetchRequests: c.fetches.Load(), FailedFetchRequests: c.failedFetch.Load(),
		ISRShrinks: c.isrShrinks.Load(), ISRExpands: c.isrExpands.Load(), FailedISRUpdates: c.failedISRUpdates.Load(),
	}
	for _, p := range ps.Hosted() {
		out.Partitions++
		p.mu.Lock()
		switch l := p.leader; {
		case p.gone != nil:
			out.Offline++
		case p.coldLeader():
			out.Leaders++
		case l != nil:
			out.Leaders++
			out.UnderReplicated += one(l.UnderReplicated())
			out.UnderMinISR += one(l.UnderMinISR())
			out.AtMinISR += one(l.AtMinISR())
		}
		p.mu.Unlock()
	}
	return out
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
