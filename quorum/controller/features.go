package controller

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/config"
	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// upgradeType is how a feature may change (FeatureUpdate.UpgradeType).
type upgradeType int8

const (
	upgradeOnly     upgradeType = 1
	safeDowngrade   upgradeType = 2
	unsafeDowngrade upgradeType = 3
)

// featureNeeds are the levels that a feature needs of others, beside the least
// metadata.version (FeatureVersion.dependencies). A feature that is not here
// is none that can be finalized.
var featureNeeds = map[string]map[string]int16{
	image.FeatureGroupVersion:       nil,
	image.FeatureTransactionVersion: nil,
	image.FeatureELRVersion:         {image.FeatureMetadataVersion: int16(image.MV40IV1)},
	image.FeatureShareVersion:       nil,
	image.FeatureStreamsVersion:     nil,
}

// UpdateFeatures decides UpdateFeatures (key 57, versions 0 to 2): all of a
// request's updates or none (FeatureControlManager, KIP-584, KIP-778).
func UpdateFeatures(in Input, req *kmsg.UpdateFeaturesRequest) (Decision, *kmsg.UpdateFeaturesResponse) {
	res := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	if err := in.Caller.mayCluster(opAlter); err != nil {
		res.ErrorCode, res.ErrorMessage = report(err)
		return Decision{}, res
	}
	records, err := featureUpdates(in, req)
	if err != nil {
		err.Message = "The update failed for all features since the following feature had an error: " + err.Message
		res.ErrorCode, res.ErrorMessage = report(err)
		return Decision{}, res
	}
	if req.Version <= 1 { // later versions answer for all at once
		for _, u := range req.FeatureUpdates {
			r := kmsg.NewUpdateFeaturesResponseResult()
			r.Feature = u.Feature
			res.Results = append(res.Results, r)
		}
	}
	if req.ValidateOnly {
		return Decision{}, res
	}
	return Decision{Records: records, Atomic: true}, res
}

// featureUpdates are the records of all updates of a request.
func featureUpdates(in Input, req *kmsg.UpdateFeaturesRequest) ([]record.Message, *errors.Error) {
	proposed := in.Image.Features()
	for _, u := range req.FeatureUpdates {
		proposed[u.Feature] = u.MaxVersionLevel
	}
	var records []record.Message
	if proposed[image.FeatureELRVersion] > 0 && updates(req, image.FeatureELRVersion) {
		records = elrSafety(in)
	}
	for _, u := range req.FeatureUpdates {
		kind := upgradeType(u.UpgradeType)
		if req.Version == 0 { // KIP-778 reads version 0 so
			kind = upgradeOnly
			if u.AllowDowngrade {
				kind = safeDowngrade
			}
		}
		r, err := featureUpdate(in, u.Feature, u.MaxVersionLevel, kind, proposed)
		if err != nil {
			return nil, err
		}
		if r != nil {
			records = append(records, message(r))
		}
	}
	return records, nil
}

func updates(req *kmsg.UpdateFeaturesRequest, feature string) bool {
	return slices.ContainsFunc(req.FeatureUpdates, func(u kmsg.UpdateFeaturesRequestFeatureUpdate) bool {
		return u.Feature == feature
	})
}

func featureRefused(feature string, level int16, why string) *errors.Error {
	return errors.New(errors.InvalidUpdateVersion, "Invalid update version %d for feature %s. %s", level, feature, why)
}

// featureUpdate decides one update; nil without an error means that nothing is
// to be written.
func featureUpdate(in Input, feature string, level int16, kind upgradeType, proposed map[string]int16) (record.Record, *errors.Error) {
	current := in.Image.FeatureLevel(feature)
	if feature == image.FeatureKRaftVersion {
		current = in.KRaftVersion // not in the image
	}
	if why := refuseChange(in, feature, level, current, kind); why != "" {
		return nil, featureRefused(feature, level, why)
	}
	switch feature {
	case image.FeatureMetadataVersion:
		if err := checkMetadataVersion(in.Image, image.MetadataVersion(level), kind); err != nil {
			return nil, err
		}
	case image.FeatureKRaftVersion:
		return kraftUpdate(level, current, kind)
	default:
		if why := refuseNeeds(feature, level, proposed); why != "" {
			return nil, featureRefused(feature, level, why)
		}
	}
	return &record.FeatureLevelRecord{Name: feature, FeatureLevel: level}, nil
}

// refuseChange says why a level is out of the question, "" if it is not.
func refuseChange(in Input, feature string, level, current int16, kind upgradeType) string {
	if kind < upgradeOnly || kind > unsafeDowngrade {
		return "The controller does not support the given upgrade type."
	}
	if level < 0 {
		return "A feature version cannot be less than 0."
	}
	if why := unsupportedBy(in, feature, level); why != "" {
		return why
	}
	switch {
	case level < current && kind == upgradeOnly:
		return "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
	case level > current && kind != upgradeOnly:
		return "Can't downgrade to a newer version."
	}
	return ""
}

// unsupportedBy names the first node that does not support a level: this
// controller, a registered broker, or another controller, all of which must
// have registered once metadata.version lets them (KIP-919).
func unsupportedBy(in Input, feature string, level int16) string {
	if why := outside(level, "Local controller "+strconv.Itoa(int(in.Settings.NodeID)), in.Settings.ControllerFeatures, feature); why != "" {
		return why
	}
	for b := range in.Image.Brokers() {
		if why := outside(level, "Broker "+strconv.Itoa(int(b.ID)), b.Features, feature); why != "" {
			return why
		}
	}
	if in.Image.MetadataVersion().Before(image.MV37IV0) {
		return ""
	}
	found := map[kafka.NodeID]bool{in.Settings.NodeID: true}
	for c := range in.Image.Controllers() {
		if c.ID == in.Settings.NodeID {
			continue
		}
		if why := outside(level, "Controller "+strconv.Itoa(int(c.ID)), c.Features, feature); why != "" {
			return why
		}
		found[c.ID] = true
	}
	for _, id := range in.Settings.VoterIDs {
		if !found[id] {
			return fmt.Sprintf("controller %d has not registered, and may not support this feature", id)
		}
	}
	return ""
}

// outside says that a node does not support a level. Level 0 of a feature that
// a node does not know is supported: it means that it is off.
func outside(level int16, who string, features []image.FeatureRange, name string) string {
	var r image.FeatureRange
	for _, f := range features {
		if f.Name == name {
			r = f
		}
	}
	switch {
	case r.MinSupportedVersion <= level && level <= r.MaxSupportedVersion:
		return ""
	case r.MaxSupportedVersion == 0:
		return who + " does not support this feature."
	}
	return who + " only supports versions " + rangeText(r)
}

func rangeText(r image.FeatureRange) string {
	switch {
	case r.MinSupportedVersion == r.MaxSupportedVersion:
		return strconv.Itoa(int(r.MinSupportedVersion))
	case r.MaxSupportedVersion == math.MaxInt16:
		return strconv.Itoa(int(r.MinSupportedVersion)) + "+"
	}
	return fmt.Sprintf("%d-%d", r.MinSupportedVersion, r.MaxSupportedVersion)
}

// lossyLevels are the levels of metadata.version that changed what records
// hold: going below one of them would lose metadata
// (MetadataVersion.checkIfMetadataChanged).
var lossyLevels = [...]image.MetadataVersion{1, 3, 5, 6, 7, 8, 11, 13, 14, 15, 17, 23, 30}

// checkMetadataVersion holds what is special about metadata.version. Apache
// never got around to unsafe downgrades.
func checkMetadataVersion(im *image.Image, level image.MetadataVersion, kind upgradeType) *errors.Error {
	current := im.MetadataVersion()
	if zk := im.ZkMigrationState(); zk == image.ZkMigration || zk == image.ZkPreMigration {
		return errors.New(errors.InvalidUpdateVersion,
			"Invalid metadata.version %d. Unable to modify metadata.version while a ZK migration is in progress.", level)
	}
	if level < image.MinMetadataVersion || level > image.MaxMetadataVersion {
		return errors.New(errors.InvalidUpdateVersion, "Invalid metadata.version %d. Valid versions are from %d to %d.",
			level, image.MinMetadataVersion, image.MaxMetadataVersion)
	}
	lossy := slices.ContainsFunc(lossyLevels[:], func(v image.MetadataVersion) bool { return level < v && v <= current })
	switch {
	case !lossy:
		return nil
	case kind == unsafeDowngrade:
		return errors.New(errors.InvalidUpdateVersion, "Unsupported metadata.version downgrade from %d to %d. "+
			"Unsafe metadata downgrade is not supported in this version.", current, level)
	}
	return errors.New(errors.InvalidUpdateVersion, "Unsupported metadata.version downgrade from %d to %d. "+
		"Refusing to perform the requested downgrade because it might delete metadata information.", current, level)
}

// kraftUpdate: the quorum's own version is fixed for its life at what it was
// formatted with; asking for that again is no error. Apache writes a NoOp then.
func kraftUpdate(level, current int16, kind upgradeType) (record.Record, *errors.Error) {
	switch {
	case level < current:
		return nil, featureRefused(image.FeatureKRaftVersion, level, "Can't downgrade the version of this feature.")
	case level > current:
		return nil, featureRefused(image.FeatureKRaftVersion, level,
			"The quorum was formatted with version "+strconv.Itoa(int(current))+" and keeps it.")
	case kind == upgradeOnly:
		return &record.NoOpRecord{}, nil
	}
	return nil, nil
}

// refuseNeeds says what a feature's level lacks (Feature.validateVersion).
func refuseNeeds(feature string, level int16, proposed map[string]int16) string {
	needs, ok := featureNeeds[feature]
	if !ok {
		return "Feature " + feature + " not found."
	}
	if level >= 1 && proposed[image.FeatureMetadataVersion] < int16(image.MinMetadataVersion) {
		return fmt.Sprintf("%s could not be set to %d because it depends on metadata.version=%d (%s)",
			feature, level, image.MinMetadataVersion, image.MinMetadataVersion)
	}
	for _, other := range sortedKeys(needs) {
		if level >= 1 && proposed[other] < needs[other] {
			return fmt.Sprintf("%s could not be set to %d because it depends on %s level %d", feature, level, other, needs[other])
		}
	}
	return ""
}

// elrSafety are the configs that eligible leader replicas need before they are
// switched on: one min.insync.replicas for the cluster, which can be seen in
// the log, and none of a single broker (KIP-966).
func elrSafety(in Input) []record.Message {
	var records []record.Message
	cluster := image.Resource{Type: image.ResourceBroker}
	if _, ok := in.Image.ConfigValue(cluster, minISRKey); !ok {
		static := config.Layers{Static: in.Settings.Static}
		value, _ := static.Topic(nil, minISRKey)
		text := value.String()
		records = append(records, configRecord(cluster, minISRKey, &text))
	}
	for c := range in.Image.Configs() {
		if c.Resource.Type != image.ResourceBroker || c.Resource.Name == "" {
			continue
		}
		if _, ok := c.Get(minISRKey); ok {
			records = append(records, configRecord(c.Resource, minISRKey, nil))
		}
	}
	return records
}
