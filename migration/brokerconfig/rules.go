package brokerconfig

import (
	"slices"
	"strings"

	"kvorum/config"
	"kvorum/metadatalog/image"
)

// policies are classes that Apache's controllers run in KRaft mode, and kvorum's do
// not have.
var policies = []string{"create.topic.policy.class.name", "alter.config.policy.class.name"}

// controllers' keys decide there what they decided on the broker that was the
// controller, or that a client asked: KafkaConfig reads them on both in KRaft mode.
var controllersKeys = []string{
	"num.partitions", "default.replication.factor", "delete.topic.enable", "auto.leader.rebalance.enable",
	"leader.imbalance.check.interval.seconds", "unclean.leader.election.enable", "unclean.leader.election.interval.ms",
	"controller.quota.window.num", "controller.quota.window.size.seconds",
	"delegation.token.secret.key", "delegation.token.max.lifetime.ms", "delegation.token.expiry.time.ms",
}

const (
	policyWhy     = "the controllers would have to run this policy, and kvorum's have none: topics and configs would no longer be checked by it"
	controllerWhy = "the controllers decide by it from the migration on: their files need the same line"
	unknownWhy    = "no key of Kafka's: kept for what reads it (a plug-in)"
)

// zooKeeper decides on a line for migration mode, in which nearly all stays.
func (f *file) zooKeeper(n Note, p config.Property) Note {
	switch {
	case p.Name == "process.roles" || p.Name == "node.id":
		return n.dropped("KRaft mode's")
	case p.Name == "inter.broker.protocol.version":
		v, err := image.ParseMetadataVersion(p.Value)
		switch {
		case err != nil:
			return n.refused(err.Error(), false)
		case v.Before(image.MV36IV1):
			return n.refused("a migration needs 3.6 at least, and the same on every broker: set 3.9 first, and restart the brokers with it", false)
		}
		n.Why = "it must be the same on every broker, and is the metadata.version of the controllers"
	case p.Name == "broker.id.generation.enable" && p.Value == "true":
		n.Why = "without effect beside broker.id"
	case p.Name == authorizer:
		if p.Value != "" && !config.KeepsACLsInZooKeeper(p.Value) {
			return n.refused("what this authorizer decides by is not in ZooKeeper's ACLs: find out how it works without ZooKeeper", true)
		}
	default:
		return controllersPart(n, p)
	}
	return n
}

// controllersPart is about keys of which the controllers have a part.
func controllersPart(n Note, p config.Property) Note {
	switch {
	case slices.Contains(policies, p.Name) && p.Value != "":
		return n.refused(policyWhy, true)
	case slices.Contains(controllersKeys, p.Name):
		n.Why = controllerWhy
	case unknown(p.Name):
		n.Why = unknownWhy
	}
	return n
}

// unknown reports whether Kafka has and had no such key.
func unknown(key string) bool {
	if _, ok := config.Lookup(config.ScopeNode, key); ok {
		return false
	}
	if _, ok := config.Removed(key); ok || strings.HasPrefix(key, "listener.name.") {
		return false
	}
	return true
}

// zooKeeperOnly says why a key of ZooKeeper mode goes in KRaft mode, "" if it is none.
func zooKeeperOnly(key string) string {
	switch {
	case strings.HasPrefix(key, "zookeeper."), key == "kvorum.zookeeper.digest.file":
		return "only a broker in ZooKeeper mode speaks with ZooKeeper"
	case strings.HasPrefix(key, "password.encoder."):
		return "it encrypted passwords in ZooKeeper; they are in the metadata log now"
	}
	switch key {
	case "broker.id":
		return "node.id takes its place"
	case "broker.id.generation.enable", "reserved.broker.max.id":
		return "ids are given by hand, as node.id"
	case "inter.broker.protocol.version":
		return "the cluster's metadata.version takes its place"
	case "control.plane.listener.name":
		return "brokers in KRaft mode ask the controllers, and are not told: controller.listener.names"
	}
	return ""
}

// apache decides on a line for Apache's broker in KRaft mode.
func apache(n Note, p config.Property) Note {
	if p.Name != authorizer || p.Value == "" || p.Value == config.StandardAuthorizer {
		return controllersPart(n, p)
	}
	if !config.KeepsACLsInZooKeeper(p.Value) {
		return n.refused("what this authorizer decides by is not in ZooKeeper's ACLs: find out how it works without ZooKeeper", true)
	}
	n.Action, n.value, n.To, n.Why = Changed, config.StandardAuthorizer, config.StandardAuthorizer, "its ACLs are in the metadata log now, and the controllers change them: their files need this authorizer and super.users too"
	return n
}

// kvorum decides on a line for kvorum's broker.
func kvorum(n Note, p config.Property) Note {
	if hint, ok := config.Removed(p.Name); ok {
		return n.dropped("Kafka 4 has no such key: " + hint)
	}
	if p.Name == authorizer && p.Value != "" {
		return n.refused("kvorum's brokers have no authorizer yet, and let everybody do everything; ACLs stay in the metadata log, and nobody enforces them", true)
	}
	if slices.Contains(policies, p.Name) && p.Value != "" {
		return n.refused(policyWhy, true)
	}
	if strings.Contains(p.Value, "${") {
		return n.refused("a config provider fills in this value (config.providers), which kvorum has none of: write the value itself", false)
	}
	effect, err := config.CheckBrokerLine(p)
	switch {
	case err != nil:
		return n.refused(err.Error(), true)
	case !effect:
		n.Why = "without effect on kvorum's broker"
	case slices.Contains(controllersKeys, p.Name):
		n.Why = controllerWhy
	}
	return n
}
