package controller

import (
	"iter"
	"slices"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// partitionPass collects one decision's changes of partitions. A partition that
// was changed is seen as changed by the decision's later steps, so that a
// broker that fails in two ways at once (fenced, and a directory gone) leaves
// partitions in a state that follows from both.
type partitionPass struct {
	img      *image.Image
	settings *Settings
	rules    partitionRules
	records  []record.Message
	changed  map[partitionKey]*image.Partition // made when needed
	// once says that no partition is looked at twice, so that nothing has to be
	// remembered: a broker that fails may be in very many.
	once  bool
	topic topicRules // of the topic that was looked at last
	// dead is the broker that is being fenced on proof of death, kafka.NoLeader if
	// none is; presumed names those that were before (heldBack).
	dead     kafka.BrokerID
	presumed func(kafka.BrokerID) bool
}

// partitionKey names a partition.
type partitionKey struct {
	topic kafka.TopicID
	id    kafka.PartitionID
}

// topicRules is what a topic's effective configuration says about elections.
type topicRules struct {
	topic   *image.Topic
	minISR  int // min.insync.replicas, at most the replication factor
	unclean bool
}

func newPartitionPass(in Input) *partitionPass {
	p := &partitionPass{img: in.Image, settings: in.Settings, rules: rulesOf(in.Image), dead: kafka.NoLeader}
	if in.Settings.FenceOnDeath && in.Sessions != nil {
		p.presumed = func(id kafka.BrokerID) bool {
			return in.Sessions.presumedDead(id, in.NowMs)
		}
	}
	return p
}

// isrUpdate says which broker's standing changes; kafka.NoLeader is no broker.
type isrUpdate struct {
	// remove leaves every ISR and may not lead: it is being fenced, shut down,
	// or lost the directory that the partitions are in.
	remove kafka.BrokerID
	// add may lead although the image still shows it fenced.
	add kafka.BrokerID
	// unclean came back without having shut down cleanly: it may lack records
	// that it had acknowledged, and leaves ISR and ELR.
	unclean kafka.BrokerID
}

func removing(id kafka.BrokerID) isrUpdate { return isrUpdate{id, kafka.NoLeader, kafka.NoLeader} }
func adding(id kafka.BrokerID) isrUpdate   { return isrUpdate{kafka.NoLeader, id, kafka.NoLeader} }
func uncleanShutdown(id kafka.BrokerID) isrUpdate {
	return isrUpdate{kafka.NoLeader, kafka.NoLeader, id}
}

// update takes a broker out of ISRs, or lets it lead, and elects leaders where
// that is needed (ReplicationControlManager.generateLeaderAndIsrUpdates). It
// touches the partitions of broker for which affected holds; with
// kafka.NoLeader, those of all brokers.
func (p *partitionPass) update(u isrUpdate, broker kafka.BrokerID, affected func(*image.Partition) bool) {
	for ref, base := range partitionsOf(p.img, broker) {
		if part := p.current(ref, base); affected(part) {
			p.updateOne(u, ref, part)
		}
	}
}

func (p *partitionPass) updateOne(u isrUpdate, ref partitionRef, part *image.Partition) {
	c := p.changeAs(u, ref, part)
	c.uncleanShutdown = u.unclean
	if slices.Contains(part.ISR, u.remove) || slices.Contains(part.ISR, u.unclean) {
		c.isr = without(part.ISR, []kafka.BrokerID{u.remove, u.unclean})
	}
	if p.topic.unclean {
		c.election = electUnclean
	}
	p.apply(ref, c)
}

// partitionRef is a place in an image.
type partitionRef struct {
	topic *image.Topic
	id    kafka.PartitionID
}

// partitionsOf iterates over the partitions that have a replica on broker, or
// over all if broker is kafka.NoLeader. There is no index from brokers to
// partitions yet: it is a walk over the image, about 100 ms for a million
// partitions, which only happens when a broker's state changes.
func partitionsOf(img *image.Image, broker kafka.BrokerID) iter.Seq2[partitionRef, *image.Partition] {
	return func(yield func(partitionRef, *image.Partition) bool) {
		for t := range img.Topics() {
			for id, part := range t.Partitions() {
				if broker != kafka.NoLeader && !slices.Contains(part.Replicas, broker) {
					continue
				}
				if !yield(partitionRef{t, id}, part) {
					return
				}
			}
		}
	}
}

// current is the partition with this decision's changes.
func (p *partitionPass) current(ref partitionRef, base *image.Partition) *image.Partition {
	if part, ok := p.changed[partitionKey{ref.topic.ID, ref.id}]; ok {
		return part
	}
	return base
}

// change begins a change of a partition, with the election rules of its topic
// and leaders that the image knows to be active.
func (p *partitionPass) change(ref partitionRef, part *image.Partition) *partitionChange {
	return p.changeAs(isrUpdate{kafka.NoLeader, kafka.NoLeader, kafka.NoLeader}, ref, part)
}

func (p *partitionPass) changeAs(u isrUpdate, ref partitionRef, part *image.Partition) *partitionChange {
	p.lookAt(ref.topic, part)
	c := newPartitionChange(ref.topic.ID, ref.id, part, p.rules)
	c.minISR = p.topic.minISR
	c.mayLead = p.leaderAcceptor(part, u)
	c.cleanOnly = p.heldBack(part)
	return c
}

// apply writes the change's record, if it needs one.
func (p *partitionPass) apply(ref partitionRef, c *partitionChange) *record.PartitionChangeRecord {
	r := c.record()
	if r != nil {
		p.records = append(p.records, record.Message{Record: r, Version: p.rules.mv.PartitionVersion()})
		p.remember(ref, c.old, r)
	}
	return r
}

func (p *partitionPass) remember(ref partitionRef, old *image.Partition, r *record.PartitionChangeRecord) {
	if p.once {
		return
	}
	if p.changed == nil {
		p.changed = map[partitionKey]*image.Partition{}
	}
	p.changed[partitionKey{ref.topic.ID, ref.id}] = changed(old, r)
}

// leaderAcceptor says which replicas of a partition may lead: those of active
// brokers whose directory is online (LeaderAcceptor).
func (p *partitionPass) leaderAcceptor(part *image.Partition, u isrUpdate) func(kafka.BrokerID) bool {
	return func(id kafka.BrokerID) bool {
		b := p.img.Broker(id)
		if b == nil || id == u.remove || id == u.unclean || b.InControlledShutdown || b.Fenced && id != u.add {
			return false
		}
		return b.HasDirectory(part.Directory(id))
	}
}

// lookAt makes t the topic whose rules apply.
func (p *partitionPass) lookAt(t *image.Topic, part *image.Partition) {
	if p.topic.topic == t {
		return
	}
	factor := len(part.Replicas)
	if first := t.Partition(0); first != nil {
		factor = len(first.Replicas)
	}
	p.topic = topicRules{
		topic:   t,
		minISR:  min(minInSyncReplicas(p.img, p.settings, t.Name), factor),
		unclean: uncleanElection(p.img, p.settings, t.Name),
	}
}

// minInSyncReplicas is the effective min.insync.replicas of a topic, 1 if it is
// set to something that is no number.
func minInSyncReplicas(img *image.Image, s *Settings, topic string) int {
	value, ok := electionConfig(img, s, topic, "min.insync.replicas")
	if !ok {
		return 1
	}
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		return 1
	}
	return n
}

// uncleanElection is the effective unclean.leader.election.enable of a topic.
func uncleanElection(img *image.Image, s *Settings, topic string) bool {
	value, _ := electionConfig(img, s, topic, "unclean.leader.election.enable")
	return strings.EqualFold(strings.TrimSpace(value), "true")
}

// electionConfig resolves a topic's key whose broker key has the same name, as
// the controller sees it (KafkaConfigSchema.resolveEffectiveTopicConfig): the
// topic's value, else the controller's own dynamic one, else the cluster-wide
// default, else what the controller's file says.
func electionConfig(img *image.Image, s *Settings, topic, key string) (string, bool) {
	for _, r := range []image.Resource{
		{Type: image.ResourceTopic, Name: topic},
		{Type: image.ResourceBroker, Name: strconv.Itoa(int(s.NodeID))},
		{Type: image.ResourceBroker},
	} {
		if value, ok := img.ConfigValue(r, key); ok {
			return value, true
		}
	}
	value, ok := s.Static[key]
	return value, ok
}
