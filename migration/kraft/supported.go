package kraft

import (
	"errors"
	"fmt"

	"kvorum/metadatalog/image"
)

// Supported reports why kvorum's controllers cannot go on with this metadata, nil if
// they can.
func Supported(im *image.Image) error {
	mv := im.MetadataVersion()
	if mv < image.MinMetadataVersion || mv > image.MaxMetadataVersion {
		return fmt.Errorf("the cluster's metadata.version is %s, and kvorum runs at %s to %s: set one of those with Apache's kafka-features before the import",
			mv, image.MinMetadataVersion, image.MaxMetadataVersion)
	}
	if s := im.ZkMigrationState(); s == image.ZkPreMigration || s == image.ZkMigration {
		return errors.New("the cluster is in the middle of a migration from ZooKeeper: finish that before the import")
	}
	for _, f := range image.SupportedFeatures() {
		if level := im.FeatureLevel(f.Name); level > f.MaxSupportedVersion {
			return fmt.Errorf("the cluster's %s is %d, and kvorum knows levels up to %d: use a newer kvorum", f.Name, level, f.MaxSupportedVersion)
		}
	}
	return nil
}
