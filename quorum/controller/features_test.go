package controller

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// withFeature is a broker's support for one more feature.
func withFeature(name string, low, high int16) func(*record.RegisterBrokerRecord) {
	return func(r *record.RegisterBrokerRecord) {
		if name == image.FeatureMetadataVersion {
			r.Features = nil
		}
		r.Features = append(r.Features, record.FeatureRange{Name: name, MinSupportedVersion: low, MaxSupportedVersion: high})
	}
}

func controllerRecord(id kafka.NodeID, features ...record.FeatureRange) record.Message {
	return message(&record.RegisterControllerRecord{ControllerID: id, IncarnationID: kafka.UUID{1: byte(id)}, Features: features})
}

// all knows every feature at every level.
func all(r *record.RegisterBrokerRecord) { r.Features = image.SupportedFeatures() }

func TestUpdateFeatures(t *testing.T) {
	const mv, kraft, elr, group = image.FeatureMetadataVersion, image.FeatureKRaftVersion, image.FeatureELRVersion, image.FeatureGroupVersion
	broker39 := aBroker(7, withFeature(mv, 1, 21))
	for _, tc := range []struct {
		name    string
		level   image.MetadataVersion
		broker  *record.RegisterBrokerRecord
		feature string
		to      int16
		kind    upgradeType
		text    string // after the words that all refusals begin with
	}{
		{"up", 21, aBroker(1, all), mv, 30, upgradeOnly, ""},
		{"same", 21, aBroker(1, all), mv, 21, upgradeOnly, ""},
		{"down without loss", 29, aBroker(1, all), mv, 24, safeDowngrade, ""},
		{"up too far", 21, aBroker(1, all), mv, 31, upgradeOnly, "Invalid update version 31 for feature metadata.version. Local controller 1 only supports versions 7-30"},
		{"down too far", 8, aBroker(1, all), mv, 6, safeDowngrade, "Invalid update version 6 for feature metadata.version. Local controller 1 only supports versions 7-30"},
		{"an old broker", 21, broker39, mv, 22, upgradeOnly, "Invalid update version 22 for feature metadata.version. Broker 7 only supports versions 1-21"},
		{"a broker without it", 25, aBroker(2), group, 1, upgradeOnly, "Invalid update version 1 for feature group.version. Broker 2 does not support this feature."},
		{"down by upgrade", 25, aBroker(1, all), mv, 24, upgradeOnly, "Invalid update version 24 for feature metadata.version. Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."},
		{"up by downgrade", 25, aBroker(1, all), mv, 26, safeDowngrade, "Invalid update version 26 for feature metadata.version. Can't downgrade to a newer version."},
		{"down with loss", 25, aBroker(1, all), mv, 22, safeDowngrade, "Unsupported metadata.version downgrade from 25 to 22. Refusing to perform the requested downgrade because it might delete metadata information."},
		{"down with loss, unsafe", 25, aBroker(1, all), mv, 22, unsafeDowngrade, "Unsupported metadata.version downgrade from 25 to 22. Unsafe metadata downgrade is not supported in this version."},
		{"no such way", 25, aBroker(1, all), mv, 25, 0, "Invalid update version 25 for feature metadata.version. The controller does not support the given upgrade type."},
		{"no such way either", 25, aBroker(1, all), mv, 25, 4, "Invalid update version 25 for feature metadata.version. The controller does not support the given upgrade type."},
		{"negative", 25, aBroker(1, all), group, -1, safeDowngrade, "Invalid update version -1 for feature group.version. A feature version cannot be less than 0."},
		{"unknown", 25, aBroker(1, all), "x", 1, upgradeOnly, "Invalid update version 1 for feature x. Local controller 1 does not support this feature."},
		{"unknown off", 25, aBroker(1, all), "x", 0, upgradeOnly, "Invalid update version 0 for feature x. Feature x not found."},
		{"group", 25, aBroker(1, all), group, 1, upgradeOnly, ""},
		{"elr too early", 22, aBroker(1, all), elr, 1, upgradeOnly, "Invalid update version 1 for feature eligible.leader.replicas.version. eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version level 23"},
		{"elr", 23, aBroker(1, all), elr, 1, upgradeOnly, ""},
		{"kraft.version again", 25, aBroker(1, all), kraft, 1, upgradeOnly, ""},
		{"kraft.version again, oddly", 25, aBroker(1, all), kraft, 1, safeDowngrade, ""},
		{"kraft.version down", 25, aBroker(1, all), kraft, 0, safeDowngrade, "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature."},
		{"kraft.version down by upgrade", 25, aBroker(1, all), kraft, 0, upgradeOnly, "Invalid update version 0 for feature kraft.version. Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."},
		{"kraft.version 2", 25, aBroker(1, all), kraft, 2, upgradeOnly, "Invalid update version 2 for feature kraft.version. Local controller 1 only supports versions 0-1"},
	} {
		c := newCluster(t, tc.level, tc.broker)
		d, res := UpdateFeatures(c.in, featureRequest(tc.feature, tc.to, tc.kind))
		if tc.text == "" {
			wantError(t, tc.name, res.ErrorCode, res.ErrorMessage, errors.None, "")
			c.fold(d.Records...)
			if tc.feature != kraft && c.im.FeatureLevel(tc.feature) != tc.to {
				t.Errorf("%s: the level is %d", tc.name, c.im.FeatureLevel(tc.feature))
			}
			continue
		}
		wantError(t, tc.name, res.ErrorCode, res.ErrorMessage, errors.InvalidUpdateVersion,
			"The update failed for all features since the following feature had an error: "+tc.text)
		if len(d.Records) > 0 {
			t.Errorf("%s: %d records", tc.name, len(d.Records))
		}
	}
}

// From 3.7-IV0 on controllers register; then all voters must have done so.
func TestUpdateFeaturesAsksTheControllers(t *testing.T) {
	supported := image.SupportedFeatures()
	old := []record.FeatureRange{{Name: image.FeatureMetadataVersion, MinSupportedVersion: 1, MaxSupportedVersion: 21}}
	const refusal = "The update failed for all features since the following feature had an error: Invalid update version 24 for feature metadata.version. "
	for _, tc := range []struct {
		name     string
		level    image.MetadataVersion
		register []record.Message
		text     string
	}{
		{"before there are registrations", 14, nil, ""},
		{"nobody registered", 21, nil, refusal + "controller 2 has not registered, and may not support this feature"},
		{"an old controller", 21, []record.Message{controllerRecord(1, supported...), controllerRecord(2, old...)}, refusal + "Controller 2 only supports versions 1-21"},
		{"all", 21, []record.Message{controllerRecord(2, supported...), controllerRecord(1, old...)}, ""}, // its own record may be old
	} {
		c := newCluster(t, tc.level)
		c.in.Settings.VoterIDs = []kafka.NodeID{1, 2}
		c.fold(tc.register...)
		_, res := UpdateFeatures(c.in, featureRequest(image.FeatureMetadataVersion, 24, upgradeOnly))
		code := errors.None
		if tc.text != "" {
			code = errors.InvalidUpdateVersion
		}
		wantError(t, tc.name, res.ErrorCode, res.ErrorMessage, code, tc.text)
	}
}

// Updates of one request see each other, and succeed or fail together.
func TestUpdateFeaturesTogether(t *testing.T) {
	c := newCluster(t, 21)
	req := featureRequest(image.FeatureELRVersion, 1, upgradeOnly)
	req.FeatureUpdates = append(req.FeatureUpdates, featureRequest(image.FeatureMetadataVersion, 24, upgradeOnly).FeatureUpdates...)
	c.in.Settings.Static = map[string]string{"min.insync.replicas": "2"}
	c.fold(configRecord(image.Resource{Type: 4, Name: "3"}, "min.insync.replicas", ptr("1")))
	c.in.Settings.VoterIDs = []kafka.NodeID{1}
	d, res := UpdateFeatures(c.in, req)
	wantError(t, "together", res.ErrorCode, res.ErrorMessage, errors.None, "")
	if got := configRecords(d.Records); got != "4/:min.insync.replicas=2 4/3:min.insync.replicas=null FeatureLevelRecord FeatureLevelRecord" {
		t.Errorf("records %s", got)
	}
	req.ValidateOnly = true
	if d, res := UpdateFeatures(c.in, req); len(d.Records) != 0 || res.ErrorCode != 0 {
		t.Errorf("validating: %+v", res)
	}
	req.ValidateOnly = false
	req.FeatureUpdates[1].MaxVersionLevel = 99
	if d, res := UpdateFeatures(c.in, req); len(d.Records) != 0 || res.ErrorCode == 0 {
		t.Errorf("half of it: %+v", res)
	}
}

func TestUpdateFeaturesVersions(t *testing.T) {
	c := newCluster(t, 24)
	req := kmsg.NewPtrUpdateFeaturesRequest() // version 0
	req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: image.FeatureMetadataVersion, MaxVersionLevel: 23}}
	if _, res := UpdateFeatures(c.in, req); errors.Code(res.ErrorCode) != errors.InvalidUpdateVersion {
		t.Errorf("a downgrade that was not allowed: %+v", res)
	}
	req.FeatureUpdates[0].AllowDowngrade = true
	_, res := UpdateFeatures(c.in, req)
	if res.ErrorCode != 0 || len(res.Results) != 1 || res.Results[0].Feature != image.FeatureMetadataVersion {
		t.Errorf("a downgrade that was allowed: %+v", res)
	}
	if _, res := UpdateFeatures(c.in, featureRequest(image.FeatureMetadataVersion, 24, upgradeOnly)); len(res.Results) != 0 {
		t.Errorf("version 2 has results: %+v", res)
	}
	c.in.Caller.Allowed = onlyAllow()
	_, res = UpdateFeatures(c.in, req)
	wantError(t, "denied", res.ErrorCode, res.ErrorMessage, errors.ClusterAuthorizationFailed, "")
}

func TestNoFeatureChangesDuringAMigration(t *testing.T) {
	c := newCluster(t, 20)
	c.fold(message(&record.ZkMigrationStateRecord{ZkMigrationState: 1}))
	_, res := UpdateFeatures(c.in, featureRequest(image.FeatureMetadataVersion, 21, upgradeOnly))
	wantError(t, "migration", res.ErrorCode, res.ErrorMessage, errors.InvalidUpdateVersion,
		"The update failed for all features since the following feature had an error: "+
			"Invalid metadata.version 21. Unable to modify metadata.version while a ZK migration is in progress.")
}
