package describe

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/metadatalog/image"
	"kvorum/protocol/errors"
)

// The codes that stand for no value or any value in every enumeration of an
// access control entry, and those of its pattern and permission.
const (
	ACLUnknown int8 = 0
	ACLAny     int8 = 1

	PatternMatch    int8 = 2
	PatternLiteral  int8 = 3
	PatternPrefixed int8 = 4

	PermissionDeny  int8 = 2
	PermissionAllow int8 = 3
)

// The largest codes that Kafka has given a meaning (ResourceType.USER,
// AclOperation.TWO_PHASE_COMMIT).
const (
	MaxACLResource  int8 = 7
	MaxACLOperation int8 = 15
)

// wildcardResource is the name of a literal pattern that matches every name.
const wildcardResource = "*"

// ACLs answers DescribeAcls (key 29, versions 1 to 3), grouped by resource. Without
// an authorizer there is nothing to describe.
func ACLs(im *image.Image, authorizerConfigured bool, req *kmsg.DescribeACLsRequest) *kmsg.DescribeACLsResponse {
	res := req.ResponseKind().(*kmsg.DescribeACLsResponse)
	res.Resources = []kmsg.DescribeACLsResponseResource{}
	var err *errors.Error
	if !authorizerConfigured {
		err = errors.New(errors.SecurityDisabled, "No Authorizer is configured on the broker")
	}
	f := ACLFilter{
		ResourceType: int8(req.ResourceType), ResourceName: req.ResourceName, PatternType: int8(req.ResourcePatternType),
		Principal: req.Principal, Host: req.Host, Operation: int8(req.Operation), PermissionType: int8(req.PermissionType),
	}
	if err == nil {
		err = f.Check()
	}
	if err != nil {
		res.ErrorCode, res.ErrorMessage = Outcome(err)
		return res
	}
	type pattern struct {
		resourceType, patternType int8
		name                      string
	}
	at := make(map[pattern]int)
	for a := range im.ACLs() {
		if !f.Matches(a) {
			continue
		}
		p := pattern{a.ResourceType, a.PatternType, a.ResourceName}
		i, ok := at[p]
		if !ok {
			i = len(res.Resources)
			at[p] = i
			r := kmsg.NewDescribeACLsResponseResource()
			r.ResourceType, r.ResourceName = kmsg.ACLResourceType(a.ResourceType), a.ResourceName
			r.ResourcePatternType = kmsg.ACLResourcePatternType(a.PatternType)
			res.Resources = append(res.Resources, r)
		}
		entry := kmsg.NewDescribeACLsResponseResourceACL()
		entry.Principal, entry.Host = a.Principal, a.Host
		entry.Operation, entry.PermissionType = kmsg.ACLOperation(a.Operation), kmsg.ACLPermissionType(a.PermissionType)
		res.Resources[i].ACLs = append(res.Resources[i].ACLs, entry)
	}
	return res
}

// ACLFilter picks entries (AclBindingFilter); nil texts and the code ANY match
// everything.
type ACLFilter struct {
	ResourceType    int8
	ResourceName    *string
	PatternType     int8
	Principal, Host *string
	Operation       int8
	PermissionType  int8
}

// Check refuses codes that have no meaning.
func (f ACLFilter) Check() *errors.Error {
	known := func(code, highest int8) bool { return code >= ACLAny && code <= highest }
	switch {
	case !known(f.ResourceType, MaxACLResource) || !known(f.PatternType, PatternPrefixed):
		return errors.New(errors.InvalidRequest, "Unknown patternFilter.")
	case !known(f.Operation, MaxACLOperation) || !known(f.PermissionType, PermissionAllow):
		return errors.New(errors.InvalidRequest, "Unknown entryFilter.")
	}
	return nil
}

// Matches reports whether the filter picks an entry.
func (f ACLFilter) Matches(a *image.ACL) bool {
	code := func(want, have int8) bool { return want == ACLAny || want == have }
	text := func(want *string, have string) bool { return want == nil || *want == have }
	return code(f.ResourceType, a.ResourceType) && f.matchesName(a) &&
		text(f.Principal, a.Principal) && text(f.Host, a.Host) &&
		code(f.Operation, a.Operation) && code(f.PermissionType, a.PermissionType)
}

// matchesName is ResourcePatternFilter.matches: MATCH asks which patterns would
// apply to a resource of that name.
func (f ACLFilter) matchesName(a *image.ACL) bool {
	switch {
	case f.PatternType != ACLAny && f.PatternType != PatternMatch && f.PatternType != a.PatternType:
		return false
	case f.ResourceName == nil:
		return true
	case f.PatternType != PatternMatch:
		return *f.ResourceName == a.ResourceName
	case a.PatternType == PatternPrefixed:
		return strings.HasPrefix(*f.ResourceName, a.ResourceName)
	}
	return *f.ResourceName == a.ResourceName || a.ResourceName == wildcardResource
}
