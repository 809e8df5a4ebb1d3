package image

import (
	"fmt"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// noLeaderChange is PartitionChangeRecord.Leader when the leader stays
// (LeaderConstants.NO_LEADER_CHANGE).
const noLeaderChange kafka.BrokerID = -2

func (d *Delta) addTopic(r *record.TopicRecord) error {
	if other := d.topicsByName.get(r.Name); other != nil {
		return fmt.Errorf("topic %s (%s) exists already, with id %s", r.Name, r.TopicID, other.ID)
	}
	if other := d.topics.get(r.TopicID); other != nil {
		return fmt.Errorf("the id %s of topic %s is that of topic %s", r.TopicID, r.Name, other.Name)
	}
	d.setTopic(&Topic{ID: r.TopicID, Name: r.Name, owner: d.owner})
	return nil
}

// setTopic makes t, which the delta owns, the topic's state.
func (d *Delta) setTopic(t *Topic) {
	d.topics.set(t.ID, t)
	d.topicsByName.set(t.Name, t)
	d.topic = t
}

// writableTopic returns a topic that the delta may write to.
func (d *Delta) writableTopic(id kafka.TopicID) (*Topic, error) {
	if d.topic != nil && d.topic.ID == id {
		return d.topic, nil
	}
	t := d.topics.get(id)
	if t == nil {
		return nil, fmt.Errorf("there is no topic with id %s", id)
	}
	if own := t.ownedBy(d.owner); own != t {
		d.setTopic(own)
		return own, nil
	}
	d.topic = t
	return t, nil
}

// removeTopic takes the topic's configuration away with it (MetadataDelta).
func (d *Delta) removeTopic(id kafka.TopicID) error {
	t := d.topics.get(id)
	if t == nil {
		return fmt.Errorf("there is no topic with id %s", id)
	}
	d.topics.delete(id)
	d.topicsByName.delete(t.Name)
	d.partitions -= t.count
	d.topic = nil
	if r := (Resource{ResourceTopic, t.Name}); d.configs.get(r) != nil {
		d.configs.delete(r)
	}
	return nil
}

// putPartition adds a partition, or replaces all of its state.
func (d *Delta) putPartition(r *record.PartitionRecord) error {
	t, err := d.writableTopic(r.TopicID)
	if err != nil {
		return fmt.Errorf("partition %d: %w", r.PartitionID, err)
	}
	if r.PartitionID < 0 {
		return fmt.Errorf("partition %d of topic %s: the number is negative", r.PartitionID, t.Name)
	}
	p := &Partition{
		Leader:         r.Leader,
		LeaderEpoch:    r.LeaderEpoch,
		PartitionEpoch: r.PartitionEpoch,
		Replicas:       r.Replicas,
		Directories:    r.Directories,
		ISR:            r.ISR,
		ELR:            r.EligibleLeaderReplicas,
		LastKnownELR:   r.LastKnownELR,
		Adding:         r.AddingReplicas,
		Removing:       r.RemovingReplicas,
		Recovery:       RecoveryState(r.LeaderRecoveryState),
	}
	return d.store(t, r.PartitionID, p)
}

// changePartition follows PartitionRegistration.merge: an absent field stays,
// an empty one is set empty; the partition epoch goes up with every change, the
// leader epoch with every change that names a leader, even the same one.
func (d *Delta) changePartition(r *record.PartitionChangeRecord) error {
	t, err := d.writableTopic(r.TopicID)
	if err != nil {
		return fmt.Errorf("partition %d: %w", r.PartitionID, err)
	}
	old := t.Partition(r.PartitionID)
	if old == nil {
		return fmt.Errorf("topic %s (%s) has no partition %d", t.Name, t.ID, r.PartitionID)
	}
	p := *old
	p.PartitionEpoch++
	if r.Leader != noLeaderChange {
		p.Leader = r.Leader
		p.LeaderEpoch++
	}
	if r.LeaderRecoveryState != int8(RecoveryNoChange) {
		p.Recovery = RecoveryState(r.LeaderRecoveryState)
	}
	replace(&p.Replicas, r.Replicas)
	replace(&p.Directories, r.Directories)
	replace(&p.ISR, r.ISR)
	replace(&p.ELR, r.EligibleLeaderReplicas)
	replace(&p.LastKnownELR, r.LastKnownELR)
	replace(&p.Adding, r.AddingReplicas)
	replace(&p.Removing, r.RemovingReplicas)
	return d.store(t, r.PartitionID, &p)
}

// replace sets a field to what a change record says; nil means no change.
func replace[T any](field *[]T, change []T) {
	if change != nil {
		*field = change
	}
}

// clearELR empties the eligible leader replicas of a topic, or of all topics if
// name is empty, as a change of each partition that has any.
func (d *Delta) clearELR(name string) error {
	if name != "" {
		t := d.topicsByName.get(name)
		if t == nil {
			return fmt.Errorf("there is no topic %s", name)
		}
		return d.clearTopicELR(t)
	}
	var ids []kafka.TopicID // the table may not be written to while it is read
	for t := range d.topics.now.all() {
		if t.hasELR() {
			ids = append(ids, t.ID)
		}
	}
	for _, id := range ids {
		if err := d.clearTopicELR(d.topics.get(id)); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topic) hasELR() bool {
	for _, p := range t.Partitions() {
		if len(p.ELR) > 0 || len(p.LastKnownELR) > 0 {
			return true
		}
	}
	return false
}

func (d *Delta) clearTopicELR(t *Topic) error {
	for id, old := range t.Partitions() {
		if len(old.ELR) == 0 && len(old.LastKnownELR) == 0 {
			continue
		}
		own, err := d.writableTopic(t.ID)
		if err != nil {
			return err
		}
		p := *old
		p.PartitionEpoch++
		p.ELR, p.LastKnownELR = nil, nil
		if err := d.store(own, id, &p); err != nil {
			return err
		}
	}
	return nil
}

// store checks and compacts the new state of a partition and puts it into t,
// which the delta owns.
func (d *Delta) store(t *Topic, id kafka.PartitionID, p *Partition) error {
	switch p.Recovery {
	case Recovered, Recovering:
	default:
		return fmt.Errorf("partition %d of topic %s: leader recovery state %d is unknown", id, t.Name, p.Recovery)
	}
	if n := len(p.Directories); n != 0 && n != len(p.Replicas) {
		return fmt.Errorf("partition %d of topic %s: %d directories for %d replicas", id, t.Name, n, len(p.Replicas))
	}
	d.shared.compact(p)
	before := t.count
	t.setPartition(d.owner, id, p)
	d.partitions += t.count - before
	return nil
}
