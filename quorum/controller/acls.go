package controller

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

// The codes that stand for no value or any value in every enumeration of an
// access control entry, and those of its pattern and permission.
const (
	aclUnknown int8 = 0
	aclAny     int8 = 1

	patternMatch    int8 = 2
	patternLiteral  int8 = 3
	patternPrefixed int8 = 4

	permissionDeny  int8 = 2
	permissionAllow int8 = 3
)

// The largest codes that Kafka has given a meaning (ResourceType.USER,
// AclOperation.TWO_PHASE_COMMIT).
const (
	maxACLResource  int8 = resourceUser
	maxACLOperation int8 = 15
)

// wildcardResource is the name of a literal pattern that matches every name.
const wildcardResource = "*"

// CreateAcls decides CreateAcls (key 30, versions 1 to 3): each entry on its
// own; one that exists already is a success without a record
// (AclControlManager.createAcls).
func CreateAcls(in Input, req *kmsg.CreateACLsRequest) (Decision, *kmsg.CreateACLsResponse) {
	res := req.ResponseKind().(*kmsg.CreateACLsResponse)
	denied := mayAlterACLs(in)
	var existing map[image.ACL]bool
	var records []record.Message
	for _, c := range req.Creations {
		acl := image.ACL{
			ResourceType: int8(c.ResourceType), ResourceName: c.ResourceName, PatternType: int8(c.ResourcePatternType),
			Principal: c.Principal, Host: c.Host, Operation: int8(c.Operation), PermissionType: int8(c.PermissionType),
		}
		err := denied
		if err == nil {
			err = checkNewACL(acl)
		}
		if err == nil && existing == nil {
			existing = knownACLs(in.Image)
		}
		if err == nil && !existing[acl] {
			existing[acl] = true
			records = append(records, message(aclRecord(newACLID(in), acl)))
		}
		r := kmsg.NewCreateACLsResponseResult()
		r.ErrorCode, r.ErrorMessage = report(err)
		res.Results = append(res.Results, r)
	}
	return Decision{Records: records, Atomic: true}, res
}

// mayAlterACLs: who may alter the cluster may alter entries, if there is an
// authorizer that would read them.
func mayAlterACLs(in Input) *errors.Error {
	if err := in.Caller.mayCluster(opAlter); err != nil {
		return err
	}
	if !in.Settings.AuthorizerConfigured {
		return errors.New(errors.SecurityDisabled, "No Authorizer is configured.")
	}
	return nil
}

// knownACLs is the set of all entries, without their ids.
func knownACLs(im *image.Image) map[image.ACL]bool {
	known := make(map[image.ACL]bool, im.ACLCount())
	for a := range im.ACLs() {
		without := *a
		without.ID = kafka.ZeroUUID
		known[without] = true
	}
	return known
}

func newACLID(in Input) kafka.UUID {
	for {
		if id := randomUUID(in.Rand); in.Image.ACL(id) == nil {
			return id
		}
	}
}

func aclRecord(id kafka.UUID, a image.ACL) *record.AccessControlEntryRecord {
	return &record.AccessControlEntryRecord{
		ID: id, ResourceType: a.ResourceType, ResourceName: a.ResourceName, PatternType: a.PatternType,
		Principal: a.Principal, Host: a.Host, Operation: a.Operation, PermissionType: a.PermissionType,
	}
}

// checkNewACL is AclApis and AclControlManager.validateNewAcl.
func checkNewACL(a image.ACL) *errors.Error {
	switch {
	case a.ResourceType == resourceCluster && a.ResourceName != clusterName:
		return errors.New(errors.InvalidRequest, "The only valid name for the CLUSTER resource is %s", clusterName)
	case a.ResourceName == "":
		return errors.New(errors.InvalidRequest, "Invalid empty resource name")
	case !concrete(a.ResourceType, maxACLResource):
		return errors.New(errors.InvalidRequest, "Invalid resourceType %s", wildName(a.ResourceType))
	case a.PatternType != patternLiteral && a.PatternType != patternPrefixed:
		name := wildName(a.PatternType)
		if a.PatternType == patternMatch {
			name = "MATCH"
		}
		return errors.New(errors.InvalidRequest, "Invalid patternType %s", name)
	case !concrete(a.Operation, maxACLOperation):
		return errors.New(errors.InvalidRequest, "Invalid operation %s", wildName(a.Operation))
	case a.PermissionType != permissionDeny && a.PermissionType != permissionAllow:
		return errors.New(errors.InvalidRequest, "Invalid permissionType %s", wildName(a.PermissionType))
	case !strings.Contains(a.Principal, ":"):
		return errors.New(errors.InvalidRequest, "Could not parse principal from `%s` "+
			"(no colon is present separating the principal type from the principal name)", a.Principal)
	}
	return nil
}

// concrete reports whether a code is a value, neither unknown nor any.
func concrete(code, highest int8) bool { return code > aclAny && code <= highest }

func wildName(code int8) string {
	if code == aclAny {
		return "ANY"
	}
	return "UNKNOWN"
}

// DeleteAcls decides DeleteAcls (key 31, versions 1 to 3): every entry that one
// of the filters matches (AclControlManager.deleteAcls). An entry that two
// filters match is reported by both and removed once.
func DeleteAcls(in Input, req *kmsg.DeleteACLsRequest) (Decision, *kmsg.DeleteACLsResponse) {
	res := req.ResponseKind().(*kmsg.DeleteACLsResponse)
	denied := mayAlterACLs(in)
	var records []record.Message
	removed := make(map[kafka.UUID]bool)
	for _, asked := range req.Filters {
		r := kmsg.NewDeleteACLsResponseResult()
		r.MatchingACLs = []kmsg.DeleteACLsResponseResultMatchingACL{}
		f := aclFilter{
			resourceType: int8(asked.ResourceType), resourceName: asked.ResourceName, patternType: int8(asked.ResourcePatternType),
			principal: asked.Principal, host: asked.Host, operation: int8(asked.Operation), permissionType: int8(asked.PermissionType),
		}
		err := denied
		if err == nil {
			err = f.check()
		}
		if err == nil {
			for a := range in.Image.ACLs() {
				if !f.matches(a) {
					continue
				}
				r.MatchingACLs = append(r.MatchingACLs, deletedACL(a))
				if !removed[a.ID] {
					removed[a.ID] = true
					records = append(records, message(&record.RemoveAccessControlEntryRecord{ID: a.ID}))
				}
			}
		}
		r.ErrorCode, r.ErrorMessage = report(err)
		res.Results = append(res.Results, r)
	}
	return Decision{Records: records, Atomic: true}, res
}

func deletedACL(a *image.ACL) kmsg.DeleteACLsResponseResultMatchingACL {
	m := kmsg.NewDeleteACLsResponseResultMatchingACL()
	m.ResourceType, m.ResourceName = kmsg.ACLResourceType(a.ResourceType), a.ResourceName
	m.ResourcePatternType = kmsg.ACLResourcePatternType(a.PatternType)
	m.Principal, m.Host = a.Principal, a.Host
	m.Operation, m.PermissionType = kmsg.ACLOperation(a.Operation), kmsg.ACLPermissionType(a.PermissionType)
	return m
}

// DescribeAcls answers DescribeAcls (key 29, versions 1 to 3) from the image,
// grouped by resource.
func DescribeAcls(in Input, req *kmsg.DescribeACLsRequest) *kmsg.DescribeACLsResponse {
	res := req.ResponseKind().(*kmsg.DescribeACLsResponse)
	res.Resources = []kmsg.DescribeACLsResponseResource{}
	err := in.Caller.mayCluster(opDescribe)
	if err == nil && !in.Settings.AuthorizerConfigured {
		err = errors.New(errors.SecurityDisabled, "No Authorizer is configured on the broker")
	}
	f := aclFilter{
		resourceType: int8(req.ResourceType), resourceName: req.ResourceName, patternType: int8(req.ResourcePatternType),
		principal: req.Principal, host: req.Host, operation: int8(req.Operation), permissionType: int8(req.PermissionType),
	}
	if err == nil {
		err = f.check()
	}
	if err != nil {
		res.ErrorCode, res.ErrorMessage = report(err)
		return res
	}
	type pattern struct {
		resourceType, patternType int8
		name                      string
	}
	at := make(map[pattern]int)
	for a := range in.Image.ACLs() {
		if !f.matches(a) {
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

// aclFilter picks entries (AclBindingFilter); nil texts and the code ANY match
// everything.
type aclFilter struct {
	resourceType    int8
	resourceName    *string
	patternType     int8
	principal, host *string
	operation       int8
	permissionType  int8
}

func (f aclFilter) check() *errors.Error {
	known := func(code, highest int8) bool { return code >= aclAny && code <= highest }
	switch {
	case !known(f.resourceType, maxACLResource) || !known(f.patternType, patternPrefixed):
		return errors.New(errors.InvalidRequest, "Unknown patternFilter.")
	case !known(f.operation, maxACLOperation) || !known(f.permissionType, permissionAllow):
		return errors.New(errors.InvalidRequest, "Unknown entryFilter.")
	}
	return nil
}

func (f aclFilter) matches(a *image.ACL) bool {
	code := func(want, have int8) bool { return want == aclAny || want == have }
	text := func(want *string, have string) bool { return want == nil || *want == have }
	return code(f.resourceType, a.ResourceType) && f.matchesName(a) &&
		text(f.principal, a.Principal) && text(f.host, a.Host) &&
		code(f.operation, a.Operation) && code(f.permissionType, a.PermissionType)
}

// matchesName is ResourcePatternFilter.matches: MATCH asks which patterns would
// apply to a resource of that name.
func (f aclFilter) matchesName(a *image.ACL) bool {
	switch {
	case f.patternType != aclAny && f.patternType != patternMatch && f.patternType != a.PatternType:
		return false
	case f.resourceName == nil:
		return true
	case f.patternType != patternMatch:
		return *f.resourceName == a.ResourceName
	case a.PatternType == patternPrefixed:
		return strings.HasPrefix(*f.resourceName, a.ResourceName)
	}
	return *f.resourceName == a.ResourceName || a.ResourceName == wildcardResource
}
