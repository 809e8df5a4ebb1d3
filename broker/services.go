package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kvorum/broker/coordinator"
	"kvorum/broker/handler"
	"kvorum/broker/replica"
	"kvorum/broker/storage"
	"kvorum/config"
	"kvorum/internal/clock"
	"kvorum/internal/kafka"
	"kvorum/internal/vfs"
	"kvorum/listener/quota"
	"kvorum/metadatalog/image"
	"kvorum/protocol/batch"
)

// services is what a broker does for its clients, and what that needs.
type services struct {
	dirs        *storage.Dirs
	replicas    *replica.Partitions
	groups      *coordinator.Groups
	producerIDs *producerIDs
	autoCreate  *autoCreate
	handlers    *handler.Handlers
	quotas      *quota.Quotas
	// layers are the node keys in effect.
	layers atomic.Pointer[config.Layers]
}

// openServices opens the log directories and makes everything above them. Nothing
// runs and nothing is hosted before the first image.
func (b *Broker) openServices() error {
	node, own := b.cfg.Node, b.cfg.Node.Broker
	self := kafka.BrokerID(node.ID)
	b.layers.Store(b.layersOf(image.Empty()))
	b.quotas = quota.New(quota.Window(node.Quotas))
	if err := b.openDirs(); err != nil {
		return err
	}
	epoch := func() kafka.BrokerEpoch { return b.registrar.Epoch() }
	b.replicas = replica.New(replica.Config{
		Self: self, Dirs: b.dirs, FS: vfs.Default, Static: node.Static, Clock: clock.System, Log: b.logger.With("component", "replica"),
		LagMax: own.ReplicaLagMax, Controller: b.requests, BrokerEpoch: epoch,
		Peers: &peers{listener: own.InterBroker, clientID: fmt.Sprintf("broker-%d-fetcher", node.ID)}, Fetch: replica.FetchRules(own.Fetch), RackAware: own.RackAware, AcksAllWhileUnconfirmed: own.AcksAllWithoutQuorum, ThrottleWindow: quota.Window(node.ReplicationQuotas),
	})
	b.groups = coordinator.New(coordinator.Config{
		Group: groupConfig(own.Group), CommitTimeout: own.Group.CommitTimeout, RetentionCheck: own.Group.RetentionCheck,
		Compression: batch.Codec(own.Offsets.Codec).Default(), Random: rand.Reader, Clock: clock.System, Logger: b.logger.With("component", "groups"),
	})
	b.producerIDs = newProducerIDs(b.requests, self, epoch, b.logger)
	b.autoCreate = &autoCreate{client: b.forwarding, node: node, wait: b.publisher.wait, logger: b.logger, making: map[string]chan struct{}{}, resting: map[string]time.Time{}}
	b.handlers = handler.New(handler.Config{
		Self: self, ClusterID: b.cfg.ClusterID, Broker: own,
		Image: b.publisher.image.Load, Layers: func() config.Layers { return *b.layers.Load() },
		Replicas: b.replicas, LogDirs: b.dirs, Groups: b.groups, Controllers: b.forwarding, AutoCreate: b.autoCreate, ProducerIDs: b.producerIDs, MetadataLog: b.metadataLog(), Alone: b.hearsNoController,
		Clock: clock.System, Log: b.logger.With("component", "handler"),
	})
	return nil
}

// hearsNoController reports whether no controller answers: none has since this broker started, or for
// two intervals of heartbeats.
func (b *Broker) hearsNoController() bool {
	heard := b.registrar.heardAt()
	return b.replicas.Unconfirmed() || !heard.IsZero() && time.Since(heard) > 2*b.cfg.Node.Broker.HeartbeatInterval
}

// metadataLog is what other brokers may read while they reach no controller: a copy
// of what is committed. A combined node has none of its own.
func (b *Broker) metadataLog() handler.MetadataLog {
	if b.fetcher == nil || !b.cfg.Node.Broker.ServeWithoutQuorum {
		return nil
	}
	return b.fetcher.store
}

func (b *Broker) openDirs() error {
	node, own := b.cfg.Node, b.cfg.Node.Broker
	directories, err := storage.Identify(node.LogDirs, node.ID, b.cfg.ClusterID, rand.Reader)
	if err != nil {
		return err
	}
	times := storage.DefaultDirsTimes
	times.HighWatermark, times.RecoveryPoint, times.LogStart = own.Logs.HighWatermark, own.Logs.RecoveryPoint, own.Logs.LogStart
	times.Retention, times.FirstRetention = own.Logs.Retention, own.Logs.FirstRetention
	times.ProducerExpiry = own.Logs.ProducerCheck
	first := tuning(b.layers.Load().Running())
	b.dirs, err = storage.OpenDirs(storage.DirsOptions{
		FS: vfs.Default, Directories: directories, OpenFiles: maxOpenFiles(),
		Config:          func(topic string) storage.LogConfig { return b.replicas.TopicConfig(topic) },
		RecoveryThreads: first.RecoveryThreads, ProducerExpirationMs: first.ProducerExpirationMs, Times: times, Cleaner: first.Cleaner,
		Clock: clock.System, Random: rand.Reader, Logger: b.logger.With("component", "storage"),
		Failed: b.directoryFailed, Reopened: func(l *storage.Log) { b.replicas.Reopened(l) },
	})
	return err
}

// errNoDirectory ends a broker that has nowhere to keep records.
var errNoDirectory = errors.New("all log directories have failed")

// directoryFailed takes the partitions of a directory offline and tells the
// controllers, who find other leaders. Without any directory the broker stops, as
// Apache's does.
func (b *Broker) directoryFailed(id kafka.DirectoryID, cause error) {
	b.logger.Error("a log directory has failed", "directory", id, "error", cause)
	b.replicas.DirectoryFailed(id)
	b.memories.without(id)
	b.registrar.tell(directoryFailed{id})
	if len(b.dirs.Online()) == 0 {
		b.fail(errNoDirectory)
	}
}

// runServices starts what works beside the requests; the function that it returns
// ends it and waits.
func (b *Broker) runServices(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, run := range []func(context.Context){b.dirs.Run, b.replicas.Run, b.producerIDs.run} {
		running.Go(func() { run(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// closeDirs closes the logs; those that are in order are marked so with the epoch
// of the broker's last registration.
func (b *Broker) closeDirs() error {
	if b.dirs == nil {
		return nil
	}
	epoch := b.begun.Previous
	if b.registrar != nil && b.registrar.Epoch() != kafka.NoBrokerEpoch {
		epoch = b.registrar.Epoch()
	}
	return b.dirs.Close(epoch)
}

// sorted are directory ids in the order of a registration.
func sorted(ids []kafka.DirectoryID) []kafka.DirectoryID {
	slices.SortFunc(ids, func(a, b kafka.DirectoryID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}
