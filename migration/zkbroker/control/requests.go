package control

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// The versions that brokers of Kafka 3.4 to 3.9 speak to a KRaft controller, and
// the only ones that say that it is one.
const (
	leaderAndISRVersion   = 7
	updateMetadataVersion = 8
	stopReplicaVersion    = 4
)

// The types of a LeaderAndIsr and an UpdateMetadata (AbstractControlRequest.Type).
// A broker that gets a full one takes what is not in it for deleted: replicas are
// set aside as strays, topics leave its metadata.
const (
	incremental int8 = 1
	full        int8 = 2
)

// What says that a topic is being deleted, in place of its leader and of its leader
// epoch (LeaderAndIsr.LEADER_DURING_DELETE, EPOCH_DURING_DELETE).
const (
	leaderDuringDelete = -2
	epochDuringDelete  = -2
)

// Head is what every control request says of the controller.
type Head struct {
	Controller kafka.NodeID
	// ControllerEpoch is /controller_epoch of our claim. Brokers refuse requests with a
	// lower one than they have seen. It is not the KRaft epoch, which stands beside
	// each partition.
	ControllerEpoch int32
	// Listener is inter.broker.listener.name: where brokers are spoken to, by us and by
	// each other.
	Listener string
}

// Full are the requests, in their order, that tell a broker everything: one of
// which nothing is known, because it has just registered or we have just claimed.
// First the brokers and all partitions, so that it knows where leaders are; then
// its own replicas. A broker without replicas gets no LeaderAndIsr, as from Apache's
// controllers: a full one with nothing in it would set all its logs aside.
func Full(h Head, im *image.Image, to *image.Broker) []kmsg.Request {
	b := batch{head: h, to: to, epoch: im.At().Epoch, live: liveIn(im)}
	for t := range im.Topics() {
		for id, p := range t.Partitions() {
			b.partition(t, id, p)
		}
	}
	return b.appendLeaderAndISR([]kmsg.Request{b.updateMetadata(full, b.topics)}, full)
}

// Changed are the requests that tell a broker that has the image c.Old what is
// different in c.New; none if nothing concerns it. Deletions come first, because a
// topic may be there again under the same name.
func Changed(h Head, c *image.Changes, to *image.Broker) []kmsg.Request {
	b := batch{head: h, to: to, epoch: c.New.At().Epoch, live: liveIn(c.New)}
	out := b.deletions(c)
	for t := range c.Topics() {
		if t.New == nil {
			continue
		}
		for p := range t.Partitions() {
			if p.New != nil {
				b.partition(t.New, p.ID, p.New)
				b.removed(t.New, p)
			}
		}
	}
	if !b.live.same(liveIn(c.Old)) {
		// By itself, because a new leader may be a broker that this one does not know yet,
		// and it must know it when it is told to follow.
		out = append(out, b.updateMetadata(incremental, nil))
	}
	out = b.appendLeaderAndISR(out, incremental)
	if len(b.topics) > 0 {
		out = append(out, b.updateMetadata(incremental, b.topics))
	}
	return b.appendStopReplica(out)
}

// batch collects what goes into the requests to one broker.
type batch struct {
	head  Head
	to    *image.Broker
	epoch kafka.LeaderEpoch // the KRaft epoch, beside each partition
	live  live

	topics   []kmsg.UpdateMetadataRequestTopicState
	replicas []kmsg.LeaderAndISRRequestTopicState
	leads    map[kafka.BrokerID]bool // the leaders of replicas
	stops    []kmsg.StopReplicaRequestTopic
}

// deletions tells of the topics that are gone: clients first, then the replicas go.
func (b *batch) deletions(c *image.Changes) []kmsg.Request {
	var topics []kmsg.UpdateMetadataRequestTopicState
	for t := range c.Topics() {
		if t.New != nil {
			continue
		}
		gone := kmsg.NewUpdateMetadataRequestTopicState()
		gone.Topic = t.Old.Name // its id is zero, as from Apache's controllers
		for id, p := range t.Old.Partitions() {
			w := b.metadata(id, p)
			w.ControllerEpoch, w.Leader, w.LeaderEpoch, w.ZKVersion = b.head.ControllerEpoch, leaderDuringDelete, 0, 0
			w.OfflineReplicas = w.Replicas
			gone.PartitionStates = append(gone.PartitionStates, w)
			if slices.Contains(p.Replicas, b.to.ID) {
				b.stop(t.Old.Name, id, epochDuringDelete)
			}
		}
		topics = append(topics, gone)
	}
	if len(topics) == 0 {
		return nil
	}
	out := b.appendStopReplica([]kmsg.Request{b.updateMetadata(incremental, topics)})
	b.stops = nil
	return out
}

// partition adds a partition as it is now.
func (b *batch) partition(t *image.Topic, id kafka.PartitionID, p *image.Partition) {
	if n := len(b.topics); n == 0 || b.topics[n-1].TopicID != t.ID {
		w := kmsg.NewUpdateMetadataRequestTopicState()
		w.Topic, w.TopicID = t.Name, t.ID
		b.topics = append(b.topics, w)
	}
	last := &b.topics[len(b.topics)-1]
	last.PartitionStates = append(last.PartitionStates, b.metadata(id, p))
	if !slices.Contains(p.Replicas, b.to.ID) {
		return
	}
	if n := len(b.replicas); n == 0 || b.replicas[n-1].TopicID != t.ID {
		w := kmsg.NewLeaderAndISRRequestTopicState()
		w.Topic, w.TopicID = t.Name, t.ID
		b.replicas = append(b.replicas, w)
	}
	replica := &b.replicas[len(b.replicas)-1]
	replica.PartitionStates = append(replica.PartitionStates, b.replica(id, p))
	if b.leads == nil {
		b.leads = map[kafka.BrokerID]bool{}
	}
	b.leads[p.Leader] = true
}

// metadata is a partition as an UpdateMetadata has it.
func (b *batch) metadata(id kafka.PartitionID, p *image.Partition) kmsg.UpdateMetadataRequestTopicPartition {
	w := kmsg.NewUpdateMetadataRequestTopicPartition()
	w.Partition, w.ControllerEpoch = int32(id), int32(b.epoch)
	w.Leader, w.LeaderEpoch, w.ZKVersion = int32(p.Leader), int32(p.LeaderEpoch), int32(p.PartitionEpoch)
	w.ISR, w.Replicas = kafka.Int32s(p.ISR), kafka.Int32s(p.Replicas)
	for _, r := range p.Replicas {
		if !b.live.has(r) {
			w.OfflineReplicas = append(w.OfflineReplicas, int32(r))
		}
	}
	return w
}

// replica is a partition as a LeaderAndIsr has it. IsNew is always true, as from
// Apache's controllers: a broker with a failed directory would otherwise refuse to
// make a replica in another.
func (b *batch) replica(id kafka.PartitionID, p *image.Partition) kmsg.LeaderAndISRRequestTopicPartition {
	w := kmsg.NewLeaderAndISRRequestTopicPartition()
	w.Partition, w.ControllerEpoch, w.IsNew, w.LeaderRecoveryState = int32(id), int32(b.epoch), true, int8(p.Recovery)
	w.Leader, w.LeaderEpoch, w.ZKVersion = int32(p.Leader), int32(p.LeaderEpoch), int32(p.PartitionEpoch)
	w.ISR, w.Replicas, w.AddingReplicas, w.RemovingReplicas = kafka.Int32s(p.ISR), kafka.Int32s(p.Replicas), kafka.Int32s(p.Adding), kafka.Int32s(p.Removing)
	return w
}

// removed stops a replica that a reassignment took away.
func (b *batch) removed(t *image.Topic, p image.PartitionChange) {
	if p.Old != nil && slices.Contains(p.Old.Replicas, b.to.ID) && !slices.Contains(p.New.Replicas, b.to.ID) {
		b.stop(t.Name, p.ID, int32(p.New.LeaderEpoch))
	}
}

// stop deletes a replica.
func (b *batch) stop(topic string, id kafka.PartitionID, leaderEpoch int32) {
	if n := len(b.stops); n == 0 || b.stops[n-1].Topic != topic {
		w := kmsg.NewStopReplicaRequestTopic()
		w.Topic = topic
		b.stops = append(b.stops, w)
	}
	w := kmsg.NewStopReplicaRequestTopicPartitionState()
	w.Partition, w.LeaderEpoch, w.Delete = int32(id), leaderEpoch, true
	last := &b.stops[len(b.stops)-1]
	last.PartitionStates = append(last.PartitionStates, w)
}

// updateMetadata has some topics, and always all live brokers.
func (b *batch) updateMetadata(kind int8, topics []kmsg.UpdateMetadataRequestTopicState) kmsg.Request {
	r := kmsg.NewPtrUpdateMetadataRequest()
	r.Version, r.ControllerID, r.IsKRaftController = updateMetadataVersion, int32(b.head.Controller), true
	r.ControllerEpoch, r.BrokerEpoch = b.head.ControllerEpoch, int64(b.to.Epoch)
	r.UnknownTags.Set(0, []byte{byte(kind)}) // Type, which kmsg does not name
	r.TopicStates, r.LiveBrokers = topics, b.live.brokers()
	return r
}

// appendLeaderAndISR adds the request with the collected replicas, if there are any.
func (b *batch) appendLeaderAndISR(out []kmsg.Request, kind int8) []kmsg.Request {
	if len(b.replicas) == 0 {
		return out
	}
	r := kmsg.NewPtrLeaderAndISRRequest()
	r.Version, r.ControllerID, r.IsKRaftController, r.Type = leaderAndISRVersion, int32(b.head.Controller), true, kind
	r.ControllerEpoch, r.BrokerEpoch = b.head.ControllerEpoch, int64(b.to.Epoch)
	r.TopicStates, r.LiveLeaders = b.replicas, b.live.leaders(b.head, b.leads)
	return append(out, r)
}

// appendStopReplica adds the request with the collected replicas to delete, if
// there are any.
func (b *batch) appendStopReplica(out []kmsg.Request) []kmsg.Request {
	if len(b.stops) == 0 {
		return out
	}
	r := &StopReplica{kmsg.NewStopReplicaRequest()}
	r.Version, r.ControllerID, r.IsKRaftController = stopReplicaVersion, int32(b.head.Controller), true
	r.ControllerEpoch, r.BrokerEpoch, r.Topics = b.head.ControllerEpoch, int64(b.to.Epoch), b.stops
	return append(out, r)
}

// StopReplica is kmsg's request with its first fields in Kafka's order: kmsg 1.15
// writes version 4 with the controller's epoch before isKRaftController. A broker reads
// an epoch 256 times as high there, and refuses whatever comes with the real one.
type StopReplica struct{ kmsg.StopReplicaRequest }

// AppendTo appends the request's body.
func (r *StopReplica) AppendTo(dst []byte) []byte {
	const id, epoch = 4, 4
	start := len(dst)
	dst = r.StopReplicaRequest.AppendTo(dst)
	kraft := dst[start+id+epoch]
	copy(dst[start+id+1:], dst[start+id:start+id+epoch])
	dst[start+id] = kraft
	return dst
}
