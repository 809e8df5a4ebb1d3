package image

import (
	"iter"
	"maps"
	"slices"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/record"
)

// Records returns the records that make up the image, in the order of Apache's
// snapshots (MetadataImage.write) and, within a kind, ordered by key. Their
// versions are those of mv, or of the image's own metadata.version if mv is 0;
// what that version cannot carry is left out. The records share memory with the
// image and must not be changed.
func (im *Image) Records(mv MetadataVersion) iter.Seq[record.Message] {
	if mv == 0 {
		mv = im.MetadataVersion()
	}
	return func(yield func(record.Message) bool) {
		w := writer{mv: mv, yield: yield}
		_ = w.features(im) && w.brokers(im) && w.controllers(im) && w.topics(im) && w.configs(im) && w.quotas(im) &&
			w.producerIDs(im) && w.acls(im) && w.scram(im) && w.tokens(im)
	}
}

// writer turns the parts of an image into records. Its methods report whether
// to go on.
type writer struct {
	mv    MetadataVersion
	yield func(record.Message) bool
}

func (w *writer) put(rec record.Record, version int16) bool {
	return w.yield(record.Message{Record: rec, Version: version})
}

// features writes metadata.version first: it decides how the rest is read.
func (w *writer) features(im *Image) bool {
	level := func(name string) bool {
		return w.put(&record.FeatureLevelRecord{Name: name, FeatureLevel: im.features[name]}, 0)
	}
	if im.features[FeatureMetadataVersion] != 0 && w.mv >= MV33IV0 && !level(FeatureMetadataVersion) {
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(im.features)) {
		if name != FeatureMetadataVersion && !level(name) {
			return false
		}
	}
	if im.hasZk && w.mv >= MV34IV0 {
		return w.put(&record.ZkMigrationStateRecord{ZkMigrationState: im.zkState}, 0)
	}
	return true
}

func (w *writer) brokers(im *Image) bool {
	version := w.mv.RegisterBrokerVersion()
	for b := range im.Brokers() {
		if !w.put(b.record(version), version) {
			return false
		}
	}
	return true
}

// record is the registration as a record of a version.
func (b *Broker) record(version int16) *record.RegisterBrokerRecord {
	r := record.NewRegisterBrokerRecord()
	r.BrokerID = b.ID
	r.IncarnationID = b.IncarnationID
	r.BrokerEpoch = b.Epoch
	r.EndPoints = b.Endpoints
	r.Features = b.Features
	r.Rack = b.Rack
	r.Fenced = b.Fenced
	if version >= 1 {
		r.InControlledShutdown = b.InControlledShutdown
	}
	if version >= 2 {
		r.IsMigratingZkBroker = b.IsMigratingZkBroker
	}
	if version >= 3 {
		r.LogDirs = b.Directories
	}
	if version >= 4 {
		r.CordonedLogDirs = b.CordonedDirectories
	}
	return r
}

func (w *writer) controllers(im *Image) bool {
	if w.mv < MV37IV0 {
		return true
	}
	for c := range im.Controllers() {
		r := &record.RegisterControllerRecord{
			ControllerID:     c.ID,
			IncarnationID:    c.IncarnationID,
			ZkMigrationReady: c.ZkMigrationReady,
			EndPoints:        c.Endpoints,
			Features:         c.Features,
		}
		if !w.put(r, 0) {
			return false
		}
	}
	return true
}

func (w *writer) topics(im *Image) bool {
	version := w.mv.PartitionVersion()
	for t := range im.Topics() {
		if !w.put(&record.TopicRecord{Name: t.Name, TopicID: t.ID}, 0) {
			return false
		}
		for id, p := range t.Partitions() {
			if !w.put(p.record(t.ID, id, version), version) {
				return false
			}
		}
	}
	return true
}

// record is the partition as a record of a version.
func (p *Partition) record(topic kafka.TopicID, id kafka.PartitionID, version int16) *record.PartitionRecord {
	r := &record.PartitionRecord{
		PartitionID:         id,
		TopicID:             topic,
		Replicas:            p.Replicas,
		ISR:                 p.ISR,
		RemovingReplicas:    p.Removing,
		AddingReplicas:      p.Adding,
		Leader:              p.Leader,
		LeaderRecoveryState: int8(p.Recovery),
		LeaderEpoch:         p.LeaderEpoch,
		PartitionEpoch:      p.PartitionEpoch,
	}
	if version >= 1 {
		r.Directories = p.Directories
		if r.Directories == nil {
			r.Directories = make([]kafka.DirectoryID, len(p.Replicas)) // DirectoryMigrating each
		}
	}
	if version >= 2 {
		r.EligibleLeaderReplicas = p.ELR
		r.LastKnownELR = p.LastKnownELR
	}
	return r
}

func (w *writer) configs(im *Image) bool {
	for c := range im.Configs() {
		for _, key := range c.Keys() {
			value := c.values[key]
			r := &record.ConfigRecord{
				ResourceType: int8(c.Resource.Type),
				ResourceName: c.Resource.Name,
				Name:         key,
				Value:        &value,
			}
			if !w.put(r, 0) {
				return false
			}
		}
	}
	return true
}

func (w *writer) quotas(im *Image) bool {
	for q := range im.ClientQuotas() {
		entity := q.Entity.parts()
		for _, key := range q.Keys() {
			if !w.put(&record.ClientQuotaRecord{Entity: entity, Key: key, Value: q.values[key]}, 0) {
				return false
			}
		}
	}
	return true
}

// parts is the inverse of quotaEntity.
func (e QuotaEntity) parts() (parts []record.QuotaEntity) {
	add := func(kind string, n QuotaName) {
		switch {
		case n.Default:
			parts = append(parts, record.QuotaEntity{EntityType: kind})
		case n.Set:
			parts = append(parts, record.QuotaEntity{EntityType: kind, EntityName: &n.Name})
		}
	}
	add(quotaClientID, e.ClientID)
	add(quotaUser, e.User)
	add(quotaIP, e.IP)
	return parts
}

func (w *writer) producerIDs(im *Image) bool {
	if !im.hasClaimed {
		return true
	}
	r := record.NewProducerIDsRecord()
	r.BrokerID, r.BrokerEpoch, r.NextProducerID = -1, kafka.NoBrokerEpoch, im.producer.Next
	return w.put(r, 0)
}

func (w *writer) acls(im *Image) bool {
	for a := range im.ACLs() {
		r := &record.AccessControlEntryRecord{
			ID:             a.ID,
			ResourceType:   a.ResourceType,
			ResourceName:   a.ResourceName,
			PatternType:    a.PatternType,
			Principal:      a.Principal,
			Host:           a.Host,
			Operation:      a.Operation,
			PermissionType: a.PermissionType,
		}
		if !w.put(r, 0) {
			return false
		}
	}
	return true
}

func (w *writer) scram(im *Image) bool {
	if w.mv < MV35IV2 {
		return true
	}
	for c := range im.ScramCredentials() {
		r := &record.UserScramCredentialRecord{
			Name:       c.User,
			Mechanism:  int8(c.Mechanism),
			Salt:       c.Salt,
			StoredKey:  c.StoredKey,
			ServerKey:  c.ServerKey,
			Iterations: c.Iterations,
		}
		if !w.put(r, 0) {
			return false
		}
	}
	return true
}

func (w *writer) tokens(im *Image) bool {
	if w.mv < MV36IV2 {
		return true
	}
	for t := range im.DelegationTokens() {
		r := &record.DelegationTokenRecord{
			Owner:               t.Owner,
			Requester:           t.Requester,
			Renewers:            t.Renewers,
			IssueTimestamp:      t.IssueTimestamp,
			MaxTimestamp:        t.MaxTimestamp,
			ExpirationTimestamp: t.ExpirationTimestamp,
			TokenID:             t.TokenID,
		}
		if !w.put(r, 0) {
			return false
		}
	}
	return true
}
