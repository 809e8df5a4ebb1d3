package znode

import (
	"fmt"
	"strconv"
	"strings"

	"kvorum/internal/kafka"
)

// The nodes that Kafka keeps at fixed places, below the chroot if there is one.
const (
	ClusterIDPath          = "/cluster/id"
	FeaturePath            = "/feature"
	ControllerPath         = "/controller"
	ControllerEpochPath    = "/controller_epoch"
	MigrationPath          = "/migration"
	BrokerIDsPath          = "/brokers/ids"
	TopicsPath             = "/brokers/topics"
	TopicConfigsPath       = "/config/topics"
	BrokerConfigsPath      = "/config/brokers"
	UserConfigsPath        = "/config/users"
	ClientConfigsPath      = "/config/clients"
	IPConfigsPath          = "/config/ips"
	ConfigChangesPath      = "/config/changes"
	DeleteTopicsPath       = "/admin/delete_topics"
	ReassignmentsPath      = "/admin/reassign_partitions"
	PreferredElectionPath  = "/admin/preferred_replica_election"
	ProducerIDBlockPath    = "/latest_producer_id_block"
	ISRChangesPath         = "/isr_change_notification"
	LogDirEventsPath       = "/log_dir_event_notification"
	LiteralACLsPath        = "/kafka-acl"
	PrefixedACLsPath       = "/kafka-acl-extended/prefixed"
	ExtendedACLsPath       = "/kafka-acl-extended"
	LiteralACLChangesPath  = "/kafka-acl-changes"
	ExtendedACLChangesPath = "/kafka-acl-extended-changes"
	TokensPath             = "/delegation_token/tokens"
	TokenChangesPath       = "/delegation_token/token_changes"
)

// The names of the sequential nodes by which brokers learn of changes.
const (
	ConfigChangePrefix = ConfigChangesPath + "/config_change_"
	ACLChangePrefix    = LiteralACLChangesPath + "/acl_changes_"
	ExtendedACLPrefix  = ExtendedACLChangesPath + "/acl_changes_"
	TokenChangePrefix  = TokenChangesPath + "/token_change_"
)

// ChangePaths are the nodes below which notifications are made. One that is not there
// is not watched by any broker.
var ChangePaths = []string{ConfigChangesPath, LiteralACLChangesPath, ExtendedACLChangesPath, TokenChangesPath}

// DefaultEntity is the node name of a default: the cluster-wide broker config,
// the quotas of every user, client or address without its own.
const DefaultEntity = "<default>"

// TopicPath is the node of a topic.
func TopicPath(topic string) string { return TopicsPath + "/" + topic }

// PartitionsPath is the parent of a topic's partition nodes.
func PartitionsPath(topic string) string { return TopicPath(topic) + "/partitions" }

// PartitionPath is the node of a partition, which is empty.
func PartitionPath(topic string, id kafka.PartitionID) string {
	return PartitionsPath(topic) + "/" + strconv.Itoa(int(id))
}

// StatePath is the node with a partition's leader and ISR.
func StatePath(topic string, id kafka.PartitionID) string { return PartitionPath(topic, id) + "/state" }

// TopicConfigPath is the node of a topic's configuration.
func TopicConfigPath(topic string) string { return TopicConfigsPath + "/" + topic }

// BrokerPath is the ephemeral node of a live broker.
func BrokerPath(id kafka.BrokerID) string { return BrokerIDsPath + "/" + strconv.Itoa(int(id)) }

// UserClientsPath is the parent of the quotas of a user's clients; user is the
// node's name, already sanitized.
func UserClientsPath(user string) string { return UserConfigsPath + "/" + user + "/clients" }

// ACLPath is the node of the ACLs of one resource.
func ACLPath(p PatternType, t ResourceType, name string) string {
	return aclRoot(p) + "/" + t.String() + "/" + name
}

func aclRoot(p PatternType) string {
	if p == PatternPrefixed {
		return PrefixedACLsPath
	}
	return LiteralACLsPath
}

// Base is the last part of a path.
func Base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Parent is a path without its last part, "/" for a node at the top.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// Sanitize makes a node name of any text, as Kafka's Sanitizer does for users,
// clients and principals: form encoding with %20 and %2A for ' ' and '*'.
func Sanitize(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if c := name[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// plain are the bytes that java.net.URLEncoder leaves as they are, but for '*'.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_'
}

// Desanitize is the inverse of Sanitize; it also takes '+' for a space, as
// java.net.URLDecoder does.
func Desanitize(name string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; c {
		case '+':
			b.WriteByte(' ')
		case '%':
			if i+2 >= len(name) {
				return "", fmt.Errorf("the name %q ends in the middle of a %% escape", name)
			}
			v, err := strconv.ParseUint(name[i+1:i+3], 16, 8)
			if err != nil {
				return "", fmt.Errorf("the name %q has the bad escape %q", name, name[i:i+3])
			}
			b.WriteByte(byte(v))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
