package controller

import "kvorum/metadatalog/image"

// SupportedFeatures are the features that this binary's controller supports, by
// name: what it registers with, answers in ApiVersions, and lets UpdateFeatures
// finalize. They are those of Kafka 4.3; metadata.version begins where 4.x
// begins, because no older level is still run.
func SupportedFeatures() []image.FeatureRange {
	return []image.FeatureRange{
		{Name: image.FeatureELRVersion, MaxSupportedVersion: 1},
		{Name: image.FeatureGroupVersion, MaxSupportedVersion: 1},
		{Name: image.FeatureKRaftVersion, MaxSupportedVersion: 1},
		{
			Name:                image.FeatureMetadataVersion,
			MinSupportedVersion: int16(image.MinMetadataVersion),
			MaxSupportedVersion: int16(image.MaxMetadataVersion),
		},
		{Name: image.FeatureShareVersion, MaxSupportedVersion: 1},
		{Name: image.FeatureStreamsVersion, MaxSupportedVersion: 1},
		{Name: image.FeatureTransactionVersion, MaxSupportedVersion: 2},
	}
}

// featureDefaults is the metadata.version from which a new cluster gets a level
// of a feature (the bootstrap metadata versions of Kafka's Feature enums).
var featureDefaults = []struct {
	name  string
	level int16
	from  image.MetadataVersion
}{
	{image.FeatureELRVersion, 1, 26},
	{image.FeatureGroupVersion, 1, 22},
	{image.FeatureShareVersion, 1, 28},
	{image.FeatureStreamsVersion, 1, 29},
	{image.FeatureTransactionVersion, 2, 24},
}

// DefaultFeatures are the levels, other than metadata.version, that a new
// cluster is formatted with at a metadata.version. kraft.version is none of
// them: it is in a control record.
func DefaultFeatures(level image.MetadataVersion) map[string]int16 {
	out := map[string]int16{}
	for _, f := range featureDefaults {
		if level >= f.from {
			out[f.name] = f.level
		}
	}
	return out
}
