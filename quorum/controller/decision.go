// Package controller is what the active controller decides: pure functions
// from (image, environment, request) to (records, response), one file per kind
// of resource.
//
// The quorum's loop calls a decision on the pending image, folds the records
// into it, appends them to the log, and gives the response once they are
// committed. Nothing here reads a clock, draws randomness, locks or does I/O:
// all of that comes in as Input, so that a decision can be replayed from a
// dump, tested by the million and simulated unchanged.
package controller

import (
	"math/rand/v2"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// Input is everything that a decision may look at besides its request.
type Input struct {
	// Image is the pending image: committed records and those in flight.
	Image *image.Image
	// NowMs is the time of the decision, in milliseconds since 1970.
	NowMs int64
	// Rand is the decision's own source of randomness (placement, ids). The loop
	// seeds it, so that a decision can be repeated.
	Rand *rand.Rand
	// NextOffset is the offset that the first record of the decision will get.
	NextOffset kafka.Offset
	// KRaftVersion is the quorum's kraft.version, which is not in the image.
	KRaftVersion int16
	// Sessions is the soft state about brokers; a decision only reads it.
	Sessions *Sessions
	// Settings are the controller's own static settings.
	Settings *Settings
	// Memo spares decisions what they have computed before; nil spares nothing.
	Memo *Memo
	// Caller is who asks. Decisions that users may ask for authorise it.
	Caller Caller
	// Mutate asks the caller's quota of controller mutations (KIP-599) for
	// partitions to be created or deleted; the error is THROTTLING_QUOTA_EXCEEDED.
	// nil: there is no quota.
	Mutate func(partitions int) *errors.Error
}

// mutate spends the caller's quota.
func (in *Input) mutate(partitions int) *errors.Error {
	if in.Mutate == nil {
		return nil
	}
	return in.Mutate(partitions)
}

// Caller is the authenticated origin of a request: the connection's, or for an
// Envelope the forwarded one's.
type Caller struct {
	// Principal is "Type:name", such as "User:alice".
	Principal string
	// ClientID is the request's client id, empty where it has none.
	ClientID string
	// Host is the client's address without port.
	Host string
	// Allowed answers whether the caller may do operation on the resource; nil
	// means that no authorizer is configured and all is allowed. The codes are
	// Kafka's (AclOperation, ResourceType).
	Allowed func(operation, resourceType int8, resourceName string) bool
	// Forwarded says that a broker sent the request on in an Envelope.
	Forwarded bool
	// MayUseTokens says that the way the caller logged in allows requests about
	// delegation tokens: not with a token itself, and when not forwarded neither
	// over PLAINTEXT nor as ANONYMOUS over SSL (ControllerApis.allowTokenRequests).
	MayUseTokens bool
}

// Decision is what a decision wants to happen.
type Decision struct {
	// Records are to be appended in this order. None means that only the
	// response is given, once what it was decided on is committed.
	Records []record.Message
	// Atomic asks that all records become visible at once: in one batch, or in a
	// metadata transaction when they do not fit. Otherwise they may be split
	// between batches at any record, in order.
	Atomic bool
}

// Settings are the static settings of a controller that decisions depend on
// (Kafka's keys in parentheses).
type Settings struct {
	ClusterID                string
	NodeID                   kafka.NodeID
	Combined                 bool                 // the node is a broker too, with the same id
	SessionTimeoutMs         int64                // broker.session.timeout.ms
	FenceOnDeath             bool                 // kvorum.broker.fence.on.death
	NumPartitions            int32                // num.partitions
	DefaultReplicationFactor int16                // default.replication.factor
	DeleteTopicEnable        bool                 // delete.topic.enable
	ZooKeeperMigration       bool                 // zookeeper.metadata.migration.enable
	InterBrokerListener      string               // inter.broker.listener.name, which brokers in ZooKeeper mode must have
	AuthorizerConfigured     bool                 // authorizer.class.name is set
	DelegationTokenSecret    []byte               // delegation.token.secret.key; nil: tokens are disabled
	DelegationTokenMaxMs     int64                // delegation.token.max.lifetime.ms
	DelegationTokenExpiryMs  int64                // delegation.token.expiry.time.ms
	Static                   map[string]string    // the node's properties as given, the last resort for a topic's effective config
	ControllerFeatures       []image.FeatureRange // what this binary supports, metadata.version included
	VoterIDs                 []kafka.NodeID       // the quorum's controllers
}
