package controller

import (
	"slices"

	"kvorum/internal/kafka"
	"kvorum/internal/planted"
	"kvorum/metadatalog/image"
)

// Brokers that are proven dead (docs/design/0004-fencing-on-proof-of-death.md)
// are fenced before their session expires. The proof can be false, if something
// between the controller and the broker closes connections in the broker's
// name. So that it never costs data, no election that may lose any is held for
// a partition of such a broker until its session would have expired: what a
// false proof costs is then a move of leaders and back.

// FenceDead fences a broker whose process is proven to be gone, if it is still
// registered at that epoch and not fenced; ok says so. The records are those of
// an expired session in the same order: the partitions first, the registration
// last, so that a controller that dies in between leaves a broker whose session
// its successor lets expire. Only clean elections are held. Not atomic.
//
// The loop calls Sessions.PresumeDead once the decision stands.
func FenceDead(in Input, id kafka.BrokerID, epoch kafka.BrokerEpoch) (d Decision, ok bool) {
	b := in.Image.Broker(id)
	if b == nil || b.Epoch != epoch || b.Fenced {
		return Decision{}, false
	}
	pass := newPartitionPass(in)
	pass.once, pass.dead = true, id
	pass.fenceBroker(b)
	return Decision{Records: pass.records}, true
}

// ElectHeldBack holds the elections that were held back for a broker whose
// session has now expired, or with kafka.NoLeader those of every partition without
// a leader: at most maxElections; more says that there may be others. Call it with
// what Sessions.NoLongerPresumed has named. Not atomic.
func ElectHeldBack(in Input, id kafka.BrokerID) (d Decision, more bool) {
	pass := newPartitionPass(in)
	for ref, part := range partitionsOf(in.Image, id) {
		if !leaderless(part) {
			continue
		}
		if len(pass.records) >= maxElections {
			return Decision{Records: pass.records}, true
		}
		pass.updateOne(isrUpdate{kafka.NoLeader, kafka.NoLeader, kafka.NoLeader}, ref, part)
	}
	return Decision{Records: pass.records}, false
}

// replacesAtOnce reports whether a registration may take the place of an
// incarnation whose session has not expired: it names the same directories, so
// that it holds the locks that the old process held, and the old process let go
// of its heartbeat connection, or never had one to this controller.
func replacesAtOnce(in Input, existing *image.Broker, dirs []kafka.DirectoryID) bool {
	same := len(dirs) > 0 && len(dirs) == len(existing.Directories) && sameSet(existing.Directories, dirs)
	return in.Settings.FenceOnDeath && (same || planted.Is(planted.StrangerReplaces)) &&
		(quiet(in, existing) || planted.Is(planted.ReplaceBeforeHangUp))
}

func quiet(in Input, b *image.Broker) bool {
	return in.Sessions.Quiet(b.ID, b.Epoch, in.NowMs, in.Settings.SessionTimeoutMs)
}

// heldBack reports whether only clean elections may be held for a partition.
func (p *partitionPass) heldBack(part *image.Partition) bool {
	return !planted.Is(planted.UncleanAtOnce) && slices.ContainsFunc(part.Replicas, func(id kafka.BrokerID) bool {
		return id == p.dead || p.presumed != nil && p.presumed(id)
	})
}
