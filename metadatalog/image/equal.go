package image

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"kvorum/metadatalog/record"
)

// Equal reports whether two images hold the same state: what a snapshot holds
// of them. Not compared are the position, the offset at which a broker was
// registered, and the owner of the last block of producer ids, which a snapshot
// does not keep.
func (im *Image) Equal(other *Image) bool { return Diff(im, other).Empty() }

// Hash is a digest of the state in the sense of Equal: nodes whose images are
// at one offset have one hash. It is of use between nodes of one build; it
// takes time in the size of the image.
func (im *Image) Hash() [sha256.Size]byte {
	h := sha256.New()
	var buf []byte
	for m := range im.Records(MaxMetadataVersion) {
		if z, ok := m.Record.(*record.ZkMigrationStateRecord); ok && z.ZkMigrationState == 0 {
			continue // seen or not, it is NONE
		}
		var err error
		if buf, err = m.Append(buf[:0]); err != nil {
			panic(fmt.Sprintf("image: the state at offset %d holds what no record can: %v", im.at.Offset, err))
		}
		h.Write(buf)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func sameBroker(a, b *Broker) bool {
	return a.ID == b.ID && a.Epoch == b.Epoch && a.IncarnationID == b.IncarnationID &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint) && slices.EqualFunc(a.Features, b.Features, sameRange) &&
		sameName(a.Rack, b.Rack) && a.Fenced == b.Fenced && a.InControlledShutdown == b.InControlledShutdown &&
		a.IsMigratingZkBroker == b.IsMigratingZkBroker && slices.Equal(a.Directories, b.Directories) &&
		(a.CordonedDirectories == nil) == (b.CordonedDirectories == nil) &&
		slices.Equal(a.CordonedDirectories, b.CordonedDirectories)
}

func sameController(a, b *Controller) bool {
	return a.ID == b.ID && a.IncarnationID == b.IncarnationID && a.ZkMigrationReady == b.ZkMigrationReady &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, sameEndpoint) && slices.EqualFunc(a.Features, b.Features, sameRange)
}

func sameEndpoint(a, b Endpoint) bool {
	return a.Name == b.Name && a.Host == b.Host && a.Port == b.Port && a.SecurityProtocol == b.SecurityProtocol &&
		slices.EqualFunc(a.UnknownTags, b.UnknownTags, sameTag)
}

func sameRange(a, b FeatureRange) bool {
	return a.Name == b.Name && a.MinSupportedVersion == b.MinSupportedVersion && a.MaxSupportedVersion == b.MaxSupportedVersion &&
		slices.EqualFunc(a.UnknownTags, b.UnknownTags, sameTag)
}

func sameTag(a, b record.TaggedField) bool { return a.Tag == b.Tag && bytes.Equal(a.Data, b.Data) }

func sameName(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

func sameTopic(a, b *Topic) bool {
	return a.ID == b.ID && a.Name == b.Name && none(partitionChanges(a, b))
}

func samePartition(a, b *Partition) bool {
	return a.Leader == b.Leader && a.LeaderEpoch == b.LeaderEpoch && a.PartitionEpoch == b.PartitionEpoch &&
		a.Recovery == b.Recovery && slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.Directories, b.Directories) &&
		slices.Equal(a.ISR, b.ISR) && slices.Equal(a.ELR, b.ELR) && slices.Equal(a.LastKnownELR, b.LastKnownELR) &&
		slices.Equal(a.Adding, b.Adding) && slices.Equal(a.Removing, b.Removing)
}

func sameConfig(a, b *ResourceConfig) bool {
	return a.Resource == b.Resource && maps.Equal(a.values, b.values)
}

func sameQuota(a, b *ClientQuota) bool {
	return a.Entity == b.Entity && maps.Equal(a.values, b.values)
}

func sameValue[T comparable](a, b *T) bool { return *a == *b }

func sameScram(a, b *ScramCredential) bool {
	return a.User == b.User && a.Mechanism == b.Mechanism && a.Iterations == b.Iterations &&
		bytes.Equal(a.Salt, b.Salt) && bytes.Equal(a.StoredKey, b.StoredKey) && bytes.Equal(a.ServerKey, b.ServerKey)
}

func sameToken(a, b *DelegationToken) bool {
	return a.TokenID == b.TokenID && a.Owner == b.Owner && a.Requester == b.Requester &&
		slices.Equal(a.Renewers, b.Renewers) && a.IssueTimestamp == b.IssueTimestamp &&
		a.MaxTimestamp == b.MaxTimestamp && a.ExpirationTimestamp == b.ExpirationTimestamp
}
