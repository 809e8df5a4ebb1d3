package broker

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/broker/handler"
	"kvorum/internal/kafka"
)

// The metrics of a broker have the names of Kafka's beans: "kafka_", the type
// without Kafka in front and Metrics at the end, the name, all in snake case; a
// meter (...PerSec) is a counter (..._total). docs/operations.md has the table.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// kafka.server:type=BrokerTopicMetrics.
var (
	descMessagesIn    = desc("kafka_broker_topic_messages_in_total", "Records that producers wrote.", "topic")
	descBytesIn       = desc("kafka_broker_topic_bytes_in_total", "Bytes that producers wrote.", "topic")
	descBytesOut      = desc("kafka_broker_topic_bytes_out_total", "Bytes that consumers read.", "topic")
	descBytesRejected = desc("kafka_broker_topic_bytes_rejected_total", "Bytes of batches that were too large.", "topic")
	descProduce       = desc("kafka_broker_topic_total_produce_requests_total", "Produce requests, one for each partition.", "topic")
	descFailedProduce = desc("kafka_broker_topic_failed_produce_requests_total", "Of these, those that failed.", "topic")
	descFetch         = desc("kafka_broker_topic_total_fetch_requests_total", "Fetch requests, one for each partition.", "topic")
	descFailedFetch   = desc("kafka_broker_topic_failed_fetch_requests_total", "Of these, those that failed.", "topic")
	descReplicatedOut = desc("kafka_broker_topic_replication_bytes_out_total", "Bytes that followers read here.")
	descReplicatedIn  = desc("kafka_broker_topic_replication_bytes_in_total", "Bytes that this broker fetched as a follower.")
)

// kafka.server:type=ReplicaManager.
var (
	descPartitions      = desc("kafka_replica_manager_partition_count", "Partitions that are hosted here.")
	descLeaders         = desc("kafka_replica_manager_leader_count", "Partitions that are led here.")
	descOfflineReplicas = desc("kafka_replica_manager_offline_replica_count", "Partitions whose log directory has failed.")
	descUnderReplicated = desc("kafka_replica_manager_under_replicated_partitions", "Led partitions with fewer in-sync replicas than replicas.")
	descUnderMinISR     = desc("kafka_replica_manager_under_min_isr_partition_count", "Led partitions with fewer in-sync replicas than min.insync.replicas: acks=all fails.")
	descAtMinISR        = desc("kafka_replica_manager_at_min_isr_partition_count", "Led partitions with just min.insync.replicas in-sync replicas.")
	descShrinks         = desc("kafka_replica_manager_isr_shrinks_total", "In-sync replicas that were taken out.")
	descExpands         = desc("kafka_replica_manager_isr_expands_total", "In-sync replicas that were taken in.")
	descFailedISR       = desc("kafka_replica_manager_failed_isr_updates_total", "Changes of the in-sync replicas that the controllers refused.")
)

// kafka.log:type=Log and LogManager.
var (
	descOfflineDirs = desc("kafka_log_manager_offline_log_directory_count", "Log directories that have failed.")
	descOpenLogs    = desc("kvorum_log_open_logs", "Logs that are open; the others are opened when they are used.")
	descOpenBytes   = desc("kvorum_log_open_bytes", "Bytes of the logs that are open.")
	descLogSize     = desc("kafka_log_size", "Bytes of a partition's log.", "topic", "partition")
	descLogSegments = desc("kafka_log_num_log_segments", "Segments of a partition's log.", "topic", "partition")
	descLogEnd      = desc("kafka_log_log_end_offset", "End of a partition's log, exclusive.", "topic", "partition")
	descLogStart    = desc("kafka_log_log_start_offset", "First offset of a partition's log.", "topic", "partition")
)

// kafka.coordinator.group:type=GroupMetadataManager and group-coordinator-metrics.
var (
	descGroups           = desc("kafka_group_metadata_manager_num_groups", "Groups that are coordinated here.")
	descGroupsByState    = desc("kafka_group_coordinator_group_count", "Groups that are coordinated here, by state.", "state")
	descCommits          = desc("kafka_group_coordinator_offset_commit_total", "Offsets that were committed.")
	descExpirations      = desc("kafka_group_coordinator_offset_expiration_total", "Offsets that expired.")
	descDeletions        = desc("kafka_group_coordinator_offset_deletion_total", "Offsets that were deleted.")
	descRebalances       = desc("kafka_group_coordinator_group_completed_rebalance_total", "Rebalances that came to their end.")
	descLoads            = desc("kafka_group_coordinator_partition_load_total", "Partitions of __consumer_offsets that were loaded.")
	descLoadFailures     = desc("kafka_group_coordinator_partition_load_failed_total", "Loads that failed.")
	descCommitTimeouts   = desc("kvorum_group_coordinator_commit_timeouts_total", "Answers that did not wait for the high watermark any longer.")
	descCoordinatorFails = desc("kvorum_group_coordinator_failed_appends_total", "Batches of decisions that could not be written.")
)

// kafka.server:type=KafkaServer and broker-metadata-metrics, and kvorum's own.
var (
	descState       = desc("kafka_server_broker_state", "State of the broker: 1 starting, 2 recovery, 3 running, 6 pending controlled shutdown, 7 shutting down.")
	descApplied     = desc("kafka_broker_metadata_last_applied_record_offset", "Last offset of the metadata log that this broker acts on.")
	descAppliedTime = desc("kafka_broker_metadata_last_applied_record_timestamp", "When that record was written, in milliseconds since 1970.")
	descAppliedLag  = desc("kafka_broker_metadata_last_applied_record_lag_ms", "How long ago that was, in milliseconds.")
	descSilence     = desc("kvorum_broker_seconds_since_controller", "Seconds since an active controller last answered a heartbeat of this broker.")
	descFenced      = desc("kvorum_broker_fenced", "1 while the controllers hold this broker back from leading, else 0.")
)

// groupsTimeout bounds how long a scrape waits for the coordinators' loops.
const groupsTimeout = 2 * time.Second

// collector reads a broker when it is scraped; nothing is counted for it.
type collector struct{ b *Broker }

// Collector is for Prometheus.
func (b *Broker) Collector() prometheus.Collector { return collector{b} }

// Describe implements prometheus.Collector. The metrics are unchecked: none is
// announced before it is collected.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := sink{out}
	c.lifecycle(s)
	c.topics(s)
	c.replicas(s)
	c.logs(s)
	c.groups(s)
}

// sink takes metrics.
type sink struct{ out chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v int64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (c collector) lifecycle(s sink) {
	h := c.b.Health()
	at := c.b.publisher.image.Load().At()
	s.gauge(descState, float64(c.b.State()))
	s.gauge(descApplied, float64(at.Offset))
	s.gauge(descAppliedTime, float64(at.TimestampMs))
	s.gauge(descAppliedLag, float64(max(0, time.Now().UnixMilli()-at.TimestampMs)))
	s.gauge(descSilence, h.SecondsSinceController)
	fenced := 0.0
	if h.Fenced {
		fenced = 1
	}
	s.gauge(descFenced, fenced)
}

func (c collector) topics(s sink) {
	c.b.handlers.EachTopic(func(topic string, t *handler.TopicCounts) {
		s.counter(descMessagesIn, t.MessagesIn.Load(), topic)
		s.counter(descBytesIn, t.BytesIn.Load(), topic)
		s.counter(descBytesOut, t.BytesOut.Load(), topic)
		s.counter(descBytesRejected, t.BytesRejected.Load(), topic)
		s.counter(descProduce, t.ProduceRequests.Load(), topic)
		s.counter(descFailedProduce, t.FailedProduceRequests.Load(), topic)
		s.counter(descFetch, t.FetchRequests.Load(), topic)
		s.counter(descFailedFetch, t.FailedFetchRequests.Load(), topic)
	})
}

func (c collector) replicas(s sink) {
	n := c.b.services.replicas.Counts()
	s.counter(descReplicatedOut, n.ReplicationBytesOut)
	s.counter(descReplicatedIn, n.ReplicationBytesIn)
	s.gauge(descPartitions, float64(n.Partitions))
	s.gauge(descLeaders, float64(n.Leaders))
	s.gauge(descOfflineReplicas, float64(n.Offline))
	s.gauge(descUnderReplicated, float64(n.UnderReplicated))
	s.gauge(descUnderMinISR, float64(n.UnderMinISR))
	s.gauge(descAtMinISR, float64(n.AtMinISR))
	s.counter(descShrinks, n.ISRShrinks)
	s.counter(descExpands, n.ISRExpands)
	s.counter(descFailedISR, n.FailedISRUpdates)
}

func (c collector) logs(s sink) {
	dirs := c.b.dirs
	s.gauge(descOfflineDirs, float64(len(c.b.cfg.Node.LogDirs)-len(dirs.Online())))
	open, bytes := dirs.SizeOf()
	s.gauge(descOpenLogs, float64(open))
	s.gauge(descOpenBytes, float64(bytes))
	if !c.b.cfg.Node.Broker.PartitionMetrics {
		return
	}
	for _, stored := range dirs.All() {
		if stored.Future || dirs.Unopened(stored.Partition) {
			continue // to look at it would open it
		}
		log, err := dirs.Get(stored.Partition)
		if err != nil {
			continue // deleted meanwhile, or offline
		}
		topic, partition := stored.Partition.Topic, strconv.Itoa(int(stored.Partition.Partition))
		s.gauge(descLogSize, float64(log.Size()), topic, partition)
		s.gauge(descLogSegments, float64(log.SegmentCount()), topic, partition)
		s.gauge(descLogEnd, float64(log.LogEnd()), topic, partition)
		s.gauge(descLogStart, float64(log.LogStart()), topic, partition)
	}
}

func (c collector) groups(s sink) {
	m := c.b.services.groups.Metrics()
	s.counter(descCommits, m.Commits.Load())
	s.counter(descExpirations, m.Expirations.Load())
	s.counter(descDeletions, m.Deletions.Load())
	s.counter(descRebalances, m.Rebalances.Load())
	s.counter(descLoads, m.Loads.Load())
	s.counter(descLoadFailures, m.LoadFailures.Load())
	s.counter(descCommitTimeouts, m.CommitTimeouts.Load())
	s.counter(descCoordinatorFails, m.FailedAppends.Load())
	ctx, cancel := context.WithTimeout(context.Background(), groupsTimeout)
	defer cancel()
	req := kmsg.NewPtrListGroupsRequest()
	req.Version = 5
	list := c.b.services.groups.ListGroups(ctx, req)
	if list.ErrorCode != 0 {
		return // still loading: a part is not the whole
	}
	states := map[string]int{"PreparingRebalance": 0, "CompletingRebalance": 0, "Stable": 0, "Dead": 0, "Empty": 0}
	for i := range list.Groups {
		states[list.Groups[i].GroupState]++
	}
	s.gauge(descGroups, float64(len(list.Groups)))
	for state, n := range states {
		s.gauge(descGroupsByState, float64(n), strings.ToLower(state))
	}
}

// Health is what a broker says of itself.
type Health struct {
	State string `json:"state"`
	// Alive is whether its loop turns; NotReady says why it does not serve all that
	// it should, and is empty for a broker that does.
	Alive    bool     `json:"alive"`
	NotReady []string `json:"not_ready,omitempty"`
	Fenced   bool     `json:"fenced"`
	// Offset is the last of the metadata log that the broker acts on.
	Offset kafka.Offset `json:"metadata_offset"`
	// SecondsSinceController is how long no active controller has answered a
	// heartbeat; -1: none has yet.
	SecondsSinceController float64 `json:"seconds_since_controller"`
	OfflineDirectories     int     `json:"offline_log_directories"`
}

// stalled is after how long a loop that has not turned is held for dead: it has
// something to do each broker.heartbeat.interval.ms, 2 s by default.
const stalled = 60 * time.Second

// Health is the broker's health now. Safe for concurrent use.
func (b *Broker) Health() Health {
	im := b.publisher.image.Load()
	h := Health{State: b.State().String(), Offset: im.At().Offset, Fenced: true, OfflineDirectories: len(b.cfg.Node.LogDirs) - len(b.dirs.Online())}
	if own := im.Broker(kafka.BrokerID(b.cfg.Node.ID)); own != nil && own.Epoch == b.registrar.Epoch() {
		h.Fenced = own.Fenced
	}
	turned, heard := b.registrar.turnedAt(), b.registrar.heardAt()
	h.Alive = turned.IsZero() || time.Since(turned) < stalled // it has not begun, or goes on
	h.SecondsSinceController = -1
	if !heard.IsZero() {
		h.SecondsSinceController = time.Since(heard).Seconds()
	}
	switch state := b.State(); {
	case state != Running:
		h.NotReady = append(h.NotReady, "the broker is "+h.State)
	case h.Fenced:
		h.NotReady = append(h.NotReady, "the controllers hold the broker fenced")
	}
	if !h.Alive {
		h.NotReady = append(h.NotReady, "the broker's loop stands still")
	}
	return h
}
