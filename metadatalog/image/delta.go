package image

import (
	"fmt"
	"maps"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// Delta takes one image to the next: it replays records on top of a base, which
// stays as it is. It costs what the records change, whatever the base's size.
//
// A Delta has one user at a time. After an error of Replay its state is of no
// use and it must be dropped; the base is untouched. Any number of deltas may
// start from the same base, also at the same time.
type Delta struct {
	base  *Image
	owner *owner
	done  bool

	features     map[string]int16 // nil until the first change
	zkState      int8
	hasZk        bool
	producer     ProducerIDs
	hasClaimed   bool
	partitions   int
	topicsByName part[string, Topic]

	brokers     part[kafka.BrokerID, Broker]
	controllers part[kafka.NodeID, Controller]
	topics      part[kafka.TopicID, Topic]
	configs     part[Resource, ResourceConfig]
	quotas      part[QuotaEntity, ClientQuota]
	acls        part[kafka.UUID, ACL]
	scram       part[scramKey, ScramCredential]
	tokens      part[string, DelegationToken]

	topic  *Topic // the last one that was written to: records of a topic follow each other
	shared shared
}

// NewDelta returns a delta without changes on top of base.
func NewDelta(base *Image) *Delta {
	return &Delta{
		base:         base,
		owner:        new(owner),
		zkState:      base.zkState,
		hasZk:        base.hasZk,
		producer:     base.producer,
		hasClaimed:   base.hasClaimed,
		partitions:   base.partitions,
		topicsByName: part[string, Topic]{now: base.topicsByName},
		brokers:      part[kafka.BrokerID, Broker]{now: base.brokers},
		controllers:  part[kafka.NodeID, Controller]{now: base.controllers},
		topics:       part[kafka.TopicID, Topic]{now: base.topics},
		configs:      part[Resource, ResourceConfig]{now: base.configs},
		quotas:       part[QuotaEntity, ClientQuota]{now: base.quotas},
		acls:         part[kafka.UUID, ACL]{now: base.acls},
		scram:        part[scramKey, ScramCredential]{now: base.scram},
		tokens:       part[string, DelegationToken]{now: base.tokens},
	}
}

// NewSnapshotDelta returns a delta on top of the empty image, for the records of
// a snapshot: a snapshot replaces everything. What it changed in comparison with
// an older image is what Diff says.
func NewSnapshotDelta() *Delta { return NewDelta(Empty()) }

// Replay applies one record whose offset is unknown, as in a snapshot: a broker
// counts as registered at its broker epoch. It keeps slices and strings of rec,
// which must not be changed afterwards. The error names the record and says why
// it cannot follow what the delta has seen (what Apache's controller dies of).
func (d *Delta) Replay(rec record.Record) error {
	return d.ReplayAt(kafka.NoOffset, rec)
}

// ReplayAt is Replay for a record of the log, at its offset.
func (d *Delta) ReplayAt(offset kafka.Offset, rec record.Record) error {
	if d.done {
		panic(fmt.Sprintf("image: %s at offset %d is replayed on a delta that was applied", rec.RecordName(), offset))
	}
	err := d.replay(offset, rec)
	switch {
	case err == nil:
		return nil
	case offset < 0:
		return fmt.Errorf("replay %s: %w", rec.RecordName(), err)
	}
	return fmt.Errorf("replay %s at offset %d: %w", rec.RecordName(), offset, err)
}

func (d *Delta) replay(offset kafka.Offset, rec record.Record) error {
	switch r := rec.(type) {
	case *record.PartitionChangeRecord:
		return d.changePartition(r)
	case *record.PartitionRecord:
		return d.putPartition(r)
	case *record.TopicRecord:
		return d.addTopic(r)
	case *record.RemoveTopicRecord:
		return d.removeTopic(r.TopicID)
	case *record.ClearElrRecord:
		return d.clearELR(r.TopicName)
	case *record.RegisterBrokerRecord:
		return d.registerBroker(offset, r)
	case *record.UnregisterBrokerRecord:
		return d.unregisterBroker(r)
	case *record.BrokerRegistrationChangeRecord:
		return d.changeBroker(r)
	case *record.FenceBrokerRecord:
		return d.fenceBroker(r.ID, r.Epoch, true)
	case *record.UnfenceBrokerRecord:
		return d.fenceBroker(r.ID, r.Epoch, false)
	case *record.RegisterControllerRecord:
		d.registerController(r)
	case *record.ConfigRecord:
		d.setConfig(r)
	case *record.NoOpRecord:
	default:
		return d.replayRest(rec)
	}
	return nil
}

func (d *Delta) replayRest(rec record.Record) error {
	switch r := rec.(type) {
	case *record.FeatureLevelRecord:
		return d.setFeature(r)
	case *record.ZkMigrationStateRecord:
		return d.setZkState(r)
	case *record.ProducerIDsRecord:
		return d.setProducerIDs(r)
	case *record.ClientQuotaRecord:
		return d.setQuota(r)
	case *record.AccessControlEntryRecord:
		return d.addACL(r)
	case *record.RemoveAccessControlEntryRecord:
		return d.removeACL(r.ID)
	case *record.UserScramCredentialRecord:
		return d.setScram(r)
	case *record.RemoveUserScramCredentialRecord:
		return d.removeScram(r)
	case *record.DelegationTokenRecord:
		d.setToken(r)
	case *record.RemoveDelegationTokenRecord:
		d.tokens.delete(r.TokenID) // Apache ignores an unknown one, too
	case *record.BeginTransactionRecord, *record.EndTransactionRecord, *record.AbortTransactionRecord:
		return fmt.Errorf("a transaction marker is not state: whoever reads the log handles it")
	default:
		return fmt.Errorf("no rule for %T", rec)
	}
	return nil
}

// Apply ends the delta and returns the image that it has led to. The parts that
// were not changed are those of the base.
func (d *Delta) Apply(at Position) *Image {
	if d.done {
		panic(fmt.Sprintf("image: a delta on offset %d is applied twice", d.base.at.Offset))
	}
	d.done = true
	next := &Image{
		at:           at,
		features:     d.base.features,
		zkState:      d.zkState,
		hasZk:        d.hasZk,
		producer:     d.producer,
		hasClaimed:   d.hasClaimed,
		partitions:   d.partitions,
		topicsByName: d.topicsByName.seal(),
		brokers:      d.brokers.seal(),
		controllers:  d.controllers.seal(),
		topics:       d.topics.seal(),
		configs:      d.configs.seal(),
		quotas:       d.quotas.seal(),
		acls:         d.acls.seal(),
		scram:        d.scram.seal(),
		tokens:       d.tokens.seal(),
	}
	if d.features != nil {
		next.features = d.features
	}
	return next
}

// Fold replays messages, whose offsets run from first, on top of base. The
// image's position is the last of them, or base itself if there are none.
func Fold(base *Image, first kafka.Offset, epoch kafka.LeaderEpoch, timestampMs int64, messages []record.Message) (*Image, error) {
	if len(messages) == 0 {
		return base, nil
	}
	d := NewDelta(base)
	for i, m := range messages {
		if err := d.ReplayAt(first+kafka.Offset(i), m.Record); err != nil {
			return nil, err
		}
	}
	last := first + kafka.Offset(len(messages)-1)
	return d.Apply(Position{Offset: last, Epoch: epoch, TimestampMs: timestampMs}), nil
}

// setFeature follows FeaturesDelta: level 0 takes a feature away, and
// kraft.version is not state of the image (it is in control records).
func (d *Delta) setFeature(r *record.FeatureLevelRecord) error {
	if r.Name == FeatureMetadataVersion && (r.FeatureLevel < int16(MV30IV1) || r.FeatureLevel > int16(MaxMetadataVersion)) {
		return fmt.Errorf("metadata.version %d is unknown: this build knows %d (%s) to %d (%s); use a newer one",
			r.FeatureLevel, MV30IV1, MV30IV1, MaxMetadataVersion, MaxMetadataVersion)
	}
	if r.FeatureLevel < 0 {
		return fmt.Errorf("feature %s has the negative level %d", r.Name, r.FeatureLevel)
	}
	if r.Name == FeatureKRaftVersion {
		return nil
	}
	if d.features == nil {
		d.features = make(map[string]int16, len(d.base.features)+1)
		maps.Copy(d.features, d.base.features)
	}
	if r.FeatureLevel == 0 {
		delete(d.features, r.Name)
	} else {
		d.features[r.Name] = r.FeatureLevel
	}
	return nil
}

// maxZkState is the highest code of ZkMigrationState (ZK, 4).
const maxZkState = 4

func (d *Delta) setZkState(r *record.ZkMigrationStateRecord) error {
	if r.ZkMigrationState < 0 || r.ZkMigrationState > maxZkState {
		return fmt.Errorf("state %d is unknown (0 to %d are known)", r.ZkMigrationState, maxZkState)
	}
	d.zkState, d.hasZk = r.ZkMigrationState, true
	return nil
}

// setProducerIDs follows ProducerIdControlManager.replay: blocks of ids are
// never given out twice.
func (d *Delta) setProducerIDs(r *record.ProducerIDsRecord) error {
	if d.hasClaimed && r.NextProducerID <= d.producer.Next {
		return fmt.Errorf("next producer id %d is not above %d, which was given out before", r.NextProducerID, d.producer.Next)
	}
	d.producer = ProducerIDs{Next: r.NextProducerID, BrokerID: r.BrokerID, BrokerEpoch: r.BrokerEpoch}
	d.hasClaimed = true
	return nil
}
