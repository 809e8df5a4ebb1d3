package controller

import (
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// election is how a partition's leader may be chosen
// (PartitionChangeBuilder.Election).
type election int8

// The zero value is the online election: it keeps the leader if it may stay,
// else takes the first replica that is in the ISR (or, the ISR being empty, in
// the ELR) and may lead.
const (
	// electPreferred is the online election, but the first replica goes first.
	electPreferred election = iota + 1
	// electUnclean is the online election, but a partition without such a replica
	// gets any replica that may lead. What the others had acknowledged is lost.
	electUnclean
)

// leaderUnchanged is the leader of a change record that changes none. Every
// other value bumps the leader epoch, even that of the present leader.
const leaderUnchanged kafka.BrokerID = -2

// partitionChange turns a wished state of one partition into the record that
// leads there: it elects a leader, completes a reassignment, keeps the ELR and
// bumps the leader epoch where Kafka's brokers need it (Kafka's
// PartitionChangeBuilder, as of 4.3). Use newPartitionChange, change the wished
// fields, then call record once.
type partitionChange struct {
	old     *image.Partition
	topicID kafka.TopicID
	id      kafka.PartitionID
	rules   partitionRules

	// mayLead says whether a replica may be elected: its broker is active and
	// its directory online.
	mayLead func(kafka.BrokerID) bool
	// minISR is min.insync.replicas, at most the replication factor.
	minISR   int
	election election
	// cleanOnly forbids elections that may lose data, whatever election says.
	cleanOnly bool
	// uncleanShutdown is a broker that lost data and leaves the ELR as well, or
	// kafka.NoLeader.
	uncleanShutdown kafka.BrokerID

	// The wished state. The slices may be those of old and are not written to.
	isr, replicas, removing, adding, elr []kafka.BrokerID
	recovery                             image.RecoveryState
	// directories overrides the directories of some replicas; nil overrides none.
	directories map[kafka.BrokerID]kafka.DirectoryID
}

// partitionRules is what a cluster's features and brokers say about changes of
// partitions.
type partitionRules struct {
	mv          image.MetadataVersion
	elr         bool // eligible leader replicas are on (KIP-966)
	migratingZk bool // ZooKeeper-mode brokers may be in the cluster
	// defaultDirectory is the directory of a new replica.
	defaultDirectory func(kafka.BrokerID) kafka.DirectoryID
}

func rulesOf(img *image.Image) partitionRules {
	return partitionRules{
		mv:          img.MetadataVersion(),
		elr:         img.ELREnabled(),
		migratingZk: img.ZkMigrationState() == image.ZkMigration || img.ZkMigrationState() == image.ZkPreMigration,
		defaultDirectory: func(id kafka.BrokerID) kafka.DirectoryID {
			return defaultDirectory(img, id)
		},
	}
}

func newPartitionChange(topicID kafka.TopicID, id kafka.PartitionID, old *image.Partition, rules partitionRules) *partitionChange {
	return &partitionChange{
		old: old, topicID: topicID, id: id, rules: rules,
		uncleanShutdown: kafka.NoLeader,
		isr:             old.ISR, replicas: old.Replicas, removing: old.Removing, adding: old.Adding, elr: old.ELR,
		recovery: old.Recovery,
	}
}

// record returns the change, nil if there is nothing to change. The order of
// the steps is Kafka's: later ones look at what earlier ones wrote.
func (c *partitionChange) record() *record.PartitionChangeRecord {
	r := record.NewPartitionChangeRecord()
	r.TopicID, r.PartitionID = c.topicID, c.id
	c.completeReassignment()
	c.keepELR()
	c.elect(r)
	if r.Leader == leaderUnchanged && !containsAll(c.replicas, c.old.Replicas) {
		r.Leader = c.old.Leader // brokers that lost their replica must see a new epoch
	}
	c.writeELR(r)
	// Without ELR the last member stays in the ISR, so that it can be elected
	// when it comes back.
	if r.ISR == nil && (len(c.isr) > 0 || c.rules.elr) && !slices.Equal(c.isr, c.old.ISR) {
		r.ISR = nonNil(c.isr)
	}
	c.bumpForISRShrink(r)
	c.writeLastKnownLeader(r)
	c.writeAssignment(r)
	if c.recovery != c.old.Recovery {
		r.LeaderRecoveryState = int8(c.recovery)
	}
	if unchanged(r) {
		return nil
	}
	return r
}

// completeReassignment ends a reassignment whose every remaining replica is in
// the ISR (PartitionReassignmentReplicas.maybeCompleteReassignment).
func (c *partitionChange) completeReassignment() {
	if len(c.removing) == 0 && len(c.adding) == 0 {
		return
	}
	isr, replicas := without(c.isr, c.removing), without(c.replicas, c.removing)
	if len(c.removing) > 0 && (len(isr) == 0 || len(replicas) == 0) || !containsAll(isr, replicas) {
		return
	}
	c.isr, c.replicas, c.removing, c.adding = isr, replicas, nil, nil
}

// keepELR moves replicas that leave an ISR which is below min.insync.replicas
// into the ELR: they have everything that is committed.
func (c *partitionChange) keepELR() {
	if !c.rules.elr {
		return
	}
	if len(c.isr) >= c.minISR {
		c.elr = nil
		return
	}
	elr := make([]kafka.BrokerID, 0, len(c.elr)+len(c.old.ISR))
	for _, id := range slices.Concat(c.elr, c.old.ISR) {
		// Kafka would keep a replica that a finished reassignment removed: its log
		// is deleted, so it is not eligible for anything.
		if id != c.uncleanShutdown && slices.Contains(c.replicas, id) &&
			!slices.Contains(c.isr, id) && !slices.Contains(elr, id) {
			elr = append(elr, id)
		}
	}
	slices.Sort(elr)
	c.elr = elr
}

func (c *partitionChange) elect(r *record.PartitionChangeRecord) {
	leader, unclean := c.electLeader()
	if leader == c.old.Leader {
		return
	}
	r.Leader = leader
	if slices.Contains(c.elr, leader) {
		c.isr = []kafka.BrokerID{leader}
		c.elr = without(c.elr, c.isr)
		if len(c.isr) >= c.minISR && !planted.Is(planted.EligibleForEver) {
			// It may commit alone. Kafka clears the ELR when min.insync.replicas
			// becomes 1 and so never comes here; see clearELR.
			c.elr = nil
		}
	}
	if unclean {
		r.ISR = []kafka.BrokerID{leader}
		if c.old.Recovery != image.Recovering {
			r.LeaderRecoveryState = int8(image.Recovering)
		}
	}
}

// electLeader returns the leader to be, kafka.NoLeader if no replica may lead,
// and whether electing it may lose data.
func (c *partitionChange) electLeader() (leader kafka.BrokerID, unclean bool) {
	if c.election == electPreferred && len(c.replicas) > 0 && c.validLeader(c.replicas[0]) {
		return c.replicas[0], false
	}
	if c.validLeader(c.old.Leader) {
		return c.old.Leader, false
	}
	if i := slices.IndexFunc(c.replicas, c.validLeader); i >= 0 {
		return c.replicas[i], false
	}
	if c.cleanOnly {
		return kafka.NoLeader, false
	}
	if c.mayElectLastKnown() {
		return c.old.LastKnownELR[0], true
	}
	if c.election == electUnclean {
		if i := slices.IndexFunc(c.replicas, c.mayLead); i >= 0 {
			return c.replicas[i], true
		}
	}
	return kafka.NoLeader, false
}

func (c *partitionChange) validLeader(id kafka.BrokerID) bool {
	inSync := slices.Contains(c.isr, id) || len(c.isr) == 0 && slices.Contains(c.elr, id)
	return inSync && c.mayLead(id)
}

// mayElectLastKnown reports whether the last leader is all that is left: with
// ELR on, a partition without ISR and ELR goes back to it (KIP-966 "balanced
// recovery"), unless a reassignment has taken its replica away since.
func (c *partitionChange) mayElectLastKnown() bool {
	if !c.rules.elr || len(c.isr) > 0 || len(c.elr) > 0 || len(c.old.LastKnownELR) != 1 {
		return false
	}
	last := c.old.LastKnownELR[0]
	return slices.Contains(c.replicas, last) && c.mayLead(last)
}

func (c *partitionChange) writeELR(r *record.PartitionChangeRecord) {
	if r.ISR != nil || !c.rules.elr { // an unclean election, or ELR was switched off
		c.elr = nil
	}
	if !slices.Equal(c.elr, c.old.ELR) && c.rules.mv.PartitionVersion() >= 2 {
		r.EligibleLeaderReplicas = nonNil(c.elr)
	}
}

// bumpForISRShrink gives brokers before 3.6 the new leader epoch that their
// replica manager needs when the ISR shrinks (KAFKA-15021). ZooKeeper-mode
// brokers need it at any level.
func (c *partitionChange) bumpForISRShrink(r *record.PartitionChangeRecord) {
	if c.rules.mv >= image.MV36IV0 && !c.rules.migratingZk {
		return
	}
	if r.Leader == leaderUnchanged && r.ISR != nil && !containsAll(r.ISR, c.old.ISR) {
		r.Leader = c.old.Leader
	}
}

// writeLastKnownLeader remembers who led when a partition loses its leader, and
// forgets it when there is one again.
func (c *partitionChange) writeLastKnownLeader(r *record.PartitionChangeRecord) {
	if !c.rules.elr {
		return
	}
	switch {
	case r.Leader == kafka.NoLeader && len(c.old.LastKnownELR) == 0:
		r.LastKnownELR = []kafka.BrokerID{c.old.Leader}
	case r.Leader >= 0 && len(c.old.LastKnownELR) > 0:
		r.LastKnownELR = []kafka.BrokerID{}
	}
}

func (c *partitionChange) writeAssignment(r *record.PartitionChangeRecord) {
	moved := len(c.directories) > 0 || !slices.Equal(c.replicas, c.old.Replicas)
	if moved && c.rules.mv >= image.MV37IV2 && len(c.replicas) > 0 {
		if dirs := c.wishedDirectories(); !slices.Equal(dirs, currentDirectories(c.old)) {
			r.Directories = dirs
		}
	}
	if len(c.replicas) > 0 && !slices.Equal(c.replicas, c.old.Replicas) {
		r.Replicas = c.replicas
	}
	if !slices.Equal(c.removing, c.old.Removing) {
		r.RemovingReplicas = nonNil(c.removing)
	}
	if !slices.Equal(c.adding, c.old.Adding) {
		r.AddingReplicas = nonNil(c.adding)
	}
}

func (c *partitionChange) wishedDirectories() []kafka.DirectoryID {
	dirs := make([]kafka.DirectoryID, len(c.replicas))
	for i, id := range c.replicas {
		switch dir, given := c.directories[id]; {
		case given:
			dirs[i] = dir
		case slices.Contains(c.old.Replicas, id):
			dirs[i] = c.old.Directory(id)
		default:
			dirs[i] = c.rules.defaultDirectory(id)
		}
	}
	return dirs
}

// currentDirectories are a partition's directories, one for each replica.
func currentDirectories(p *image.Partition) []kafka.DirectoryID {
	if len(p.Directories) == len(p.Replicas) {
		return p.Directories
	}
	dirs := make([]kafka.DirectoryID, len(p.Replicas))
	for i, id := range p.Replicas {
		dirs[i] = p.Directory(id)
	}
	return dirs
}

// unchanged reports whether a record would change nothing but the partition
// epoch (PartitionChangeBuilder.changeRecordIsNoOp).
func unchanged(r *record.PartitionChangeRecord) bool {
	return r.ISR == nil && r.Leader == leaderUnchanged && r.Replicas == nil && r.RemovingReplicas == nil &&
		r.AddingReplicas == nil && r.LeaderRecoveryState == int8(image.RecoveryNoChange) &&
		r.EligibleLeaderReplicas == nil && r.LastKnownELR == nil && r.Directories == nil
}

// changed is the partition after a change record: what the fold will make of it
// (PartitionRegistration.merge). A decision that changes a partition twice
// needs it, and so does a response that tells the new state.
func changed(p *image.Partition, r *record.PartitionChangeRecord) *image.Partition {
	next := *p
	next.PartitionEpoch++
	next.ISR = orOld(r.ISR, p.ISR)
	next.Replicas = orOld(r.Replicas, p.Replicas)
	next.Removing = orOld(r.RemovingReplicas, p.Removing)
	next.Adding = orOld(r.AddingReplicas, p.Adding)
	next.ELR = orOld(r.EligibleLeaderReplicas, p.ELR)
	next.LastKnownELR = orOld(r.LastKnownELR, p.LastKnownELR)
	if r.Directories != nil {
		next.Directories = r.Directories
	}
	if r.Leader != leaderUnchanged {
		next.Leader = r.Leader
		next.LeaderEpoch++
	}
	if s := image.RecoveryState(r.LeaderRecoveryState); s != image.RecoveryNoChange {
		next.Recovery = s
	}
	return &next
}

// orOld reads a list of a change record, in which nil means "unchanged".
func orOld(ids, old []kafka.BrokerID) []kafka.BrokerID {
	if ids == nil {
		return old
	}
	return ids
}

func without(ids, removed []kafka.BrokerID) []kafka.BrokerID {
	return slices.DeleteFunc(slices.Clone(ids), func(id kafka.BrokerID) bool { return slices.Contains(removed, id) })
}

func containsAll(set, subset []kafka.BrokerID) bool {
	return !slices.ContainsFunc(subset, func(id kafka.BrokerID) bool { return !slices.Contains(set, id) })
}

// nonNil makes an empty list explicit: in a change record nil means "unchanged".
func nonNil(ids []kafka.BrokerID) []kafka.BrokerID {
	if ids == nil {
		return []kafka.BrokerID{}
	}
	return ids
}
