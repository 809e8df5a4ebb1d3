package security

import "kvorum/metadatalog/image"

// Rules are the authorizer's settings.
type Rules struct {
	superUsers map[string]struct{}
	everyone   bool
}

// NewRules takes super.users ("User:name") and allow.everyone.if.no.acl.found.
func NewRules(superUsers []string, allowEveryoneIfNoACLFound bool) Rules {
	r := Rules{superUsers: make(map[string]struct{}, len(superUsers)), everyone: allowEveryoneIfNoACLFound}
	for _, user := range superUsers {
		r.superUsers[user] = struct{}{}
	}
	return r
}

// Question asks whether a principal may do an operation. The numbers are
// Kafka's codes.
type Question struct {
	Principal    string // type:name
	Host         string // the client's address, without port
	Operation    int8
	ResourceType int8
	Resource     string // a name, not a pattern
}

// Answer is a decision and what it rests on, for the audit line.
type Answer struct {
	Allowed bool
	// By is the entry that decided; nil where none did.
	By *image.ACL
	// SuperUser: no entry was looked at.
	SuperUser bool
}

// Authorize decides as StandardAuthorizer does: super users may do everything;
// one entry that denies outweighs all that allow; where no entry speaks of the
// resource at all, allow.everyone.if.no.acl.found decides; else it is no.
func (r Rules) Authorize(acls ACLs, q Question) Answer {
	if _, ok := r.superUsers[q.Principal]; ok {
		return Answer{Allowed: true, SuperUser: true}
	}
	var allow *image.ACL
	found := false
	for entry := range acls.on(q.ResourceType, q.Resource) {
		found = true
		if !applies(entry, q) {
			continue
		}
		if entry.PermissionType == permissionDeny {
			return Answer{By: entry}
		}
		if allow == nil {
			allow = entry
		}
	}
	if !found {
		return Answer{Allowed: r.everyone}
	}
	return Answer{Allowed: allow != nil, By: allow}
}

// applies reports whether an entry on the right resource speaks of this
// principal, host and operation (StandardAuthorizerData.findResult).
func applies(entry *image.ACL, q Question) bool {
	if entry.Principal != q.Principal && entry.Principal != everyone || !onHost(entry, q.Host) {
		return false
	}
	if entry.Operation == q.Operation || entry.Operation == opAll {
		return true
	}
	return entry.PermissionType == permissionAllow && implies(entry.Operation, q.Operation)
}

func onHost(entry *image.ACL, host string) bool { return entry.Host == wildcard || entry.Host == host }

// implies: who may use or change a resource may see it. Only what is allowed
// implies; who may not read may still describe.
func implies(allowed, asked int8) bool {
	switch asked {
	case opDescribe:
		return allowed == opRead || allowed == opWrite || allowed == opDelete || allowed == opAlter
	case opDescribeConfigs:
		return allowed == opAlterConfigs
	default:
		return false
	}
}

// AuthorizeByResourceType decides whether a principal may do an operation on
// some resource of a type, as InitProducerId asks for an idempotent producer
// (Authorizer.authorizeByResourceType). Operations imply nothing here.
func (r Rules) AuthorizeByResourceType(acls ACLs, q Question) bool {
	// A name that nobody uses lets super users, allow.everyone... and entries
	// for all names decide first.
	q.Resource = "hardcode"
	if r.Authorize(acls, q).Allowed {
		return true
	}
	literal, prefixes := make(map[string]struct{}), make(map[string]struct{}) // denied
	var allows []*image.ACL
	for entry := range acls.of(q.ResourceType) {
		named := entry.Principal == q.Principal || entry.Principal == everyone
		if !named || !onHost(entry, q.Host) || entry.Operation != q.Operation && entry.Operation != opAll {
			continue
		}
		switch {
		case entry.PermissionType != permissionDeny:
			allows = append(allows, entry)
		case entry.PatternType == patternPrefixed:
			prefixes[entry.ResourceName] = struct{}{}
		case entry.ResourceName == wildcard:
			return false
		default:
			literal[entry.ResourceName] = struct{}{}
		}
	}
	for _, allow := range allows {
		if !dominated(allow, literal, prefixes) {
			return true
		}
	}
	return false
}

// dominated reports whether everything that an entry allows is denied. A
// wildcard that allows is not weighed against prefixes, as in Apache.
func dominated(allow *image.ACL, literal, prefixes map[string]struct{}) bool {
	if allow.PatternType == patternLiteral {
		if allow.ResourceName == wildcard {
			return false
		}
		if _, denied := literal[allow.ResourceName]; denied {
			return true
		}
	}
	for i := range len(allow.ResourceName) {
		if _, denied := prefixes[allow.ResourceName[:i+1]]; denied {
			return true
		}
	}
	return false
}
