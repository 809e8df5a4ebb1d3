package controller

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"kvorum/internal/kafka"
	"kvorum/metadatalog/describe"
	"kvorum/metadatalog/image"
	"kvorum/metadatalog/record"
	"kvorum/protocol/errors"
)

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
	case !concrete(a.ResourceType, describe.MaxACLResource):
		return errors.New(errors.InvalidRequest, "Invalid resourceType %s", wildName(a.ResourceType))
	case a.PatternType != describe.PatternLiteral && a.PatternType != describe.PatternPrefixed:
		name := wildName(a.PatternType)
		if a.PatternType == describe.PatternMatch {
			name = "MATCH"
		}
		return errors.New(errors.InvalidRequest, "Invalid patternType %s", name)
	case !concrete(a.Operation, describe.MaxACLOperation):
		return errors.New(errors.InvalidRequest, "Invalid operation %s", wildName(a.Operation))
	case a.PermissionType != describe.PermissionDeny && a.PermissionType != describe.PermissionAllow:
		return errors.New(errors.InvalidRequest, "Invalid permissionType %s", wildName(a.PermissionType))
	case !strings.Contains(a.Principal, ":"):
		return errors.New(errors.InvalidRequest, "Could not parse principal from `%s` "+
			"(no colon is present separating the principal type from the principal name)", a.Principal)
	}
	return nil
}

// concrete reports whether a code is a value, neither unknown nor any.
func concrete(code, highest int8) bool { return code > describe.ACLAny && code <= highest }

func wildName(code int8) string {
	if code == describe.ACLAny {
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
		f := describe.ACLFilter{
			ResourceType: int8(asked.ResourceType), ResourceName: asked.ResourceName, PatternType: int8(asked.ResourcePatternType),
			Principal: asked.Principal, Host: asked.Host, Operation: int8(asked.Operation), PermissionType: int8(asked.PermissionType),
		}
		err := denied
		if err == nil {
			err = f.Check()
		}
		if err == nil {
			for a := range in.Image.ACLs() {
				if !f.Matches(a) {
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

// DescribeAcls answers DescribeAcls (key 29, versions 1 to 3) from the image.
func DescribeAcls(in Input, req *kmsg.DescribeACLsRequest) *kmsg.DescribeACLsResponse {
	if err := in.Caller.mayCluster(opDescribe); err != nil {
		res := req.ResponseKind().(*kmsg.DescribeACLsResponse)
		res.Resources = []kmsg.DescribeACLsResponseResource{}
		res.ErrorCode, res.ErrorMessage = report(err)
		return res
	}
	return describe.ACLs(in.Image, in.Settings.AuthorizerConfigured, req)
}
