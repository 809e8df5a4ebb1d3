package controller

import "kvorum/metadatalog/image"

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
