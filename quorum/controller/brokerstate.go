package controller

import (
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// What the log says when a broker's state changes: the broker's own record, and
// the changes of its partitions, in the order that Kafka writes them. A broker
// that is fenced leaves its partitions first, so that a controller that dies in
// between fences it again; one that comes back is unfenced first, so that no
// record names a fenced leader.

// Values of BrokerRegistrationChangeRecord (BrokerRegistrationFencingChange,
// BrokerRegistrationInControlledShutdownChange) and the versions that bring its
// fields. The record is written at the lowest version that can say the change,
// whatever the metadata.version.
const (
	fence                int8 = 1
	unfence              int8 = -1
	inControlledShutdown int8 = 1

	changeFenced       int16 = 0
	changeShutdown     int16 = 1
	changeDirectories  int16 = 2
	changeCordonedDirs int16 = 3
)

// checkBrokerEpoch is STALE_BROKER_EPOCH unless the broker is registered at
// that epoch (ClusterControlManager.checkBrokerEpoch).
func checkBrokerEpoch(img *image.Image, id kafka.BrokerID, epoch kafka.BrokerEpoch) (*image.Broker, *errors.Error) {
	b := img.Broker(id)
	if b == nil {
		return nil, errors.New(errors.StaleBrokerEpoch, "No broker registration found for broker id %d", id)
	}
	if b.Epoch != epoch {
		return nil, errors.New(errors.StaleBrokerEpoch, "Expected broker epoch %d, but got broker epoch %d", b.Epoch, epoch)
	}
	return b, nil
}

func inISR(id kafka.BrokerID) func(*image.Partition) bool {
	return func(p *image.Partition) bool { return slices.Contains(p.ISR, id) }
}

func inELR(id kafka.BrokerID) func(*image.Partition) bool {
	return func(p *image.Partition) bool { return slices.Contains(p.ELR, id) }
}

func leaderless(p *image.Partition) bool { return p.Leader == kafka.NoLeader }

// fenceBroker takes a broker out of every ISR and fences it.
func (p *partitionPass) fenceBroker(b *image.Broker) {
	registration := func() {
		p.changeRegistration(b, changeFenced, func(r *record.BrokerRegistrationChangeRecord) { r.Fenced = fence })
	}
	if planted.Is(planted.RegistrationFirst) {
		registration()
		registration = func() {}
	}
	p.update(removing(b.ID), b.ID, inISR(b.ID))
	registration()
}

// unfenceBroker unfences a broker and lets it lead what has no leader.
func (p *partitionPass) unfenceBroker(b *image.Broker) {
	p.changeRegistration(b, changeFenced, func(r *record.BrokerRegistrationChangeRecord) { r.Fenced = unfence })
	p.update(adding(b.ID), kafka.NoLeader, leaderless)
}

// beginControlledShutdown marks a broker as leaving and moves its leaderships.
func (p *partitionPass) beginControlledShutdown(b *image.Broker) {
	p.changeRegistration(b, changeShutdown, func(r *record.BrokerRegistrationChangeRecord) {
		r.InControlledShutdown = inControlledShutdown
	})
	p.update(removing(b.ID), b.ID, inISR(b.ID))
}

// unregisterBroker removes a broker's registration.
func (p *partitionPass) unregisterBroker(b *image.Broker) {
	p.update(removing(b.ID), b.ID, func(part *image.Partition) bool { return inISR(b.ID)(part) || inELR(b.ID)(part) })
	p.records = append(p.records, message(&record.UnregisterBrokerRecord{BrokerID: b.ID, BrokerEpoch: b.Epoch}))
}

// restarted is a new incarnation of a broker. What the old one was in sync with
// need not be on its disks: without ELR it just leaves the ISRs, with ELR an
// unclean one also leaves the ELRs (handleBrokerShutdown).
func (p *partitionPass) restarted(id kafka.BrokerID, clean bool) {
	if p.rules.elr && !clean && !planted.Is(planted.UncleanStays) {
		p.update(uncleanShutdown(id), id, inISR(id))
		p.update(uncleanShutdown(id), id, inELR(id))
		return
	}
	p.update(removing(id), id, inISR(id))
}

// loseDirectories takes a broker out of the partitions in directories that went
// offline and removes those from its registration (handleDirectoriesOffline).
// A directory that is not registered, or was reported before, is ignored. That
// all are lost cannot be said in the log: the broker halts then.
func (p *partitionPass) loseDirectories(b *image.Broker, offline []kafka.DirectoryID) {
	lost := func(dir kafka.DirectoryID) bool { return slices.Contains(offline, dir) }
	if !slices.ContainsFunc(b.Directories, lost) {
		return
	}
	p.update(removing(b.ID), b.ID, func(part *image.Partition) bool {
		dir := part.Directory(b.ID)
		return lost(dir) && slices.Contains(b.Directories, dir)
	})
	remaining := slices.DeleteFunc(slices.Clone(b.Directories), lost)
	if len(remaining) == 0 {
		return // an empty list would read as "unchanged"
	}
	p.changeRegistration(b, changeDirectories, func(r *record.BrokerRegistrationChangeRecord) { r.LogDirs = remaining })
}

// cordonDirectories notes the directories that shall get no new replicas
// (KIP-1066, handleDirectoriesCordoned). nil means that the broker has not said
// anything yet.
func (p *partitionPass) cordonDirectories(b *image.Broker, cordoned []kafka.DirectoryID) {
	if cordoned == nil || b.CordonedDirectories != nil && sameSet(b.CordonedDirectories, cordoned) {
		return
	}
	p.changeRegistration(b, changeCordonedDirs, func(r *record.BrokerRegistrationChangeRecord) { r.CordonedLogDirs = cordoned })
}

func sameSet(a, b []kafka.DirectoryID) bool {
	in := func(set []kafka.DirectoryID) func(kafka.DirectoryID) bool {
		return func(dir kafka.DirectoryID) bool { return !slices.Contains(set, dir) }
	}
	return !slices.ContainsFunc(a, in(b)) && !slices.ContainsFunc(b, in(a))
}

func (p *partitionPass) changeRegistration(b *image.Broker, version int16, set func(*record.BrokerRegistrationChangeRecord)) {
	r := &record.BrokerRegistrationChangeRecord{BrokerID: b.ID, BrokerEpoch: b.Epoch}
	set(r)
	p.records = append(p.records, record.Message{Record: r, Version: version})
}

// leads reports whether a broker leads any partition.
func leads(img *image.Image, id kafka.BrokerID) bool {
	for _, part := range partitionsOf(img, id) {
		if part.Leader == id {
			return true
		}
	}
	return false
}
