package replica

import (
	"iter"

	"kvorum/broker/storage/producer"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// Leadership is a partition whose leadership on this broker has begun, gone on
// under a new leader epoch, or ended.
type Leadership struct {
	Topic     kafka.TopicID
	Partition kafka.PartitionID
	Epoch     kafka.LeaderEpoch
	Leads     bool // false: it has ended
	Deleted   bool // with the topic, or the replica
}

// LeadershipChanges are what coordinators have to be told of the partitions of
// one topic after Publish has returned: a coordinator loads what it leads from a
// new epoch on, and drops what it leads no longer (BrokerMetadataPublisher,
// GroupCoordinator.onElection and onResignation).
func LeadershipChanges(c *image.Changes, self kafka.BrokerID, topic string) iter.Seq[Leadership] {
	return func(yield func(Leadership) bool) {
		for t := range c.Topics() {
			if t.New == nil && t.Old.Name != topic || t.New != nil && t.New.Name != topic {
				continue
			}
			for p := range t.Partitions() {
				led, leads := p.Old != nil && p.Old.Leader == self, t.New != nil && p.New != nil && p.New.Leader == self
				l := Leadership{Partition: p.ID, Leads: leads}
				switch {
				case leads && led && p.Old.LeaderEpoch == p.New.LeaderEpoch, !leads && !led:
					continue
				case leads:
					l.Topic, l.Epoch = t.New.ID, p.New.LeaderEpoch
				case t.New == nil || p.New == nil:
					l.Topic, l.Epoch, l.Deleted = t.Old.ID, p.Old.LeaderEpoch, true
				default:
					l.Topic, l.Epoch, l.Deleted = t.New.ID, p.New.LeaderEpoch, !hosts(p.New, self)
				}
				if !yield(l) {
					return
				}
			}
		}
	}
}

// Producers are what the leader knows of the producers that write to the
// partition (DescribeProducers).
func (p *Partition) Producers() ([]producer.Entry, error) {
	p.mu.Lock()
	_, err := p.led(kafka.NoEpoch)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return p.Log().Producers(), nil
}
