package quorum

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// The metrics of a controller have the names of Kafka's, in snake case with the
// group in front: kafka.controller:type=KafkaController, kafka.server:type=
// MetadataLoader, SnapshotEmitter and raft-metrics.
var (
	descActiveControllers = desc("kafka_controller", "active_controller_count", "1 on the active controller, else 0.")
	descActiveBrokers     = desc("kafka_controller", "active_broker_count", "Unfenced brokers.")
	descFencedBrokers     = desc("kafka_controller", "fenced_broker_count", "Registered brokers that are fenced.")
	descShutdownBrokers   = desc("kafka_controller", "controlled_shutdown_broker_count", "Brokers that are shutting down.")
	descMigratingBrokers  = desc("kafka_controller", "migrating_zk_broker_count", "Brokers that are registered in ZooKeeper mode.")
	descZkMigrationState  = desc("kafka_controller", "zk_migration_state", "The migration from ZooKeeper in the metadata: 0 none, 1 the copy is there, 2 it waits for the copy, 3 it is over.")
	descTopics            = desc("kafka_controller", "global_topic_count", "Topics.")
	descPartitions        = desc("kafka_controller", "global_partition_count", "Partitions of all topics.")
	descOffline           = desc("kafka_controller", "offline_partitions_count", "Partitions without a leader.")
	descImbalance         = desc("kafka_controller", "preferred_replica_imbalance_count", "Partitions that are not led by their first replica.")
	descNewActive         = desc("kafka_controller", "new_active_controllers_count", "Elections of an active controller that this node has seen.")
	descDeaths            = desc("kvorum_controller", "brokers_fenced_on_death_total", "Brokers that this controller fenced because their process was proven to be gone.")
	descInSight           = desc("kvorum_controller", "brokers_in_sight", "Brokers whose death this active controller would notice at once: their heartbeat connection is here, and all their listeners were reached from here.")
	descFencings          = desc("kafka_controller", "timed_out_broker_heartbeat_count", "Brokers that this controller fenced because they were silent.")
	descEvents            = desc("kafka_controller", "event_queue_operations_started_count", "Events that the controller's loop has handled.")
	descCommitted         = desc("kafka_controller", "last_committed_record_offset", "Last offset of the committed metadata log.")
	descApplied           = desc("kafka_controller", "last_applied_record_offset", "Last offset that is in the image.")
	descAppliedTime       = desc("kafka_controller", "last_applied_record_timestamp", "When that record was written, in milliseconds since 1970.")
	descAppliedLag        = desc("kafka_controller", "last_applied_record_lag_ms", "How long ago that was, in milliseconds.")
	descMetadataVersion   = desc("kafka_metadata_loader", "current_metadata_version", "Level of metadata.version in the image.")
	descSnapshotLoads     = desc("kafka_metadata_loader", "handle_load_snapshot_count", "Snapshots that were loaded since the start.")
	descSnapshotBytes     = desc("kafka_snapshot_emitter", "latest_snapshot_generated_bytes", "Size of the newest snapshot that was made here.")
	descSnapshotAge       = desc("kafka_snapshot_emitter", "latest_snapshot_generated_age_ms", "Milliseconds since the newest snapshot was made here, or since the start.")
	descEpoch             = desc("kafka_raft", "current_epoch", "KRaft epoch.")
	descLeader            = desc("kafka_raft", "current_leader", "Node id of the active controller, -1 if unknown.")
	descHighWatermark     = desc("kafka_raft", "high_watermark", "End of the committed metadata log, exclusive.")
	descLogEnd            = desc("kafka_raft", "log_end_offset", "End of this node's metadata log, exclusive.")
	descLogStart          = desc("kafka_raft", "log_start_offset", "First offset of this node's metadata log.")
	descLogEndEpoch       = desc("kafka_raft", "log_end_epoch", "Epoch of the last record of this node's metadata log.")
	descWithoutWait       = desc("kvorum_controller", "replies_without_propagation_count", "Replies that were given before every broker knew the change, because the limit came first.")
	descUnprobed          = desc("kvorum_controller", "unprobed_broker_count", "Unfenced brokers that do not tell the active controller which metadata they have applied.")
	descVoters            = desc("kafka_raft", "number_of_voters", "Controllers in the voter set.")
)

func desc(group, name, help string) *prometheus.Desc {
	return prometheus.NewDesc(group+"_"+name, help, nil, nil)
}

// collector reads a controller's state when it is scraped.
type collector struct {
	c *Controller

	mu      sync.Mutex // guards the scan below
	scanned *image.Image
	offline int
	skewed  int
}

// Describe implements prometheus.Collector. The metrics are unchecked: none is
// announced before it is collected.
func (m *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *collector) Collect(out chan<- prometheus.Metric) {
	s := m.c.State()
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter := func(d *prometheus.Desc, v int64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	gauge(descActiveControllers, b2f(s.Active))
	collectBrokers(s.Image, gauge)
	gauge(descTopics, float64(s.Image.TopicCount()))
	gauge(descPartitions, float64(s.Image.PartitionCount()))
	offline, skewed := m.scan(s.Image)
	gauge(descOffline, float64(offline))
	gauge(descImbalance, float64(skewed))
	counter(descNewActive, s.Stats.NewActiveControllers)
	counter(descFencings, s.Stats.FencedBySession)
	counter(descDeaths, s.Stats.FencedOnDeath)
	gauge(descInSight, float64(s.BrokersInSight))
	counter(descEvents, s.Stats.EventsHandled)
	counter(descWithoutWait, s.Stats.RepliesWithoutWait)
	gauge(descUnprobed, float64(s.UnprobedBrokers))
	store := m.c.log.Store()
	gauge(descCommitted, float64(store.EndOffset()-1))
	at := s.Image.At()
	gauge(descApplied, float64(at.Offset))
	gauge(descAppliedTime, float64(at.TimestampMs))
	gauge(descAppliedLag, float64(max(0, time.Now().UnixMilli()-at.TimestampMs)))
	gauge(descMetadataVersion, float64(s.Image.MetadataVersion()))
	made := m.c.snapshots.made()
	counter(descSnapshotLoads, made.loads)
	gauge(descSnapshotBytes, float64(made.bytes))
	gauge(descSnapshotAge, float64(time.Since(made.at).Milliseconds()))
	gauge(descEpoch, float64(s.Epoch))
	gauge(descLeader, float64(s.Leader))
	gauge(descHighWatermark, float64(store.EndOffset()))
	gauge(descLogEnd, float64(store.EndOffset()))
	gauge(descLogStart, float64(store.LogStart()))
	gauge(descLogEndEpoch, float64(store.LastEpoch()))
	if s.Voters != nil {
		gauge(descVoters, float64(len(s.Voters.Voters)))
	}
}

func collectBrokers(im *image.Image, gauge func(*prometheus.Desc, float64)) {
	var unfenced, fenced, stopping, migrating float64
	for b := range im.Brokers() {
		migrating += b2f(b.IsMigratingZkBroker)
		switch {
		case b.Fenced:
			fenced++
		case b.InControlledShutdown:
			stopping++
			unfenced++
		default:
			unfenced++
		}
	}
	gauge(descActiveBrokers, unfenced)
	gauge(descFencedBrokers, fenced)
	gauge(descShutdownBrokers, stopping)
	gauge(descMigratingBrokers, migrating)
	gauge(descZkMigrationState, float64(im.ZkMigrationState()))
}

// scan counts what needs a look at every partition, once for each image.
func (m *collector) scan(im *image.Image) (offline, skewed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.scanned == im {
		return m.offline, m.skewed
	}
	m.scanned, m.offline, m.skewed = im, 0, 0
	for t := range im.Topics() {
		for _, p := range t.Partitions() {
			switch {
			case p.Leader == kafka.NoLeader:
				m.offline++
			case p.Leader != p.Replicas[0]:
				m.skewed++
			}
		}
	}
	return m.offline, m.skewed
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Collector is for Prometheus.
func (c *Controller) Collector() prometheus.Collector { return &collector{c: c} }

// Health is what a controller says of itself.
type Health struct {
	// Ready is whether it knows an active controller; Reason says why not.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`
	// Alive is whether its loop turns.
	Alive  bool              `json:"alive"`
	Active bool              `json:"active"`
	Leader kafka.NodeID      `json:"leader"`
	Epoch  kafka.LeaderEpoch `json:"epoch"`
	Offset kafka.Offset      `json:"offset"`
}

// Health is the controller's health now; ctx bounds how long its loop may take to
// take notice. Safe for concurrent use.
func (c *Controller) Health(ctx context.Context) Health {
	s := c.State()
	h := Health{Ready: s.Leader != kafka.NoNode, Active: s.Active, Leader: s.Leader, Epoch: s.Epoch, Offset: s.Image.At().Offset}
	h.Alive = c.turns(ctx)
	switch {
	case !h.Alive:
		h.Ready, h.Reason = false, "the controller's loop stands still"
	case !h.Ready:
		h.Reason = "no active controller is known"
	}
	return h
}

// turns reports whether the loop takes an event that says nothing. One that has
// ended does not; the process is about to end with it.
func (c *Controller) turns(ctx context.Context) bool {
	taken := make(chan struct{})
	select {
	case c.events <- queued{ping: taken}:
	case <-c.done:
		return false
	case <-ctx.Done():
		return false
	}
	select {
	case <-taken:
		return true
	case <-c.done:
		return false
	case <-ctx.Done():
		return false
	}
}
