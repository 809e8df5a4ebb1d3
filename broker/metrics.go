package broker

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kvorum/broker/coordinator"
	"kvorum/broker/group"
	"kvorum/broker/handler"
	"kvorum/broker/replica"
	"kvorum/broker/storage"
	"kvorum/internal/kafka"
)

// The metrics of a broker have the names of Kafka's beans: "kafka_", the type
// without Kafka in front and Metrics at the end, the name, all in snake case; a
// meter (...PerSec) is a counter (..._total). docs/operations.md has the table.
// What kvorum alone has begins with "kvorum_".

// metric is a value that is read from a T.
type metric[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(T) float64
}

// number is what a metric is read as.
type number interface{ ~int | ~int64 | ~float64 }

func gauge[T any, N number](name, help string, read func(T) N, labels ...string) metric[T] {
	return metric[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, func(from T) float64 { return float64(read(from)) }}
}

func counter[T any](name, help string, read func(T) int64, labels ...string) metric[T] {
	return metric[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, func(from T) float64 { return float64(read(from)) }}
}

// collect reads all metrics from a value, under the same labels.
func collect[T any](out chan<- prometheus.Metric, all []metric[T], from T, labels ...string) {
	for _, m := range all {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(from), labels...)
	}
}

// kafka.server:type=BrokerTopicMetrics.
var topicMetrics = []metric[*handler.TopicCounts]{
	counter("kafka_broker_topic_messages_in_total", "Records that producers wrote.", func(t *handler.TopicCounts) int64 { return t.MessagesIn.Load() }, "topic"),
	counter("kafka_broker_topic_bytes_in_total", "Bytes that producers wrote.", func(t *handler.TopicCounts) int64 { return t.BytesIn.Load() }, "topic"),
	counter("kafka_broker_topic_bytes_out_total", "Bytes that consumers read.", func(t *handler.TopicCounts) int64 { return t.BytesOut.Load() }, "topic"),
	counter("kafka_broker_topic_bytes_rejected_total", "Bytes of batches that were too large.", func(t *handler.TopicCounts) int64 { return t.BytesRejected.Load() }, "topic"),
	counter("kafka_broker_topic_total_produce_requests_total", "Produce requests, one for each partition.", func(t *handler.TopicCounts) int64 { return t.ProduceRequests.Load() }, "topic"),
	counter("kafka_broker_topic_failed_produce_requests_total", "Of these, those that failed.", func(t *handler.TopicCounts) int64 { return t.FailedProduceRequests.Load() }, "topic"),
	counter("kafka_broker_topic_total_fetch_requests_total", "Fetch requests, one for each partition.", func(t *handler.TopicCounts) int64 { return t.FetchRequests.Load() }, "topic"),
	counter("kafka_broker_topic_failed_fetch_requests_total", "Of these, those that failed.", func(t *handler.TopicCounts) int64 { return t.FailedFetchRequests.Load() }, "topic"),
}

// kafka.server:type=BrokerTopicMetrics, what has no topic, and ReplicaManager.
var replicaMetrics = []metric[replica.Counts]{
	counter("kafka_broker_topic_replication_bytes_out_total", "Bytes that followers read here.", func(n replica.Counts) int64 { return n.ReplicationBytesOut }),
	counter("kafka_broker_topic_replication_bytes_in_total", "Bytes that this broker fetched as a follower.", func(n replica.Counts) int64 { return n.ReplicationBytesIn }),
	gauge("kafka_replica_manager_partition_count", "Partitions that are hosted here.", func(n replica.Counts) int { return n.Partitions }),
	gauge("kafka_replica_manager_leader_count", "Partitions that are led here.", func(n replica.Counts) int { return n.Leaders }),
	gauge("kafka_replica_manager_offline_replica_count", "Partitions whose log directory has failed.", func(n replica.Counts) int { return n.Offline }),
	gauge("kafka_replica_manager_under_replicated_partitions", "Led partitions with fewer in-sync replicas than replicas.", func(n replica.Counts) int { return n.UnderReplicated }),
	gauge("kafka_replica_manager_under_min_isr_partition_count", "Led partitions with fewer in-sync replicas than min.insync.replicas: acks=all fails.", func(n replica.Counts) int { return n.UnderMinISR }),
	gauge("kafka_replica_manager_at_min_isr_partition_count", "Led partitions with just min.insync.replicas in-sync replicas.", func(n replica.Counts) int { return n.AtMinISR }),
	counter("kafka_replica_manager_isr_shrinks_total", "In-sync replicas that were taken out.", func(n replica.Counts) int64 { return n.ISRShrinks }),
	counter("kafka_replica_manager_isr_expands_total", "In-sync replicas that were taken in.", func(n replica.Counts) int64 { return n.ISRExpands }),
	counter("kafka_replica_manager_failed_isr_updates_total", "Changes of the in-sync replicas that the controllers refused.", func(n replica.Counts) int64 { return n.FailedISRUpdates }),
}

// directories is what the log directories hold now.
type directories struct {
	offline, open int
	bytes         int64
}

// kafka.log:type=LogManager.
var directoryMetrics = []metric[directories]{
	gauge("kafka_log_manager_offline_log_directory_count", "Log directories that have failed.", func(d directories) int { return d.offline }),
	gauge("kvorum_log_open_logs", "Logs that are open; the others are opened when they are used.", func(d directories) int { return d.open }),
	gauge("kvorum_log_open_bytes", "Bytes of the logs that are open.", func(d directories) int64 { return d.bytes }),
}

// kafka.log:type=LogCleaner and LogCleanerManager.
var cleanerMetrics = []metric[storage.CleanerStats]{
	gauge("kafka_log_cleaner_manager_uncleanable_partitions_count", "Partitions that are not compacted until the next start, because their logs cannot be read.", func(s storage.CleanerStats) int { return s.Uncleanable }),
	gauge("kafka_log_cleaner_manager_max_dirty_percent", "Largest share of uncompacted bytes of a log, in percent.", func(s storage.CleanerStats) float64 { return 100 * s.DirtyRatio }),
	gauge("kafka_log_cleaner_manager_time_since_last_run_ms", "Milliseconds since the cleaner last looked for logs to compact.", func(s storage.CleanerStats) int64 { return s.SinceLook.Milliseconds() }),
	gauge("kafka_log_cleaner_max_clean_time_secs", "Seconds that the newest compaction of a log took.", func(s storage.CleanerStats) float64 { return s.Took.Seconds() }),
}

// kafka.log:type=Log.
var logMetrics = []metric[*storage.Log]{
	gauge("kafka_log_size", "Bytes of a partition's log.", func(l *storage.Log) int64 { return l.Size() }, "topic", "partition"),
	gauge("kafka_log_num_log_segments", "Segments of a partition's log.", func(l *storage.Log) int { return l.SegmentCount() }, "topic", "partition"),
	gauge("kafka_log_log_end_offset", "End of a partition's log, exclusive.", func(l *storage.Log) kafka.Offset { return l.LogEnd() }, "topic", "partition"),
	gauge("kafka_log_log_start_offset", "First offset of a partition's log.", func(l *storage.Log) kafka.Offset { return l.LogStart() }, "topic", "partition"),
}

// kafka.server:type=group-coordinator-metrics.
var coordinatorMetrics = []metric[*coordinator.Metrics]{
	counter("kafka_group_coordinator_offset_commit_total", "Offsets that were committed.", func(m *coordinator.Metrics) int64 { return m.Commits.Load() }),
	counter("kafka_group_coordinator_offset_expiration_total", "Offsets that expired.", func(m *coordinator.Metrics) int64 { return m.Expirations.Load() }),
	counter("kafka_group_coordinator_offset_deletion_total", "Offsets that were deleted.", func(m *coordinator.Metrics) int64 { return m.Deletions.Load() }),
	counter("kafka_group_coordinator_group_completed_rebalance_total", "Rebalances that came to their end.", func(m *coordinator.Metrics) int64 { return m.Rebalances.Load() }),
	counter("kafka_group_coordinator_partition_load_total", "Partitions of __consumer_offsets that were loaded.", func(m *coordinator.Metrics) int64 { return m.Loads.Load() }),
	counter("kafka_group_coordinator_partition_load_failed_total", "Loads that failed.", func(m *coordinator.Metrics) int64 { return m.LoadFailures.Load() }),
	counter("kvorum_group_coordinator_commit_timeouts_total", "Answers that did not wait for the high watermark any longer.", func(m *coordinator.Metrics) int64 { return m.CommitTimeouts.Load() }),
	counter("kvorum_group_coordinator_failed_appends_total", "Batches of decisions that could not be written.", func(m *coordinator.Metrics) int64 { return m.FailedAppends.Load() }),
}

// kafka.coordinator.group:type=GroupMetadataManager, and group-count of
// kafka.server:type=group-coordinator-metrics.
var (
	groupMetrics = []metric[*group.Counts]{
		gauge("kafka_group_metadata_manager_num_offsets", "Committed offsets that are coordinated here.", func(c *group.Counts) int { return c.Offsets }),
		gauge("kafka_group_metadata_manager_num_groups", "Groups of the classic protocol that are coordinated here.", (*group.Counts).ClassicGroups),
		groupsIn(group.PreparingRebalance, "preparing_rebalance"), groupsIn(group.CompletingRebalance, "completing_rebalance"),
		groupsIn(group.Stable, "stable"), groupsIn(group.Dead, "dead"), groupsIn(group.Empty, "empty"),
	}
	protocolMetrics = []metric[int]{
		gauge("kafka_group_coordinator_group_count", "Groups that are coordinated here, by protocol; those of others than classic are kept and not served.", func(n int) int { return n }, "protocol"),
	}
)

func groupsIn(phase group.Phase, name string) metric[*group.Counts] {
	return gauge("kafka_group_metadata_manager_num_groups_"+name, "Groups of the classic protocol in state "+phase.String()+".", func(c *group.Counts) int { return c.Classic[phase] })
}

// followed is how far a broker follows its controllers.
type followed struct {
	state          State
	offset         kafka.Offset
	timestampMs    int64
	lagMs          int64
	silenceSeconds float64
	fenced         int
	unconfirmed    int
	waits          int
}

var unansweredMetrics = []metric[int64]{
	counter("kvorum_broker_controller_requests_unanswered_total", "Requests of this broker and its clients that no active controller has answered in time.", func(n int64) int64 { return n }, "request"),
}

// unanswered are the requests that no controller has answered, by their name.
func (b *Broker) unanswered() map[string]int64 {
	counts := map[string]int64{}
	for _, c := range []*Client{b.heartbeats, b.requests, b.forwarding} {
		c.countUnanswered(counts)
	}
	return counts
}

// kafka.server:type=KafkaServer and broker-metadata-metrics, and kvorum's own.
var lifecycleMetrics = []metric[followed]{
	gauge("kafka_server_broker_state", "State of the broker: 1 starting, 2 recovery, 3 running, 6 pending controlled shutdown, 7 shutting down.", func(f followed) int { return int(f.state) }),
	gauge("kafka_broker_metadata_last_applied_record_offset", "Last offset of the metadata log that this broker acts on.", func(f followed) kafka.Offset { return f.offset }),
	gauge("kafka_broker_metadata_last_applied_record_timestamp", "When that record was written, in milliseconds since 1970.", func(f followed) int64 { return f.timestampMs }),
	gauge("kafka_broker_metadata_last_applied_record_lag_ms", "How long ago that was, in milliseconds.", func(f followed) int64 { return f.lagMs }),
	gauge("kvorum_broker_seconds_since_controller", "Seconds since an active controller last answered a heartbeat of this broker.", func(f followed) float64 { return f.silenceSeconds }),
	gauge("kvorum_broker_unconfirmed_metadata", "1 while the broker serves from its own copy of the metadata log since it was started without any controller, else 0.", func(f followed) int { return f.unconfirmed }),
	gauge("kvorum_broker_waits_for_controller", "1 while no controller has answered since the start of the broker, which does not serve without one; /ready says why. Else 0.", func(f followed) int { return f.waits }),
	gauge("kvorum_broker_fenced", "1 while the controllers hold this broker back from leading, else 0.", func(f followed) int { return f.fenced }),
}

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
	collect(out, lifecycleMetrics, c.b.followed())
	for name, n := range c.b.unanswered() {
		collect(out, unansweredMetrics, n, name)
	}
	c.b.handlers.EachTopic(func(topic string, t *handler.TopicCounts) { collect(out, topicMetrics, t, topic) })
	collect(out, replicaMetrics, c.b.services.replicas.Counts())
	c.logs(out)
	c.groups(out)
}

func (b *Broker) followed() followed {
	h, at := b.Health(), b.publisher.image.Load().At()
	f := followed{state: b.State(), offset: at.Offset, timestampMs: at.TimestampMs, silenceSeconds: h.SecondsSinceController}
	f.lagMs = max(0, time.Now().UnixMilli()-at.TimestampMs)
	if h.Fenced {
		f.fenced = 1
	}
	if h.Unconfirmed {
		f.unconfirmed = 1
	}
	if b.waits.Load() != nil && f.state != Running && h.SecondsSinceController < 0 {
		f.waits = 1
	}
	return f
}

func (c collector) logs(out chan<- prometheus.Metric) {
	dirs := c.b.dirs
	d := directories{offline: len(c.b.cfg.Node.LogDirs) - len(dirs.Online())}
	d.open, d.bytes = dirs.SizeOf()
	collect(out, directoryMetrics, d)
	collect(out, cleanerMetrics, dirs.CleanerStats())
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
		collect(out, logMetrics, log, stored.Partition.Topic, strconv.Itoa(int(stored.Partition.Partition)))
	}
}

func (c collector) groups(out chan<- prometheus.Metric) {
	collect(out, coordinatorMetrics, c.b.services.groups.Metrics())
	ctx, cancel := context.WithTimeout(context.Background(), groupsTimeout)
	defer cancel()
	counts, whole := c.b.services.groups.Count(ctx)
	if !whole {
		return
	}
	collect(out, groupMetrics, &counts)
	collect(out, protocolMetrics, counts.ClassicGroups(), "classic")
	for kind, n := range counts.Kept {
		collect(out, protocolMetrics, n, kind)
	}
}
