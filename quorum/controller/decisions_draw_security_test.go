package controller

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
)

// How an episode draws requests about who may do what, features and tokens.

func (e *episode) alterScram() (Decision, []int16, func()) {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	user := func() string { return oneOf(e, "alice", "bob", "carol", "dave", "") }
	for range 1 + e.random.IntN(2) {
		req.Upsertions = append(req.Upsertions, kmsg.AlterUserSCRAMCredentialsRequestUpsertion{
			Name: user(), Mechanism: int8(oneOf(e, 1, 2, 2, 9)), Iterations: oneOf[int32](e, 4096, 8192, 8192, 1), Salt: []byte("salt"), SaltedPassword: []byte("salted"),
		})
	}
	if e.chance(2) {
		req.Deletions = append(req.Deletions, kmsg.AlterUserSCRAMCredentialsRequestDeletion{Name: user(), Mechanism: int8(oneOf(e, 1, 2))})
	}
	d, res := AlterUserScramCredentials(e.in, req)
	var codes []int16
	for _, r := range res.Results {
		codes = append(codes, r.ErrorCode)
	}
	return d, codes, nil
}

func (e *episode) describeScram() (Decision, []int16, func()) {
	req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	if e.chance(2) {
		req.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: oneOf(e, "alice", "nobody")}}
	}
	res := DescribeUserScramCredentials(e.in, req)
	codes := []int16{res.ErrorCode}
	for _, r := range res.Results {
		codes = append(codes, r.ErrorCode)
	}
	return Decision{}, codes, nil
}

func (e *episode) createACLs() (Decision, []int16, func()) {
	req := kmsg.NewPtrCreateACLsRequest()
	for range 1 + e.random.IntN(3) {
		req.Creations = append(req.Creations, kmsg.CreateACLsRequestCreation{
			ResourceType: kmsg.ACLResourceType(oneOf(e, 2, 2, 3, 4, 1)), ResourceName: oneOf(e, "a", "b", "kafka-cluster", "*", "*", ""),
			ResourcePatternType: kmsg.ACLResourcePatternType(oneOf(e, 3, 3, 4, 2)), Principal: oneOf(e, "User:a", "User:b", "User:*", "nobody"), Host: oneOf(e, "*", "10.0.0.1"),
			Operation: kmsg.ACLOperation(oneOf(e, 2, 3, 4, 5, 8, 8, 1)), PermissionType: kmsg.ACLPermissionType(oneOf(e, 2, 3, 3)),
		})
	}
	d, res := CreateAcls(e.in, req)
	var codes []int16
	for _, r := range res.Results {
		codes = append(codes, r.ErrorCode)
	}
	return d, codes, nil
}

func (e *episode) deleteACLs() (Decision, []int16, func()) {
	req := kmsg.NewPtrDeleteACLsRequest()
	for range 1 + e.random.IntN(2) {
		req.Filters = append(req.Filters, kmsg.DeleteACLsRequestFilter{
			ResourceType: kmsg.ACLResourceType(oneOf(e, 1, 2, 3, 0)), ResourcePatternType: kmsg.ACLResourcePatternType(oneOf(e, 1, 2, 3, 4)),
			ResourceName: oneOf(e, nil, ptr("a"), ptr("bc")), Principal: oneOf(e, nil, ptr("User:a")), Operation: 1, PermissionType: kmsg.ACLPermissionType(oneOf(e, 1, 2)),
		})
	}
	d, res := DeleteAcls(e.in, req)
	var codes []int16
	for _, r := range res.Results {
		codes = append(codes, r.ErrorCode)
	}
	return d, codes, nil
}

func (e *episode) describeACLs() (Decision, []int16, func()) {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType, req.Operation, req.PermissionType = kmsg.ACLResourceType(oneOf(e, 1, 1, 2, 0)), 1, 1, 1
	res := DescribeAcls(e.in, req)
	return Decision{}, []int16{res.ErrorCode}, nil
}

func (e *episode) updateFeatures() (Decision, []int16, func()) {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version, req.ValidateOnly = int16(1+e.random.IntN(2)), e.chance(8)
	feature := oneOf(e, image.FeatureMetadataVersion, image.FeatureMetadataVersion, image.FeatureKRaftVersion,
		image.FeatureGroupVersion, image.FeatureTransactionVersion, image.FeatureShareVersion, "no.such.feature")
	level := int16(e.random.IntN(3))
	if feature == image.FeatureMetadataVersion {
		level = e.in.Image.FeatureLevel(feature) + int16(e.random.IntN(4)) - 1
	} else if e.in.Image.MetadataVersion() >= image.MV40IV1 && e.chance(2) {
		feature, level = image.FeatureELRVersion, 1 // on, and never off again: brokers could not
	}
	kind := int8(upgradeOnly)
	if level < e.in.Image.FeatureLevel(feature) || e.chance(8) {
		kind = int8(e.random.IntN(5))
	}
	req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: feature, MaxVersionLevel: level, UpgradeType: kind}}
	d, res := UpdateFeatures(e.in, req)
	return d, []int16{res.ErrorCode}, nil
}

func (e *episode) createToken() (Decision, []int16, func()) {
	req := kmsg.NewPtrCreateDelegationTokenRequest()
	req.Version, req.MaxLifetimeMillis = 3, oneOf[int64](e, -1, 0, 1000, 50_000)
	if e.chance(3) {
		req.Renewers = []kmsg.CreateDelegationTokenRequestRenewer{{PrincipalType: oneOf(e, "User", "User", "Group"), PrincipalName: "r"}}
	}
	d, res := CreateDelegationToken(e.in, req)
	return d, []int16{res.ErrorCode}, nil
}

// tokenMAC draws the password of a token.
func (e *episode) tokenMAC() []byte {
	var ids []string
	for t := range e.in.Image.DelegationTokens() {
		ids = append(ids, t.TokenID)
	}
	if len(ids) == 0 || e.chance(8) {
		return []byte("wrong")
	}
	return tokenHMAC(e.in.Settings.DelegationTokenSecret, oneOf(e, ids...))
}

func (e *episode) renewToken() (Decision, []int16, func()) {
	req := kmsg.NewPtrRenewDelegationTokenRequest()
	req.Version, req.HMAC, req.RenewTimeMillis = 2, e.tokenMAC(), oneOf[int64](e, -1, 1000, 90_000)
	d, res := RenewDelegationToken(e.in, req)
	return d, []int16{res.ErrorCode}, nil
}

func (e *episode) expireToken() (Decision, []int16, func()) {
	req := kmsg.NewPtrExpireDelegationTokenRequest()
	req.Version, req.HMAC, req.ExpiryPeriodMillis = 2, e.tokenMAC(), oneOf[int64](e, -1, 0, 5000)
	d, res := ExpireDelegationToken(e.in, req)
	return d, []int16{res.ErrorCode}, nil
}

func (e *episode) describeTokens() (Decision, []int16, func()) {
	res := DescribeDelegationToken(e.in, kmsg.NewPtrDescribeDelegationTokenRequest())
	return Decision{}, []int16{res.ErrorCode}, nil
}

func (e *episode) expireTokens() (Decision, []int16, func()) {
	now := e.in.NowMs
	return ExpireTokens(e.in), nil, func() {
		for t := range e.in.Image.DelegationTokens() {
			if tokenExpired(t, now) {
				e.t.Fatalf("%s: token %s has expired and is still there", e.at, t.TokenID)
			}
		}
	}
}

func (e *episode) noOp() (Decision, []int16, func()) { return NoOp(e.in), nil, nil }

func (e *episode) registerController() (Decision, []int16, func()) {
	req := kmsg.NewPtrControllerRegistrationRequest()
	req.ControllerID, req.IncarnationID = 1, kafka.UUID{3: 1}
	for _, f := range image.SupportedFeatures() {
		req.Features = append(req.Features, kmsg.ControllerRegistrationRequestFeature{Name: f.Name, MinSupportedVersion: f.MinSupportedVersion, MaxSupportedVersion: f.MaxSupportedVersion})
	}
	d, res := RegisterController(e.in, req)
	return d, []int16{res.ErrorCode}, nil
}
