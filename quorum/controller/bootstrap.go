package controller

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
)

// BootstrapRecords are the records that a cluster is formatted with, in the
// order in which Kafka's format tool puts them into bootstrap.checkpoint:
// metadata.version, the other features by name, then credentials. features
// holds levels above 0 and neither metadata.version nor kraft.version.
func BootstrapRecords(level image.MetadataVersion, features map[string]int16, credentials []*record.UserScramCredentialRecord) []record.Message {
	feature := func(name string, level int16) record.Message {
		return message(&record.FeatureLevelRecord{Name: name, FeatureLevel: level})
	}
	out := []record.Message{feature(image.FeatureMetadataVersion, int16(level))}
	for _, name := range slices.Sorted(maps.Keys(features)) {
		out = append(out, feature(name, features[name]))
	}
	for _, c := range credentials {
		out = append(out, message(c))
	}
	return out
}

// NewBootstrap checks what a cluster is to be formatted with and returns its
// BootstrapRecords. features are levels of other features than metadata.version;
// those that are not named get the default of a new cluster at this level.
func NewBootstrap(level image.MetadataVersion, features map[string]int16, credentials []*record.UserScramCredentialRecord) ([]record.Message, error) {
	if level < image.MinMetadataVersion || level > image.MaxMetadataVersion {
		return nil, fmt.Errorf("metadata.version %s is not between %s and %s", level, image.MinMetadataVersion, image.MaxMetadataVersion)
	}
	levels := DefaultFeatures(level)
	for _, name := range slices.Sorted(maps.Keys(features)) {
		wanted := features[name]
		i := slices.IndexFunc(image.SupportedFeatures(), func(r image.FeatureRange) bool { return r.Name == name })
		switch {
		case i < 0 || name == image.FeatureMetadataVersion:
			return nil, fmt.Errorf("feature %q is unknown", name)
		case name == image.FeatureKRaftVersion && wanted != 1:
			return nil, fmt.Errorf("%s %d cannot be chosen: kvorum's controllers run at 1", name, wanted)
		case wanted < 0 || wanted > image.SupportedFeatures()[i].MaxSupportedVersion:
			return nil, fmt.Errorf("%s %d is not between 0 and %d", name, wanted, image.SupportedFeatures()[i].MaxSupportedVersion)
		case name == image.FeatureKRaftVersion:
		case wanted == 0:
			delete(levels, name)
		default:
			levels[name] = wanted
		}
	}
	if len(credentials) > 0 && level < image.MV35IV2 {
		return nil, fmt.Errorf("SCRAM credentials need metadata.version %s or newer, not %s", image.MV35IV2, level)
	}
	return BootstrapRecords(level, levels, credentials), nil
}

// The texts of the records around transactions, as Kafka has them.
const (
	bootstrapTransaction = "Bootstrap records"
	failoverReason       = "Controller failover"
)

// Activate decides what a controller appends when it becomes active, before
// anything else (ActivationRecordsGenerator). On a log without a
// metadata.version these are the bootstrap records, in a metadata transaction
// where the level allows it. On any other log it is nothing, unless the
// previous controller died within a metadata transaction (openTransaction):
// that is aborted, and brokers have not seen any of it. The records that begin,
// end and abort a transaction are for whoever reads the log: they are appended,
// but not folded into an image.
//
// The state of a migration from ZooKeeper follows the controller's own key, by the
// rules of migrationAtActivation. note is for the log of the controller.
//
// An error means that the log and its metadata.version contradict each other,
// or that the bootstrap records are unusable: such a controller cannot be
// active.
func Activate(in Input, bootstrap []record.Message, openTransaction bool) (d Decision, note string, err error) {
	level := in.Image.MetadataVersion()
	fresh := level == 0
	if fresh {
		var err error
		if level, err = bootstrapLevel(bootstrap); err != nil {
			return Decision{}, "", err
		}
		if in.Settings.ZooKeeperMigration {
			if err := CheckMigrationVersion(level); err != nil {
				return Decision{}, "", err
			}
		}
	}
	transactions := level >= image.MV36IV1
	if openTransaction && !transactions {
		return Decision{}, "", fmt.Errorf("a metadata transaction is open at offset %d, but %s has no transactions: the log is not one that Kafka or kvorum wrote",
			in.NextOffset, level)
	}
	var out []record.Message
	if openTransaction {
		reason := failoverReason
		out = append(out, message(&record.AbortTransactionRecord{Reason: &reason}))
	}
	if !fresh {
		state, note, err := migrationAtActivation(in)
		return Decision{Records: append(out, state...), Atomic: true}, note, err
	}
	if transactions {
		name := bootstrapTransaction
		out = append(out, message(&record.BeginTransactionRecord{Name: &name}))
	}
	out = append(out, bootstrap...)
	out = append(out, bootstrapExtras(in, level, bootstrap)...)
	if transactions {
		out = append(out, message(&record.EndTransactionRecord{}))
	}
	return Decision{Records: out, Atomic: !transactions}, "", nil
}

// bootstrapLevel is the metadata.version that bootstrap records set.
func bootstrapLevel(bootstrap []record.Message) (image.MetadataVersion, error) {
	level := image.MetadataVersion(bootstrapFeature(bootstrap, image.FeatureMetadataVersion))
	switch {
	case level == 0:
		return 0, fmt.Errorf("the %d bootstrap records set no metadata.version: format the metadata directory again", len(bootstrap))
	case level < image.MinMetadataVersion || level > image.MaxMetadataVersion:
		return 0, fmt.Errorf("the bootstrap records set %s, but this controller runs at %s to %s: format with another release version, or run another kvorum",
			level, image.MinMetadataVersion, image.MaxMetadataVersion)
	}
	return level, nil
}

func bootstrapFeature(bootstrap []record.Message, name string) int16 {
	for _, m := range bootstrap {
		if f, ok := m.Record.(*record.FeatureLevelRecord); ok && f.Name == name {
			return f.FeatureLevel
		}
	}
	return 0
}

// bootstrapExtras are what the controller adds to the bootstrap records: with
// 3.x, whether this cluster is to come from ZooKeeper; with eligible leader
// replicas, the cluster-wide min.insync.replicas that they are defined by.
func bootstrapExtras(in Input, level image.MetadataVersion, bootstrap []record.Message) []record.Message {
	var out []record.Message
	if level >= image.MV36IV1 && level <= image.MV39IV0 {
		state := image.ZkNone
		if in.Settings.ZooKeeperMigration {
			state = image.ZkPreMigration
		}
		out = append(out, message(&record.ZkMigrationStateRecord{ZkMigrationState: state}))
	}
	if bootstrapFeature(bootstrap, image.FeatureELRVersion) > 0 {
		value := "1"
		if n, err := strconv.Atoi(strings.TrimSpace(in.Settings.Static["min.insync.replicas"])); err == nil {
			value = strconv.Itoa(n)
		}
		out = append(out, message(&record.ConfigRecord{ResourceType: int8(image.ResourceBroker), Name: "min.insync.replicas", Value: &value}))
	}
	return out
}
