package image

import "fmt"

// The names of Kafka's features (KIP-584).
const (
	FeatureMetadataVersion    = "metadata.version"
	FeatureKRaftVersion       = "kraft.version"
	FeatureGroupVersion       = "group.version"
	FeatureTransactionVersion = "transaction.version"
	FeatureELRVersion         = "eligible.leader.replicas.version"
	FeatureShareVersion       = "share.version"
	FeatureStreamsVersion     = "streams.version"
)

// MetadataVersion is a level of metadata.version (MetadataVersion.java). It
// decides at which version each record is written.
type MetadataVersion int16

// The levels that a rule depends on.
const (
	MV30IV1 MetadataVersion = 1
	MV32IV0 MetadataVersion = 3  // leader recovery state
	MV33IV0 MetadataVersion = 4  // FeatureLevelRecord of metadata.version
	MV33IV1 MetadataVersion = 5  // NoOpRecord
	MV33IV2 MetadataVersion = 6  // BrokerRegistrationChangeRecord
	MV33IV3 MetadataVersion = 7  // controlled shutdown; the least that 4.x accepts
	MV34IV0 MetadataVersion = 8  // ZooKeeper migration
	MV35IV2 MetadataVersion = 11 // SCRAM
	MV36IV0 MetadataVersion = 12 // no leader epoch bump on ISR shrink
	MV36IV1 MetadataVersion = 13 // metadata transactions
	MV36IV2 MetadataVersion = 14 // delegation tokens
	MV37IV0 MetadataVersion = 15 // controller registration
	MV37IV2 MetadataVersion = 17 // directory assignment (JBOD)
	MV39IV0 MetadataVersion = 21 // the newest that 3.9 knows
	MV40IV1 MetadataVersion = 23 // eligible leader replicas
	MV43IV0 MetadataVersion = 30 // cordoned directories; the newest that 4.3 knows
)

// MinMetadataVersion and MaxMetadataVersion bound what kvorum runs at.
const (
	MinMetadataVersion = MV33IV3
	MaxMetadataVersion = MV43IV0
)

var metadataVersionNames = [...]string{
	"", "3.0-IV1", "3.1-IV0", "3.2-IV0", "3.3-IV0", "3.3-IV1", "3.3-IV2", "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1",
	"3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1", "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0",
	"3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0",
}

// String is Kafka's name of the level, such as "3.9-IV0".
func (v MetadataVersion) String() string {
	if v > 0 && int(v) < len(metadataVersionNames) {
		return metadataVersionNames[v]
	}
	return fmt.Sprintf("metadata.version %d", int16(v))
}

// ParseMetadataVersion reads a name such as "3.9-IV0", or a release such as
// "3.9", which means the release's newest level.
func ParseMetadataVersion(name string) (MetadataVersion, error) {
	best := MetadataVersion(0)
	for level, known := range metadataVersionNames {
		if known == name {
			return MetadataVersion(level), nil
		}
		if len(known) > len(name) && known[:len(name)] == name && known[len(name)] == '-' {
			best = MetadataVersion(level)
		}
	}
	if best == 0 || name == "" {
		return 0, fmt.Errorf("metadata.version %q is unknown: use a release from 3.3 to 4.3 or a name such as %s", name, MV39IV0)
	}
	return best, nil
}

// Before reports whether v is an older level than other.
func (v MetadataVersion) Before(other MetadataVersion) bool { return v < other }

// RegisterBrokerVersion is the version of RegisterBrokerRecord at this level.
func (v MetadataVersion) RegisterBrokerVersion() int16 {
	switch {
	case v >= MV43IV0:
		return 4
	case v >= MV37IV2:
		return 3
	case v >= MV34IV0:
		return 2
	case v >= MV33IV3:
		return 1
	}
	return 0
}

// PartitionVersion is the version of PartitionRecord and PartitionChangeRecord
// at this level.
func (v MetadataVersion) PartitionVersion() int16 {
	switch {
	case v >= MV40IV1:
		return 2
	case v >= MV37IV2:
		return 1
	}
	return 0
}

// ELREnabled reports whether the image keeps eligible leader replicas
// (KIP-966): the feature is finalized and metadata.version can carry it.
func (im *Image) ELREnabled() bool {
	return im.FeatureLevel(FeatureELRVersion) > 0 && im.MetadataVersion() >= MV40IV1
}

// SupportedFeatures are the features that this binary's controller supports, by
// name: what it registers with, answers in ApiVersions, and lets UpdateFeatures
// finalize. They are those of Kafka 4.3; metadata.version begins where 4.x
// begins, because no older level is still run.
func SupportedFeatures() []FeatureRange {
	return []FeatureRange{
		{Name: FeatureELRVersion, MaxSupportedVersion: 1},
		{Name: FeatureGroupVersion, MaxSupportedVersion: 1},
		{Name: FeatureKRaftVersion, MaxSupportedVersion: 1},
		{
			Name:                FeatureMetadataVersion,
			MinSupportedVersion: int16(MinMetadataVersion),
			MaxSupportedVersion: int16(MaxMetadataVersion),
		},
		{Name: FeatureShareVersion, MaxSupportedVersion: 1},
		{Name: FeatureStreamsVersion, MaxSupportedVersion: 1},
		{Name: FeatureTransactionVersion, MaxSupportedVersion: 2},
	}
}
