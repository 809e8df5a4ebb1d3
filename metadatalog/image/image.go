// Package image is the cluster's metadata as a value: an immutable Image that
// is the fold of the metadata log's records, and the Delta that takes one image
// to the next.
//
// Controllers decide on an image, brokers act on one; both get it by the same
// fold, so that equal offsets mean equal images. The maps are copy-on-write
// B-trees: a delta costs what it changes, and any number of readers may hold
// any image without a lock. Pure: no clock, no locks, no I/O.
package image

import (
	"cmp"
	"iter"
	"maps"
	"strings"

	"kvorum/internal/kafka"
)

// Position says how far into the log an image reaches.
type Position struct {
	// Offset is the last offset that the image contains, -1 for the empty image.
	Offset kafka.Offset
	// Epoch is the KRaft epoch of the batch that holds Offset.
	Epoch kafka.LeaderEpoch
	// TimestampMs is that batch's timestamp, in milliseconds since 1970.
	TimestampMs int64
}

// Image is the state of the cluster at one position of the metadata log. It is
// immutable; the zero value is not an image, use Empty.
type Image struct {
	at Position

	features map[string]int16 // copied on change: a handful of entries
	zkState  int8
	hasZk    bool // a ZkMigrationStateRecord was seen

	brokers     table[kafka.BrokerID, Broker]
	controllers table[kafka.NodeID, Controller]

	topics       table[kafka.TopicID, Topic]
	topicsByName table[string, Topic]
	partitions   int // over all topics

	configs table[Resource, ResourceConfig]
	quotas  table[QuotaEntity, ClientQuota]
	acls    table[kafka.UUID, ACL]
	scram   table[scramKey, ScramCredential]
	tokens  table[string, DelegationToken]

	producer   ProducerIDs
	hasClaimed bool // ProducerIDs were seen
}

// Empty is the image before the first record, at offset -1.
func Empty() *Image {
	return &Image{
		at:           Position{Offset: kafka.NoOffset, Epoch: kafka.NoEpoch, TimestampMs: -1},
		brokers:      newTable[kafka.BrokerID, Broker](cmp.Compare[kafka.BrokerID]),
		controllers:  newTable[kafka.NodeID, Controller](cmp.Compare[kafka.NodeID]),
		topics:       newTable[kafka.TopicID, Topic](kafka.UUID.Compare),
		topicsByName: newTable[string, Topic](strings.Compare),
		configs:      newTable[Resource, ResourceConfig](compareResources),
		quotas:       newTable[QuotaEntity, ClientQuota](compareEntities),
		acls:         newTable[kafka.UUID, ACL](kafka.UUID.Compare),
		scram:        newTable[scramKey, ScramCredential](compareScramKeys),
		tokens:       newTable[string, DelegationToken](strings.Compare),
		producer:     ProducerIDs{BrokerID: -1, BrokerEpoch: kafka.NoBrokerEpoch},
	}
}

// At is the image's position in the log.
func (im *Image) At() Position { return im.at }

// Broker returns the registration of a broker, nil if it is not registered.
func (im *Image) Broker(id kafka.BrokerID) *Broker { return im.brokers.get(id) }

// Brokers iterates over all registrations by ascending id.
func (im *Image) Brokers() iter.Seq[*Broker] { return im.brokers.all() }

// BrokerCount is the number of registered brokers, fenced ones included.
func (im *Image) BrokerCount() int { return im.brokers.len() }

// Controller returns the registration of a controller, nil if there is none.
func (im *Image) Controller(id kafka.NodeID) *Controller { return im.controllers.get(id) }

// Controllers iterates over all controller registrations by ascending id.
func (im *Image) Controllers() iter.Seq[*Controller] { return im.controllers.all() }

// TopicByName returns a topic, nil if there is none of that name.
func (im *Image) TopicByName(name string) *Topic { return im.topicsByName.get(name) }

// Topic returns a topic by id, nil if there is none.
func (im *Image) Topic(id kafka.TopicID) *Topic { return im.topics.get(id) }

// Topics iterates over all topics by ascending id. It is deterministic: equal
// images iterate equally.
func (im *Image) Topics() iter.Seq[*Topic] { return im.topics.all() }

// TopicsByName iterates over all topics by ascending name, from the first name
// that is not below start.
func (im *Image) TopicsByName(start string) iter.Seq[*Topic] { return im.topicsByName.from(start) }

// TopicCount is the number of topics.
func (im *Image) TopicCount() int { return im.topics.len() }

// PartitionCount is the number of partitions of all topics.
func (im *Image) PartitionCount() int { return im.partitions }

// Partition returns a partition, nil if the topic or the partition is unknown.
func (im *Image) Partition(topic kafka.TopicID, id kafka.PartitionID) *Partition {
	if t := im.Topic(topic); t != nil {
		return t.Partition(id)
	}
	return nil
}

// Config returns the stored configuration of a resource, nil if it has none.
func (im *Image) Config(r Resource) *ResourceConfig { return im.configs.get(r) }

// ConfigValue returns one stored value of a resource.
func (im *Image) ConfigValue(r Resource, key string) (string, bool) {
	c := im.Config(r)
	if c == nil {
		return "", false
	}
	return c.Get(key)
}

// Configs iterates over all stored configurations, ordered by type and name.
func (im *Image) Configs() iter.Seq[*ResourceConfig] { return im.configs.all() }

// ClientQuotas iterates over all stored quotas, ordered by entity.
func (im *Image) ClientQuotas() iter.Seq[*ClientQuota] { return im.quotas.all() }

// ClientQuota returns the quotas of one entity, nil if it has none.
func (im *Image) ClientQuota(e QuotaEntity) *ClientQuota { return im.quotas.get(e) }

// ACL returns an access control entry by id, nil if there is none.
func (im *Image) ACL(id kafka.UUID) *ACL { return im.acls.get(id) }

// ACLs iterates over all access control entries by ascending id.
func (im *Image) ACLs() iter.Seq[*ACL] { return im.acls.all() }

// ACLCount is the number of access control entries.
func (im *Image) ACLCount() int { return im.acls.len() }

// ScramCredential returns a user's credential, nil if there is none.
func (im *Image) ScramCredential(user string, m ScramMechanism) *ScramCredential {
	return im.scram.get(scramKey{m, user})
}

// ScramCredentials iterates over all credentials by mechanism, then user.
func (im *Image) ScramCredentials() iter.Seq[*ScramCredential] { return im.scram.all() }

// DelegationToken returns a token by id, nil if there is none.
func (im *Image) DelegationToken(id string) *DelegationToken { return im.tokens.get(id) }

// DelegationTokens iterates over all tokens by ascending id.
func (im *Image) DelegationTokens() iter.Seq[*DelegationToken] { return im.tokens.all() }

// ProducerIDs is the allocation state of producer ids.
func (im *Image) ProducerIDs() ProducerIDs { return im.producer }

// FeatureLevel is the finalized level of a feature, 0 if it is not finalized.
func (im *Image) FeatureLevel(name string) int16 { return im.features[name] }

// Features returns a copy of all finalized levels above 0, metadata.version included.
func (im *Image) Features() map[string]int16 {
	out := make(map[string]int16, len(im.features))
	maps.Copy(out, im.features)
	return out
}

// MetadataVersion is the finalized metadata.version, 0 before the bootstrap
// records were read.
func (im *Image) MetadataVersion() MetadataVersion {
	return MetadataVersion(im.features[FeatureMetadataVersion])
}

// The states of a migration from ZooKeeper (ZkMigrationState, KIP-866).
const (
	ZkNone          int8 = 0 // the cluster never was on ZooKeeper
	ZkMigration     int8 = 1 // ZooKeeper has been copied, and gets what changes
	ZkPreMigration  int8 = 2 // ZooKeeper is to be copied; nothing else may change
	ZkPostMigration int8 = 3 // ZooKeeper is done with
)

// ZkMigrationState is the last ZkMigrationStateRecord's state, ZkNone if there
// was none.
func (im *Image) ZkMigrationState() int8 { return im.zkState }

// SameBrokers reports whether nothing about brokers differs between the images,
// as far as one look can tell: images that share their registrations are the
// same, others may still be equal.
func (im *Image) SameBrokers(other *Image) bool { return im.brokers == other.brokers }

// SameClientQuotas reports whether nothing about client quotas differs, as
// SameBrokers does for brokers.
func (im *Image) SameClientQuotas(other *Image) bool { return im.quotas == other.quotas }

// SameACLs reports whether nothing about access control entries differs, as
// SameBrokers does for brokers.
func (im *Image) SameACLs(other *Image) bool { return im.acls == other.acls }
