package config

import "strings"

// removed are keys that Kafka had and has no more, with what to do instead.
var removed = map[string]string{
	"inter.broker.protocol.version":                  "the cluster's metadata.version has its place; it is set when storage is formatted and raised with kafka-features",
	"log.message.format.version":                     "brokers always write message format 2",
	"log.message.downconversion.enable":              "messages are never converted down",
	"log.message.timestamp.difference.max.ms":        "use log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms",
	"broker.id.generation.enable":                    "set node.id",
	"reserved.broker.max.id":                         "set node.id",
	"control.plane.listener.name":                    "use controller.listener.names",
	"controlled.shutdown.max.retries":                "a stopping broker waits for the controllers by heartbeat",
	"controlled.shutdown.retry.backoff.ms":           "a stopping broker waits for the controllers by heartbeat",
	"delegation.token.master.key":                    "use delegation.token.secret.key",
	"eligible.leader.replicas.enable":                "it is the feature eligible.leader.replicas.version",
	"leader.imbalance.per.broker.percentage":         "any imbalance is repaired; see leader.imbalance.check.interval.seconds",
	"group.coordinator.new.enable":                   "use group.coordinator.rebalance.protocols",
	"group.share.enable":                             "use group.coordinator.rebalance.protocols",
	"group.share.max.groups":                         "share groups are no longer counted",
	"offsets.commit.required.acks":                   "offsets are always committed by all in-sync replicas",
	"auto.include.jmx.reporter":                      "use metric.reporters",
	"alter.config.policy.kraft.compatibility.enable": "policies are not supported",
	"metadata.log.segment.min.bytes":                 "kvorum keeps the metadata log in one store",
}

// Removed says whether Kafka had a key of server.properties before 4.0 that it has no
// more, and what to do instead.
func Removed(name string) (instead string, ok bool) {
	switch {
	case strings.HasPrefix(name, "zookeeper."):
		return "only a controller of a cluster that leaves ZooKeeper speaks with it, and has no such setting", true
	case strings.HasPrefix(name, "password.encoder."):
		return "it encrypted passwords in ZooKeeper", true
	}
	hint, ok := removed[name]
	return hint, ok
}
