package config

import (
	"math"
	"time"
)

// rules reads what the active controller decides by, and checks that the
// defaults of topics and groups agree with one another.
func (p *nodeParser) rules(n *Node) {
	n.Metadata = Metadata{
		SnapshotBytes:    p.value("metadata.log.max.record.bytes.between.snapshots").Int,
		SnapshotInterval: p.millis("metadata.log.max.snapshot.interval.ms"),
		RetentionBytes:   p.value("metadata.max.retention.bytes").Int,
		Retention:        p.millis("metadata.max.retention.ms"),
		MaxIdleInterval:  p.millis("metadata.max.idle.interval.ms"),
	}
	n.Cluster = ClusterRules{
		BrokerSessionTimeout:          p.millis("broker.session.timeout.ms"),
		NumPartitions:                 int32(p.int("num.partitions")),
		DefaultReplicationFactor:      int16(min(p.int("default.replication.factor"), math.MaxInt16)),
		DeleteTopicEnable:             p.value("delete.topic.enable").Bool,
		AutoLeaderRebalance:           p.value("auto.leader.rebalance.enable").Bool,
		LeaderImbalanceCheckInterval:  p.seconds("leader.imbalance.check.interval.seconds"),
		UncleanLeaderElectionInterval: p.millis("unclean.leader.election.interval.ms"),
		PropagationMaxWait:            p.millis("kvorum.metadata.propagation.max.wait.ms"),
		FenceOnDeath:                  p.value("kvorum.broker.fence.on.death").Bool,
		MaxInflight:                   p.int("kvorum.controller.max.inflight"),
	}
	for _, name := range []string{"broker.heartbeat.interval.ms", "default.replication.factor"} {
		if p.int(name) < 1 {
			p.fail(name, "%s=%d is less than 1", name, p.int(name))
		}
	}
	if p.int("default.replication.factor") > math.MaxInt16 {
		p.fail("default.replication.factor", "default.replication.factor=%d is more than %d", p.int("default.replication.factor"), math.MaxInt16)
	}
	if n.Cluster.BrokerSessionTimeout <= p.millis("broker.heartbeat.interval.ms") {
		p.fail("broker.session.timeout.ms", "broker.session.timeout.ms=%d must be greater than broker.heartbeat.interval.ms=%d, or every broker is fenced between two heartbeats",
			p.int("broker.session.timeout.ms"), p.int("broker.heartbeat.interval.ms"))
	}
	for _, name := range []string{"log.retention.ms", "log.retention.minutes", "log.retention.hours"} {
		if p.set(name) && p.int(name) == 0 {
			p.fail(name, "%s must be unlimited (-1) or, equal or greater than 1", name)
		}
	}
	if err := ValidateTopic(nil, p.layers); err != nil {
		p.fail("", "the defaults of topics do not agree: %w", err)
	}
	if err := ValidateGroup(nil, p.layers); err != nil {
		p.fail("", "the defaults of groups do not agree: %w", err)
	}
}

func (p *nodeParser) seconds(name string) time.Duration {
	const most = int64(math.MaxInt64) / int64(time.Second)
	return time.Duration(min(p.value(name).Int, most)) * time.Second
}
