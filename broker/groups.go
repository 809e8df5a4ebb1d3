package broker

import (
	"context"
	"strconv"

	"kvorum/broker/coordinator"
	"kvorum/broker/group"
	"kvorum/broker/replica"
	"kvorum/broker/storage"
	"kvorum/broker/storage/producer"
	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// groupLog is a partition of __consumer_offsets as its coordinator sees it, in
// one leader epoch.
type groupLog struct {
	partition *replica.Partition
	epoch     kafka.LeaderEpoch
}

var _ coordinator.Log = groupLog{}

func (l groupLog) Start() kafka.Offset { return l.partition.Log().LogStart() }
func (l groupLog) End() kafka.Offset   { return l.partition.Log().LogEnd() }
func (l groupLog) MaxBatch() int       { return int(l.partition.Log().Config().MaxMessageBytes) }

// HighWatermark implements coordinator.Log.
func (l groupLog) HighWatermark() (kafka.Offset, error) {
	return l.partition.CommittedUpTo(l.epoch)
}

// Append implements coordinator.Log.
func (l groupLog) Append(records []byte, nowMs int64, transactionVersion int16) (kafka.Offset, error) {
	done, err := l.partition.Append(records, replica.AppendOptions{
		AppendOptions: storage.AppendOptions{Origin: producer.Coordinator, NowMs: nowMs, TransactionVersion: transactionVersion},
		Acks:          -1, LeaderEpoch: l.epoch,
	})
	return done.First, err
}

// Read implements coordinator.Log.
func (l groupLog) Read(dst []byte, from kafka.Offset, maxBytes int) ([]byte, error) {
	records, err := l.partition.ReadLog(from, maxBytes)
	if err != nil {
		return dst, err
	}
	defer records.Release()
	return records.AppendTo(dst)
}

// WaitCommitted implements coordinator.Log.
func (l groupLog) WaitCommitted(ctx context.Context, upTo kafka.Offset) error {
	return l.partition.WaitCommitted(ctx, upTo, l.epoch)
}

func groupConfig(r config.GroupRules) group.Config {
	return group.Config{
		InitialRebalanceDelayMs: int32(r.InitialRebalanceDelay.Milliseconds()),
		MinSessionTimeoutMs:     int32(r.MinSessionTimeout.Milliseconds()), MaxSessionTimeoutMs: int32(r.MaxSessionTimeout.Milliseconds()),
		MaxSize: r.MaxSize, OffsetMetadataMax: r.OffsetMetadataMax, OffsetsRetentionMs: r.OffsetsRetention.Milliseconds(),
	}
}

// electCoordinators makes this broker the coordinator of what it leads of
// __consumer_offsets, and nothing else (GroupCoordinator.onElection and
// onResignation), and has offsets of deleted topics removed. The replicas have
// followed the image before.
func (b *Broker) electCoordinators(c *image.Changes) {
	self := kafka.BrokerID(b.cfg.Node.ID)
	deleted := map[string]kafka.TopicID{}
	defer func() {
		if len(deleted) > 0 {
			b.groups.TopicsDeleted(deleted)
		}
	}()
	for t := range c.Topics() {
		if t.New == nil {
			deleted[t.Old.Name] = t.Old.ID
		}
		if t.Either().Name != coordinator.Topic {
			continue
		}
		if t.New == nil {
			b.groups.SetPartitions(0)
		} else {
			b.groups.SetPartitions(int32(t.New.PartitionCount()))
		}
		for p := range t.Partitions() {
			b.electCoordinator(self, p)
		}
	}
}

func (b *Broker) electCoordinator(self kafka.BrokerID, p image.PartitionChange) {
	switch {
	case p.New == nil:
		b.groups.Resign(p.ID, p.Old.LeaderEpoch)
	case p.New.Leader != self:
		b.groups.Resign(p.ID, p.New.LeaderEpoch)
	default:
		b.coordinate(p.ID, p.New.LeaderEpoch)
	}
}

// coordinate makes this broker the coordinator of a partition that it leads.
func (b *Broker) coordinate(id kafka.PartitionID, epoch kafka.LeaderEpoch) {
	partition, err := b.replicas.Lookup(kafka.TopicPartition{Topic: coordinator.Topic, Partition: id})
	switch {
	case err != nil:
		b.logger.Error("a partition of the coordinator cannot be led", "partition", id, "error", err)
		b.groups.Resign(id, epoch)
	case b.replicas.Unconfirmed():
		b.groups.ElectUnconfirmed(id, epoch, groupLog{partition, epoch})
	default:
		b.groups.Elect(id, epoch, groupLog{partition, epoch})
	}
}

// electLeft makes this broker the coordinator of what it leads by an image and could
// not coordinate before that was confirmed; the others are not disturbed.
func (b *Broker) electLeft(im *image.Image) {
	topic := im.TopicByName(coordinator.Topic)
	if topic == nil {
		return
	}
	for id, p := range topic.Partitions() {
		if p.Leader == kafka.BrokerID(b.cfg.Node.ID) {
			b.coordinate(id, p.LeaderEpoch)
		}
	}
}

// layersOf are the node keys in effect in an image.
func (b *Broker) layersOf(im *image.Image) *config.Layers {
	values := func(name string) map[string]string {
		if c := im.Config(image.Resource{Type: image.ResourceBroker, Name: name}); c != nil {
			return c.Values()
		}
		return nil
	}
	return &config.Layers{Broker: values(strconv.Itoa(int(b.cfg.Node.ID))), Cluster: values(""), Static: b.cfg.Node.Static}
}
