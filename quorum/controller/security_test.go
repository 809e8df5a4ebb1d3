package controller

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

func upsert(user string, mechanism int8, iterations int32) kmsg.AlterUserSCRAMCredentialsRequestUpsertion {
	return kmsg.AlterUserSCRAMCredentialsRequestUpsertion{Name: user, Mechanism: mechanism, Iterations: iterations, Salt: []byte("salt"), SaltedPassword: []byte("salted")}
}

func TestAlterUserScramCredentials(t *testing.T) {
	type deletion = kmsg.AlterUserSCRAMCredentialsRequestDeletion
	type upsertion = kmsg.AlterUserSCRAMCredentialsRequestUpsertion
	const twice = "A user credential cannot be altered twice in the same request"
	for _, tc := range []struct {
		level      image.MetadataVersion
		deletions  []deletion
		upsertions []upsertion
		want       string // user code text, by |
		records    int
	}{
		{30, nil, []upsertion{upsert("a", 1, 4096), upsert("b", 2, 16384)}, "a NONE |b NONE ", 2},
		{30, nil, []upsertion{upsert("a", 1, 4095)}, "a UNACCEPTABLE_CREDENTIAL Too few iterations", 0},
		{30, nil, []upsertion{upsert("a", 1, 16385)}, "a UNACCEPTABLE_CREDENTIAL Too many iterations", 0},
		{30, nil, []upsertion{upsert("", 1, 4096)}, " UNACCEPTABLE_CREDENTIAL Username must not be empty", 0},
		{30, nil, []upsertion{upsert("a", 0, 4096)}, "a UNSUPPORTED_SASL_MECHANISM Unknown SCRAM mechanism", 0},
		{30, nil, []upsertion{upsert("a", 3, 4096)}, "a UNSUPPORTED_SASL_MECHANISM Unknown SCRAM mechanism", 0},
		{30, nil, []upsertion{upsert("a", 1, 4096), upsert("a", 2, 4096), upsert("b", 1, 4096)}, "a DUPLICATE_RESOURCE " + twice + "|b NONE ", 1},
		{30, nil, []upsertion{upsert("a", 1, 1), upsert("a", 2, 4096)}, "a UNACCEPTABLE_CREDENTIAL Too few iterations", 0},
		{30, []deletion{{Name: "old", Mechanism: 1}}, nil, "old NONE ", 1},
		{30, []deletion{{Name: "old", Mechanism: 2}}, nil, "old RESOURCE_NOT_FOUND Attempt to delete a user credential that does not exist", 0},
		{30, []deletion{{Name: "old", Mechanism: 1}}, []upsertion{upsert("old", 2, 4096)}, "old DUPLICATE_RESOURCE " + twice, 0},
		{10, []deletion{{Name: "old", Mechanism: 1}}, []upsertion{upsert("a", 1, 4096)},
			"old UNSUPPORTED_VERSION The current metadata.version does not support SCRAM|a UNSUPPORTED_VERSION The current metadata.version does not support SCRAM", 0},
	} {
		c := newCluster(t, tc.level)
		c.fold(message(&record.UserScramCredentialRecord{Name: "old", Mechanism: 1, Salt: []byte{1}, StoredKey: []byte{1}, ServerKey: []byte{1}, Iterations: 4096}))
		req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
		req.Deletions, req.Upsertions = tc.deletions, tc.upsertions
		d, res := AlterUserScramCredentials(c.in, req)
		var got []string
		for _, r := range res.Results {
			text := ""
			if r.ErrorMessage != nil {
				text = *r.ErrorMessage
			}
			got = append(got, fmt.Sprintf("%s %s %s", r.User, errors.Code(r.ErrorCode), text))
		}
		if strings.Join(got, "|") != tc.want || len(d.Records) != tc.records {
			t.Errorf("%+v: %d records, %q, want %d, %q", tc.upsertions, len(d.Records), got, tc.records, tc.want)
		}
		c.fold(d.Records...)
	}
}

func TestDescribeUserScramCredentials(t *testing.T) {
	c := newCluster(t, 30)
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	req.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{upsert("a", 1, 4096), upsert("b", 2, 8192)}
	d, _ := AlterUserScramCredentials(c.in, req)
	c.fold(d.Records...)
	all := DescribeUserScramCredentials(c.in, kmsg.NewPtrDescribeUserSCRAMCredentialsRequest())
	if len(all.Results) != 2 || all.Results[0].User != "a" || all.Results[1].CredentialInfos[0].Iterations != 8192 || all.Results[1].CredentialInfos[0].Mechanism != 2 {
		t.Errorf("all: %+v", all.Results)
	}
	ask := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	ask.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "a"}, {Name: "b"}, {Name: "b"}, {Name: "c"}}
	some := DescribeUserScramCredentials(c.in, ask).Results
	if len(some) != 3 {
		t.Fatalf("%+v", some)
	}
	wantError(t, "a", some[0].ErrorCode, some[0].ErrorMessage, errors.None, "")
	wantError(t, "b", some[1].ErrorCode, some[1].ErrorMessage, errors.DuplicateResource, "Cannot describe SCRAM credentials for the same user twice in a single request: b")
	wantError(t, "c", some[2].ErrorCode, some[2].ErrorMessage, errors.ResourceNotFound, "Attempt to describe a user credential that does not exist: c")
	c.in.Caller.Allowed = onlyAllow()
	if res := DescribeUserScramCredentials(c.in, ask); errors.Code(res.ErrorCode) != errors.ClusterAuthorizationFailed || len(res.Results) > 0 {
		t.Errorf("not allowed: %+v", res)
	}
	if d, res := AlterUserScramCredentials(c.in, req); len(d.Records) != 0 || errors.Code(res.Results[1].ErrorCode) != errors.ClusterAuthorizationFailed {
		t.Errorf("not allowed: %+v", res)
	}
}

func newACL(resourceType int8, name string, pattern int8, principal string, operation, permission int8) kmsg.CreateACLsRequestCreation {
	return kmsg.CreateACLsRequestCreation{
		ResourceType: kmsg.ACLResourceType(resourceType), ResourceName: name, ResourcePatternType: kmsg.ACLResourcePatternType(pattern),
		Principal: principal, Host: "*", Operation: kmsg.ACLOperation(operation), PermissionType: kmsg.ACLPermissionType(permission),
	}
}

func (c *cluster) createACLs(acls ...kmsg.CreateACLsRequestCreation) (Decision, *kmsg.CreateACLsResponse) {
	req := kmsg.NewPtrCreateACLsRequest()
	req.Version, req.Creations = 3, acls
	return CreateAcls(c.in, req)
}

func TestCreateACLs(t *testing.T) {
	for _, tc := range []struct {
		acl  kmsg.CreateACLsRequestCreation
		text string
	}{
		{newACL(2, "t", 3, "User:a", 3, 3), ""},
		{newACL(7, "User:b", 3, "User:a", 13, 2), ""},
		{newACL(4, "kafka-cluster", 3, "User:a", 15, 2), ""},
		{newACL(4, "other", 3, "User:a", 3, 3), "The only valid name for the CLUSTER resource is kafka-cluster"},
		{newACL(2, "", 3, "User:a", 3, 3), "Invalid empty resource name"},
		{newACL(0, "t", 3, "User:a", 3, 3), "Invalid resourceType UNKNOWN"},
		{newACL(1, "t", 3, "User:a", 3, 3), "Invalid resourceType ANY"},
		{newACL(99, "t", 3, "User:a", 3, 3), "Invalid resourceType UNKNOWN"},
		{newACL(2, "t", 1, "User:a", 3, 3), "Invalid patternType ANY"},
		{newACL(2, "t", 2, "User:a", 3, 3), "Invalid patternType MATCH"},
		{newACL(2, "t", 5, "User:a", 3, 3), "Invalid patternType UNKNOWN"},
		{newACL(2, "t", 3, "User:a", 1, 3), "Invalid operation ANY"},
		{newACL(2, "t", 3, "User:a", 16, 3), "Invalid operation UNKNOWN"},
		{newACL(2, "t", 3, "User:a", 3, 1), "Invalid permissionType ANY"},
		{newACL(2, "t", 3, "User:a", 3, 0), "Invalid permissionType UNKNOWN"},
		{newACL(2, "t", 3, "a", 3, 3), "Could not parse principal from `a` (no colon is present separating the principal type from the principal name)"},
	} {
		c := newCluster(t, 30)
		d, res := c.createACLs(tc.acl, tc.acl) // the second is the same and writes nothing
		code, records := errors.None, 1
		if tc.text != "" {
			code, records = errors.InvalidRequest, 0
		}
		for _, r := range res.Results {
			wantError(t, fmt.Sprint(tc.acl), r.ErrorCode, r.ErrorMessage, code, tc.text)
		}
		if len(d.Records) != records {
			t.Errorf("%v: %d records, want %d", tc.acl, len(d.Records), records)
		}
		c.fold(d.Records...)
		if d, _ := c.createACLs(tc.acl); len(d.Records) != 0 {
			t.Errorf("%v: created again", tc.acl)
		}
	}
}

func TestACLsNeedAnAuthorizer(t *testing.T) {
	c := newCluster(t, 30)
	c.in.Settings.AuthorizerConfigured = false
	filter := kmsg.NewDeleteACLsRequestFilter()
	remove := kmsg.NewPtrDeleteACLsRequest()
	remove.Filters = []kmsg.DeleteACLsRequestFilter{filter}
	check := func(what string, code errors.Code, create, describe string) {
		t.Helper()
		_, res := c.createACLs(newACL(2, "t", 3, "User:a", 3, 3))
		wantError(t, what+" create", res.Results[0].ErrorCode, res.Results[0].ErrorMessage, code, create)
		_, gone := DeleteAcls(c.in, remove)
		wantError(t, what+" delete", gone.Results[0].ErrorCode, gone.Results[0].ErrorMessage, code, create)
		shown := DescribeAcls(c.in, kmsg.NewPtrDescribeACLsRequest())
		wantError(t, what+" describe", shown.ErrorCode, shown.ErrorMessage, code, describe)
	}
	check("no authorizer", errors.SecurityDisabled, "No Authorizer is configured.", "No Authorizer is configured on the broker")
	c.in.Caller.Allowed = onlyAllow()
	check("denied", errors.ClusterAuthorizationFailed, "", "")
}

// filtered is what a filter finds, as "type:name/pattern principal".
func TestACLFilters(t *testing.T) {
	c := newCluster(t, 30)
	d, _ := c.createACLs(newACL(2, "orders", 3, "User:a", 3, 3), newACL(2, "ord", 4, "User:a", 3, 3), newACL(2, "*", 3, "User:b", 4, 2),
		newACL(2, "orders-2", 3, "User:b", 3, 3), newACL(3, "orders", 3, "User:a", 3, 3))
	c.fold(d.Records...)
	for _, tc := range []struct {
		name         string
		resourceType int8
		pattern      int8
		resource     *string
		principal    *string
		operation    int8
		permission   int8
		want         string
	}{
		{"everything", 1, 1, nil, nil, 1, 1, "*/3 ord/4 orders-2/3 orders/3 orders/3"},
		{"topics", 2, 1, nil, nil, 1, 1, "*/3 ord/4 orders-2/3 orders/3"},
		{"by name", 2, 1, ptr("orders"), nil, 1, 1, "orders/3"},
		{"literal", 2, 3, ptr("ord"), nil, 1, 1, ""},
		{"prefixed", 2, 4, ptr("ord"), nil, 1, 1, "ord/4"},
		{"matching orders", 2, 2, ptr("orders"), nil, 1, 1, "*/3 ord/4 orders/3"},
		{"matching x", 2, 2, ptr("x"), nil, 1, 1, "*/3"},
		{"matching any", 2, 2, nil, nil, 1, 1, "*/3 ord/4 orders-2/3 orders/3"},
		{"principal", 1, 1, nil, ptr("User:b"), 1, 1, "*/3 orders-2/3"},
		{"operation", 1, 1, nil, nil, 4, 1, "*/3"},
		{"permission", 1, 1, nil, nil, 1, 2, "*/3"},
	} {
		ask := kmsg.NewPtrDescribeACLsRequest()
		ask.ResourceType, ask.ResourcePatternType, ask.ResourceName = kmsg.ACLResourceType(tc.resourceType), kmsg.ACLResourcePatternType(tc.pattern), tc.resource
		ask.Principal, ask.Operation, ask.PermissionType = tc.principal, kmsg.ACLOperation(tc.operation), kmsg.ACLPermissionType(tc.permission)
		var got []string
		for _, r := range DescribeAcls(c.in, ask).Resources {
			for range r.ACLs {
				got = append(got, fmt.Sprintf("%s/%d", r.ResourceName, r.ResourcePatternType))
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, got, tc.want)
		}
		req := kmsg.NewPtrDeleteACLsRequest()
		filter := kmsg.DeleteACLsRequestFilter{
			ResourceType: ask.ResourceType, ResourcePatternType: ask.ResourcePatternType, ResourceName: ask.ResourceName,
			Principal: ask.Principal, Operation: ask.Operation, PermissionType: ask.PermissionType,
		}
		req.Filters = []kmsg.DeleteACLsRequestFilter{filter, filter}
		d, res := DeleteAcls(c.in, req)
		if n := len(got); len(d.Records) != n || len(res.Results[0].MatchingACLs) != n || len(res.Results[1].MatchingACLs) != n {
			t.Errorf("%s: deleting writes %d records for %d entries", tc.name, len(d.Records), n)
		}
	}
	for _, f := range []kmsg.DeleteACLsRequestFilter{{ResourcePatternType: 1, Operation: 1, PermissionType: 1}, {ResourceType: 1, ResourcePatternType: 1, PermissionType: 1}} {
		req := kmsg.NewPtrDeleteACLsRequest()
		req.Filters = []kmsg.DeleteACLsRequestFilter{f}
		d, res := DeleteAcls(c.in, req)
		if len(d.Records) != 0 || errors.Code(res.Results[0].ErrorCode) != errors.InvalidRequest {
			t.Errorf("%+v: %+v", f, res.Results)
		}
	}
}

func TestDelegationTokens(t *testing.T) {
	c := newCluster(t, 30)
	create := kmsg.NewPtrCreateDelegationTokenRequest()
	create.Version, create.MaxLifetimeMillis = 3, 5000
	create.Renewers = []kmsg.CreateDelegationTokenRequestRenewer{{PrincipalType: "User", PrincipalName: "r"}}
	d, made := CreateDelegationToken(c.in, create)
	c.fold(d.Records...)
	if made.ErrorCode != 0 || made.MaxTimestamp != c.in.NowMs+5000 || made.ExpiryTimestamp != made.MaxTimestamp || made.PrincipalName != "admin" || len(made.HMAC) != 64 {
		t.Fatalf("created %+v", made)
	}
	renew := func(period int64) (*kmsg.RenewDelegationTokenResponse, Decision) {
		req := kmsg.NewPtrRenewDelegationTokenRequest()
		req.HMAC, req.RenewTimeMillis = made.HMAC, period
		d, res := RenewDelegationToken(c.in, req)
		return res, d
	}
	expire := func(period int64) (*kmsg.ExpireDelegationTokenResponse, Decision) {
		req := kmsg.NewPtrExpireDelegationTokenRequest()
		req.HMAC, req.ExpiryPeriodMillis = made.HMAC, period
		d, res := ExpireDelegationToken(c.in, req)
		return res, d
	}
	if res, d := renew(1000); res.ErrorCode != 0 || res.ExpiryTimestamp != c.in.NowMs+1000 || len(d.Records) != 1 {
		t.Errorf("renewed for a second: %+v", res)
	}
	if res, _ := renew(1 << 62); res.ExpiryTimestamp != made.MaxTimestamp {
		t.Errorf("renewed beyond its life: %+v", res)
	}
	if res, _ := expire(1<<63 - 1); res.ErrorCode != 0 || res.ExpiryTimestamp != made.MaxTimestamp {
		t.Errorf("a period that overflows: %+v", res)
	}
	if res, d := expire(-1); res.ErrorCode != 0 || res.ExpiryTimestamp != c.in.NowMs || d.Records[0].Record.RecordName() != "RemoveDelegationTokenRecord" {
		t.Errorf("expired at once: %+v %v", res, d.Records)
	}
	c.in.Caller.Principal = "User:r"
	if res, _ := renew(1); res.ErrorCode != 0 {
		t.Errorf("the renewer may not renew: %+v", res)
	}
	c.in.Caller.Principal = "User:x"
	if res, _ := renew(1); errors.Code(res.ErrorCode) != errors.DelegationTokenOwnerMismatch {
		t.Errorf("a stranger renews: %+v", res)
	}
	c.in.Caller.Principal = "User:admin"
	c.in.NowMs += 5001
	if res, _ := renew(1); errors.Code(res.ErrorCode) != errors.DelegationTokenExpired {
		t.Errorf("expired: %+v", res)
	}
	if d := ExpireTokens(c.in); len(d.Records) != 1 {
		t.Errorf("the sweep writes %d records", len(d.Records))
	}
}

// Each refusal of the requests about tokens.
func TestDelegationTokenErrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		level image.MetadataVersion
		set   func(*Input)
		code  errors.Code
	}{
		{"not over this connection", 30, func(in *Input) { in.Caller.MayUseTokens = false }, errors.DelegationTokenRequestNotAllowed},
		{"switched off", 30, func(in *Input) { in.Settings.DelegationTokenSecret = nil }, errors.DelegationTokenAuthDisabled},
		{"old level", 13, func(*Input) {}, errors.UnsupportedVersion},
		{"unknown token", 30, func(*Input) {}, errors.DelegationTokenNotFound},
	} {
		c := newCluster(t, tc.level)
		tc.set(&c.in)
		_, created := CreateDelegationToken(c.in, kmsg.NewPtrCreateDelegationTokenRequest())
		if tc.code != errors.DelegationTokenNotFound && errors.Code(created.ErrorCode) != tc.code {
			t.Errorf("%s: create %s", tc.name, errors.Code(created.ErrorCode))
		}
		_, renewed := RenewDelegationToken(c.in, kmsg.NewPtrRenewDelegationTokenRequest())
		_, expired := ExpireDelegationToken(c.in, kmsg.NewPtrExpireDelegationTokenRequest())
		if errors.Code(renewed.ErrorCode) != tc.code || errors.Code(expired.ErrorCode) != tc.code || renewed.ExpiryTimestamp != -1 {
			t.Errorf("%s: renew %s, expire %s", tc.name, errors.Code(renewed.ErrorCode), errors.Code(expired.ErrorCode))
		}
	}
	c := newCluster(t, 30)
	req := kmsg.NewPtrCreateDelegationTokenRequest()
	req.Renewers = []kmsg.CreateDelegationTokenRequestRenewer{{PrincipalType: "Group", PrincipalName: "g"}}
	if _, res := CreateDelegationToken(c.in, req); errors.Code(res.ErrorCode) != errors.InvalidPrincipalType {
		t.Errorf("renewer of another type: %s", errors.Code(res.ErrorCode))
	}
	other := kmsg.NewPtrCreateDelegationTokenRequest()
	other.OwnerPrincipalType, other.OwnerPrincipalName = ptr("User"), ptr("bob")
	c.in.Caller.Allowed = onlyAllow()
	if _, res := CreateDelegationToken(c.in, other); errors.Code(res.ErrorCode) != errors.DelegationTokenAuthorizationFailed {
		t.Errorf("for another: %s", errors.Code(res.ErrorCode))
	}
	c.in.Caller.Allowed = onlyAllow(right{opCreateTokens, resourceUser, "User:bob"})
	if _, res := CreateDelegationToken(c.in, other); res.ErrorCode != 0 || res.PrincipalName != "bob" || res.TokenRequesterPrincipalName != "admin" {
		t.Errorf("for another, allowed: %+v", res)
	}
}

func TestDescribeDelegationToken(t *testing.T) {
	c := newCluster(t, 30)
	token := func(id, owner, requester string, renewers ...string) {
		c.fold(message(&record.DelegationTokenRecord{TokenID: id, Owner: owner, Requester: requester, Renewers: renewers, MaxTimestamp: 5, ExpirationTimestamp: 4}))
	}
	token("1", "User:a", "User:a")
	token("2", "User:b", "User:a", "User:c")
	token("3", "User:c", "User:c")
	owner := func(name string) kmsg.DescribeDelegationTokenRequestOwner {
		return kmsg.DescribeDelegationTokenRequestOwner{PrincipalType: "User", PrincipalName: name}
	}
	for _, tc := range []struct {
		caller  string
		owners  []kmsg.DescribeDelegationTokenRequestOwner
		allowed func(int8, int8, string) bool
		want    string
	}{
		{"User:a", nil, onlyAllow(), "1 2"},
		{"User:c", nil, onlyAllow(), "2 3"},
		{"User:c", []kmsg.DescribeDelegationTokenRequestOwner{owner("b")}, onlyAllow(), "2"},
		{"User:c", []kmsg.DescribeDelegationTokenRequestOwner{}, nil, ""},
		{"User:x", nil, onlyAllow(), ""},
		{"User:x", nil, onlyAllow(right{opDescribe, resourceDelegationToken, "3"}), "3"},
		{"User:x", nil, onlyAllow(right{opDescribeTokens, resourceUser, "User:b"}), "2"},
		{"User:x", nil, nil, "1 2 3"},
	} {
		c.in.Caller.Principal, c.in.Caller.Allowed = tc.caller, tc.allowed
		req := kmsg.NewPtrDescribeDelegationTokenRequest()
		req.Version, req.Owners = 3, tc.owners
		var got []string
		for _, d := range DescribeDelegationToken(c.in, req).TokenDetails {
			got = append(got, d.TokenID)
			if !bytes.Equal(d.HMAC, tokenHMAC(c.in.Settings.DelegationTokenSecret, d.TokenID)) {
				t.Errorf("token %s has a wrong password", d.TokenID)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s, owners %v: %v, want %s", tc.caller, tc.owners, got, tc.want)
		}
	}
}

func TestNoOp(t *testing.T) {
	if d := NoOp(newCluster(t, 5).in); len(d.Records) != 1 {
		t.Error("nothing is written at 3.3-IV1")
	}
	if d := NoOp(newCluster(t, 4).in); len(d.Records) != 0 {
		t.Error("a NoOp is written below 3.3-IV1")
	}
}

func TestRandomUUIDIsRandom(t *testing.T) {
	in := newCluster(t, 30).in
	seen := make(map[kafka.UUID]bool)
	for range 1000 {
		id := randomUUID(in.Rand)
		if seen[id] || id.Reserved() {
			t.Fatalf("id %s", id)
		}
		seen[id] = true
	}
}
