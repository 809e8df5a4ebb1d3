package image

import (
	"maps"
	"slices"
	"strconv"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// Endpoint is where a node listens.
type Endpoint = record.Endpoint

// FeatureRange is a range of feature levels that a node supports.
type FeatureRange = record.FeatureRange

// Broker is the registration of a broker. Immutable.
type Broker struct {
	ID                   kafka.BrokerID
	Epoch                kafka.BrokerEpoch
	IncarnationID        kafka.UUID
	Endpoints            []Endpoint
	Features             []FeatureRange
	Rack                 *string
	Fenced               bool
	InControlledShutdown bool
	IsMigratingZkBroker  bool
	// Directories are the broker's online log directories.
	Directories []kafka.DirectoryID
	// CordonedDirectories is nil until the broker reported them (KIP-1066).
	CordonedDirectories []kafka.DirectoryID
	// RegisteredAt is the offset of the newest RegisterBrokerRecord: a broker is
	// caught up when it has applied it. It may differ from Epoch. After a load
	// from a snapshot it is the broker epoch.
	RegisteredAt kafka.Offset
}

// Active reports whether the broker may lead and be in an ISR: registered,
// unfenced and not shutting down (BrokerRegistrations "isActive").
func (b *Broker) Active() bool { return b != nil && !b.Fenced && !b.InControlledShutdown }

// HasDirectory reports whether a replica in dir is online on this broker
// (DirectoryId.isOnline).
func (b *Broker) HasDirectory(dir kafka.DirectoryID) bool {
	switch dir {
	case kafka.DirectoryUnassigned, kafka.DirectoryMigrating:
		return true
	case kafka.DirectoryLost:
		return false
	}
	return len(b.Directories) == 0 || slices.Contains(b.Directories, dir)
}

// Controller is the registration of a controller (KIP-919). Immutable.
type Controller struct {
	ID               kafka.NodeID
	IncarnationID    kafka.UUID
	ZkMigrationReady bool
	Endpoints        []Endpoint
	Features         []FeatureRange
}

// RecoveryState is a partition's leader recovery state (KIP-704).
type RecoveryState int8

// The recovery states, and the value of a change record that changes nothing.
const (
	Recovered        RecoveryState = 0
	Recovering       RecoveryState = 1
	RecoveryNoChange RecoveryState = -1
)

// Partition is the state of one partition. Immutable: its slices must not be
// written to and may be shared between partitions.
type Partition struct {
	Replicas []kafka.BrokerID
	// Directories is aligned with Replicas; it may be nil, which reads as
	// DirectoryMigrating for every replica.
	Directories    []kafka.DirectoryID
	ISR            []kafka.BrokerID
	ELR            []kafka.BrokerID
	LastKnownELR   []kafka.BrokerID
	Adding         []kafka.BrokerID
	Removing       []kafka.BrokerID
	Leader         kafka.BrokerID // kafka.NoLeader if none
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch kafka.PartitionEpoch
	Recovery       RecoveryState
}

// Directory is the directory of a replica; DirectoryMigrating if broker is not
// a replica.
func (p *Partition) Directory(broker kafka.BrokerID) kafka.DirectoryID {
	if i := slices.Index(p.Replicas, broker); i >= 0 && i < len(p.Directories) {
		return p.Directories[i]
	}
	return kafka.DirectoryMigrating
}

// Reassigning reports whether a reassignment is in progress.
func (p *Partition) Reassigning() bool { return len(p.Adding) > 0 || len(p.Removing) > 0 }

// ResourceType is the type of a configured resource (ConfigResource.Type).
type ResourceType int8

// The resource types that the log stores.
const (
	ResourceTopic         ResourceType = 2
	ResourceBroker        ResourceType = 4
	ResourceBrokerLogger  ResourceType = 8
	ResourceClientMetrics ResourceType = 16
	ResourceGroup         ResourceType = 32
)

// Name is what Kafka's tools call the type, its number where it has no name.
func (t ResourceType) Name() string {
	switch t {
	case ResourceTopic:
		return "topic"
	case ResourceBroker:
		return "broker"
	case ResourceBrokerLogger:
		return "broker-logger"
	case ResourceClientMetrics:
		return "client-metrics"
	case ResourceGroup:
		return "group"
	}
	return strconv.Itoa(int(t))
}

// Resource names a configured resource; the cluster-wide broker default has
// type ResourceBroker and an empty name.
type Resource struct {
	Type ResourceType
	Name string
}

// ResourceConfig is the stored configuration of one resource. Immutable.
type ResourceConfig struct {
	Resource Resource
	values   map[string]string
	owner    *owner
}

// Get returns one stored value.
func (c *ResourceConfig) Get(key string) (string, bool) {
	v, ok := c.values[key]
	return v, ok
}

// Len is the number of stored values; never 0 for a stored configuration.
func (c *ResourceConfig) Len() int { return len(c.values) }

// Values returns a copy of all stored values.
func (c *ResourceConfig) Values() map[string]string { return maps.Clone(c.values) }

// Keys returns the names of the stored values in ascending order.
func (c *ResourceConfig) Keys() []string { return slices.Sorted(maps.Keys(c.values)) }

// QuotaEntity is the entity that quotas are given to, such as a user, a client
// id of a user, or an address. Absent parts are unset; a part that is set with
// an empty Default name is the default entity of its type.
type QuotaEntity struct {
	User, ClientID, IP QuotaName
}

// QuotaName is one part of a QuotaEntity.
type QuotaName struct {
	Set     bool   // this type is part of the entity
	Default bool   // the default entity of the type (a null name on the wire)
	Name    string // empty if Default
}

// ClientQuota is the quotas of one entity. Immutable.
type ClientQuota struct {
	Entity QuotaEntity
	values map[string]float64
	owner  *owner
}

// Get returns one quota.
func (q *ClientQuota) Get(key string) (float64, bool) {
	v, ok := q.values[key]
	return v, ok
}

// Values returns a copy of all quotas of the entity.
func (q *ClientQuota) Values() map[string]float64 { return maps.Clone(q.values) }

// Keys returns the quota names in ascending order.
func (q *ClientQuota) Keys() []string { return slices.Sorted(maps.Keys(q.values)) }

// ACL is one access control entry. The numbers are Kafka's (AclOperation,
// AclPermissionType, ResourceType, PatternType codes). Immutable.
type ACL struct {
	ID             kafka.UUID
	ResourceType   int8
	ResourceName   string
	PatternType    int8
	Principal      string
	Host           string
	Operation      int8
	PermissionType int8
}

// ScramMechanism is 1 for SCRAM-SHA-256 and 2 for SCRAM-SHA-512.
type ScramMechanism int8

// The mechanisms.
const (
	ScramSHA256 ScramMechanism = 1
	ScramSHA512 ScramMechanism = 2
)

// ScramCredential is one SCRAM credential. Immutable; secret.
type ScramCredential struct {
	User       string
	Mechanism  ScramMechanism
	Salt       []byte
	StoredKey  []byte
	ServerKey  []byte
	Iterations int32
}

// DelegationToken is one delegation token; its HMAC is derived and not stored.
type DelegationToken struct {
	TokenID             string
	Owner               string
	Requester           string
	Renewers            []string
	IssueTimestamp      int64 // milliseconds since 1970
	MaxTimestamp        int64
	ExpirationTimestamp int64
}

// ProducerIDs is the allocation state of producer ids.
type ProducerIDs struct {
	// Next is the first id that no block has yet; 0 if none was handed out.
	Next kafka.ProducerID
	// BrokerID and BrokerEpoch are those of the last block's owner, -1 after a
	// load from a snapshot.
	BrokerID    kafka.BrokerID
	BrokerEpoch kafka.BrokerEpoch
}
